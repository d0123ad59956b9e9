"""`trace locality` and `--explain` as users type them: exact numbers of small traces, every form, every mistake."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commandline import SMALL, Command

LOOP = {"address": [0, 128, 256] * 3, "row_bytes": [128] * 9}  # three lines, three times


@pytest.fixture
def loop(tmp_path: Path) -> str:
    pq.write_table(pa.table(LOOP), tmp_path / "loop.parquet")
    return "loop.parquet"


def test_a_loop_worked_by_hand(tierscope: Command, loop: str) -> None:
    """Each line comes back after the two others: three first touches, six distances of two lines."""
    found = tierscope("trace", "locality", loop, "--granularity", "line", "--format", "json").json
    assert found["schema"] == "tierscope.locality/1"
    assert found["order"].startswith("program order")
    (line,) = found["granularities"]
    assert (line["granularity"], line["unit_bytes"], line["accesses"]) == ("line", 128, 9)
    assert (line["footprint_bytes"], line["sampling_rate"]) == (384, 1)
    assert line["miss_ratio_curve"] == {
        "capacity_bytes": [0, 384],
        "miss_ratio": [1.0, 3 / 9],
        "resolution_bytes": 128,
        "standard_error": None,
    }
    whole = line["classes"][0]
    assert (whole["kernel_class"], whole["tensor_class"]) == (None, None)
    assert (whole["first_touches"], whole["same_cta"]) == (3, 6)
    assert whole["reuse_distance"] == {"from_bytes": [256], "accesses": [6]}
    assert line["working_set"]["mean_bytes"][:3] == [128, 256, 384]
    assert [stride["kind"] for stride in found["strides"]] == ["sequential", "backward"]
    assert found["line_use"][0]["lines"] == [0, 0, 0, 9]


def test_every_form(tierscope: Command, loop: str, tmp_path: Path) -> None:
    table = tierscope("trace", "locality", loop)
    assert table.code == 0 and all(name in table.out for name in ("By sector", "By line", "By tile", "LRU cache of"))
    rows = list(csv.DictReader(io.StringIO(tierscope("trace", "locality", loop, "--format", "csv").out)))
    assert {row["granularity"] for row in rows} == {"sector", "line", "tile"}
    whole = [
        row for row in rows if row["granularity"] == "line" and not row["kernel_class"] and not row["tensor_class"]
    ]
    assert [int(row["reuse_distance_accesses"]) for row in whole] == [3, 6]
    assert tierscope("trace", "locality", loop, "--output", "out.txt").out == ""
    assert "By line" in (tmp_path / "out.txt").read_text(encoding="utf-8")


def test_a_device_interleaves(tierscope: Command, tmp_path: Path) -> None:
    """Two CTAs read the same two tiles: one after the other at a distance, in turn at none, from another SM."""
    table = {"requester": [0, 0, 1, 1], "address": [0, 4096, 0, 4096], "row_bytes": [4096] * 4}
    pq.write_table(pa.table(table), tmp_path / "two.parquet")
    options = ("trace", "locality", "two.parquet", "--granularity", "tile", "--format", "json")
    alone = tierscope(*options).json["granularities"][0]["classes"][0]
    assert (alone["reuse_distance"]["from_bytes"], alone["same_sm"]) == ([4096], 2)
    waves = tierscope(*options, "--hardware", "h100-sxm").json
    assert "132 SMs" in waves["order"]
    together = waves["granularities"][0]["classes"][0]
    assert (together["reuse_distance"]["from_bytes"], together["other_sm"]) == ([0], 2)
    program = tierscope(*options, "--hardware", "h100-sxm", "--order", "program").json
    assert program["granularities"][0]["classes"][0] == alone


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("loop.parquet", "--kernel", "softmax"), ("loop.parquet", "no kernel 'softmax'", "kernel 0")),
        (("empty.parquet",), ("empty.parquet", "no records")),
        (("one.parquet",), ("one.parquet", "a single access", "two records")),
        (("far.parquet", "--sample", "0.00025"), ("far.parquet", "sample", "exact")),
        (("absent.parquet",), ("absent.parquet", "no such file")),
        (("loop.parquet", "--sample", "0"), ("--sample", "rate")),
        (("loop.parquet", "--sample", "much"), ("--sample", "rate")),
        (("loop.parquet", "--tile", "100 B"), ("--tile", "power of two")),
        (("loop.parquet", "--tile", "4096"), ("--tile", "unit")),
        (("loop.parquet", "--order", "waves"), ("--hardware", "no device")),
        (("loop.parquet", "--set", "sm.count=2"), ("--hardware",)),
        (("loop.parquet", "--hardware", "h999"), ("h999",)),
        (("loop.parquet", "--output", "no/where.json"), ("no",)),
    ],
)
def test_mistakes_are_one_line(
    tierscope: Command, loop: str, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    pq.write_table(pa.table({"address": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    pq.write_table(pa.table({"address": [64]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"address": [1 << 20] * 2}), tmp_path / "far.parquet")
    refused = tierscope("trace", "locality", *options)
    assert (refused.code, refused.out) == (2, "")
    assert len(refused.err.splitlines()) == 1
    assert all(word in refused.err for word in words), refused.err


@pytest.fixture(scope="module")
def traced(shared: Command) -> str:
    assert shared("trace", "generate", *SMALL[1:], "--output", "run.parquet").code == 0
    return "run.parquet"


def test_a_model_s_trace_has_all_classes(shared: Command, traced: str) -> None:
    found = shared("trace", "locality", traced, "--granularity", "line", "--format", "json").json
    (line,) = found["granularities"]
    whole = {part["tensor_class"]: part for part in line["classes"] if part["kernel_class"] is None}
    assert {"weights", "kv", "activations", "metadata"} <= set(whole)
    assert whole["weights"]["first_touches"] / whole["weights"]["accesses"] > 0.9
    assert (
        sum(part["accesses"] for part in line["classes"] if part["kernel_class"] and part["tensor_class"])
        == (line["accesses"])
    )
    assert len(line["over_time"]["start_bytes"]) > 20
    assert {flow["target"] for flow in line["flows"]} >= {"gemm", "decode_attention"}
    alone = shared("trace", "locality", traced, "--kernel", "gemm", "--granularity", "line", "--format", "json").json
    assert alone["kernel"] == "gemm"
    assert {part["kernel_class"] for part in alone["granularities"][0]["classes"]} == {None, "gemm"}
    head = shared("trace", "locality", traced, "--kernel", "lm_head", "--granularity", "line", "--format", "json").json
    assert (head["kernel"], head["kernels"]) == ("lm_head", 1)
    sampled = shared("trace", "locality", traced, "--granularity", "line", "--sample", "0.125", "--format", "json").json
    (line,) = sampled["granularities"]
    assert line["sampling_rate"] == 0.125
    assert max(line["miss_ratio_curve"]["standard_error"]) > 0
    assert line["miss_ratio_curve"]["resolution_bytes"] == 8 * 4096
    table = shared("trace", "locality", traced, "--sample", "0.125", "--granularity", "line").out
    assert "1 page in 8" in table
    (misses,) = (row.split()[1:] for row in table.splitlines() if row.startswith("misses"))
    assert misses[0] == "–", "a cache of 1 KiB is smaller than what one page of the sample stands for"


def test_explain_gives_every_miss_a_reason(shared: Command, traced: str) -> None:
    result = shared(*SMALL, "--explain", "--format", "json").json
    replayed = shared("replay", traced, "--hardware", SMALL[4], "--explain", "--format", "json").json
    assert replayed["hits"] == result["hits"]
    rows = [row for row in result["hits"]["tiers"] if row["tier"] == "l2"]
    reasons = ("compulsory", "capacity", "conflict")
    missed = sum(row[f"{kind}_{reason}_bytes"] for row in rows for kind in ("read", "write") for reason in reasons)
    hit = sum(row[f"{kind}_hit_bytes"] for row in rows for kind in ("read", "write"))
    assert missed == result["tiers"]["l2"]["misses"] * 32
    assert hit == result["tiers"]["l2"]["hits"] * 32
    again = sum(row[f"read_{reason}_bytes"] for row in rows for reason in reasons[1:])
    assert sum(row["bytes"] for row in result["hits"]["refetched"]) == again > 0
    plain = shared(*SMALL, "--exact", "--format", "json").json
    assert plain["hits"] is None
    assert plain["summary"] == result["summary"], "looking changes nothing"
    table = shared(*SMALL, "--explain").out
    assert (
        "Reads of L2" in table
        and "Lines brought into" in table
        and "compulsory" in table
        and "Fetched again by" in table
    )


def test_csv_has_the_reasons_of_each_kernel(shared: Command) -> None:
    rows = list(csv.DictReader(io.StringIO(shared(*SMALL, "--explain", "--format", "csv").out)))
    hits = shared(*SMALL, "--explain", "--format", "json").json["hits"]["tiers"]
    for row in rows:
        its = [each for each in hits if (each["tier"], each["kernel"]) == ("l2", row["name"])]
        for column in ("read_hit_bytes", "read_compulsory_bytes", "read_capacity_bytes", "write_conflict_bytes"):
            assert int(row[f"l2_{column}"]) == sum(each[column] for each in its)
    assert any(int(row["l2_read_capacity_bytes"]) for row in rows)
