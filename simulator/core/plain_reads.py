"""Short paths for what nearly all accesses are: reads without a hint from an LRU cache.

They do to the state what `line_access` does (core/l2.py), without asking at every step what kind of access it is; tests
compare the two.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.asks import (
    ACCESS,
    BANK,
    BYTES,
    CHANNEL_GROUP,
    COPY_SET,
    CROSSING,
    NEAR,
    PENDING,
    ROW,
    SET,
    ask_groups,
    fills,
    new_ask,
)
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.dram_places import WHOLE, access_of, bank_place, channel_group_of, line_at, locate
from simulator.core.hashing import mix, quotient_of, scrambled
from simulator.core.l1 import l1_set_of
from simulator.core.l2 import NORMAL, READ, whole_fetches
from simulator.core.layout import L1_READY, SPLIT, Int64Array
from simulator.core.line_asks import ask_lines
from simulator.core.mshr import write_back
from simulator.core.places import counters_at, near_partition, set_at, set_group_at, slot_of
from simulator.core.prefetch import prefetch
from simulator.core.program import ADDRESS, RECORD_WORDS, REST, THROUGH_L1
from simulator.core.sets import (
    DIRTY,
    LATEST,
    ORDER,
    READY,
    SET_WORDS,
    VALID,
    WAYS,
    find_way,
    least_recent,
    nibble,
    tag_of,
    take,
    touch,
    with_nibble,
)
from simulator.core.state import Parameters


@small_function
def is_plain(p: Parameters, kind: int, hint: int) -> bool:
    """Return whether an access may take a short path: nobody watches it either."""
    return kind == READ and hint == NORMAL and p.plain


@small_function
def ask_pending(m: Int64Array, p: Parameters, k: int, near: int, lane: int, now: int) -> None:
    """Ask for all that is pending while lines (`lane` WHOLE: whole groups) are looked for at `now`."""
    if lane == WHOLE:
        ask_groups(m, p, k, now)
    else:
        ask_lines(m, p, k, near, now)


@small_function
def clean_victim(m: Int64Array, p: Parameters, k: int, near: int, place: int, lane: int, ways: int, now: int) -> int:
    """Write back what was used longest ago in a set of so many ways, if dirty; return when its way is free (ps)."""
    if m[place + DIRTY] == 0:
        return now
    way = least_recent(m[place + ORDER], ways)
    dirty = nibble(m[place + DIRTY], way)
    if dirty == 0:
        return now
    ask_pending(m, p, k, near, lane, now)
    sectors = ones(dirty) * (p.group_lines if lane == WHOLE else 1)
    m[counters_at(p, k) + counter.WRITEBACK_SECTORS] += sectors
    free = write_back(m, p, k, tag_of(m, place, way), lane, sectors << p.sector_shift, now)
    m[place + DIRTY] = with_nibble(m[place + DIRTY], way, 0)
    return free


@small_function
def take_hit(
    m: Int64Array, p: Parameters, k: int, place: int, way: int, wanted: int, lines: int, now: int
) -> tuple[int, int]:
    """Use a way of a set that holds what is looked for, `lines` lines; return which of the sectors `wanted` are
    missing, from now on on their way, and when the others are there (ps)."""
    m[place + ORDER] = touch(m[place + ORDER], way)
    valid = nibble(m[place + VALID], way)
    m[place + VALID] |= np.int64(wanted) << (4 * way)
    ready = now
    if m[place + LATEST] > now and m[place + READY + way] > now:
        ready = m[place + READY + way]
        m[counters_at(p, k) + counter.MERGES] += ones(wanted & valid) * lines
    return wanted & ~valid, ready


@small_function
def with_neighbours(m: Int64Array, p: Parameters, place: int, way: int, missing: int) -> int:
    """Return the sectors that come when those `missing` of a way are fetched, from now on on their way."""
    valid = nibble(m[place + VALID], way)
    fetched = whole_fetches(p, missing) & ~(valid & ~missing)
    m[place + VALID] |= np.int64(fetched) << (4 * way)
    return fetched


@small_function
def look_up(
    m: Int64Array, p: Parameters, k: int, near: int, group: int, place: int, lane: int, wanted: int, now: int
) -> tuple[int, int, int]:
    """Find the sectors `wanted` of a line, or group (a constant `lane` WHOLE), in a set, or make room for them; return
    its way, the sectors that are missing, and when the others, or the way, are there (ps).  Those found are for the
    caller to count."""
    if m[place + LATEST] == PENDING:
        ask_pending(m, p, k, near, lane, now)
    way = find_way(m, place, group)
    if way == WAYS:
        ready = clean_victim(m, p, k, near, place, lane, p.l2_ways, now)
        way = least_recent(m[place + ORDER], p.l2_ways)
        take(m, place, way, group, wanted, p.l2_ways)
        return way, wanted, ready
    lines = p.group_lines if lane == WHOLE else 1
    missing, ready = take_hit(m, p, k, place, way, wanted, lines, now)
    return way, missing, ready


@small_function
def look(
    m: Int64Array,
    p: Parameters,
    k: int,
    near: int,
    home: int,
    group: int,
    place: int,
    channel_group: int,
    access: int,
    bank: int,
    row: int,
    now: int,
) -> None:
    """Look from partition `near`, where its set is at `place`, for a group; have the scalar WHOLE_READY say when it is
    there (ps), at the latest once `ask_groups` has asked for what is missing."""
    counters = counters_at(p, k)
    lines, lane = p.group_lines, np.int64(WHOLE)
    way, missing, ready = look_up(m, p, k, near, group, place, lane, p.line_mask, now)
    m[counters + counter.READ_SECTOR_HITS] += ones(p.line_mask & ~missing) * lines
    if missing == 0:
        m[scalar.WHOLE_READY] = max(m[scalar.WHOLE_READY], ready)
        return
    copy, copied, crossing = place, way, 0
    if p.partitions > 1 and near != home:
        crossing = missing
        place += (home - near) * SET_WORDS  # the sets of a line lie side by side
        way, missing, came = look_up(m, p, k, near, group, place, lane, crossing, now)
        m[counters + counter.READ_SECTOR_HITS] += ones(crossing & ~missing) * lines
        ready = max(ready, came)
    entry = new_ask(m, p, k, ready, now)
    if missing:
        m[counters + counter.READ_SECTOR_MISSES] += ones(missing) * lines
        if p.fetch_sectors > 1:
            missing = with_neighbours(m, p, place, way, missing)
        m[entry + BYTES] = (ones(missing) * lines) << p.sector_shift
        m[entry + CHANNEL_GROUP] = channel_group
        m[entry + ACCESS] = access
        m[entry + BANK] = bank
        m[entry + ROW] = row
        fills(m, entry, SET, place, way)
    if crossing:
        m[counters + counter.FAR_SECTORS] += ones(crossing) * lines
        m[entry + CROSSING] = (ones(crossing) * lines) << p.sector_shift
        m[entry + NEAR] = near
        fills(m, entry, COPY_SET, copy, copied)


@called
def read_groups(m: Int64Array, p: Parameters, k: int, sm: int, first: int, end: int, now: int) -> tuple[int, int]:
    """Read the groups `first` to `end` (not included) up to one whose lanes are described apart; return how many, and
    when all are there (ps).

    Groups of one turn lie in consecutive slots and channel groups, so that hashing is left out of the loop (1.46 ->
    1.35 ns a line of 64-KiB tiles from HBM).
    """
    near = near_partition(p, sm)
    q = p.dram
    turn = quotient_of(first, p.set_groups, p.set_groups_inverse)
    turn_end = (turn + 1) * p.set_groups
    hashed = mix(turn, p.set_groups)
    lap = quotient_of(first, q.channel_groups, q.channel_groups_inverse)
    lap_end = (lap + 1) * q.channel_groups
    started = mix(lap, q.channel_groups)
    access = access_of(q, lap)
    bank, row = locate(q, access)
    first_set, slot_words = set_at(p, 0, 0, near), p.partitions * SET_WORDS
    m[scalar.WHOLE_READY] = now
    group = first
    while group < end:
        if group == turn_end:
            turn += 1
            turn_end += p.set_groups
            hashed = mix(turn, p.set_groups)
        if group == lap_end:
            lap += 1
            lap_end += q.channel_groups
            started = mix(lap, q.channel_groups)
            access = access_of(q, lap)
            bank, row = locate(q, access)
        slot = group - turn_end + hashed
        slot += p.set_groups & (slot >> 63)
        place = first_set + slot * slot_words
        prefetch(m, place + slot_words)
        prefetch(m, place + slot_words + ORDER)
        set_group = set_group_at(p, slot)
        if m[set_group + SPLIT]:
            break
        home = 0
        if p.partitions > 1:
            home = (turn + scrambled(slot)) & 1
        channel_group = group - lap_end + started
        channel_group += q.channel_groups & (channel_group >> 63)
        look(m, p, k, near, home, group, place, channel_group, access, bank, row, now)
        group += 1
    if m[scalar.ASKS] > 0:
        ask_groups(m, p, k, now)
    m[scalar.ACCESSES] += group - first
    m[scalar.MOVED] += (group - first) << p.group_shift
    return group - first, m[scalar.WHOLE_READY]


@called
def split_lanes(m: Int64Array, p: Parameters, slot: int) -> None:
    """Give every lane of a set group its own copy of lane 0, in each partition."""
    for partition in range(p.partitions):
        source = set_at(p, 0, slot, partition)
        for lane in range(1, p.group_lines):
            copy = set_at(p, lane, slot, partition)
            for word in range(SET_WORDS):
                m[copy + word] = m[source + word]
    m[set_group_at(p, slot) + SPLIT] = 1


@called
def look_ahead(m: Int64Array, p: Parameters, program: Int64Array, sm: int, record: int) -> None:
    """Have what the first line of a record will need brought near: it lies anywhere in some MB."""
    word = record * RECORD_WORDS
    address = program[word + ADDRESS]
    line = address >> p.line_shift
    group = address >> p.group_shift
    lane = line & (p.group_lines - 1)
    if program[word + REST] & THROUGH_L1:
        place, use, _ = l1_set_of(p, sm, line)
        prefetch(m, place)
        prefetch(m, use)
        prefetch(m, place + L1_READY)
        prefetch(m, place + L1_READY + 8)
    slot, home = slot_of(p, group)
    near = near_partition(p, sm)
    place = set_at(p, lane, slot, near)
    prefetch(m, place)
    prefetch(m, place + ORDER)
    prefetch(m, place + READY)
    prefetch(m, place + READY + 8)
    if near != home:
        place = set_at(p, lane, slot, home)
        prefetch(m, place)
        prefetch(m, place + ORDER)
    channel_group, access = channel_group_of(p.dram, group)
    channel, bank, _, _ = line_at(p.dram, lane, access)
    prefetch(m, bank_place(p.dram, channel_group, bank, channel))
