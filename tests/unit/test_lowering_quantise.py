"""Do the kernels that cast an fp8 product's input read, write and wait as the frameworks' kernels do?"""

from __future__ import annotations

import numpy as np
import pytest

from simulator import hardware
from simulator.lowering.implementation import Framework, implementations
from simulator.lowering.quantise import Cast, lower_quantise
from simulator.memory import Device
from simulator.run.cases import GemmCase
from simulator.run.predict import predict
from simulator.system import run_stream
from simulator.trace.record import Op, TracedKernel

H100 = hardware.load("h100-sxm").spec
SCALARS = implementations().gemm.model_copy(update={"cast_cycles": 1980})
SOURCE, OUTPUT, SCALE = 1 << 32, 1 << 33, 1 << 34


def kernels(framework: Framework, rows: int, columns: int) -> list[TracedKernel]:
    return list(lower_quantise(Cast(rows, columns, SOURCE, OUTPUT, SCALE), framework, H100, SCALARS))


def moved(kernel: TracedKernel, op: Op, base: int) -> int:
    """Return the bytes a kernel moves of the operand at `base`."""
    total = 0
    for records in kernel.chunks:
        chosen = (records.op == int(op)) & (records.address >= base) & (records.address < base + (1 << 31))
        total += int((records.rows[chosen].astype(np.int64) * records.row_bytes[chosen]).sum())
    return total


@pytest.mark.parametrize(("rows", "columns"), [(1, 64), (7, 4096), (3000, 2048)])
@pytest.mark.parametrize(
    ("framework", "names", "looks"),
    [
        (Framework.GENERIC, [], 0),
        (Framework.VLLM, ["quantise"], 2),
        (Framework.SGLANG, ["quantise"], 2),
        (Framework.TRTLLM, ["clear scale", "maximum", "quantise", "copy scale"], 2),
    ],
)
def test_every_element_is_read_as_often_as_the_source_says_and_written_once(
    framework: Framework, names: list[str], looks: int, rows: int, columns: int
) -> None:
    made = kernels(framework, rows, columns)
    assert [kernel.header.name for kernel in made] == names
    assert sum(moved(kernel, Op.READ, SOURCE) for kernel in made) == looks * rows * columns * 2
    assert sum(moved(kernel, Op.WRITE, OUTPUT) for kernel in made) == (rows * columns if made else 0)


def test_sglang_takes_eight_rows_a_cta_from_sixteen_rows_per_sm_on() -> None:
    many = H100.sm.count * 16
    assert kernels(Framework.SGLANG, many, 4096)[0].header.requesters == many // 8
    assert kernels(Framework.SGLANG, many - 1, 4096)[0].header.requesters == many - 1


@pytest.mark.parametrize(("columns", "rounds"), [(64, 1), (2048, 1), (2049, 2), (16384, 8)])
def test_an_sm_takes_as_long_for_each_2048_columns_of_vllms_rows_and_for_their_reduction(
    columns: int, rounds: int
) -> None:
    """1980 cycles of an H100 are 1 us: of 1320 rows each SM has ten, one after the other."""
    (kernel,) = kernels(Framework.VLLM, 1320, columns)
    cycles = np.concatenate([records.compute_cycles for records in kernel.chunks])
    assert cycles.sum() == 1320 * (rounds + 1) * 1980
    took_s = run_stream(Device(H100), [kernel])[-1].end_ps * 1e-12
    assert took_s == pytest.approx(10 * (rounds + 1) * 1e-6, rel=0.15)


def test_a_scale_is_cleared_by_no_kernel() -> None:
    """What a graph needs for it is the same on a device whose kernels follow one another sooner."""
    for name in ("h100-sxm", "b200-sxm"):
        device = hardware.load(name).spec
        first = next(lower_quantise(Cast(64, 64, SOURCE, OUTPUT, SCALE), Framework.TRTLLM, device, SCALARS))
        took_ps = first.header.prologue_ps + device.launch.graph_ps + device.launch.cta_start_ps
        assert took_ps == 3_200_000


def test_a_cast_takes_its_launches_and_its_bytes() -> None:
    """An fp8 call against the same product of what is in fp8 already."""
    shape = {"m": 64, "n": 4096, "k": 4096, "dtype": "fp8"}
    plain, one, three = (
        predict(GemmCase.model_validate(shape | {"framework": name}), H100, None).time_s
        for name in ("generic", "vllm", "trtllm")
    )
    launch_s = H100.launch.graph_ps * 1e-12
    assert one > plain + launch_s
    assert three > one + launch_s
