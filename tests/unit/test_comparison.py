"""Do the parts of a change add up to it, is each cause what was changed, and are stored results refused when they are
none?"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report_sample import kernel, nulled, renamed, sample

from simulator.errors import ConfigError
from simulator.report import comparison, comparison_table, groups, stored, text

Json = dict[str, Any]


def compared(*results: Json) -> Json:
    return comparison.compare(results, [f"{n}.json" for n in range(len(results))])


def gemm(**changes: Any) -> Json:
    """Return a result of one product: 1 GB asked for, 0.8 GB of it from DRAM, 1 ms."""
    base: Json = {"time_s": 1e-3, "read_bytes": 1e9, "write_bytes": 0, "dram_read_bytes": 8e8, "launch_s": 0.0}
    return sample([kernel("a", "gemm", **(base | changes))])


def causes(one: Json, other: Json) -> dict[str, float]:
    """Return what moved the time of the products, by cause."""
    parts = compared(one, other)["changes"][0]["parts"]
    part = next(part for part in parts if part["part"] == "gemm")
    return {cause["cause"]: cause["delta_s"] for cause in part["causes"]}


def test_half_the_bytes_are_the_cause() -> None:
    found = causes(gemm(), gemm(time_s=5e-4, read_bytes=5e8, dram_read_bytes=4e8))
    assert found.pop("bytes asked for per launch") == pytest.approx(-5e-4)
    assert all(abs(delta) < 1e-15 for delta in found.values())


def test_more_hits_are_the_cause() -> None:
    found = causes(gemm(), gemm(time_s=5e-4, dram_read_bytes=4e8))
    assert found.pop("part of them that DRAM moves") == pytest.approx(-5e-4)
    assert all(abs(delta) < 1e-15 for delta in found.values())


def test_a_slower_memory_is_the_cause() -> None:
    found = causes(gemm(), gemm(time_s=2e-3))
    assert found.pop("time per DRAM byte") == pytest.approx(1e-3)
    assert all(abs(delta) < 1e-15 for delta in found.values())


def test_what_is_limited_by_compute_is_explained_by_flops() -> None:
    one, other = gemm(limiter="compute"), gemm(limiter="compute", flops=2_000_000, time_s=2e-3)
    assert causes(one, other)["flops per launch"] == pytest.approx(1e-3)


def test_launch_limited_kernels_are_explained_by_their_number() -> None:
    small = kernel("a", "norm", time_s=1e-6, limiter="launch")
    parts = compared(sample([small] * 2), sample([small] * 4))["changes"][0]["parts"]
    norm = next(part for part in parts if part["part"] == "norm")
    assert {cause["cause"]: cause["delta_s"] for cause in norm["causes"]} == {
        "launches": pytest.approx(2e-6),
        "time per launch": pytest.approx(0, abs=1e-15),
    }


positive = st.floats(1e-9, 1e9)


@given(before=st.tuples(*[positive] * 3), after=st.tuples(*[positive] * 3))
def test_causes_add_up_to_the_change(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    one, other = (gemm(time_s=values[0], read_bytes=values[1], dram_read_bytes=values[2]) for values in (before, after))
    assert math.isclose(
        sum(causes(one, other).values()), after[0] - before[0], rel_tol=1e-6, abs_tol=1e-9 * (before[0] + after[0])
    )


def test_parts_add_up_to_the_run() -> None:
    one, other = sample(), sample()
    for each in other["kernels"]:
        each["time_s"] *= 0.5 if each["operator"] == "gemm" else 1.5
    other["kernels"] = [each for each in other["kernels"] if each["operator"] != "rope"]
    other["kernels"].append(kernel("new", "quantise"))
    other["summary"]["time_s"] = 4e-3
    other["tiers"]["link"]["exposed_s"] = 1e-4
    change = compared(one, other)["changes"][0]
    assert change["delta_s"] == pytest.approx(4e-3 - one["summary"]["time_s"])
    assert sum(part["delta_s"] for part in change["parts"]) == pytest.approx(change["delta_s"], abs=1e-11)
    assert sum(part["share_of_change"] for part in change["parts"]) == pytest.approx(1)
    shown = comparison_table.render(compared(one, other))
    assert "only in A" in shown and "only in the other" in shown


def test_a_run_against_itself_has_not_changed() -> None:
    same = compared(sample(), sample())
    assert same["configuration"] == []
    assert same["changes"][0]["delta_s"] == 0
    assert all(part["delta_s"] == 0 for part in same["changes"][0]["parts"])
    assert all(row["deltas"][1] == 0 for row in same["quantities"])
    assert "B takes as long as A" in comparison_table.render(same)


def test_settings_that_differ_are_named() -> None:
    other = sample()
    other["config"]["workload"]["batch"] = 8
    del other["config"]["hardware"]["hbm"]
    assert compared(sample(), other)["configuration"] == [
        {"key": "hardware.hbm.standard", "values": ["hbm3", None]},
        {"key": "workload.batch", "values": [1, 8]},
    ]


@pytest.mark.parametrize("other", [sample([]), nulled(sample()), renamed(sample())], ids=["empty", "nulled", "hostile"])
def test_any_two_results_compare(other: Json) -> None:
    for both in (compared(sample(), other), compared(other, sample()), compared(other, other)):
        assert comparison_table.render(both)
        assert json.loads(comparison_table.to_json(both)) == both
        assert len(list(csv.DictReader(io.StringIO(comparison_table.to_csv(both))))) > 10


def test_csv_has_the_numbers_of_every_run() -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_table.to_csv(compared(gemm(), gemm(time_s=2e-3), gemm())))))
    of_time = [row for row in rows if row["quantity"] == "time_s" and row["scope"] != "ledger"]
    times = {(row["run"], row["scope"]): row for row in of_time}
    assert set(times) == {(run, scope) for run in "ABC" for scope in ("run", "operator")}
    assert float(times["B", "operator"]["ratio"]) == pytest.approx(2)
    assert sum(row["scope"] == "cause" for row in rows) == 2 * 4


def test_ledgers_stand_side_by_side() -> None:
    one, other = gemm() | {"ledger": {"compute_s": 1e-3, "tail_s": 0.0}}, gemm() | {"ledger": {"compute_s": 3e-3}}
    both = compared(one, other, gemm() | {"ledger": None})
    assert both["ledger"] == [
        {"part": "compute_s", "values": [1e-3, 3e-3, None], "deltas": [0, pytest.approx(2e-3), None]}
    ]
    line = next(line for line in comparison_table.render(both).splitlines() if line.startswith("comput"))
    assert line.split()[-8:] == ["1", "ms", "3", "ms", "–", "+2", "ms", "–"]


# Steps that were not replayed


def test_replayed_steps_stand_for_those_between_them() -> None:
    """Prefill, then decode steps 1, 2, 5 and 9 of nine: 3 and 4 lie between 2 and 5, 6 to 8 between 5 and 9."""
    steps = [kernel("k", "gemm", step=step, time_s=1.0 + step) for step in (0, 1, 2, 5, 9)]
    result = sample(steps)
    result["provenance"]["interpolated_steps"] = 5
    weights = groups.step_weights(result)
    assert [weights[step] for step in (0, 1, 2, 5, 9)] == pytest.approx([1, 1, 2, 1 + 1 + 1.5, 2.5])
    (group,) = groups.by_operator(result)
    assert group.launches == 10
    assert group.time_s == pytest.approx(sum(1.0 + step for step in range(10)))
    assert groups.kernel_time(result) == group.time_s


# Stored results


def test_a_stored_result_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text.to_json(sample()))
    assert stored.read(path) == sample()


def without(*keys: str) -> Json:
    tree = copy.deepcopy(sample())
    table: Any = tree
    for key in keys[:-1]:
        table = table[int(key) if isinstance(table, list) else key]
    del table[keys[-1]]
    return tree


FAULTS = {
    "not a result: no schema": ({"a": 1}, "not a result"),
    "another schema": (sample() | {"schema": "tierscope.bench/1"}, "not a result"),
    "no tiers": (without("tiers"), "tiers: a table"),
    "no l2": (without("tiers", "l2", "hit_rate"), "tiers.l2.hit_rate: missing"),
    "kernels not a list": (sample() | {"kernels": {}}, "kernels: a list"),
    "an older kernel": (without("kernels", "3", "l2_read_hits"), "kernels.3.l2_read_hits: missing"),
    "a time in words": (sample() | {"kernels": [kernel("a", "gemm", time_s="long")]}, "kernels.0.time_s: 'long'"),
    "a time not finite": (sample([kernel("a", "gemm", time_s=1.0)]), "1.0e999"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_result_is_refused(tmp_path: Path, fault: str) -> None:
    tree, words = FAULTS[fault]
    path = tmp_path / "a.json"
    content = json.dumps(tree)
    if words == "1.0e999":
        content, words = content.replace('"time_s": 1.0,', '"time_s": 1e999,'), "kernels.0.time_s: 'inf'"
    path.write_text(content)
    with pytest.raises(ConfigError) as raised:
        stored.read(path)
    assert words in str(raised.value)


@pytest.mark.parametrize(("content", "words"), [("{", "not valid JSON"), ("[" * 10**6, "not usable"), ("[1]", "not a")])
def test_what_is_no_json_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        stored.read(path)
