"""Has any number of a few representative runs changed since it was last looked at?

A change that is meant is recorded with `make update` (pytest tests/golden --update) and read as a diff of the JSON.
Goldens say nothing about being right: theory, validation and the slow twins do.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from simulator.cli.run import build_request
from simulator.run.execute import execute, prepare

FOLDER = Path(__file__).parent
FIRST_KERNELS = 20

RUNS: dict[str, dict[str, Any]] = {
    "gpt2-decode-a100": {"model": "gpt2", "hardware": "a100-sxm-80gb", "phase": "decode", "context": 512},
    "llama-3.2-1b-decode-h100": {
        "model": "llama-3.2-1b",
        "hardware": "h100-sxm",
        "phase": "decode",
        "batch": 4,
        "context": 2048,
    },
    "llama-3.2-1b-prefill-h100": {
        "model": "llama-3.2-1b",
        "hardware": "h100-sxm",
        "phase": "prefill",
        "prompt": 512,
    },
    "qwen2.5-7b-decode-fp8-l40s": {
        "model": "qwen2.5-7b",
        "hardware": "l40s",
        "phase": "decode",
        "context": 4096,
        "dtype": "fp8",
    },
}


def golden_of(options: dict[str, Any]) -> str:
    """Return what is kept of a run: totals, tiers and the first kernels, which are those before and in layer 0 on."""
    result = execute(prepare(build_request(None, options)))
    kept = {
        "summary": result["summary"],
        "tiers": result["tiers"],
        "concurrency": result["concurrency"],
        "ledger": result["ledger"],
        "exact": result["provenance"]["exact"],
        "kernels_in_all": len(result["kernels"]),
        "kernels": result["kernels"][:FIRST_KERNELS],
    }
    return json.dumps(kept, indent=1) + "\n"


def difference(golden: str, now: str, name: str) -> str:
    """Return a unified diff, empty when nothing has changed."""
    lines = difflib.unified_diff(golden.splitlines(), now.splitlines(), f"{name} (golden)", f"{name} (now)", "", "", 2)
    return "\n".join(line.rstrip("\n") for line in lines)


@pytest.mark.parametrize("name", RUNS)
def test_run_is_as_it_was(name: str, update: bool) -> None:
    path = FOLDER / f"{name}.json"
    now = golden_of(RUNS[name])
    if update:
        path.write_text(now)
    golden = path.read_text() if path.exists() else ""
    changes = difference(golden, now, path.name)
    if changes:
        pytest.fail(f"numbers have changed; if that is meant: pytest tests/golden --update\n{changes}", pytrace=False)


def test_every_golden_has_its_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RUNS)


def test_a_difference_is_seen() -> None:
    assert difference("a\nb\nc\n", "a\nb\nc\n", "x") == ""
    assert difference("a\nb\nc\n", "a\nB\nc\n", "x").splitlines()[-4:] == [" a", "-b", "+B", " c"]
