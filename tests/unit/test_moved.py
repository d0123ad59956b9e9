"""Are the calls of a product on other copies of its weight those that lowering them would give?"""

from __future__ import annotations

import numpy as np
import pytest

from simulator import hardware
from simulator.hardware import Dtype
from simulator.lowering import gemm
from simulator.lowering.implementation import Framework, implementations
from simulator.lowering.layout import Matrix, allocate
from simulator.lowering.moved import kept, moved
from simulator.memory.groups import whole_group_lines
from simulator.run.calls import gemm_calls
from simulator.run.cases import GemmCase
from simulator.trace.record import COLUMNS, TracedKernel
from simulator.workload import Tensor, TensorClass
from simulator.workload.operators import GemmShape

H100 = hardware.load("h100-sxm").spec
ADDRESSES = allocate([Tensor(name, 1 << 24, TensorClass.WEIGHTS) for name in ("w0", "x", "y", "workspace", "w1")])


def product(weight: str) -> list[TracedKernel]:
    """Return the two kernels of a product whose k is split."""
    shape = GemmShape(8, 1024, 4096, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    operands = gemm.Operands(
        source=Matrix(ADDRESSES["x"], 8, 8192, 128),
        weight=Matrix(ADDRESSES[weight], 1024, 8192, 128),
        output=Matrix(ADDRESSES["y"], 8, 2048, 128),
        bias=None,
        workspace=ADDRESSES["workspace"],
    )
    return list(gemm.lower(shape, operands, H100, implementations(Framework.VLLM).gemm, 0))


def test_a_kernel_moved_is_the_one_lowered_there() -> None:
    moves = [(ADDRESSES.ranges["w0"], ADDRESSES["w1"])]
    here, there = product("w0"), product("w1")
    assert len(here) == 2
    for kernel, expected in zip(here, there, strict=True):
        found = moved(kept(kernel), moves)
        assert found.header == expected.header
        for chunk, records in zip(found.chunks, expected.chunks, strict=True):
            assert all(np.array_equal(getattr(chunk, name), getattr(records, name)) for name in COLUMNS)


@pytest.mark.parametrize(("framework", "own_input"), [("vllm", False), ("sglang", True)])
def test_a_call_reads_its_own_weight_and_where_it_has_one_its_own_input(framework: str, own_input: bool) -> None:
    case = GemmCase.model_validate({"m": 8, "n": 2048, "k": 4096, "framework": framework, "weight_copies": 3})
    call = gemm_calls(case, H100, implementations(case.framework).gemm)
    first, second = ([chunk for kernel in call(copy) for chunk in kernel.chunks] for copy in (0, 1))
    by = np.concatenate([b.address - a.address for a, b in zip(first, second, strict=True)])
    assert len(set(by[by > 0].tolist())) == 1 + own_input
    assert call(0)[0].chunks is call(0)[0].chunks


@pytest.mark.parametrize(("m", "tile", "lines"), [(2048, 256, 32), (2048, 240, 16), (2048, 216, 8), (3000, 256, 32)])
def test_groups_are_as_large_as_tiles_touch_whole(m: int, tile: int, lines: int) -> None:
    case = GemmCase.model_validate({"m": m, "n": 4096, "k": 512, "tile_m": tile, "tile_n": 256})
    call = gemm_calls(case, hardware.load("b300-sxm").spec, implementations(case.framework).gemm)
    assert whole_group_lines(call(0), 128) == lines
