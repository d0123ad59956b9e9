"""Do counters come out as ncu writes them, and do runs compare with each other and with a profile?"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from commandline import SMALL, Command

RUN = """model = "gpt2"
hardware = "a100-sxm-80gb"
[set]
"l2.size" = "{size}"
[workload]
phase = "decode"
context = 64
"""
RAW = '"ID","Kernel Name","gpu__time_duration.sum","dram__bytes_read.sum"\n"","","usecond","Mbyte"\n'


@pytest.fixture(scope="module")
def folder(shared: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `shared`, with a run, its result, its counters and a run on a larger L2."""
    done = shared(*SMALL, "--format", "json", "--output", "a.json", "--counters", "a.csv")
    assert (done.code, done.out, done.err) == (0, "", "")
    place = next(path.parent for path in tmp_path_factory.getbasetemp().glob("shared*/a.csv"))
    (place / "b.toml").write_text(RUN.format(size="320 MiB"))
    return place


def test_counters_are_those_of_the_result(folder: Path) -> None:
    result = json.loads((folder / "a.json").read_text())
    header, _units, *rows = csv.reader(io.StringIO((folder / "a.csv").read_text()))
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["Kernel Name"] for row in table] == [kernel["name"] for kernel in result["kernels"]]
    assert {row["CC"] for row in table} == {"8.0"}
    moved = sum(int(row["dram__bytes_read.sum"]) + int(row["dram__bytes_write.sum"]) for row in table)
    assert moved == result["summary"]["dram_bytes"]
    hits = sum(int(row["lts__t_sectors_op_read_lookup_hit.sum"]) for row in table)
    writes = sum(int(row["lts__t_sectors_op_write.sum"]) for row in table)
    every = sum(int(row["lts__t_sectors.sum"]) for row in table)
    l2 = result["tiers"]["l2"]
    assert every == l2["hits"] + l2["misses"]
    assert hits <= l2["hits"] <= hits + writes
    for row, kernel in zip(table, result["kernels"], strict=True):
        assert float(row["gpu__time_duration.sum"]) == pytest.approx(1e9 * kernel["time_s"])
        assert int(row["launch__grid_size"]) == kernel["ctas"]


def test_a_replay_has_the_same_counters(shared: Command, folder: Path) -> None:
    assert shared("trace", "generate", *SMALL[1:], "--output", "t.parquet").code == 0
    assert shared("replay", "t.parquet", *SMALL[3:5], "--counters", "t.csv").code == 0
    assert (folder / "t.csv").read_text() == (folder / "a.csv").read_text()


def test_runs_side_by_side(shared: Command, folder: Path) -> None:
    compared = shared("compare", "a.json", "b.toml", "--format", "json").json
    assert [run["source"] for run in compared["runs"]] == ["a.json", "b.toml"]
    sizes = next(row for row in compared["configuration"] if row["key"] == "hardware.l2.size")
    assert sizes["values"] == ["40 MiB", "320 MiB"]
    time = next(row for row in compared["quantities"] if row["name"] == "time_s")
    assert time["ratios"][0] == 1
    (change,) = compared["changes"]
    assert change["delta_s"] == pytest.approx(time["deltas"][1])
    assert sum(part["delta_s"] for part in change["parts"]) == pytest.approx(change["delta_s"])
    gemm = next(part for part in change["parts"] if part["part"] == "gemm")
    assert gemm["causes"][0]["cause"] == "part of them that DRAM moves", "a larger L2 is hits, and nothing else first"
    assert gemm["causes"][0]["delta_s"] < 0


def test_runs_side_by_side_as_table_and_csv(shared: Command, folder: Path) -> None:
    table = shared("compare", "a.json", "b.toml", "a.json")
    assert (table.code, table.err) == (0, "")
    assert "hardware.l2.size" in table.out and "B takes" in table.out and "C takes as long as A" in table.out
    assert max(map(len, table.out.splitlines())) <= 100
    assert shared("compare", "a.json", "a.json", "--format", "csv", "--output", "c.csv").out == ""
    rows = list(csv.DictReader(io.StringIO((folder / "c.csv").read_text())))
    assert {row["run"] for row in rows} == {"A", "B"}


