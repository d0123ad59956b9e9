"""Plain reads of parts of lines, as the lanes of a warp make them, all those of one event in four short loops.

They are located, looked for in L2, asked for as far as they are missing (core/asks.py), and moved to the SM: the same
as one after the other, with fewer instructions, and what a line needs of the processor's caches is on its way while
others are worked on.  Those through L1 are looked for there, and in the coalescer, before; when a line is there is
only noted in the end, read by read, since a later one of the event may replace it.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.asks import LANES, PENDING, ask_lines
from simulator.core.bitwise import ones
from simulator.core.coalescer import READY, coalescer_entry, has_asked, keep
from simulator.core.compiled import called, small_function
from simulator.core.deliver import deliver
from simulator.core.in_flight import entry_of
from simulator.core.l1 import l1_find, l1_set_of
from simulator.core.l2 import NORMAL, READ
from simulator.core.layout import SM_PORT_FREE, SPLIT, TICKS_PER_PS, Int64Array
from simulator.core.ledger import LINES, note_server
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

L1 = READ_ROOM * READ_WORDS
LINE, LOADED, NEW, ENTRY = L1, L1 + 1, L1 + 2, L1 + 3
"""Of one through L1, further on: its line, the word that says when L1 has it, whether L1 had nothing of it, and its
entry in the coalescer."""

ANSWERED = -1
"""In place of when its slice has served a read: L1 or the coalescer has what L2 would be asked for."""

KIND = 15 | THROUGH_L1
"""Operation, hint and way of a record."""


@small_function
def reads_of(p: Parameters, program: Int64Array, record: int, kind: int) -> int:
    """Return how many parts of lines a record of a kind reads, READ_ROOM + 1 where it is anything else."""
    word = record * RECORD_WORDS
    rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
    within = (1 << p.line_shift) - 1
    parts = (program[word + ADDRESS] & within) + row_bytes <= within + 1
    parts &= (rows == 1) | (program[word + STRIDE] & within == 0)
    return rows if parts and program[word + REST] & KIND == kind else READ_ROOM + 1


@small_function
def are_line_reads(p: Parameters, program: Int64Array, record: int, last: int, size: int) -> bool:
    """Return whether `read_lines` or `load_lines` takes the records `record` to `last` (not included), `size` bytes."""
    if size > READ_ROOM << p.line_shift or not is_plain(p, READ, NORMAL) or p.group_lines == 1:
        return False
    reads = 0
    kind = READ | (program[record * RECORD_WORDS + REST] & THROUGH_L1)
    for each in range(record, last):
        reads += reads_of(p, program, each, kind)
    return reads <= READ_ROOM


@small_function
def locate(
    m: Int64Array, p: Parameters, read: int, line: int, mask: int, moved: int, near: int, now: int, busy: int
) -> None:
    """Note where the sectors `mask` of a line, `moved` bytes, are, book their slice and have their set brought near."""
    group = line >> (p.group_shift - p.line_shift)
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


@small_function
def sectors_of(p: Parameters, address: int, size: int) -> int:
    """Return the mask of the sectors that some bytes of one line are in."""
    within = address & ((1 << p.line_shift) - 1)
    return (2 << ((within + size - 1) >> p.sector_shift)) - (1 << (within >> p.sector_shift))


@small_function
def locate_reads(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, near: int, record: int, last: int, now: int
) -> int:
    """Locate the lines of some records; return the end of the reads."""
    busy = counters_at(p, k) + counter.SLICE_BUSY_TICKS
    read = p.at.reads
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        address = program[word + ADDRESS]
        rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
        mask = sectors_of(p, address, row_bytes)
        moved = ones(mask) << p.sector_shift
        for _ in range(rows):
            locate(m, p, read, address >> p.line_shift, mask, moved, near, now, busy)
            read += READ_WORDS
            address += program[word + STRIDE]
    return read


@small_function
def left_for_l2(m: Int64Array, p: Parameters, k: int, sm: int, read: int, line: int, mask: int, now: int) -> int:
    """Return which of the sectors `mask` of a line neither its SM's L1 has, nor any SM of its coalescer has asked
    for."""
    loaded, missing, m[read + NEW] = l1_find(m, p, k, sm, line, mask)
    prefetch(m, loaded)
    m[read + LOADED] = loaded
    m[read + MASK] = missing
    if missing == 0 or p.coalescer_sms == 0:
        return missing
    entry = coalescer_entry(p, sm, line)
    m[read + ENTRY] = entry
    coming = m[entry + READY]
    if has_asked(m, entry, line, missing) and coming + p.l2_hit_ps > now:
        m[read + THERE] = coming
        return 0
    keep(m, entry, line, missing, PENDING)
    return missing


@small_function
def locate_loads(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> int:
    """Do as `locate_reads` does for reads through L1, as far as L2 has to be asked."""
    end = p.at.reads
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        address = program[word + ADDRESS]
        mask = sectors_of(p, address, low(program[word + EXTENT]))
        for _ in range(high(program[word + EXTENT])):
            line = address >> p.line_shift
            place = l1_set_of(p, sm, line)[0]
            prefetch(m, place)
            prefetch(m, place + ORDER)
            if p.coalescer_sms > 0:
                prefetch(m, coalescer_entry(p, sm, line))
            m[end + LINE] = line
            m[end + MASK] = mask
            end += READ_WORDS
            address += program[word + STRIDE]
    near = near_partition(p, sm)
    busy = counters_at(p, k) + counter.SLICE_BUSY_TICKS
    for read in range(p.at.reads, end, READ_WORDS):
        line = m[read + LINE]
        missing = left_for_l2(m, p, k, sm, read, line, m[read + MASK], now)
        if missing:
            locate(m, p, read, line, missing, ones(missing) << p.sector_shift, near, now, busy)
        else:
            m[read + SERVED] = ANSWERED
    return end


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


@small_function
def load(m: Int64Array, p: Parameters, read: int, now: int) -> int:
    """Note when L1, and the coalescer, have what a read waits for, and its bytes in MOVED and COALESCED; return when L2
    has what it was asked for (ps)."""
    loaded = m[read + LOADED]
    size = ones(m[read + MASK]) << p.sector_shift
    m[scalar.MOVED] += size
    if m[read + NEW]:
        m[loaded] = now
    done = now
    if m[read + SERVED] != ANSWERED:
        note_server(m, counter.L2_BANDWIDTH, m[read + SERVED])
        there = m[read + THERE]
        if p.coalescer_sms > 0:
            m[m[read + ENTRY] + READY] = there
        m[loaded] = max(m[loaded], there + p.l2_hit_ps)
        done = max(m[read + SERVED], there)
    elif size > 0:
        m[scalar.COALESCED] += size
        coming = m[read + THERE]
        if coming == PENDING:  # another read of this event has asked for it
            coming = m[m[read + ENTRY] + READY]
        m[loaded] = max(m[loaded], coming + p.l2_hit_ps)
    m[scalar.LOADED] = max(m[scalar.LOADED], m[loaded])
    return done


@small_function
def move_loads(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Do as `move` does for reads through L1."""
    arrival = now
    entry = 0
    read = p.at.reads
    for each in range(record, last):
        m[scalar.MOVED] = 0
        m[scalar.COALESCED] = 0
        m[scalar.LOADED] = done = now
        for _ in range(high(program[each * RECORD_WORDS + EXTENT])):
            done = max(done, load(m, p, read, now))
            read += READ_WORDS
        done, part = deliver(m, p, program, k, sm, each, done, now)
        arrival = max(arrival, done)
        entry += part
    return arrival, entry


