"""Does a suite that was stopped make only what is missing, and come out the same one by one and on processes?"""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.validation.kept import kept, one_by_one
from simulator.validation.kernels.checkpoint import Checkpoint

TASKS = {f"third of {number}": number for number in range(6)}


def third(number: int) -> dict[str, float]:
    if number < 0:
        raise KeyboardInterrupt
    return {"value": number / 3}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_kept_is_not_made_again(tmp_path: Path, workers: int) -> None:
    compiled, parts, announced = [], [], []
    with Checkpoint(tmp_path / "kept.jsonl") as checkpoint:
        checkpoint.add("third of 2", {"value": 0.25, "error": ""})
        found = kept(
            TASKS,
            third,
            lambda: compiled.append(True),
            checkpoint=checkpoint,
            workers=workers,
            announce=announced.append,
            advance=parts.append,
        )
    assert found["third of 2"]["value"] == 0.25, "as it was kept"
    alone = one_by_one(TASKS, third, lambda: None)
    assert {key: each["value"] for key, each in found.items() if key != "third of 2"} == {
        key: each["value"] for key, each in alone.items() if key != "third of 2"
    }
    assert (len(compiled), announced, parts) == (workers - 1, [5], [pytest.approx(1 / 5)] * 5)
    with Checkpoint(tmp_path / "kept.jsonl") as again:
        assert again.known == found, "numbers read back to the last digit"


def test_an_interrupt_keeps_what_was_made(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "kept.jsonl") as checkpoint, pytest.raises(KeyboardInterrupt):
        kept(TASKS | {"stop": -1}, third, lambda: None, checkpoint=checkpoint, workers=1)
    with Checkpoint(tmp_path / "kept.jsonl") as again:
        assert again.known.keys() == TASKS.keys()
