"""Misses on their way: what L2 asks of DRAM waits until an MSHR (miss status holding register) is free."""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.compiled import called, small_function
from simulator.core.dram import dram_read, read_group
from simulator.core.dram_places import WHOLE
from simulator.core.dram_state import NEVER
from simulator.core.dram_writes import dram_write
from simulator.core.in_flight import drop_oldest, enter, entry_of, is_crowded, oldest, requests_held
from simulator.core.layout import Int64Array
from simulator.core.ledger import note_fetch
from simulator.core.places import counters_at
from simulator.core.state import MSHR_RING, Parameters


@small_function
def lines_of(p: Parameters, lane: int) -> int:
    """Return how many lines a miss is: all of a group where `lane` is WHOLE."""
    return p.group_lines if lane == WHOLE else 1


@small_function
def admit_misses(m: Int64Array, p: Parameters, k: int, lines: int, now: int, misses: int) -> int:
    """Return when a miss, or several at once, finds free MSHRs for all its `lines`: now, or when enough earlier ones
    have been answered.

    Misses are admitted in their order: what was given free for one that waited is not there before that time.
    """
    start = max(now, m[scalar.MSHR_ADMITTED])
    queue, entries = scalar.MSHR_QUEUE, p.at.mshrs
    counters = counters_at(p, k)
    most = p.mshr_lines - lines
    until = oldest(m, queue, entries, NEVER)
    while until <= start or (until < NEVER and (requests_held(m, queue) > most or is_crowded(m, queue, MSHR_RING))):
        if until > start:
            start = m[scalar.MSHR_ADMITTED] = until
        drop_oldest(m, queue, entries, counters + counter.MISS_QUEUE)
        until = oldest(m, queue, entries, NEVER)
    m[counters + counter.MSHR_FULL_PS] += (start - now) * misses
    return start


@small_function
def hold_mshrs(
    m: Int64Array,
    p: Parameters,
    k: int,
    lines: int,
    size: int,
    now: int,
    until: int,
    latencies: int,
    byte_latencies: int,
) -> None:
    """Hold MSHRs from `now` to `until` for some lines of `size` bytes, whose latencies, and bytes times latencies, add
    up to `latencies` and `byte_latencies`."""
    counters = counters_at(p, k)
    queue, entries, held = scalar.MSHR_QUEUE, p.at.mshrs, counters + counter.MISS_QUEUE
    enter(m, queue, entries, held, MSHR_RING, entry_of(size, lines), now, until)
    m[counters + counter.MISS_OUTSTANDING] += byte_latencies >> 10
    m[counters + counter.MISS_REQUESTS] += lines
    m[counters + counter.MISS_REQUEST_OUTSTANDING] += latencies >> 10


@small_function
def take_mshr(m: Int64Array, p: Parameters, k: int, lane: int, size: int, now: int, until: int) -> None:
    """Hold MSHRs for `size` bytes of a line, or of all lines of a group (`lane` WHOLE), from `now` to `until`."""
    lines, latency = lines_of(p, lane), until - now
    hold_mshrs(m, p, k, lines, size, now, until, lines * latency, size * latency)


@called
def write_back(m: Int64Array, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Write `size` bytes of a group back to DRAM, once an MSHR is free; return when it was (ps)."""
    free = admit_misses(m, p, k, lines_of(p, lane), now, 1)
    gone = dram_write(m, p, k, group, lane, size, free)
    take_mshr(m, p, k, lane, size, free, gone)
    return free


@small_function
def fetch(m: Int64Array, p: Parameters, k: int, channel_group: int, access: int, lane: int, size: int, now: int) -> int:
    """Fetch `size` bytes of a group, which `channel_group_of` places, from DRAM, once an MSHR is free; return when they
    are in L2 (ps)."""
    free = admit_misses(m, p, k, lines_of(p, lane), now, 1)
    ready, conflict, refreshed, opening = dram_read(m, p, k, channel_group, access, lane, size, free)
    take_mshr(m, p, k, lane, size, free, ready)
    note_fetch(m, p, now, free, ready, conflict, refreshed, opening)
    return ready


@small_function
def fetch_group(m: Int64Array, p: Parameters, k: int, channel_group: int, access: int, size: int, now: int) -> int:
    """Do as `fetch` does for a whole group."""
    lane = np.int64(WHOLE)
    free = admit_misses(m, p, k, lines_of(p, lane), now, 1)
    ready, conflict, refreshed, opening = read_group(m, p, k, channel_group, access, size, free)
    take_mshr(m, p, k, lane, size, free, ready)
    note_fetch(m, p, now, free, ready, conflict, refreshed, opening)
    return ready
