"""A server that moves bytes one request after the other, and is busy until it has."""

from __future__ import annotations

from simulator.core.compiled import small_function
from simulator.core.layout import TICKS_PER_PS, Int64Array


@small_function
def book(m: Int64Array, free: int, ticks_per_kib: int, size: int, now: int, busy: int) -> int:
    """Book `size` bytes at a server, whose word `free` says when it is next free, and add what that takes to the
    counter `busy` (ticks); return when it is through with them (ps)."""
    ticks = (size * ticks_per_kib + 1023) >> 10
    done = max(m[free], now * TICKS_PER_PS) + ticks
    m[free] = done
    m[busy] += ticks
    return done >> 10
