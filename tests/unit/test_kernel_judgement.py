"""Are errors, fitted lines and the gate what they are defined to be?"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator import hardware
from simulator.errors import ConfigError
from simulator.report.accuracy_summary import summary
from simulator.report.values import DASH
from simulator.run.cases import DecodeAttentionCase, GemmCase
from simulator.validation.kernels import cells, gate
from simulator.validation.kernels.baselines import best_line, least_bytes, line_error, line_of_others_error, roofline_s
from simulator.validation.kernels.cells import Judged
from simulator.validation.kernels.known_gaps import KNOWN_GAPS, known_gap
from simulator.validation.kernels.rows import CALIBRATION, TEST, MeasuredRow
from simulator.validation.kernels.suite import SUITES

ROOT = Path(__file__).parents[2]


def judged(ratio: float, m: int = 1, kind: str = TEST, dtype: str = "bf16", roofline: float = 0.5) -> Judged:
    case = GemmCase.model_validate({"m": m, "n": 4096, "k": 4096, "framework": "vllm", "dtype": dtype})
    row = MeasuredRow(f"t:{m}", "gemm", "h200-sxm", "vllm", "0.24.0", kind, dtype, case, 2e-5)
    return Judged(row, {"time_s": 2e-5 * ratio}, 2e-5 * roofline)


def test_errors_of_a_cell() -> None:
    found = cells.errors([judged(r) for r in (0.8, 0.9, 1.0, 1.3, 1.5)], 0.25)
    assert found["rows"] == 5
    assert found["mape"] == pytest.approx((0.2 + 0.1 + 0 + 0.3 + 0.5) / 5)
    assert found["median"] == pytest.approx(0.2)
    assert found["bias"] == pytest.approx(0.0)
    assert found["p90"] == pytest.approx(0.42)
    assert found["roofline"] == pytest.approx(0.5)
    assert found["line"] == pytest.approx(0, abs=1e-9)
    assert found["line_of_others"] == pytest.approx(0, abs=1e-9)
    assert (found["beats_line"], found["within_target"]) == (False, True)
    assert cells.errors([judged(1.3)])["line"] is None


def test_targets_are_for_bf16_test_rows_and_parts_hold_what_they_say() -> None:
    rows = [
        judged(1.5),
        judged(1.5, kind=CALIBRATION),
        judged(1.5, dtype="fp8"),
        judged(1.0, m=65),
        judged(1.0, m=9000),
    ]
    found = {(c["part"], c["set"], c["dtype"]): c for c in cells.cells(SUITES["gemm"], rows)}
    narrow, wide, every = (part.name for part in SUITES["gemm"].parts)
    assert found[narrow, TEST, "bf16"]["rows"] == 1
    assert found[narrow, TEST, "bf16"]["within_target"] is False
    assert found[narrow, CALIBRATION, "bf16"]["within_target"] is None
    assert found[narrow, TEST, "fp8"]["target"] is None
    assert (found[wide, TEST, "bf16"]["rows"], found[every, TEST, "bf16"]["rows"]) == (2, 3)


def test_a_row_drawn_for_a_part_counts_there_alone() -> None:
    narrow, wide, every = (part.name for part in SUITES["gemm"].parts)
    more = judged(1.2, m=2)
    rows = [judged(1.0), replace(more, row=replace(more.row, part=narrow))]
    assert {c["part"]: c["rows"] for c in cells.cells(SUITES["gemm"], rows)} == {narrow: 2, wide: 1, every: 1}


def test_a_known_gap_is_one_of_the_list_and_speaks_of_a_direction() -> None:
    numbers = re.findall(r"^(\d+)\. \*\*", (ROOT / "validation" / "DEVIATIONS.md").read_text(), re.MULTILINE)
    assert {str(gap.number) for gap in KNOWN_GAPS} <= set(numbers)
    narrow = replace(judged(0.5, dtype="fp8").row, framework="trtllm")
    assert known_gap(narrow, 0.5).startswith("18: ")
    assert known_gap(narrow, 1.5) == ""
    assert known_gap(judged(0.5).row, 0.5) == ""


def test_copies_that_nearly_fill_l2_are_a_known_gap_both_ways() -> None:
    """Four copies of 25.2 MB are all of an L40S's 96 MiB; two are half."""
    row = judged(0.5).row
    case = row.case.model_copy(update={"m": 8, "n": 6144, "k": 2048, "weight_copies": 4})
    filling = replace(row, device="l40s", case=case)
    assert known_gap(filling, 0.5).startswith("27: ")
    assert known_gap(filling, 1.5).startswith("27: ")
    assert known_gap(replace(filling, case=case.model_copy(update={"weight_copies": 2})), 1.5) == ""


