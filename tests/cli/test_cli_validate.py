"""Do the kernel suites of `validate` run on the rows that ship, report, gate, resume, and say what is wrong?"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from commandline import ROOT, Command

SUITES = ("gemm", "decode-attention", "prefill-attention")
SMALL = ("validate", "--transcribed", "--sample", "6", "--longest", "60 us")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions that the tests of this file share."""
    return tmp_path_factory.mktemp("done") / "done.jsonl"


def test_a_draw_of_the_shipped_rows(tierscope: Command, checkpoint: Path, tmp_path: Path) -> None:
    finished = tierscope(
        *SMALL, *SUITES, "--checkpoint", checkpoint, "--format", "json", "--report", "out", "--write-gate", "cells.json"
    )
    assert finished.code in (0, 1), finished.err
    report = json.loads(finished.out)
    assert report["schema"] == "tierscope.accuracy/1"
    assert [suite["suite"] for suite in report["suites"]] == list(SUITES)
    for suite in report["suites"]:
        counts = suite["counts"]
        assert counts["predicted"] == len(suite["points"]) == 6
        assert counts["in_files"] == counts["left_out"] + counts["not_drawn"] + counts["predicted"] + counts["failed"]
        assert sum(cell["rows"] for cell in suite["cells"] if cell["part"] == "all sizes") == 6
        for point in suite["points"]:
            assert point["ratio"] == pytest.approx(point["predicted_s"] / point["measured_s"])
        assert 0.5 < statistics.median(point["ratio"] for point in suite["points"]) < 2
        for device in {point["hardware"] for point in suite["points"]}:
            plot = tmp_path / "out" / "plots" / f"{suite['suite']}-{device}.svg"
            assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    missed = [cell for suite in report["suites"] for cell in suite["cells"] if cell["within_target"] is False]
    assert finished.code == (1 if missed else 0)
    page, text = (tmp_path / "out" / name for name in ("REPORT.html", "REPORT.md"))
    for shown in (page.read_text(), text.read_text()):
        assert "tierscope validate gemm decode-attention prefill-attention --sample 6 --seed 0" in shown
        assert "rows furthest off" in shown and "another suite" in shown
    assert "http://" not in page.read_text().replace("http://www.w3.org/2000/svg", "")


def test_the_gate_passes_what_it_was_set_by_and_names_what_got_worse(
    tierscope: Command, checkpoint: Path, tmp_path: Path
) -> None:
    run = (*SMALL, "gemm", "--checkpoint", checkpoint)
    tierscope(*run, "--write-gate", "cells.json")
    passed = tierscope(*run, "--gate", "cells.json")
    assert (passed.code, passed.err) == (0, "")
    gate = json.loads((tmp_path / "cells.json").read_text())
    gate["cells"][0]["mape"] = 0.0
    gate["cells"][0]["tolerance"] = 0.0
    (tmp_path / "cells.json").write_text(json.dumps(gate))
    failed = tierscope(*run, "--gate", "cells.json")
    assert failed.code == 1
    table = failed.out.split("Cells that are not as committed\n")[1]
    assert gate["cells"][0]["hardware"] in table and table.rstrip().endswith("worse")


def test_csv_has_a_row_for_every_kernel(tierscope: Command, checkpoint: Path) -> None:
    finished = tierscope(*SMALL, "gemm", "--checkpoint", checkpoint, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(finished.out)))
    assert len(rows) == 6
    assert all(row["case"].startswith("m=") and float(row["predicted_s"]) > 0 for row in rows)


def test_counterfactuals_predict_the_same_rows(tierscope: Command, checkpoint: Path) -> None:
    run = ("validate", "gemm", "--transcribed", "--sample", "3", "--longest", "20 us", "--checkpoint", checkpoint)
    finished = tierscope(*run, "--without", "launch", "--without-sample", "2", "--format", "json")
    (suite,) = json.loads(finished.out)["suites"]
    rows = [row for row in suite["counterfactuals"] if (row["part"], row["hardware"]) == ("all sizes", "all")]
    assert {row["without"] for row in rows} == {"launch"}
    assert sum(row["rows"] for row in rows) == 2
    assert all(row["median_time_ratio"] < 1 for row in rows)


