"""Loads of parts of lines: what L1, and the coalescer, have of the lines listed, and when they have the rest.

L1 and the coalescer are asked line by line, since a later line of an event may want, or replace, what an earlier one
left there, and when a line is there is noted line by line in the end; all else is left to loops without branches, which
become vector code.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.asks import PENDING
from simulator.core.bitwise import ones
from simulator.core.coalescer import READY, has_asked, keep, request_of
from simulator.core.compiled import small_function
from simulator.core.dram_state import NEVER
from simulator.core.in_flight import entry_of
from simulator.core.l1 import count_l1, l1_find
from simulator.core.layout import SM_L1_FREE, SM_PORT_FREE, TICKS_PER_PS, Int64Array
from simulator.core.ledger import LINES, note_server
from simulator.core.line_table import (
    COMING,
    ENTRY,
    L1_SET,
    L1_TAG,
    L1_USE,
    LINE,
    LOADED,
    LOADED_AT,
    MASK,
    MOVED,
    NEW,
    SERVED,
    THERE,
    THROUGH_L2,
    THROUGH_PORT,
)
from simulator.core.places import counters_at, sm_at
from simulator.core.prefetch import prefetch
from simulator.core.program import EXTENT, RECORD_WORDS, low
from simulator.core.state import Parameters


@small_function
def find_in_l1(m: Int64Array, p: Parameters, k: int, count: int, now: int) -> None:
    """Leave of the sectors listed those that neither the SM's L1 has, nor any SM of its coalescer has asked for."""
    table, ways, sector_shift = m[scalar.TABLE], p.l1_ways, p.sector_shift
    asked = missed = 0
    for read in range(table, table + count):
        asked += ones(m[read + MASK])
    for read in range(table, table + count):
        place, missing, new = l1_find(m, m[read + L1_SET], m[read + L1_USE], m[read + L1_TAG], m[read + MASK], ways)
        m[read + LOADED_AT] = place
        m[read + MASK] = missing
        m[read + NEW] = new
    for read in range(table, table + count):
        prefetch(m, m[read + LOADED_AT])
    for read in range(table, table + count):
        missing = ones(m[read + MASK])
        missed += missing
        m[read + MOVED] = missing << sector_shift
        m[read + COMING] = -NEVER
    count_l1(m, p, k, asked, missed)
    if p.coalescer_sms > 0:
        find_in_coalescer(m, table, count, now - p.l2_hit_ps)


@small_function
def find_in_coalescer(m: Int64Array, table: int, count: int, since: int) -> None:
    """Leave of the sectors listed those that no SM of the coalescer has asked for that L2 answers after `since`."""
    for read in range(table, table + count):
        missing = m[read + MASK]
        if missing == 0:
            continue
        entry, request = m[read + ENTRY], request_of(m[read + LINE], missing)
        if has_asked(m, entry, request) and m[entry + READY] > since:
            m[read + COMING] = m[entry + READY]
            m[read + MASK] = 0
        else:
            keep(m, entry, request, PENDING)


@small_function
def fill_l1(m: Int64Array, p: Parameters, count: int, now: int) -> None:
    """Note when L1, and the coalescer, have what the first `count` lines listed wait for, also in the column LOADED."""
    table, coalesced, l2_hit_ps = m[scalar.TABLE], p.coalescer_sms > 0, p.l2_hit_ps
    for read in range(table, table + count):
        coming = m[read + COMING]
        if m[read + MASK]:
            coming = m[read + THERE]
            if coalesced:
                m[m[read + ENTRY] + READY] = coming
        elif coming == PENDING:  # another read of this event has asked for it
            coming = m[m[read + ENTRY] + READY]
        place = m[read + LOADED_AT]
        loaded = max(now if m[read + NEW] else m[place], coming + l2_hit_ps)
        m[place] = loaded
        m[read + LOADED] = loaded


@small_function
def move_loads(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, count: int, now: int
) -> tuple[int, int]:
    """Do as `move` does for `count` loads of one row of one length: in vector code but for two sums."""
    counters = counters_at(p, k)
    port, l1 = sm_at(p, sm) + SM_PORT_FREE, sm_at(p, sm) + SM_L1_FREE
    size = low(program[record * RECORD_WORDS + EXTENT])
    l1_ticks, l1_hit_ps, l2_hit_ps = (size * p.l1_ticks_per_kib + 1023) >> 10, p.l1_hit_ps, p.l2_hit_ps
    l2_ticks_per_kib, port_ticks_per_kib, sector_shift = p.l2_ticks_per_kib, p.port_ticks_per_kib, p.sector_shift
    from_l2 = requests = held = waited = 0
    table = m[scalar.TABLE]
    for read in range(table, table + count):
        moved = m[read + MOVED]
        from_l2 += moved
        requests += moved > 0
        m[read + THROUGH_L2] = ((ones(m[read + MASK]) << sector_shift) * l2_ticks_per_kib + 1023) >> 10
        m[read + THROUGH_PORT] = (moved * port_ticks_per_kib + 1023) >> 10
    l2_start = l2_free = max(m[scalar.L2_FREE], now * TICKS_PER_PS)
    port_start = port_free = max(m[port], now * TICKS_PER_PS)
    l1_free = max(m[l1], now * TICKS_PER_PS)
    for read in range(table, table + count):
        l2_free += m[read + THROUGH_L2]
        port_free += m[read + THROUGH_PORT]
        m[read + THROUGH_L2] = l2_free
        m[read + THROUGH_PORT] = port_free
    arrival = served = there = now
    for number in range(count):
        moved = m[table + number + MOVED]
        done = max(m[table + number + SERVED], m[table + number + THERE])
        served = max(served, m[table + number + SERVED])
        there = max(there, done)
        through = max(m[table + number + THROUGH_L2], m[table + number + THROUGH_PORT]) >> 10
        done = max(done, through + 1) + l2_hit_ps if moved > 0 else done
        loaded = max(m[table + number + LOADED], ((l1_free + (number + 1) * l1_ticks) >> 10) + l1_hit_ps)
        done = max(done, loaded)
        arrival = max(arrival, done)
        held += (moved * (done - now)) >> 10
        waited += (done - now) >> 10
    l1_free += count * l1_ticks
    note_server(m, counter.L2_BANDWIDTH, served)
    note_server(m, LINES, there)
    if from_l2 > 0:
        note_server(m, counter.L2_BANDWIDTH, l2_free >> 10)
        note_server(m, counter.SM_PORT, port_free >> 10)
        m[scalar.L2_FREE] = l2_free
        m[port] = port_free
        m[counters + counter.L2_BUSY_TICKS] += l2_free - l2_start
        m[counters + counter.PORT_BUSY_TICKS] += port_free - port_start
    note_server(m, counter.SM_PORT, l1_free >> 10)
    m[l1] = l1_free
    m[counters + counter.L1_BUSY_TICKS] += count * l1_ticks
    m[counters + counter.RECORDS] += count
    m[counters + counter.READ_RECORDS] += count
    m[counters + counter.SM_READ_BYTES] += count * size
    m[counters + counter.L2_READ_BYTES] += from_l2
    m[counters + counter.OUTSTANDING] += held
    m[counters + counter.REQUEST_OUTSTANDING] += waited
    return arrival, entry_of(from_l2, requests)