def test_mean_errors_at_a_glance() -> None:
    """2 rows off by 10 and 6 by 30 % are off by 25 % together; marks are for single cells."""
    cell = {"suite": "gemm", "part": "all sizes", "set": TEST, "dtype": "bf16", "target": 0.2, "beats_line": True}
    cells = [
        cell | {"hardware": "a100-sxm", "framework": "vllm", "rows": 2, "mape": 0.1, "within_target": True},
        cell | {"hardware": "a100-sxm", "framework": "sglang", "rows": 6, "mape": 0.3, "within_target": False},
        cell | {"hardware": "l40s", "framework": "vllm", "rows": 2, "mape": 0.1, "within_target": True}
        | {"beats_line": False},
    ]  # fmt: skip
    sheet = summary(cells)
    assert sheet.columns[-3:] == (">all GPUs", ">a100", ">l40s")
    assert [row[3:] for row in sheet.rows] == [
        ("sglang", "20", "30.0", "30.0!", DASH),
        ("vllm", "20", "10.0", "10.0", "10.0*"),
        ("all", "", "22.0", "25.0", "10.0*"),
    ]
    assert summary(cells, CALIBRATION).rows == []


def test_the_worst_are_too_slow_or_too_fast() -> None:
    assert [each.ratio for each in cells.worst([judged(r) for r in (1.5, 0.5, 1.1, 0.9)], 2)] == [0.5, 1.5]


