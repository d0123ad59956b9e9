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
from simulator.core.dram_steady import read_steadily
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
    WAITED,
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
    lines = end - first
    if p.partitions > 1:
        for place in range(first, end):
            lines -= m[place + WANTED] == 0
        if lines == 0:
            return
    free = admit_misses(m, p, k, lines, now, lines)
    if quick:
        read_each_steadily(m, p, k, first, end, now, free)
    else:
        read_each(m, p, k, first, end, now, free)
    size = latencies = byte_latencies = 0
    for place in range(first, end):
        wanted = m[place + WANTED]
        latency = m[place + CAME] - free if wanted > 0 else 0
        size += wanted
        latencies += latency
        byte_latencies += wanted * latency
    until = free + latencies // lines if lines > 1 else free + latencies
    hold_mshrs(m, p, k, lines, size, free, until, latencies, byte_latencies)


@small_function
def read_each(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int, free: int) -> None:
    """Read what the pending lines at `first` to `end` (not included) want, which have their MSHRs at `free`."""
    q, counters = p.dram, counters_at(p, k)
    runs = m[kernel_at(p, k) + KERNEL_RUNS]
    accesses = 0
    for place in range(first, end):
        wanted = m[place + WANTED]
        if wanted == 0:
            continue
        read = m[place + ASKED]
        channel, gates, unit = m[read + CHANNEL] & LANES, m[read + GATES], m[read + REFRESH]
        count = accesses_of(q, wanted)
        note_read(m, gates)
        leave_gaps(m, p, gap_of(m, p, k), counters, gates, unit, channel, wanted, free)
        opened = min(m[read + FIRST] * runs, count)
        columns, record, row = m[read + COLUMNS], m[read + RECORD], m[read + ROW]
        came, _, conflict, refreshed, opening = serve(
            m, q, counters, gates, columns, record, unit, channel, row, count, opened, free, False
        )
        came += q.latency_ps
        m[place + CAME] = came
        note_fetch(m, p, now, free, came, conflict, refreshed, opening)
        accesses += count
    m[counters + counter.DRAM_READ_BYTES] += accesses << q.access_shift


@small_function
def read_each_steadily(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int, free: int) -> None:
    """Do as `read_each` does where DRAM is steady (see `DramParameters`) and a kernel has no runs."""
    q, counters = p.dram, counters_at(p, k)
    misses = conflicts = busy = 0
    for place in range(first, end):
        wanted = m[place + WANTED]
        if wanted == 0:
            continue
        read = m[place + ASKED]
        channel, gates = m[read + CHANNEL] & LANES, m[read + GATES]
        count = accesses_of(q, wanted)
        note_read(m, gates)
        columns, record, row = m[read + COLUMNS], m[read + RECORD], m[read + ROW]
        came, waited, opened, closed = read_steadily(m, q, gates, columns, record, channel, row, count, 0, free)
        m[place + CAME] = came + q.latency_ps
        m[place + WAITED] = waited if closed else ~waited
        misses += opened
        conflicts += closed
        busy += max(0, q.activate_ps - count * q.burst_ps) if opened else 0
    accesses = latest = 0
    for place in range(first, end):
        wanted = m[place + WANTED]
        accesses += accesses_of(q, wanted)
        latest = max(latest, m[place + CAME] if wanted > 0 else 0)
    m[counters + counter.ROW_HITS] += accesses - misses
    m[counters + counter.ROW_MISSES] += misses - conflicts
    m[counters + counter.ROW_CONFLICTS] += conflicts
    m[counters + counter.DRAM_BUSY_PS] += accesses * q.burst_ps + busy
    m[counters + counter.DRAM_READ_BYTES] += accesses << q.access_shift
    if latest > m[scalar.FETCHED_AT]:
        place = first
        while m[place + WANTED] == 0 or m[place + CAME] < latest:
            place += 1
        waited = m[place + WAITED]
        note_fetch(m, p, now, free, latest, max(0, waited), 0, min(max(0, ~waited), q.t_rcd_ps))


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
