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
from simulator.core.dram_state import NEVER
from simulator.core.dram_steady import book_transfer, read_row
from simulator.core.l2 import cross, whole_fetches
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
    GROUP,
    HOME,
    MASK,
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
from simulator.core.sets import LATEST, READY, SET_WORDS, take
from simulator.core.state import Parameters

LANES = 63
"""Mask of a lane number: no use but to tell the compiler that it is not WHOLE."""


TO_TAKE = 16
"""Added to the way of a line that has yet to be taken from what was used longest ago."""


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
def fetch_each(m: Int64Array, p: Parameters, k: int, near: int, first: int, end: int, now: int, quick: bool) -> None:
    """Fetch what the pending lines at `first` to `end` (not included) want of DRAM, once there are MSHRs for all."""
    lines = end - first
    if p.partitions > 1:
        for place in range(first, end):
            lines -= m[place + WANTED] == 0
        if lines == 0:
            put_each(m, p, k, near, first, end, now)
            return
    free = admit_misses(m, p, k, lines, now, lines)
    if quick:
        read_each_steadily(m, p, k, first, end, now, free)
    else:
        read_each(m, p, k, first, end, now, free)
    if not quick or p.partitions > 1:
        put_each(m, p, k, near, first, end, now)
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
def read_alike(m: Int64Array, p: Parameters, first: int, end: int, wanted: int, free: int) -> None:
    """Read what the pending lines at `first` to `end` (not included) want, `wanted` bytes each, from `free` on."""
    q, ways = p.dram, p.l2_ways
    count = accesses_of(q, wanted)
    burst, column = count * q.burst_ps, count * q.column_read_ps
    more = column - q.column_read_ps
    for place in range(first, end):
        read = m[place + ASKED]
        gates, channel = m[read + GATES], m[read + CHANNEL] & LANES
        note_read(m, gates)
        m[place + CAME] = book_transfer(m, q, gates, m[read + COLUMNS], channel, column, burst, free)
    for place in range(first, end):
        read = m[place + ASKED]
        gates, channel = m[read + GATES], m[read + CHANNEL] & LANES
        came, waited, opened, closed = read_row(
            m, q, gates, m[read + RECORD], channel, m[read + ROW], more, 0, m[place + CAME], free
        )
        came += q.latency_ps
        m[place + CAME] = came
        m[place + WAITED] = (waited if closed else ~waited) if opened else NEVER
        if p.partitions == 1:
            there = max(m[read + THERE], came)
            filled(m, m[read + SET], way_of(m, p, read, ways), m[read + FILLED_BEFORE], there)
            m[read + THERE] = there


@small_function
def read_each_steadily(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int, free: int) -> None:
    """Do as `read_each` does where DRAM is steady (see `DramParameters`) and a kernel has no runs."""
    q, counters = p.dram, counters_at(p, k)
    unlike, place = 0, first
    for each in range(first, end):
        unlike |= m[each + WANTED] ^ m[first + WANTED]
    while place < end:
        wanted, alike = m[place + WANTED], place
        place = end if unlike == 0 else place + 1
        while place < end and m[place + WANTED] == wanted:
            place += 1
        if wanted > 0:
            read_alike(m, p, alike, place, wanted, free)
    accesses = latest = misses = conflicts = busy = 0
    access_bytes, access_shift, burst, activate = q.access_bytes, q.access_shift, q.burst_ps, q.activate_ps
    for place in range(first, end):
        wanted, waited = m[place + WANTED], m[place + WAITED]
        count = (wanted + access_bytes - 1) >> access_shift
        opened = (wanted > 0) & (waited != NEVER)
        accesses += count
        misses += opened
        conflicts += opened & (waited >= 0)
        busy += opened * max(0, activate - count * burst)
        latest = max(latest, m[place + CAME] if wanted > 0 else 0)
    m[counters + counter.ROW_HITS] += accesses - misses
    m[counters + counter.ROW_MISSES] += misses - conflicts
    m[counters + counter.ROW_CONFLICTS] += conflicts
    m[counters + counter.DRAM_BUSY_PS] += accesses * burst + busy
    m[counters + counter.DRAM_READ_BYTES] += accesses << access_shift
    if latest > m[scalar.FETCHED_AT]:
        place = first
        while m[place + WANTED] == 0 or m[place + CAME] < latest:
            place += 1
        waited = m[place + WAITED]
        conflict = waited if 0 <= waited < NEVER else 0
        note_fetch(m, p, now, free, latest, conflict, 0, min(max(0, ~waited), q.t_rcd_ps))


@small_function
def way_of(m: Int64Array, p: Parameters, read: int, ways: int) -> int:
    """Return the way that a line goes into, taken from another one for what `find_lines` has found to be missing."""
    way = m[read + WAY]
    if way & TO_TAKE:
        way ^= TO_TAKE
        take(m, m[read + SET], way, m[read + GROUP], whole_fetches(p, m[read + MASK]), ways)
    return way


@small_function
def put_each(m: Int64Array, p: Parameters, k: int, near: int, first: int, end: int, now: int) -> None:
    """Note where in L2 the pending lines at `first` to `end` (not included) go, and when they are there, DRAM having
    answered."""
    ways = p.l2_ways
    for pending in range(first, end):
        read = m[pending + ASKED]
        there = m[read + THERE]
        place, way = m[read + SET], way_of(m, p, read, ways)
        if m[pending + WANTED] > 0:
            there = max(there, m[pending + CAME])
            home = place + (m[read + HOME] - near) * SET_WORDS if p.partitions > 1 else place
            filled(m, home, way, m[read + FILLED_BEFORE], there)
        if p.partitions > 1 and m[read + CROSSING] > 0:
            there = note_crossing(m, p, there, cross(m, p, k, near, m[read + CROSSING], now))
            filled(m, place, m[read + COPY_WAY], m[read + COPIED_BEFORE], there)
        m[read + THERE] = there


@small_function
def ask_each(m: Int64Array, p: Parameters, k: int, near: int, now: int, quick: bool) -> None:
    """Ask for the lines that are pending, in the order in which they were found.

    A constant `quick` leaves out what a steady DRAM (see `DramParameters`) and a kernel without runs do not need.
    """
    table = m[scalar.TABLE]
    end = table + m[scalar.ASKS]
    m[scalar.ASKS] = 0
    for first in range(table, end, p.mshr_batch):
        fetch_each(m, p, k, near, first, min(first + p.mshr_batch, end), now, quick)


@called
def ask_lines(m: Int64Array, p: Parameters, k: int, near: int, now: int) -> None:
    """Ask for the lines that are pending, at `now`, from partition `near`."""
    if p.dram.steady and m[kernel_at(p, k) + KERNEL_RUNS] == 0:
        ask_each(m, p, k, near, now, True)
    else:
        ask_each(m, p, k, near, now, False)