@called
def look_for_all(m: Int64Array, p: Parameters, k: int, near: int, end: int, now: int) -> None:
    """Look in L2 for the lines of the reads up to `end`, and ask for those missing."""
    count = (end - p.at.reads) // READ_WORDS
    m[counters_at(p, k) + counter.LINES] += count
    m[scalar.ACCESSES] += count
    for read in range(p.at.reads, end, READ_WORDS):
        if m[read + SERVED] == ANSWERED:
            continue
        set_group = set_group_at(p, m[read + SLOT])
        if m[set_group + SPLIT] == 0:
            split_lanes(m, p, m[read + SLOT])
        lane, home = m[read + LANE] & LANES, m[read + HOME]
        place = set_at(p, lane, m[read + SLOT], near)
        group, mask, owner = m[read + GROUP], m[read + MASK], read + THERE
        look(m, p, k, near, home, group, set_group, place, lane, mask, 0, 0, owner, now, True)
    ask_lines(m, p, k, now)


@called
def read_lines(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Issue the records `record` to `last` (not included), which `are_line_reads` around L1; return when all their
    bytes have arrived (ps), and what is on its way to the SM (`entry_of`)."""
    near = near_partition(p, sm)
    end = locate_reads(m, p, program, k, near, record, last, now)
    look_for_all(m, p, k, near, end, now)
    return move(m, p, program, k, sm, record, last, now)


@called
def load_lines(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Do as `read_lines` does for reads through L1."""
    end = locate_loads(m, p, program, k, sm, record, last, now)
    look_for_all(m, p, k, near_partition(p, sm), end, now)
    return move_loads(m, p, program, k, sm, record, last, now)
