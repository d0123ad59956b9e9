"""Does a queue count all of the time that it holds bytes, however often it changes?"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from simulator.core import counter, in_flight
from simulator.core.in_flight import BYTES, SINCE


@numba.njit
def compiled_note(m, queue, counters, now):
    in_flight.note_held(m, queue, counters, now)


NOTE = {"compiled": compiled_note, "python": in_flight.note_held.py_func}
QUEUE, COUNTERS = 0, 8


@pytest.mark.parametrize("variant", ["compiled", "python"])
@pytest.mark.parametrize("step_ps", [300, 1000, 1024, 5000])
def test_short_times_add_up(variant: str, step_ps: int) -> None:
    """2 KiB for 200 steps, after 100 of nothing."""
    m = np.zeros(64, np.int64)
    for now in range(0, 100 * step_ps, step_ps):
        NOTE[variant](m, QUEUE, COUNTERS, now)
    m[QUEUE + BYTES] = 2048
    start = int(m[QUEUE + SINCE])
    for now in range(start, start + 200 * step_ps + 1, step_ps):
        NOTE[variant](m, QUEUE, COUNTERS, now)
    bins = m[COUNTERS + counter.HISTOGRAM : COUNTERS + counter.QUEUE_WORDS]
    assert bins[2] == bins.sum() == 200 * step_ps
    assert m[COUNTERS + counter.HELD] == pytest.approx(2048 * 200 * step_ps / 1024, rel=2e-3)
