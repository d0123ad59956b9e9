"""A server that moves bytes one request after the other, and is busy until it has."""

from __future__ import annotations

from simulator.core.compiled import inlined
from simulator.core.state import TICKS_PER_PS, Int64Array


@inlined
def book(free: Int64Array, where: int, ticks_per_kib: int, size: int, now: int) -> tuple[int, int]:
    """Book `size` bytes at a server, of which `free` keeps when it is next free; return when it is through with them
    and how long that takes it (ticks)."""
    busy = (size * ticks_per_kib + 1023) >> 10
    done = max(free[where], now * TICKS_PER_PS) + busy
    free[where] = done
    return done, busy
