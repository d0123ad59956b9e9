"""The table of the lines that an SM reads at once: a column of words for each thing that is known of a line.

There are two: while one is worked on, the other is filled for what comes next (core/line_ahead.py), and the scalar
TABLE says which is which.

Columns, so that the loops that fill them, without branches, become vector code: where a line is in L1, L2 and DRAM
takes some hundred steps to find out, eight lines at a time.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.bitwise import ones
from simulator.core.coalescer import coalescer_at, entry_in
from simulator.core.compiled import small_function
from simulator.core.dram_places import channel_group_of, line_at, places_of
from simulator.core.hashing import dealt, scrambled
from simulator.core.layout import L1_SET_WORDS, L1_USE_WORDS, SET_GROUP_WORDS, TICKS_PER_PS, Int64Array
from simulator.core.places import counters_at, set_row, slice_at
from simulator.core.prefetch import prefetch, prefetch_early
from simulator.core.program import ADDRESS, EXTENT, GATHER, RECORD_WORDS, REST, STRIDE, high, low
from simulator.core.sets import ORDER, SET_WORDS
from simulator.core.state import COLUMN_WORDS, TABLE_COLUMNS, Parameters

(
    LINE,
    MASK,  # its sectors that are read, of L2 once L1 has been asked; 0: L1, or the coalescer, has them
    GROUP,
    HOME,  # partition, if there are several
    SET,  # place of its set, in the near partition
    SET_GROUP,  # place of what its set group has in common
    SLICE,  # place of the word that says when its slice is free
    TICKS,  # that its slice takes for it
    SERVED,  # when its slice has (ps)
    THERE,  # when L2 has it (ps)
    GATES,  # as `places_of`
    COLUMNS,
    RECORD,
    REFRESH,
    CHANNEL,
    ROW,
    FIRST,  # whether it is the first line of its group in its channel
    WAY,  # where what DRAM sends goes, and when the latest fill of that set before arrives
    FILLED_BEFORE,
    CROSSING,  # bytes that cross from its home (0: none), and where they go, likewise
    COPY_WAY,
    COPIED_BEFORE,
    ASKED,  # not of that line: the pending lines, one after the other, the bytes that DRAM has to send (0: none), and
    WANTED,  # when they come (ps)
    CAME,
    WAITED,  # for their row, another one having been open, or ~ of that, none having been (ps); NEVER: it was open
    L1_SET,  # of a load through L1: places of its set there, and of that set's use, and its tag
    L1_USE,
    L1_TAG,
    MOVED,  # bytes of it that L1 does not have
    COMING,  # when the coalescer has them, PENDING while a line of this event has yet to be asked for
    LOADED,  # when L1 has it, and the place of the word that says so
    LOADED_AT,
    NEW,  # whether L1 had nothing of it
    ENTRY,  # place of its entry in the coalescer
    THROUGH_L2,  # when it is through L2, and the SM's port (ticks)
    THROUGH_PORT,
    ALIKE,  # of the first line alone: whether all are of records of one row of one length
) = range(0, TABLE_COLUMNS * COLUMN_WORDS, COLUMN_WORDS)

ANSWERED = -1
"""In place of when its slice has served a line: L1 or the coalescer has what L2 would be asked for."""


@small_function
def sectors_of(p: Parameters, address: int, size: int) -> int:
    """Return the mask of the sectors that some bytes of one line are in."""
    within = address & ((1 << p.line_shift) - 1)
    return (2 << ((within + size - 1) >> p.sector_shift)) - (1 << (within >> p.sector_shift))


@small_function
def list_records(m: Int64Array, p: Parameters, program: Int64Array, record: int, last: int, reads: int) -> None:
    """List the lines of some records, which make `reads` reads of parts of lines."""
    read = m[scalar.TABLE]
    if program[record * RECORD_WORDS + REST] & GATHER:
        line_shift, row_bytes = p.line_shift, low(program[record * RECORD_WORDS + EXTENT])
        for word in range((record + 1) * RECORD_WORDS, (record + 1) * RECORD_WORDS + reads):
            address = program[word]
            m[read + LINE] = address >> line_shift
            m[read + MASK] = sectors_of(p, address, row_bytes)
            read += 1
        return
    if reads == last - record:
        line_shift = p.line_shift
        for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
            address = program[word + ADDRESS]
            m[read + LINE] = address >> line_shift
            m[read + MASK] = sectors_of(p, address, low(program[word + EXTENT]))
            read += 1
        return
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        address, stride = program[word + ADDRESS], program[word + STRIDE]
        mask = sectors_of(p, address, low(program[word + EXTENT]))
        for _ in range(high(program[word + EXTENT])):
            m[read + LINE] = address >> p.line_shift
            m[read + MASK] = mask
            read += 1
            address += stride


@small_function
def list_lines(m: Int64Array, p: Parameters, group: int, low: int, high: int) -> int:
    """List the lines of the bytes `low` to `high` (included) of a group; return how many."""
    first, last = low >> p.line_shift, high >> p.line_shift
    table = m[scalar.TABLE]
    for lane in range(first, last + 1):
        start = lane << p.line_shift
        below = max(low - start, 0) >> p.sector_shift
        above = min(high - start, (1 << p.line_shift) - 1) >> p.sector_shift
        m[table + lane - first + LINE] = group * p.group_lines + lane
        m[table + lane - first + MASK] = (2 << above) - (1 << below)
    return last + 1 - first


FEW = 8
"""Lines of an event for which the nearest cache has room until the next."""


@small_function
def bring(m: Int64Array, count: int, place: int) -> None:
    """Have the cache line of a word that one of `count` lines needs an event later brought near."""
    if count < FEW:
        prefetch(m, place)
    else:
        prefetch_early(m, place)


@small_function
def locate_in_l1(m: Int64Array, p: Parameters, sm: int, count: int) -> None:
    """Find out where in L1 and the coalescer the first `count` lines listed are, and have that brought near."""
    table = m[scalar.TABLE]
    size, inverse = p.l1_sets, p.l1_sets_inverse
    sets, uses = p.at.l1_sets + sm * size * L1_SET_WORDS, p.at.l1_uses + sm * size * L1_USE_WORDS
    for read in range(table, table + count):
        m[read + L1_TAG], slot = dealt(m[read + LINE], size, inverse)
        m[read + L1_SET] = sets + slot * L1_SET_WORDS
        m[read + L1_USE] = uses + slot * L1_USE_WORDS
    for read in range(table, table + count):
        bring(m, count, m[read + L1_SET])
        bring(m, count, m[read + L1_USE])
    if p.coalescer_sms > 0:
        coalescer = coalescer_at(p, sm)
        for read in range(table, table + count):
            m[read + ENTRY] = entry_in(coalescer, m[read + LINE])
        for read in range(table, table + count):
            bring(m, count, m[read + ENTRY])


@small_function
def locate_in_memory(m: Int64Array, p: Parameters, near: int, count: int) -> None:
    """Find out where in L2, seen from partition `near`, and DRAM the first `count` lines listed are."""
    table, sets, set_groups, q = m[scalar.TABLE], p.at.sets + near * SET_WORDS, p.at.set_groups, p.dram
    group_lines, slots, inverse = p.group_lines, p.set_groups, p.set_groups_inverse
    group_line_shift, partition_shift = p.group_shift - p.line_shift, p.partitions - 1
    for read in range(table, table + count):
        line = m[read + LINE]
        group, lane = line >> group_line_shift, line & (group_lines - 1)
        turn, slot = dealt(group, slots, inverse)
        m[read + GROUP] = group
        m[read + SET] = sets + (set_row(lane, slot, group_lines, slots) << partition_shift) * SET_WORDS
        m[read + SET_GROUP] = set_groups + slot * SET_GROUP_WORDS
        m[read + SLICE] = slice_at(p, line, near)
        channel_group, access = channel_group_of(q, group)
        channel, bank, row, first = line_at(q, lane, access)
        m[read + GATES], m[read + COLUMNS], m[read + RECORD], m[read + REFRESH] = places_of(
            q, channel_group, bank, channel
        )
        m[read + CHANNEL] = channel
        m[read + ROW] = row
        m[read + FIRST] = first
    if p.partitions > 1:
        for read in range(table, table + count):
            turn, slot = dealt(m[read + GROUP], slots, inverse)
            m[read + HOME] = (turn + scrambled(slot)) & 1


@small_function
def bring_each(m: Int64Array, p: Parameters, near: int, count: int, far: bool) -> None:
    """Do what `bring_near` does; a constant `far`: of lines in the other partition as well."""
    table = m[scalar.TABLE]
    for read in range(table, table + count):
        place = m[read + SET]
        bring(m, count, place)
        bring(m, count, place + ORDER)
        if far and m[read + HOME] != near:
            place += (m[read + HOME] - near) * SET_WORDS
            bring(m, count, place)
            bring(m, count, place + ORDER)
        bring(m, count, m[read + RECORD])


@small_function
def bring_near(m: Int64Array, p: Parameters, near: int, count: int) -> None:
    """Have what L2 and DRAM know of the first `count` lines listed brought into the caches of this processor."""
    if p.partitions > 1:
        bring_each(m, p, near, count, True)
    else:
        bring_each(m, p, near, count, False)


@small_function
def book_slices(m: Int64Array, p: Parameters, k: int, count: int, now: int) -> int:
    """Book the slices of the first `count` lines listed; return when the last has served its line (ps)."""
    table = m[scalar.TABLE]
    sector_shift, ticks_per_kib = p.sector_shift, p.slice_ticks_per_kib
    for read in range(table, table + count):
        m[read + TICKS] = ((ones(m[read + MASK]) << sector_shift) * ticks_per_kib + 1023) >> 10
        m[read + THERE] = now
    arrival = now * TICKS_PER_PS
    latest = busy = 0
    for read in range(table, table + count):
        if m[read + MASK] == 0:
            m[read + SERVED] = ANSWERED
            continue
        place, ticks = m[read + SLICE], m[read + TICKS]
        done = max(m[place], arrival) + ticks
        m[place] = done
        m[read + SERVED] = done >> 10
        latest = max(latest, done)
        busy += ticks
    m[counters_at(p, k) + counter.SLICE_BUSY_TICKS] += busy
    return max(latest >> 10, now)


@small_function
def locate(m: Int64Array, p: Parameters, near: int, count: int) -> None:
    """Find out where in L2 and DRAM the first `count` lines listed are, and have that brought near."""
    locate_in_memory(m, p, near, count)
    bring_near(m, p, near, count)
