"""How much is in flight when something joins it."""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import inlined, small_function
from simulator.core.state import State


@small_function
def histogram_bin(size: int) -> int:
    """Return the bin of a number of bytes: 0 below 2^HISTOGRAM_FIRST, then one for each doubling."""
    place = 0
    size >>= counter.HISTOGRAM_FIRST
    while size > 0 and place < counter.HISTOGRAM_BINS - 1:
        size >>= 1
        place += 1
    return place


@inlined
def note_outstanding(s: State, k: int, histogram: int, peak: int, size: int) -> None:
    """Count `size` bytes in flight in a histogram and a peak of kernel slot `k`."""
    s.counters[k, histogram + histogram_bin(size)] += 1
    s.counters[k, peak] = max(s.counters[k, peak], size)
