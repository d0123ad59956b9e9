"""Does a queue count all of the time that it holds bytes and requests, however often it changes?"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from simulator.core import counter, in_flight
from simulator.core.in_flight import HELD, SINCE, TURN


@numba.njit
def compiled_note(m, queue, counters, now):
    in_flight.note_held(m, queue, counters, now)


NOTE = {"compiled": compiled_note, "python": in_flight.note_held.py_func}
QUEUE, COUNTERS = 0, 8


@pytest.mark.parametrize("variant", ["compiled", "python"])
@pytest.mark.parametrize("step_ps", [300, 1000, 1024, 5000])
def test_short_times_add_up(variant: str, step_ps: int) -> None:
    """2 KiB for 200 steps, after 100 of nothing."""
    m = np.zeros(COUNTERS + counter.QUEUE_WORDS, np.int64)
    for now in range(0, 100 * step_ps, step_ps):
        NOTE[variant](m, QUEUE, COUNTERS, now)
    m[QUEUE + HELD] = in_flight.entry_of.py_func(2048, 16)
    start = int(m[QUEUE + SINCE])
    for now in range(start, start + 200 * step_ps + 1, step_ps):
        NOTE[variant](m, QUEUE, COUNTERS, now)
    by_bytes, by_requests = counter.time_by_bytes(m, COUNTERS), counter.time_by_requests(m, COUNTERS)
    assert by_bytes[0] == by_requests[0] == start
    assert by_bytes[5] == by_bytes[1:].sum() == by_requests[5] == by_requests[1:].sum() == 200 * step_ps
    assert m[COUNTERS + counter.HELD] == pytest.approx(2048 * 200 * step_ps / 1024, rel=2e-3)


ENTRIES = COUNTERS + counter.QUEUE_WORDS
ROOM = 64


@numba.njit
def pass_through(m, size, requests, start, end):
    for i in range(size.size):
        in_flight.drop_arrived(m, QUEUE, ENTRIES, COUNTERS, start[i])
        entry = in_flight.entry_of(size[i], requests[i])
        in_flight.enter(m, QUEUE, ENTRIES, COUNTERS, ROOM, entry, start[i], end[i])
    in_flight.drop_arrived(m, QUEUE, ENTRIES, COUNTERS, end[-1])


@pytest.mark.parametrize("kind", ["whole lines", "parts of lines", "both", "records"])
def test_requests_are_counted_like_bytes(kind: str) -> None:
    """Against the sums over the times between any two changes; whole lines, which cost nothing, and all else."""
    rng = np.random.default_rng(7)
    requests = rng.choice([1, 32], 200)
    size = 128 * requests
    if kind != "whole lines":
        requests[::2] = 1
        size[::2] = {"records": 16_384}.get(kind, 32)
        if kind == "parts of lines":
            requests[:], size[:] = 1, 96
    start = np.cumsum(rng.integers(0, 60_000, 200))
    end = np.maximum.accumulate(start + rng.integers(1, 900_000, 200))
    m = np.zeros(ENTRIES + 2 * ROOM, np.int64)
    m[QUEUE + TURN] = in_flight.FIRST_TURN
    pass_through(m, size, requests, start, end)

    changes = np.unique([0, *start, *end])
    there = (start[:, None] <= changes[:-1]) & (end[:, None] > changes[:-1])
    for each, time_by in ((size, counter.time_by_bytes), (requests, counter.time_by_requests)):
        held = (there * each[:, None]).sum(axis=0)
        unit = counter.LINE if each is size else 1
        bins = np.array([int(value // unit).bit_length() for value in held])
        expected = np.bincount(bins, np.diff(changes), minlength=counter.HISTOGRAM_BINS)
        assert time_by(m, COUNTERS).tolist() == expected.tolist()
        block = COUNTERS if each is size else COUNTERS + counter.REQUESTS
        assert m[block + counter.PEAK] == held.max()
        integral = m[COUNTERS + counter.HELD] if each is size else counter.held_requests(m, COUNTERS)
        assert integral * 1024 == pytest.approx(held @ np.diff(changes), rel=1e-4)
