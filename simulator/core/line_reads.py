"""Plain reads of parts of lines, as the lanes of a warp make them, all those of one event in a few short loops.

They are listed and located (core/line_table.py), looked for in L2 (core/line_lookup.py), asked for as far as they are
missing (core/line_asks.py), and moved to the SM.  Those through L1 are looked for there, and in the coalescer, before
(core/line_loads.py).
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.in_flight import entry_of
from simulator.core.layout import (
    SM_L1_FREE,
    SM_PORT_FREE,
    TICKS_PER_PS,
    Int64Array,
)
from simulator.core.ledger import LINES, note_server
from simulator.core.line_loads import fill_l1, find_in_l1, move_loads
from simulator.core.line_lookup import look_for, look_for_parts
from simulator.core.line_table import (
    ALIKE,
    ANSWERED,
    LOADED,
    MASK,
    MOVED,
    SERVED,
    THERE,
    book_slices,
    list_lines,
    locate,
    locate_in_l1,
)
from simulator.core.places import counters_at, near_partition, sm_at
from simulator.core.program import EXTENT, GATHER, RECORD_WORDS, REST, high, low
from simulator.core.state import Parameters


@called
def move(
    m: Int64Array,
    p: Parameters,
    program: Int64Array,
    k: int,
    sm: int,
    record: int,
    last: int,
    reads: int,
    now: int,
    through_l1: bool,
) -> tuple[int, int]:
    """Move what has been read to the SM, record by record, as `deliver` does; return as `read_lines`."""
    counters = counters_at(p, k)
    port, l1 = sm_at(p, sm) + SM_PORT_FREE, sm_at(p, sm) + SM_L1_FREE
    l2_start = l2_free = max(m[scalar.L2_FREE], now * TICKS_PER_PS)
    port_start = port_free = max(m[port], now * TICKS_PER_PS)
    l1_start = l1_free = max(m[l1], now * TICKS_PER_PS)
    arrival = served = there = now
    total = from_l2 = requests = held = waited = 0
    read, word = m[scalar.TABLE], record * RECORD_WORDS
    records, further = last - record, RECORD_WORDS
    if program[word + REST] & GATHER:
        records, further = reads, 0
    for _ in range(records):
        rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
        size = moved = asked = rows * row_bytes
        done = loaded = now
        if through_l1:
            moved = asked = 0
        for _ in range(rows):
            if through_l1:
                moved += m[read + MOVED]
                asked += ones(m[read + MASK]) << p.sector_shift
                loaded = max(loaded, m[read + LOADED])
            if not through_l1 or m[read + SERVED] != ANSWERED:
                served = max(served, m[read + SERVED])
                done = max(done, max(m[read + SERVED], m[read + THERE]))
            read += 1
        there = max(there, done)
        if not through_l1 or moved > 0:
            l2_free += (asked * p.l2_ticks_per_kib + 1023) >> 10
            port_free += (moved * p.port_ticks_per_kib + 1023) >> 10
            done = max(done, (max(l2_free, port_free) >> 10) + 1) + p.l2_hit_ps
            from_l2 += moved
            requests += 1
        if through_l1:
            l1_free += (size * p.l1_ticks_per_kib + 1023) >> 10
            done = max(done, max(loaded, (l1_free >> 10) + p.l1_hit_ps))
        arrival = max(arrival, done)
        total += size
        held += (moved * (done - now)) >> 10
        waited += (done - now) >> 10
        word += further
    note_server(m, counter.L2_BANDWIDTH, served)
    note_server(m, LINES, there)
    if from_l2 > 0:
        note_server(m, counter.L2_BANDWIDTH, l2_free >> 10)
        note_server(m, counter.SM_PORT, port_free >> 10)
        m[scalar.L2_FREE] = l2_free
        m[port] = port_free
        m[counters + counter.L2_BUSY_TICKS] += l2_free - l2_start
        m[counters + counter.PORT_BUSY_TICKS] += port_free - port_start
    if through_l1:
        note_server(m, counter.SM_PORT, l1_free >> 10)
        m[l1] = l1_free
        m[counters + counter.L1_BUSY_TICKS] += l1_free - l1_start
    m[counters + counter.RECORDS] += records
    m[counters + counter.READ_RECORDS] += records
    m[counters + counter.SM_READ_BYTES] += total
    m[counters + counter.L2_READ_BYTES] += from_l2
    m[counters + counter.OUTSTANDING] += held
    m[counters + counter.REQUEST_OUTSTANDING] += waited
    return arrival, entry_of(from_l2, requests)


@small_function
def move_alike(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, count: int, now: int
) -> tuple[int, int]:
    """Do as `move` does for `count` records of one row of one length around L1: in vector code."""
    counters = counters_at(p, k)
    port = sm_at(p, sm) + SM_PORT_FREE
    size = low(program[record * RECORD_WORDS + EXTENT])
    l2_free, port_free = max(m[scalar.L2_FREE], now * TICKS_PER_PS), max(m[port], now * TICKS_PER_PS)
    l2_ticks, port_ticks = (size * p.l2_ticks_per_kib + 1023) >> 10, (size * p.port_ticks_per_kib + 1023) >> 10
    l2_hit_ps = p.l2_hit_ps
    arrival = served = there = now
    held = waited = 0
    table = m[scalar.TABLE]
    for number in range(count):
        done = max(m[table + number + SERVED], m[table + number + THERE])
        served = max(served, m[table + number + SERVED])
        there = max(there, done)
        moved = max(l2_free + (number + 1) * l2_ticks, port_free + (number + 1) * port_ticks)
        done = max(done, (moved >> 10) + 1) + l2_hit_ps
        arrival = max(arrival, done)
        held += (size * (done - now)) >> 10
        waited += (done - now) >> 10
    l2_free += count * l2_ticks
    port_free += count * port_ticks
    note_server(m, counter.L2_BANDWIDTH, served)
    note_server(m, LINES, there)
    note_server(m, counter.L2_BANDWIDTH, l2_free >> 10)
    note_server(m, counter.SM_PORT, port_free >> 10)
    m[scalar.L2_FREE] = l2_free
    m[port] = port_free
    m[counters + counter.L2_BUSY_TICKS] += count * l2_ticks
    m[counters + counter.PORT_BUSY_TICKS] += count * port_ticks
    m[counters + counter.RECORDS] += count
    m[counters + counter.READ_RECORDS] += count
    m[counters + counter.SM_READ_BYTES] += count * size
    m[counters + counter.L2_READ_BYTES] += count * size
    m[counters + counter.OUTSTANDING] += held
    m[counters + counter.REQUEST_OUTSTANDING] += waited
    return arrival, entry_of(count * size, count)


@small_function
def count_reads(m: Int64Array, p: Parameters, k: int, reads: int) -> None:
    """Count lines looked up."""
    m[counters_at(p, k) + counter.LINES] += reads
    m[scalar.ACCESSES] += reads


@called
def read_lines(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, reads: int, now: int
) -> tuple[int, int]:
    """Issue the records `record` to `last` (not included) around L1, whose `reads` lines have been listed and located;
    return when all their bytes have arrived (ps), and what is on its way to the SM (`entry_of`)."""
    near = near_partition(p, sm)
    count_reads(m, p, k, reads)
    book_slices(m, p, k, reads, now)
    look_for_parts(m, p, k, near, reads, now)
    if m[m[scalar.TABLE] + ALIKE]:
        return move_alike(m, p, program, k, sm, record, reads, now)
    return move(m, p, program, k, sm, record, last, reads, now, False)


@called
def load_lines(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, reads: int, now: int
) -> tuple[int, int]:
    """Do as `read_lines` does for reads through L1."""
    near = near_partition(p, sm)
    count_reads(m, p, k, reads)
    find_in_l1(m, p, k, reads, now)
    book_slices(m, p, k, reads, now)
    look_for_parts(m, p, k, near, reads, now)
    fill_l1(m, p, reads, now)
    if m[m[scalar.TABLE] + ALIKE]:
        return move_loads(m, p, program, k, sm, record, reads, now)
    return move(m, p, program, k, sm, record, last, reads, now, True)


@called
def read_part(
    m: Int64Array,
    p: Parameters,
    k: int,
    sm: int,
    group: int,
    low: int,
    high: int,
    now: int,
    through_l1: bool,
) -> int:
    """Read the bytes `low` to `high` (included) of a group line by line, of which some may be in L1; return as
    `range_access`, after which `rejoin` may join its lanes."""
    near = near_partition(p, sm)
    count = list_lines(m, p, group, low, high)
    if through_l1:
        locate_in_l1(m, p, sm, count)
        find_in_l1(m, p, k, count, now)
    locate(m, p, near, count)
    served = book_slices(m, p, k, count, now)
    note_server(m, counter.L2_BANDWIDTH, served)
    look_for(m, p, k, near, count, now, False)
    if through_l1:
        fill_l1(m, p, count, now)
    ready = max(now, served)
    table = m[scalar.TABLE]
    for read in range(table, table + count):
        if through_l1:
            m[scalar.MOVED] += m[read + MOVED]
            m[scalar.COALESCED] += m[read + MOVED] - (ones(m[read + MASK]) << p.sector_shift)
            m[scalar.LOADED] = max(m[scalar.LOADED], m[read + LOADED])
        else:
            m[scalar.MOVED] += ones(m[read + MASK]) << p.sector_shift
        if m[read + MASK]:
            ready = max(ready, m[read + THERE])
    return ready
