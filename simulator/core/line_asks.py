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
def to_ask(m: Int64Array, p: Parameters, read: int) -> None:
    """Note that a line is pending."""
    m[p.at.reads + ASKED + m[scalar.ASKS]] = read
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
def ask_each(m: Int64Array, p: Parameters, k: int, near: int, now: int, steady: bool) -> None:
    """Ask for the lines that are pending, in the order in which they were found."""
    table = p.at.reads + ASKED
    q, counters = p.dram, counters_at(p, k)
    pending, left = m[scalar.ASKS], m[scalar.MISSING]
    m[scalar.ASKS] = m[scalar.MISSING] = 0
    runs, gap = m[kernel_at(p, k) + KERNEL_RUNS], gap_of(m, p, k)
    accesses = batch = lines = size = latencies = byte_latencies = 0
    free = now
    for number in range(table, table + pending):
        read = m[number]
        there = m[read + THERE]
        wanted = m[read + WANTED]
        place = m[read + SET]
        if wanted > 0:
            if lines == batch:
                batch = min(left, p.mshr_batch)
                left -= batch
                lines = size = latencies = byte_latencies = 0
                free = admit_misses(m, p, k, batch, now)
            channel, gates, unit = m[read + CHANNEL] & LANES, m[read + GATES], m[read + REFRESH]
            count = accesses_of(q, wanted)
            note_read(m, gates)
            leave_gaps(m, p, gap, counters, gates, unit, channel, wanted, free)
            came, _, conflict, refreshed, opening = serve(
                m,
                q,
                counters,
                gates,
                m[read + COLUMNS],
                m[read + RECORD],
                unit,
                channel,
                m[read + ROW],
                count,
                min(m[read + FIRST] * runs, count),
                free,
                False,
                steady,
            )
            came += q.latency_ps
            note_fetch(m, p, now, free, came, conflict, refreshed, opening)
            accesses += count
            lines += 1
            size += wanted
            latencies += came - free
            byte_latencies += wanted * (came - free)
            if lines == batch:
                hold_mshrs(m, p, k, lines, size, free, free + latencies // lines, latencies, byte_latencies)
            there = max(there, came)
            home = place + (m[read + HOME] - near) * SET_WORDS if p.partitions > 1 else place
            filled(m, home, m[read + WAY], m[read + FILLED_BEFORE], there)
        if p.partitions > 1 and m[read + CROSSING] > 0:
            there = note_crossing(m, p, there, cross(m, p, k, near, m[read + CROSSING], now))
            filled(m, place, m[read + COPY_WAY], m[read + COPIED_BEFORE], there)
        m[read + THERE] = there
    m[counters + counter.DRAM_READ_BYTES] += accesses << q.access_shift


@called
def ask_lines(m: Int64Array, p: Parameters, k: int, near: int, now: int) -> None:
    """Ask for the lines that are pending, at `now`, from partition `near`."""
    if p.dram.steady:
        ask_each(m, p, k, near, now, True)
    else:
        ask_each(m, p, k, near, now, False)
