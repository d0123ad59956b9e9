"""Do the figures of a run come out as files, and are bad places refused before the run?"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commandline import ROOT, SMALL, Command, start


def test_figures_are_written_as_svg_and_png(tierscope: Command, tmp_path: Path) -> None:
    done = tierscope(*SMALL, "--figures", "paper/figures", "--format", "csv", "--output", "r.csv")
    assert (done.code, done.out, done.err) == (0, "", "")
    names = {path.name for path in (tmp_path / "paper" / "figures").iterdir()}
    assert {
        f"{key}.{form}"
        for key in ("memory", "time", "roofline-dram", "miss-ratio", "reuse-tensor")
        for form in ("svg", "png")
    } <= names
    assert {path.suffix for path in (tmp_path / "paper" / "figures").iterdir()} == {".svg", ".png"}


def test_a_replay_has_figures_too(tierscope: Command, tmp_path: Path) -> None:
    assert tierscope("trace", "generate", *SMALL[1:], "--output", "t.parquet").code == 0
    assert tierscope("replay", "t.parquet", *SMALL[3:5], "--figures", ".").code == 0
    assert (tmp_path / "memory.svg").stat().st_size > 5_000
    assert tierscope("trace", "locality", "t.parquet", "--figures", "locality").code == 0
    assert {path.suffix for path in (tmp_path / "locality").iterdir()} == {".svg", ".png"}
    assert (tmp_path / "locality" / "working-set.png").stat().st_size > 5_000


def test_a_trace_of_one_access_has_a_report_and_figures(tierscope: Command, tmp_path: Path) -> None:
    pq.write_table(pa.table({"address": [64]}), tmp_path / "one.parquet")
    done = tierscope("replay", "one.parquet", *SMALL[3:5], "--figures", "figures", "--report", "r.html")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "figures" / "reuse-tensor.svg").stat().st_size > 5_000
    assert 'data-figure="miss-ratio"' in (tmp_path / "r.html").read_text()


def test_a_report_shows_the_locality_and_the_result_does_not_change(tierscope: Command, tmp_path: Path) -> None:
    plain, pictured = (tierscope(*SMALL, "--format", "json", *more).json for more in ((), ("--report", "r.html")))
    for result in (plain, pictured):
        del result["provenance"]["created"]
    assert plain == pictured
    page = (tmp_path / "r.html").read_text()
    assert 'data-figure="miss-ratio"' in page and "weights" in page


@pytest.mark.parametrize(("place", "words"), [("r.txt", "not a directory"), ("r.txt/figures", "not a directory")])
def test_bad_places_are_refused_in_one_line(tierscope: Command, tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "r.txt").write_text("kept")
    done = tierscope(*SMALL, "--figures", place)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"tierscope: cannot write into {place!r}: ") and words in line
    assert [path.name for path in tmp_path.iterdir()] == ["r.txt"]


def test_without_matplotlib_figures_are_refused_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    path = os.pathsep.join((str(tmp_path / "hidden"), str(ROOT)))
    done = start(tmp_path, *SMALL, "--figures", "figures", PYTHONPATH=path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert 'pip install "tierscope[figures]"' in done.err
    assert not (tmp_path / "figures").exists()
    assert start(tmp_path, *SMALL, "--report", "r.html", PYTHONPATH=path).code == 0
