"""Plain reads of parts of lines, as the lanes of a warp make them, all those of one event in four short loops.

They are located, looked for in L2, asked for as far as they are missing (core/asks.py), and moved to the SM: the same
as one after the other, with fewer instructions, and what a line needs of the processor's caches is on its way while
others are worked on.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.asks import LANES, ask_lines
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.in_flight import entry_of
from simulator.core.l2 import NORMAL, READ
from simulator.core.layout import SM_PORT_FREE, SPLIT, TICKS_PER_PS, Int64Array
from simulator.core.ledger import LINES
from simulator.core.places import counters_at, near_partition, set_at, set_group_at, slice_at, slot_of, sm_at
from simulator.core.plain_reads import is_plain, look, split_lanes
from simulator.core.prefetch import prefetch
from simulator.core.program import ADDRESS, EXTENT, RECORD_WORDS, REST, STRIDE, THROUGH_L1, high, low
from simulator.core.server import book
from simulator.core.sets import ORDER
from simulator.core.state import READ_ROOM, Parameters

GROUP, SLOT, HOME, LANE, MASK, SERVED, THERE, READ_WORDS = 0, 1, 2, 3, 4, 5, 6, 8
"""A read: its line group, that one's slot and home partition, the line's lane, the sectors, and when its slice has
served it and L2 has it.  (Keeping the place of its set too, instead of finding it twice, made random sectors of HBM
slower: 58 -> 63 ns.)"""

KIND = 15 | THROUGH_L1
"""Operation, hint and way of a record."""


@small_function
def reads_of(p: Parameters, program: Int64Array, record: int) -> int:
    """Return how many parts of lines a record reads, READ_ROOM + 1 where it is anything but plain reads of such."""
    word = record * RECORD_WORDS
    rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
    within = (1 << p.line_shift) - 1
    parts = (program[word + ADDRESS] & within) + row_bytes <= within + 1
    parts &= (rows == 1) | (program[word + STRIDE] & within == 0)
    return rows if parts and program[word + REST] & KIND == READ else READ_ROOM + 1


@small_function
def are_line_reads(p: Parameters, program: Int64Array, record: int, last: int, size: int) -> bool:
    """Return whether `read_lines` takes the records `record` to `last` (not included), `size` bytes in all."""
    if size > READ_ROOM << p.line_shift or not is_plain(p, READ, NORMAL) or p.group_lines == 1:
        return False
    reads = 0
    for each in range(record, last):
        reads += reads_of(p, program, each)
    return reads <= READ_ROOM


@small_function
def locate_reads(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, near: int, record: int, last: int, now: int
) -> int:
    """Note where the lines of some records are, book their slices and have their sets brought near; return the end of
    the reads."""
    busy = counters_at(p, k) + counter.SLICE_BUSY_TICKS
    within = (1 << p.line_shift) - 1
    read = p.at.reads
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        address = program[word + ADDRESS]
        rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
        first = (address & within) >> p.sector_shift
        final = ((address & within) + row_bytes - 1) >> p.sector_shift
        mask = (2 << final) - (1 << first)
        moved = ones(mask) << p.sector_shift
        for _ in range(rows):
            line = address >> p.line_shift
            group = address >> p.group_shift
            lane = line & (p.group_lines - 1)
            slot, home = slot_of(p, group)
            place = set_at(p, lane, slot, near)
            prefetch(m, place)
            prefetch(m, place + ORDER)
            if near != home:
                prefetch(m, set_at(p, lane, slot, home))
                prefetch(m, set_at(p, lane, slot, home) + ORDER)
            m[read + GROUP] = group
            m[read + SLOT] = slot
            m[read + HOME] = home
            m[read + LANE] = lane
            m[read + MASK] = mask
            m[read + SERVED] = book(m, slice_at(p, line, near), p.slice_ticks_per_kib, moved, now, busy)
            m[read + THERE] = now
            read += READ_WORDS
            address += program[word + STRIDE]
    return read


@small_function
def later(slowest: int, server: int, served: int, other: int) -> tuple[int, int]:
    """Return the later of two times, and the server it is of, the first if they are equal."""
    return (served, other) if served > slowest else (slowest, server)


@small_function
def move(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Move what has been read to the SM, record by record; return as `read_lines`."""
    counters = counters_at(p, k)
    port = sm_at(p, sm) + SM_PORT_FREE
    l2_start = l2_free = max(m[scalar.L2_FREE], now * TICKS_PER_PS)
    port_start = port_free = max(m[port], now * TICKS_PER_PS)
    slowest, server = m[scalar.SLOWEST], m[scalar.SLOWEST_SERVER]
    arrival = now
    total = held = waited = 0
    read = p.at.reads
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
        done = now
        for _ in range(rows):
            slowest, server = later(slowest, server, m[read + SERVED], counter.L2_BANDWIDTH)
            done = max(done, max(m[read + SERVED], m[read + THERE]))
            read += READ_WORDS
        slowest, server = later(slowest, server, done, LINES)
        size = rows * row_bytes
        l2_free += (size * p.l2_ticks_per_kib + 1023) >> 10
        port_free += (size * p.port_ticks_per_kib + 1023) >> 10
        slowest, server = later(slowest, server, l2_free >> 10, counter.L2_BANDWIDTH)
        slowest, server = later(slowest, server, port_free >> 10, counter.SM_PORT)
        done = max(done, max(l2_free >> 10, port_free >> 10) + 1) + p.l2_hit_ps
        arrival = max(arrival, done)
        total += size
        held += (size * (done - now)) >> 10
        waited += (done - now) >> 10
    m[scalar.L2_FREE] = l2_free
    m[port] = port_free
    m[scalar.SLOWEST], m[scalar.SLOWEST_SERVER] = slowest, server
    m[counters + counter.L2_BUSY_TICKS] += l2_free - l2_start
    m[counters + counter.PORT_BUSY_TICKS] += port_free - port_start
    m[counters + counter.RECORDS] += last - record
    m[counters + counter.READ_RECORDS] += last - record
    m[counters + counter.SM_READ_BYTES] += total
    m[counters + counter.L2_READ_BYTES] += total
    m[counters + counter.OUTSTANDING] += held
    m[counters + counter.REQUEST_OUTSTANDING] += waited
    return arrival, entry_of(total, last - record)


@called
def read_lines(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Issue the records `record` to `last` (not included), which `are_line_reads`; return when all their bytes have
    arrived (ps), and what is on its way to the SM (`entry_of`)."""
    near = near_partition(p, sm)
    end = locate_reads(m, p, program, k, near, record, last, now)
    count = (end - p.at.reads) // READ_WORDS
    m[counters_at(p, k) + counter.LINES] += count
    m[scalar.ACCESSES] += count
    for read in range(p.at.reads, end, READ_WORDS):
        set_group = set_group_at(p, m[read + SLOT])
        if m[set_group + SPLIT] == 0:
            split_lanes(m, p, m[read + SLOT])
        lane, home = m[read + LANE] & LANES, m[read + HOME]
        place = set_at(p, lane, m[read + SLOT], near)
        group, mask, owner = m[read + GROUP], m[read + MASK], read + THERE
        look(m, p, k, near, home, group, set_group, place, lane, mask, 0, 0, owner, now, True)
    ask_lines(m, p, k, now)
    return move(m, p, program, k, sm, record, last, now)
