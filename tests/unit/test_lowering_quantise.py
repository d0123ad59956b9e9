"""Do the kernels that cast an fp8 product's input read, write and wait as the frameworks' kernels do?"""

from __future__ import annotations

import numpy as np
import pytest

from simulator import hardware
from simulator.hardware import Dtype
from simulator.lowering.implementation import Framework, implementations
from simulator.lowering.quantise import Cast, lower_quantise
from simulator.memory.occupancy import ctas_per_sm
from simulator.run.cases import GemmCase
from simulator.run.predict import predict
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
        (Framework.VLLM, ["quantise"], 1),
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


def test_vllm_casts_a_row_at_a_time_on_an_sm() -> None:
    """1980 cycles of an H100 are 1 us: what a cast takes grows by more than that for every 132 rows."""
    header = kernels(Framework.VLLM, 264, 64)[0].header
    assert ctas_per_sm(H100.sm, header) == 1
    assert header.prologue_ps == 1_000_000

    def time_s(rows: int) -> float:
        case = GemmCase(m=rows, n=64, k=64, dtype=Dtype.FP8, framework=Framework.VLLM)
        return predict(case, H100, SCALARS).time_s

    assert 9e-6 < time_s(132 * 10) - time_s(132 * 3) < 14e-6


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
