"""Does the core as plain Python (no compiler, every warning an error) count and time exactly as compiled?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scenarios

HERE = Path(__file__).parent


@pytest.mark.parametrize("family", sorted({name.split()[0] for name, _ in scenarios.everything()}))
def test_python_agrees_with_compiled(family: str) -> None:
    paths = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]
    python = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "scenarios.py"), family],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert python.returncode == 0, python.stderr
    assert json.loads(python.stdout) == scenarios.of_family(family)


def test_the_scenarios_touch_every_counter() -> None:
    totals: dict[str, int] = {}
    for name, scenario in scenarios.everything():
        if name != "together":
            totals |= {key: totals.get(key, 0) + value for key, value in scenario().items()}
    assert [key for key, value in totals.items() if value == 0] == []