def test_a_run_beside_its_own_profile(shared: Command, folder: Path) -> None:
    compared = shared("compare", "a.json", "--ncu", "a.csv", "--format", "json").json
    assert compared["matched_by"] == "name"
    assert compared["left_out"] == {"simulated": 0, "profiled": 0}
    ratios = [row["ratio"] for pair in compared["kernels"] for row in pair["metrics"] if row["ratio"] is not None]
    assert ratios == pytest.approx([1] * len(ratios), abs=1e-3), "as far as six decimals go"


def test_a_run_beside_a_real_profile(shared: Command, folder: Path) -> None:
    profiled = RAW + '"0","void gemvx::kernel<int>()","1,234","2.5"\n"1","void gemvx::kernel<int>()","1,236","2.5"\n'
    (folder / "real.csv").write_text(profiled)
    compared = shared("compare", "a.json", "--ncu", "real.csv", "--kernel", "lm_head=gemvx", "--format", "json").json
    (pair,) = compared["kernels"]
    assert (pair["profiled_launches"], pair["simulated_launches"]) == (2, 1)
    assert pair["metrics"][0]["profiled"] == 1_235_000
    table = shared("compare", "a.json", "--ncu", "real.csv", "--kernel", "lm_head=gemvx")
    assert "1.24 ms" in table.out or "1.23 ms" in table.out
    rows = shared("compare", "a.json", "--ncu", "real.csv", "--kernel", "lm_head=gemvx", "--format", "csv").out
    assert len(rows.splitlines()) == 3


REFUSED = {
    "one run": (("compare", "a.json"), ("--ncu",)),
    "no run": (("compare",), ("RUN",)),
    "profile beside two": (("compare", "a.json", "a.json", "--ncu", "a.csv"), ("--ncu", "one run", "2")),
    "kernel without profile": (("compare", "a.json", "a.json", "--kernel", "x"), ("--kernel", "--ncu")),
    "run missing": (("compare", "a.json", "no.json"), ("no.json", "No such file")),
    "toml missing": (("compare", "a.json", "no.toml"), ("no.toml", "No such file")),
    "toml with a mistake": (("compare", "a.json", "bad.toml"), ("bad.toml", "context")),
    "result of something else": (("compare", "a.json", "other.json"), ("other.json", "tierscope.result/1")),
    "result truncated": (("compare", "a.json", "cut.json"), ("cut.json", "not valid JSON")),
    "profile missing": (("compare", "a.json", "--ncu", "no.csv"), ("no.csv", "No such file")),
    "profile foreign": (("compare", "a.json", "--ncu", "cases.csv"), ("cases.csv", "no header of ncu --csv")),
    "profile truncated": (("compare", "a.json", "--ncu", "cut.csv"), ("cut.csv", "line 5", "truncated")),
    "profile is a folder": (("compare", "a.json", "--ncu", "."), (".", "cannot be read")),
    "profile of other kernels": (("compare", "a.json", "--ncu", "three.csv"), ("three.csv", "--kernel", "embedding")),
    "kernel absent": (("compare", "a.json", "--ncu", "a.csv", "--kernel", "conv"), ("'conv'", "embedding")),
    "output folder missing": (("compare", "a.json", "a.json", "--output", "no/o"), ("no/o", "does not exist")),
    "counters folder missing": ((*SMALL, "--counters", "no/c.csv"), ("no/c.csv", "does not exist")),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_is_refused_in_one_line(shared: Command, folder: Path, mistake: str) -> None:
    files = {
        "bad.toml": RUN.format(size="320 MiB").replace("context", "contest"),
        "other.json": '{"schema": "tierscope.bench/1"}',
        "cut.json": (folder / "a.json").read_text()[:5000],
        "cases.csv": "kernel,m,n,k\ngemm,1,64,64\n",
        "cut.csv": RAW + '"0","a","1","2"\n"1","b","1","2"\n"2","c"',
        "three.csv": RAW + "".join(f'"{n}","k{n}","1","2"\n' for n in range(3)),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    arguments, words = REFUSED[mistake]
    finished = shared(*arguments)
    assert finished.code == 2, finished.err
    assert finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("tierscope: ")
    for word in words:
        assert word in line


def test_counters_are_listed(shared: Command) -> None:
    listed = shared("list", "counters")
    assert (listed.code, listed.err) == (0, "")
    assert "lts__t_sectors_op_read_lookup_hit.sum" in listed.out
