"""What a suite works out piece by piece: one by one, or on several processes and kept in a checkpoint as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from simulator.run.pool import spawned
from simulator.validation.kernels.checkpoint import Checkpoint

Json = dict[str, Any]
Work = Callable[[Any], Json]
"""What makes of a task its result, which reads back from JSON as itself."""

Solve = Callable[[Mapping[str, Any], Work, Callable[[], None]], dict[str, Json]]
"""What makes of tasks by key, of the work on one, and of what compiles all that the work calls, the results by key."""


def one_by_one(tasks: Mapping[str, Any], work: Work, compile_all: Callable[[], None]) -> dict[str, Json]:
    """Return the results of tasks, made one after the other."""
    return {key: work(task) for key, task in tasks.items()}


def kept(
    tasks: Mapping[str, Any],
    work: Work,
    compile_all: Callable[[], None],
    *,
    checkpoint: Checkpoint,
    workers: int,
    announce: Callable[[int], None] = lambda missing: None,
    advance: Callable[[float], None] = lambda part: None,
) -> dict[str, Json]:
    """Return the results of tasks, of which those that `checkpoint` lacks are made on `workers` processes and added to
    it; `announce` is called with how many these are, `advance` with the part of that work that each was."""
    missing = {key: task for key, task in tasks.items() if key not in checkpoint.known}
    announce(len(missing))
    for key, result in _results(missing, work, compile_all, workers):
        checkpoint.add(key, result | {"error": ""})
        advance(1 / len(missing))
    return {key: checkpoint.known[key] for key in tasks}


def _results(
    tasks: Mapping[str, Any], work: Work, compile_all: Callable[[], None], workers: int
) -> Iterator[tuple[str, Json]]:
    if workers == 1 or len(tasks) < 2:
        yield from ((key, work(task)) for key, task in tasks.items())
        return
    compile_all()
    for (key, _), result in spawned(partial(_of_item, work), list(tasks.items()), workers):
        yield key, result


def _of_item(work: Work, item: tuple[str, Any]) -> Json:
    return work(item[1])