def wait_for_a_prediction(process: subprocess.Popen[str], checkpoint: Path) -> None:
    """Wait until a first prediction is in the checkpoint, or the process has ended."""
    while process.poll() is None and (not checkpoint.exists() or checkpoint.read_text().count("\n") < 2):
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for the children of a process")
def test_no_worker_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    command = (*SMALL, "--sample", "120", "--jobs", "2", "prefill-attention", "--checkpoint", "own.jsonl")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "simulator", *command]
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, text=True)
    wait_for_a_prediction(process, tmp_path / "own.jsonl")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.terminate()
    assert process.wait(timeout=10) == -signal.SIGTERM
    for _ in range(100):
        left = [child for child in children if Path(f"/proc/{child}").exists()]
        if not left:
            break
        time.sleep(0.1)
    assert not left


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """Interrupted after the first prediction, of enough that it can't be done by then; the same command makes the
    others."""
    rows = 80
    command = (*SMALL, "--sample", str(rows), "--jobs", "1", "prefill-attention", "--checkpoint", "own.jsonl")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "simulator", *command]
    process = subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which shells ignore in the background
    )
    done = tmp_path / "own.jsonl"
    wait_for_a_prediction(process, done)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    kept = done.read_text().count("\n") - 1
    assert f"{kept} more results are kept in own.jsonl" in messages
    again = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert f"going on from own.jsonl: {rows - kept} results are left" in again.stderr
    assert done.read_text().count("\n") == rows + 1


def test_without_the_database_one_line_says_how_to_install_it(tierscope: Command) -> None:
    try:
        import importlib.metadata

        importlib.metadata.distribution("aiconfigurator-core")
        pytest.skip("the database is installed here")
    except importlib.metadata.PackageNotFoundError:
        pass
    finished = tierscope("validate", "gemm")
    assert (finished.code, finished.out) == (2, "")
    assert 'pip install "tierscope[validation]"' in finished.err and finished.err.count("\n") == 1


MISTAKES = [
    (("validate", "gemm", "--only", "latency"), "--only is for microbenchmarks"),
    (("validate", "--seed", "3"), "--seed is for kernel suites"),
    (("validate", "microbenchmarks", "--seed", "0"), "microbenchmarks: --seed is for kernel suites"),
    (("validate", "gemm", "microbenchmarks"), "name it alone"),
    (("validate", "gemm", "--sample", "3", "--all"), "exclude each other"),
    (("validate", "gemm", "--transcribed", "--database", "x"), "exclude each other"),
    (("validate", "gemm", "--database", "nowhere"), "no such folder"),
    (("validate", "gemm", "--transcribed", "--hardware", "h101"), "no row of what was asked for"),
    (("validate", "gemm", "--transcribed", "--longest", "3 parsecs"), "--longest"),
    (("validate", "gemm", "--transcribed", "--longest", "-3 ms"), "--longest: must be positive"),
    (("validate", "gemm", "--transcribed", "--set", "l2.sise=3"), "l2.sise"),
    (("validate", "gemm", "--transcribed", "--without", "luck"), "'luck'"),
    (("validate", "gemm", "--transcribed", "--without-sample", "3"), "needs --without"),
    (("validate", "gemm", "--transcribed", "--part-sample", "3"), "draws from the database"),
    (("validate", "gemm", "--transcribed", "--gate", "none.json"), "none.json"),
    (("validate", "gemm", "--transcribed", "--checkpoint", "notes.txt"), "notes.txt: line 1: not a checkpoint"),
    (("validate", "gemm", "--transcribed", "--checkpoint", "none/x"), "none' does not exist; create it first"),
    (("validate", "--checkpoint", "none/x"), "none' does not exist; create it first"),
    (("validate", "gemm", "--transcribed", "--report", "notes.txt"), "notes.txt"),
    (("validate", "gemm", "--sample", "0"), "0"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_mistakes_are_one_line(tierscope: Command, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "notes.txt").write_text("not empty\n")
    finished = tierscope(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("tierscope: ") and finished.err.count("\n") == 1
    assert words in finished.err
