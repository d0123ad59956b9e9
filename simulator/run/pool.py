"""Predicting many cases, on several processes where they are many.

numba's cache on disk is not safe under concurrent writers: the parent compiles first, workers are spawned and only
read.  Workers ignore an interrupt; the parent ends them, and they end themselves when it is gone.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeVar

from simulator import hardware
from simulator.core.compiled import is_compiled
from simulator.errors import DeadlockError, TierscopeError
from simulator.hardware import Hardware
from simulator.run.calls import touched_bytes
from simulator.run.cases import KINDS, KernelCase, Row
from simulator.run.counterfactual import predict_without
from simulator.run.predict import Prediction, predict

Json = dict[str, Any]
Task = TypeVar("Task")
Found = TypeVar("Found")
Predicted = tuple[Row, Prediction | None, str]

WORTH_A_PROCESS = 16
"""Rows that each further process should have: it takes about as long to start as to predict so many."""

CHUNK = 4
"""Cases a worker is handed at a time: few, since what is in hand is lost at an interrupt, and messages are cheap
beside a case (about 0.1 ms to 0.1 s)."""


FLOPS_PER_BYTE = 100
"""FLOPs that take about as long to simulate as a byte."""

EFFORT_BYTES = 6e8
"""Bytes that take about as long to simulate as a case takes besides: 20 ms, and 30 ps a byte."""


@dataclass(frozen=True)
class Job:
    """One case on one device, with one mechanism switched off or none ("")."""

    device: str
    overrides: tuple[str, ...]
    without: str
    case: KernelCase

    @property
    def key(self) -> str:
        """What the prediction depends on, as text that reads back into the job."""
        case = self.case.model_dump(mode="json", exclude={"id"}, exclude_defaults=True)
        fields = [self.device, list(self.overrides), self.without, self.case.kernel, case]
        return json.dumps(fields, separators=(",", ":"), sort_keys=True)


def predict_rows(
    rows: Sequence[Row],
    device: str,
    overrides: tuple[str, ...],
    workers: int,
    advance: Callable[[float], None] = lambda part: None,
) -> Iterator[Predicted]:
    """Yield each row with its prediction on `device`, or with the reason why there is none.

    `advance` is called with the part of the work that is done as each case is; rows of one case are predicted once.
    """
    keys = ["" if row.case is None else Job(device, overrides, "", row.case).key for row in rows]
    count = Counter(keys)
    count.pop("", None)
    part = shares(count)
    found = {}
    for key, outcome in outcomes(count, max(1, min(workers, len(count) // WORTH_A_PROCESS))):
        error = outcome.pop("error")
        found[key] = (None if error else Prediction(**outcome), error)
        advance(part[key])
    for row, key in zip(rows, keys, strict=True):
        prediction, error = found.get(key, (None, row.error))
        yield row, prediction, error


def shares(keys: Iterable[str]) -> dict[str, float]:
    """Return about which part of the work each job is, together 1."""
    effort = {key: EFFORT_BYTES + _size(key) for key in keys}
    total = sum(effort.values())
    return {key: each / total for key, each in effort.items()}


def outcomes(keys: Iterable[str], workers: int) -> Iterator[tuple[str, Json]]:
    """Yield the prediction of every job (by its key), as they come; a failed one has the reason in `error`.

    The largest come first, so that processes end together.
    """
    order = sorted(set(keys), key=lambda key: (-_size(key), key))
    if not order:
        return
    if workers == 1 or len(order) <= CHUNK:
        yield from ((key, _predict(key)) for key in order)
        return
    compile_core()
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    for _, found in spawned(_predict_all, chunks, workers):
        yield from found


def spawned(work: Callable[[Task], Found], tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Found]]:
    """Yield each task with what `work` made of it in a process of its own, as they come.

    What `work` calls has to have been compiled.  Raises TierscopeError when a process is ended from outside.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_begin_work) as pool:
        try:
            yield from _collect(pool, work, tasks, 2 * workers)
        except BrokenProcessPool as error:
            raise TierscopeError(
                "a worker process was ended from outside, perhaps for want of memory; the same command with --jobs 1 "
                "stays in one process (validate goes on from what is done)"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _collect(
    pool: ProcessPoolExecutor, work: Callable[[Task], Found], tasks: Iterable[Task], ahead: int
) -> Iterator[tuple[Task, Found]]:
    """Yield results of tasks with at most `ahead` of them handed out."""
    waiting: dict[Future[Found], Task] = {}
    for task in tasks:
        waiting[pool.submit(work, task)] = task
        if len(waiting) >= ahead:
            yield from _done(waiting)
    while waiting:
        yield from _done(waiting)


def _done(waiting: dict[Future[Found], Task]) -> Iterator[tuple[Task, Found]]:
    """Wait for the next to be done, and take those that are out of what is waited for."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()


def _begin_work() -> None:
    """Leave interrupts to the parent process, and end when it has: killed, it cannot say so.

    What has been imported stays, and need not be looked through for garbage at every collection.
    """
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def compile_core() -> None:
    """Compile what workers will need, unless it is in the cache."""
    if not is_compiled():
        predict(KINDS["gemm"].model_validate({"m": 1, "n": 64, "k": 64}), _device("a100-sxm-80gb", ()))


def _size(key: str) -> float:
    """Return about how much work a job is, by the bytes it moves and its FLOPs: enough to tell long ones."""
    _, _, _, kernel, values = json.loads(key)
    case = KINDS[kernel].model_validate(values)
    return touched_bytes(case) + case.shape().flops / FLOPS_PER_BYTE


def _predict_all(keys: Iterable[str]) -> list[tuple[str, Json]]:
    return [(key, _predict(key)) for key in keys]


def _predict(key: str) -> Json:
    device, overrides, without, kernel, values = json.loads(key)
    case = KINDS[kernel].model_validate(values)
    try:
        described = _device(device, tuple(overrides))
        found = predict_without(without, case, described) if without else predict(case, described)
    except (TierscopeError, DeadlockError) as problem:
        return {"error": str(problem)}
    return asdict(found) | {"error": ""}


@cache
def _device(name: str, overrides: tuple[str, ...]) -> Hardware:
    return hardware.load(name, overrides).spec
