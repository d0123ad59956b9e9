"""Do the benchmarks find what they measure?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_benchmarks_import_what_they_measure() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout


def test_random_sectors_through_l1_still_miss_their_budget(tmp_path: Path) -> None:
    """A known gap (validation/DEVIATIONS.md, 9): when it closes, say so in README.md and hold it there."""
    written = tmp_path / "lines.json"
    only = ("--quick", "--only", "sectors, one core", "--json", str(written))
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *only], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sectors = {line["what"].strip(): line for line in json.loads(written.read_text())}
    assert sectors["the same through L1"]["good"] is False
    assert all(float(line["value"].split()[0]) >= 1 for line in sectors.values())
