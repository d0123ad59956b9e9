"""Lines that L2 has yet to ask for, and how they get their MSHRs: those of one event together.

Reads of several lines first look for all of them and then ask for those that are missing, so that each of the two
loops is short.  Until it has been asked for, a fill makes its set say PENDING, and who comes upon such a set, or writes
a line back, has all that is pending asked for before: the outcome is that of one line after the other, but for MSHRs.
Lines are admitted `mshr_batch` at a time, once there are MSHRs for all, and stand in the queue of misses as one entry,
which leaves it at the mean of their arrivals: so that the integral of what it holds is that of the lines.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.asks import PENDING
from simulator.core.compiled import called, small_function
from simulator.core.dram import accesses_of, gap_of, leave_gaps, note_read, serve
from simulator.core.l2 import cross
from simulator.core.layout import KERNEL_RUNS, Int64Array
from simulator.core.ledger import note_crossing, note_fetch
from simulator.core.line_table import (
    ASKED,
    CAME,
    CHANNEL,
    COLUMNS,
    COPIED_BEFORE,
    COPY_WAY,
    CROSSING,
    FILLED_BEFORE,
    FIRST,
    GATES,
    HOME,
    RECORD,
    REFRESH,
    ROW,
    SET,
    THERE,
    WANTED,
    WAY,
)
from simulator.core.mshr import admit_misses, hold_mshrs
from simulator.core.places import counters_at, kernel_at
from simulator.core.prefetch import prefetch
from simulator.core.sets import LATEST, READY, SET_WORDS
from simulator.core.state import Parameters

LANES = 63
"""Mask of a lane number: no use but to tell the compiler that it is not WHOLE."""


@small_function
def to_ask(m: Int64Array, read: int, wanted: int) -> None:
    """Note that a line is pending, of which DRAM has to send `wanted` bytes (0: none, all it waits for is to cross)."""
    place = m[scalar.TABLE] + m[scalar.ASKS]
    m[place + ASKED] = read
    m[place + WANTED] = wanted
    m[scalar.ASKS] += 1


@small_function
def fills(m: Int64Array, read: int, word: int, place: int, way: int) -> None:
    """Have the columns `word` (WAY or COPY_WAY) and the one after it say that a way of a set is to be filled."""
    m[read + word] = way
    m[read + word + FILLED_BEFORE - WAY] = m[place + LATEST]
    m[place + LATEST] = PENDING
    prefetch(m, place + READY + way)


@small_function
def filled(m: Int64Array, place: int, way: int, before: int, when: int) -> None:
    """Note that a fill that `fills` announced arrives at `when` (ps)."""
    m[place + READY + way] = when
    m[place + LATEST] = max(before, when)


@small_function
def fetch_each(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int, quick: bool) -> None:
    """Fetch what the pending lines at `first` to `end` (not included) want of DRAM, once there are MSHRs for all."""
    q, counters = p.dram, counters_at(p, k)
    lines = end - first
    if p.partitions > 1:
        for place in range(first, end):
            lines -= m[place + WANTED] == 0
        if lines == 0:
            return
    free = admit_misses(m, p, k, lines, now, lines)
    runs = 0 if quick else m[kernel_at(p, k) + KERNEL_RUNS]
    accesses = size = latencies = byte_latencies = 0
    for place in range(first, end):
        wanted = m[place + WANTED]
        if p.partitions > 1 and wanted == 0:
            continue
        read = m[place + ASKED]
        channel, gates, unit = m[read + CHANNEL] & LANES, m[read + GATES], m[read + REFRESH]
        count = accesses_of(q, wanted)
        note_read(m, gates)
        opened = 0
        if not quick:
            leave_gaps(m, p, gap_of(m, p, k), counters, gates, unit, channel, wanted, free)
            opened = min(m[read + FIRST] * runs, count)
        columns, record, row = m[read + COLUMNS], m[read + RECORD], m[read + ROW]
        came, _, conflict, refreshed, opening = serve(
            m, q, counters, gates, columns, record, unit, channel, row, count, opened, free, False, quick
        )
        came += q.latency_ps
        m[place + CAME] = came
        note_fetch(m, p, now, free, came, conflict, refreshed, opening)
        accesses += count
        size += wanted
        latencies += came - free
        byte_latencies += wanted * (came - free)
    m[counters + counter.DRAM_READ_BYTES] += accesses << q.access_shift
    until = free + latencies // lines if lines > 1 else free + latencies
    hold_mshrs(m, p, k, lines, size, free, until, latencies, byte_latencies)


@small_function
def ask_each(m: Int64Array, p: Parameters, k: int, near: int, now: int, quick: bool) -> None:
    """Ask for the lines that are pending, in the order in which they were found.

    A constant `quick` leaves out what a steady DRAM (see `DramParameters`) and a kernel without runs do not need.
    """
    table = m[scalar.TABLE]
    end = table + m[scalar.ASKS]
    m[scalar.ASKS] = 0
    for first in range(table, end, p.mshr_batch):
        fetch_each(m, p, k, first, min(first + p.mshr_batch, end), now, quick)
    for pending in range(table, end):
        read = m[pending + ASKED]
        there = m[read + THERE]
        place = m[read + SET]
        if m[pending + WANTED] > 0:
            there = max(there, m[pending + CAME])
            home = place + (m[read + HOME] - near) * SET_WORDS if p.partitions > 1 else place
            filled(m, home, m[read + WAY], m[read + FILLED_BEFORE], there)
        if p.partitions > 1 and m[read + CROSSING] > 0:
            there = note_crossing(m, p, there, cross(m, p, k, near, m[read + CROSSING], now))
            filled(m, place, m[read + COPY_WAY], m[read + COPIED_BEFORE], there)
        m[read + THERE] = there


@called
def ask_lines(m: Int64Array, p: Parameters, k: int, near: int, now: int) -> None:
    """Ask for the lines that are pending, at `now`, from partition `near`."""
    if p.dram.steady and m[kernel_at(p, k) + KERNEL_RUNS] == 0:
        ask_each(m, p, k, near, now, True)
    else:
        ask_each(m, p, k, near, now, False)