def test_the_best_line_finds_a_line() -> None:
    x = np.geomspace(1e-6, 1e-3, 40)
    offset, slope = best_line(x, 3e-6 + 1.25 * x)
    assert offset == pytest.approx(3e-6, rel=1e-6)
    assert slope == pytest.approx(1.25, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_line_through_two_points_is_better(seed: int) -> None:
    """A best line of least absolute error passes through two of the points."""
    draw = np.random.default_rng(seed)
    x = draw.lognormal(0, 2, 25)
    y = (1 + x) * draw.lognormal(0, 0.3, 25)
    through = []
    for i, j in itertools.combinations(range(25), 2):
        slope = (y[j] - y[i]) / (x[j] - x[i])
        if slope >= 0:
            through.append(np.mean(np.abs((y[i] + slope * (x - x[i])) / y - 1)))
    assert line_error(x, y) == pytest.approx(min(through), rel=1e-6)


def test_the_line_of_others_leaves_out_the_row_it_is_held_against() -> None:
    """Points on a line but for the last: it is off by all that it lies apart, as the line in hindsight has it, while
    of three points each is predicted by the line through the other two."""
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    y = np.array([2.0, 3.0, 4.0, 5.0, 12.0])
    assert line_of_others_error(x, y) == pytest.approx(0.5 / 5) == pytest.approx(line_error(x, y))
    x, y = np.array([1.0, 2.0, 4.0]), np.array([3.0, 4.0, 5.0])
    through = [3.5, 11 / 3, 6.0]
    expected = np.mean(np.abs(np.array(through) / y - 1))
    assert line_of_others_error(x, y) == pytest.approx(expected, rel=1e-6)


def test_the_roofline_moves_every_operand_once() -> None:
    device = hardware.load("h100-sxm").spec
    product = GemmCase(m=2, n=3000, k=4096)
    assert least_bytes(product) == 2 * (2 * 4096 + 3000 * 4096 + 2 * 3000)
    assert roofline_s(product, device) == pytest.approx(least_bytes(product) / device.hbm.peak_bytes_per_s)
    decode = DecodeAttentionCase(batch=4, kv_len=1000, heads=32, kv_heads=8, head_dim=128, kv_dtype="fp8", window=100)
    assert least_bytes(decode) == 2 * 2 * 4 * 32 * 128 + 2 * 4 * 100 * 8 * 128
    large = GemmCase(m=8192, n=8192, k=8192)
    assert roofline_s(large, device) == pytest.approx(2 * 8192**3 / device.tensor_flops_per_s(large.dtype))


SELECTION = {
    "rows": "aiconfigurator-core 0.12.0", "sample": 9, "part_sample": 0, "seed": 0, "hardware": [], "frameworks": [],
    "longest_s": None, "overrides": [], "without": [],
}  # fmt: skip


def report(*mape: float, rows: int = 10, limit: float | None = None) -> dict:
    names = ("suite", "part", "set", "hardware", "framework", "dtype")
    found = [
        dict(zip(names, ("gemm", "all sizes", "test", f"gpu{i}", "vllm", "bf16"), strict=True))
        | {"rows": rows, "mape": x, "line": 0.2, "within_target": None if limit is None else x <= limit}
        for i, x in enumerate(mape)
    ]
    return {"selection": SELECTION, "suites": [{"suite": "gemm", "cells": found}]}


def test_the_gate_fails_what_got_worse_alone(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    first = gate.committed(report(0.10, 0.20, 0.30))
    first["cells"][2]["tolerance"] = 0.05
    path.write_text(gate.to_json(first))
    before = gate.read(path)
    assert gate.compare(before, report(0.10, 0.20, 0.30)) == []
    assert gate.compare(before, report(0.109, 0.05, 0.349)) == []
    worse = gate.compare(before, report(0.111, 0.20, 0.351))
    assert [(cell["hardware"], cell["why"], cell["now"]) for cell in worse] == [
        ("gpu0", "worse", 0.111),
        ("gpu2", "worse", 0.351),
    ]
    assert [cell["why"] for cell in gate.compare(before, report(0.1, 0.2))] == ["has no rows any more"]
    assert {cell["why"] for cell in gate.compare(before, report(0.1, 0.2, 0.3, rows=9))} == {"has 9 rows"}
    again = gate.committed(report(0.1, 0.2, 0.25), before)
    assert [cell["tolerance"] for cell in again["cells"]] == [0.01, 0.01, 0.05]


def test_a_known_gap_that_closes_is_promoted() -> None:
    """0.21 over a limit of 0.2 is a gap; once within, it has to be committed, and then may not go over again."""
    first = gate.committed(report(0.15, 0.21, limit=0.2))
    assert [cell["gap"] for cell in first["cells"]] == [False, True]
    assert gate.compare(first, report(0.15, 0.215, limit=0.2)) == []
    (closed,) = gate.compare(first, report(0.15, 0.195, limit=0.2))
    assert (closed["hardware"], closed["why"].partition(":")[0]) == ("gpu1", "closed its gap")
    promoted = gate.committed(report(0.15, 0.195, limit=0.2), first)
    (over,) = gate.compare(promoted, report(0.15, 0.201, limit=0.2))
    assert (over["hardware"], over["why"]) == ("gpu1", "over its limit")


def test_a_gate_is_for_the_rows_it_was_set_on(tmp_path: Path) -> None:
    before = gate.committed(report(0.1))
    gate.check_same_run(before, SELECTION, tmp_path)
    gate.check_same_run(before, SELECTION | {"without": ["l2"]}, tmp_path)
    with pytest.raises(ConfigError, match=r"selection\.seed: set with 0, but this run has 1"):
        gate.check_same_run(before, SELECTION | {"seed": 1}, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "schema"),
        ('{"schema": "tierscope.gate/1"}', "selection and cells"),
        ('{"schema": "tierscope.gate/1", "selection": {}, "cells": [{"suite": "gemm"}]}', "cells.0"),
        ("[]", "object"),
        ("{", "not valid JSON"),
    ],
)
def test_what_is_not_a_gate_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        gate.read(path)
    assert str(path) in str(caught.value)
