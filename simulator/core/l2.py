"""L2: sectored lines in one or two partitions, write-back, with misses merged.

Addresses are split into *groups*: `group_lines` consecutive lines that fall into consecutive sets.  As long as
accesses have covered whole groups of a set group, one tag stands for all its lanes (lines of a group); the first
access to a part splits the set group into lanes, and it is joined again when no trace of the difference is left.
Both forms give the same hits, misses and write-backs.

With two partitions each SM looks into its near one.  A line's home is the partition its memory is attached to: near
misses of far lines cross over, are served or fetched there, and leave a copy behind, so that lines used from both
sides take up room twice (NVIDIA A100 white paper: "each L2 partition caches data for memory accesses from SMs in the
GPCs directly connected to the partition").  Writes go to the home and make the copy invalid.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.dram import WHOLE, dram_read, dram_write
from simulator.core.hashing import mix, quotient_of, rotated, scrambled
from simulator.core.in_flight import drop_oldest, enter, is_full, oldest
from simulator.core.l1 import l1_lookup
from simulator.core.layout import PLACE, Int64Array
from simulator.core.replacement import (
    LRU,
    RANDOM,
    next_victim,
    on_evict_first,
    on_fill,
    on_use,
    unprotected,
)
from simulator.core.server import book
from simulator.core.sets import (
    DIRTY,
    EMPTY,
    LATEST,
    ORDER,
    PERSISTING,
    READY,
    SET_WORDS,
    SPLIT,
    STREAK,
    VALID,
    WAYS,
    find_way,
    least_recent,
    nibble,
    set_tag,
    tag_of,
    with_nibble,
)
from simulator.core.state import MSHR_RING, Parameters

READ, WRITE, REDUCE, PREFETCH = 0, 1, 2, 3
NORMAL, EVICT_FIRST, EVICT_LAST, NO_ALLOCATE = 0, 1, 2, 3

NEVER = 1 << 62


@small_function
def set_at(p: Parameters, lane: int, slot: int, partition: int) -> int:
    """Return the place of a set: that of the line `lane` of the groups of a slot, in one partition."""
    return (p.at.sets + ((lane * p.set_groups + slot) * p.partitions + partition) * SET_WORDS) & PLACE


@small_function
def counters_at(p: Parameters, k: int) -> int:
    """Return the place of the counters of a kernel slot."""
    return (p.at.counters + k * counter.COUNT) & PLACE


@called
def special_victim(m: Int64Array, p: Parameters, place: int, hint: int) -> int:
    """Return the way to replace in a set that is not plain LRU; lines kept by `evict_last` go only to make room for
    others of their kind."""
    order = m[place + ORDER]
    way = least_recent(order, p.l2_ways)
    if p.set_aside_ways > 0:
        held = m[place + PERSISTING]
        if hint == EVICT_LAST and ones(held) >= p.set_aside_ways:
            way = unprotected(order, ~held, p.l2_ways)
        elif held:
            way = unprotected(order, held, p.l2_ways)
        m[place + PERSISTING] = held & ~(1 << way)
    elif p.replacement > RANDOM or tag_of(m, place, way) >= 0:
        empty = find_way(m, place, EMPTY)
        if empty < WAYS:
            way = empty
        else:  # drawing from the access number gives all lanes of a group one victim
            way, order = next_victim(p.replacement, order, p.l2_ways, scrambled(m[scalar.ACCESSES] + p.seed))
            m[place + ORDER] = order
    return way


@small_function
def admit_miss(m: Int64Array, p: Parameters, k: int, size: int, now: int) -> int:
    """Return when a miss of `size` bytes finds a free MSHR: now, or when enough earlier ones have been answered."""
    start = now
    queue, entries = scalar.MSHR_QUEUE, p.at.mshrs & PLACE
    counters = counters_at(p, k)
    until = oldest(m, queue, entries, NEVER)
    while until <= start or (until < NEVER and is_full(m, queue, MSHR_RING, size, p.mshr_bytes)):
        start = max(start, until)
        drop_oldest(m, queue, entries, counters + counter.MISS_QUEUE)
        until = oldest(m, queue, entries, NEVER)
    m[counters + counter.MSHR_FULL_PS] += start - now
    return start


@small_function
def take_mshr(m: Int64Array, p: Parameters, k: int, size: int, now: int, until: int) -> None:
    """Hold MSHRs for `size` bytes from `now` to `until`."""
    counters = counters_at(p, k)
    enter(m, scalar.MSHR_QUEUE, p.at.mshrs & PLACE, counters + counter.MISS_QUEUE, MSHR_RING, size, now, until)
    m[counters + counter.MISS_OUTSTANDING] += (size * (until - now)) >> 10


@called
def write_back(m: Int64Array, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Write `size` bytes of a group back to DRAM, once an MSHR is free; return when it was (ps)."""
    free = admit_miss(m, p, k, size, now)
    gone = dram_write(m, p, k, group, lane, size, free)
    take_mshr(m, p, k, size, free, gone)
    return free


@called
def fetch(m: Int64Array, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Fetch `size` bytes of a group from DRAM, once an MSHR is free; return when they are in L2 (ps)."""
    free = admit_miss(m, p, k, size, now)
    ready = dram_read(m, p, k, group, lane, size, free)
    take_mshr(m, p, k, size, free, ready)
    return ready


@called
def allocate(
    m: Int64Array, p: Parameters, k: int, group: int, place: int, lane: int, lines: int, now: int, hint: int
) -> int:
    """Put a line, or a group, into a set, writing back what it replaces; return its way."""
    way = least_recent(m[place + ORDER], p.l2_ways)
    if p.replacement != LRU or p.set_aside_ways > 0:
        way = special_victim(m, p, place, hint)
    free = now  # when the way has been emptied
    dirty = nibble(m[place + DIRTY], way)
    if dirty:
        sectors = ones(dirty) * lines
        m[counters_at(p, k) + counter.WRITEBACK_SECTORS] += sectors
        free = write_back(m, p, k, tag_of(m, place, way), lane, sectors << p.sector_shift, now)
        m[place + DIRTY] = with_nibble(m[place + DIRTY], way, 0)
    set_tag(m, place, way, group)
    m[place + VALID] = with_nibble(m[place + VALID], way, 0)
    m[place + READY + way] = free
    m[place + LATEST] = max(m[place + LATEST], free)
    if p.replacement <= RANDOM:
        m[place + ORDER] = on_use(p.replacement, m[place + ORDER], way, p.l2_ways)
    else:
        draw = scrambled(m[scalar.ACCESSES] + p.seed)
        m[place + ORDER] = on_fill(p.replacement, m[place + ORDER], way, p.l2_ways, draw)
    if hint == EVICT_LAST and p.set_aside_ways > 0:
        m[place + PERSISTING] |= 1 << way
    return way


@small_function
def cross(m: Int64Array, p: Parameters, k: int, near: int, size: int, now: int) -> int:
    """Move `size` bytes to partition `near` from the other; return when the link is through with them (ps)."""
    counters = counters_at(p, k)
    m[counters + counter.CROSS_BYTES] += size
    return book(m, p.at.cross + near, p.cross_ticks_per_kib, size, now, counters + counter.CROSS_BUSY_TICKS)


@small_function
def whole_fetches(p: Parameters, mask: int) -> int:
    """Return the sectors `mask` rounded out to what one miss fetches."""
    if p.fetch_sectors > 1:
        mask |= ((mask & 5) << 1) | ((mask & 10) >> 1)
        if p.fetch_sectors > 2:
            mask |= ((mask & 3) << 2) | ((mask & 12) >> 2)
    return mask & p.line_mask


@small_function
def note_lane(m: Int64Array, partition: int, missed: int, dirty: int, kept: bool) -> None:
    """Keep what `rejoin` needs to know of a lane: sectors missed, and whether all are dirty in the same ones."""
    m[scalar.MISSED + partition] += missed
    seen = m[scalar.DIRTY + partition]
    if not kept or (seen >= 0 and seen != dirty):
        m[scalar.ALIKE + partition] = 0
    m[scalar.DIRTY + partition] = dirty


@small_function
def find_or_allocate(
    m: Int64Array, p: Parameters, k: int, group: int, place: int, lane: int, lines: int, now: int, kind: int, hint: int
) -> int:
    """Return the way of a line, or group, in a set, put there if it was not; -1 for one that is not to be kept."""
    way = find_way(m, place, group)
    if way == WAYS:
        if hint == NO_ALLOCATE and kind != WRITE and kind != REDUCE:
            return -1
        way = allocate(m, p, k, group, place, lane, lines, now, hint)
    else:
        m[place + ORDER] = on_use(p.replacement, m[place + ORDER], way, p.l2_ways)
        if hint == EVICT_LAST and ones(m[place + PERSISTING]) < p.set_aside_ways:
            m[place + PERSISTING] |= 1 << way
    if hint == EVICT_FIRST:
        m[place + ORDER] = on_evict_first(p.replacement, m[place + ORDER], way, p.l2_ways)
    return way


@small_function
def arrives(m: Int64Array, place: int, way: int, when: int) -> None:
    """Note when the fill of a way arrives."""
    m[place + READY + way] = when
    m[place + LATEST] = max(m[place + LATEST], when)


@called
def line_access(
    m: Int64Array,
    p: Parameters,
    k: int,
    near: int,
    home: int,
    group: int,
    slot: int,
    lane: int,
    mask: int,
    now: int,
    kind: int,
    hint: int,
) -> int:
    """Access the sectors `mask` of a line, or of all lines of a group at once (`lane` WHOLE), from partition `near`;
    return when the data is there (ps).

    `slot` is the set group within a partition.
    """
    counters = counters_at(p, k)
    lines = p.group_lines if lane == WHOLE else 1
    row = max(lane, 0)
    writing = kind in (WRITE, REDUCE)
    partition = home if writing else near
    place = set_at(p, row, slot, partition)
    copy = -1  # word that says when the copy is there, which waits for the home's answer
    wanted = mask
    missing = mask
    ready = now
    valid = 0
    way = 0
    while True:  # once in the near partition, once more in the home of what was missing there
        way = find_or_allocate(m, p, k, group, place, lane, lines, now, kind, hint)
        valid = 0
        dirty = 0
        if way >= 0:
            valid = nibble(m[place + VALID], way)
            dirty = nibble(m[place + DIRTY], way)
            if m[place + LATEST] > now and m[place + READY + way] > now:
                m[counters + counter.MERGES] += 0 if writing else ones(wanted & valid) * lines
                ready = max(ready, m[place + READY + way])
            if writing:
                dirty |= mask
                m[place + DIRTY] = with_nibble(m[place + DIRTY], way, dirty)
            m[place + VALID] = with_nibble(m[place + VALID], way, valid | wanted)
        missing = wanted & ~valid
        if lane != WHOLE:
            note_lane(m, partition, ones(missing), dirty, way >= 0)
        hits = ones(wanted & valid) * lines
        if writing:
            m[counters + counter.WRITE_SECTOR_HITS] += hits
            m[counters + counter.WRITE_SECTOR_MISSES] += ones(missing) * lines
        else:
            m[counters + counter.READ_SECTOR_HITS] += hits
        if partition == home or missing == 0:
            break
        copy = way
        wanted = missing
        partition = home
        place = set_at(p, row, slot, home)
    if missing and kind != WRITE:
        if not writing:
            m[counters + counter.READ_SECTOR_MISSES] += ones(missing) * lines
            if p.fetch_sectors > 1 and way >= 0:
                missing = whole_fetches(p, missing) & ~valid
                m[place + VALID] = with_nibble(m[place + VALID], way, valid | wanted | missing)
        ready = max(ready, fetch(m, p, k, group, lane, (ones(missing) * lines) << p.sector_shift, now))
        if way >= 0:
            arrives(m, place, way, ready)
    if p.partitions > 1:
        other = set_at(p, row, slot, 1 - home)
        if writing:
            drop_copy(m, other, group, mask)
            m[set_at(p, 0, slot, 1 - home) + STREAK] = 0  # the same line may now miss twice
        elif partition != near:
            ready = max(ready, cross(m, p, k, near, (ones(wanted) * lines) << p.sector_shift, now)) + p.cross_ps
            m[counters + counter.FAR_SECTORS] += ones(wanted) * lines
            if copy >= 0:
                arrives(m, other, copy, ready)
    return ready


@small_function
def drop_copy(m: Int64Array, place: int, group: int, mask: int) -> None:
    """Make the sectors `mask` of a line's copy away from home invalid, after a write."""
    way = find_way(m, place, group)
    if way < WAYS:
        m[place + VALID] = with_nibble(m[place + VALID], way, nibble(m[place + VALID], way) & ~mask)


@called
def split_lanes(m: Int64Array, p: Parameters, slot: int) -> None:
    """Give every lane of a set group its own copy of lane 0, in each partition."""
    for partition in range(p.partitions):
        source = set_at(p, 0, slot, partition)
        for lane in range(1, p.group_lines):
            copy = set_at(p, lane, slot, partition)
            for word in range(SET_WORDS):
                m[copy + word] = m[source + word]
    m[set_at(p, 0, slot, 0) + SPLIT] = 1


@small_function
def rejoin(m: Int64Array, p: Parameters, slot: int, whole: bool, hint: int) -> None:
    """After an access to a split set group, join its lanes again if they cannot differ any more.

    An LRU set holds its last `ways` distinct lines, so after that many whole groups have missed in every lane, all
    lanes hold the same lines in the same order.  Whole groups that hit in between do no harm unless they are dirty in
    some lanes only.  A partition whose lanes are alike has a streak of `ways`.
    """
    joined = p.grouped and p.replacement == LRU and p.set_aside_ways == 0
    for partition in range(p.partitions):
        streak = set_at(p, 0, slot, partition) + STREAK
        if m[scalar.DIRTY + partition] >= 0 or m[scalar.ALIKE + partition] == 0:
            if not whole or hint != NORMAL or m[scalar.ALIKE + partition] == 0:
                m[streak] = 0
            elif (m[scalar.MISSED + partition] << p.sector_shift) == (1 << p.group_shift):
                m[streak] += 1
        joined = joined and m[streak] >= p.l2_ways
    if joined:
        m[set_at(p, 0, slot, 0) + SPLIT] = 0


@small_function
def begin_parts(m: Int64Array, p: Parameters, slot: int) -> None:
    """Make a set group ready for accesses to its lanes one by one."""
    if m[set_at(p, 0, slot, 0) + SPLIT] == 0:
        split_lanes(m, p, slot)
    for partition in range(p.partitions):
        m[scalar.MISSED + partition] = 0
        m[scalar.ALIKE + partition] = 1
        m[scalar.DIRTY + partition] = -1


@called
def part_access(
    m: Int64Array,
    p: Parameters,
    k: int,
    sm: int,
    home: int,
    group: int,
    slot: int,
    low: int,
    high: int,
    now: int,
    kind: int,
    hint: int,
    through_l1: bool,
) -> int:
    """Access the bytes `low` to `high` (included) of a group line by line, of which some may be in L1; return as
    `range_access`."""
    counters = counters_at(p, k)
    begin_parts(m, p, slot)
    ready = now
    for lane in range(low >> p.line_shift, (high >> p.line_shift) + 1):
        start = lane << p.line_shift
        below = max(low - start, 0) >> p.sector_shift
        above = min(high - start, (1 << p.line_shift) - 1) >> p.sector_shift
        mask = (2 << above) - (1 << below)
        line = group * p.group_lines + lane
        loaded = 0  # word that says when the line is in L1
        if through_l1:
            loaded, mask = l1_lookup(m, p, k, sm, line, mask, now)
            if mask == 0:
                m[scalar.LOADED] = max(m[scalar.LOADED], m[loaded])
                continue
        size = ones(mask) << p.sector_shift
        m[scalar.MOVED] += size
        slice_free = p.at.slices + mix(line, p.slices)
        done = book(m, slice_free, p.slice_ticks_per_kib, size, now, counters + counter.SLICE_BUSY_TICKS)
        ready = max(ready, done)
        done = line_access(m, p, k, sm % p.partitions, home, group, slot, lane, mask, now, kind, hint)
        ready = max(ready, done)
        if through_l1:
            done = max(m[loaded], done + p.l2_hit_ps)
            m[loaded] = done
            m[scalar.LOADED] = max(m[scalar.LOADED], done)
    covered = low == 0 and high == (1 << p.group_shift) - 1
    rejoin(m, p, slot, covered and not through_l1, hint)
    return ready


@called
def range_access(
    m: Int64Array,
    p: Parameters,
    k: int,
    sm: int,
    address: int,
    size: int,
    now: int,
    kind: int,
    hint: int,
    through_l1: bool,
) -> int:
    """Access a byte range from an SM; return when its last byte is ready in L2 (ps).

    The bytes that L2 moves are added to scalars[MOVED], and scalars[LOADED] becomes at least the time when the last
    line that L1 answers, or waits for, is in a register.
    """
    counters = counters_at(p, k)
    end = address + size
    ready = now
    group = address >> p.group_shift
    last = (end - 1) >> p.group_shift
    m[counters + counter.LINES] += ((end - 1) >> p.line_shift) + 1 - (address >> p.line_shift)
    while group <= last:
        start = group << p.group_shift
        turn = quotient_of(group, p.set_groups, p.set_groups_inverse)
        slot = rotated(group, turn, p.set_groups)
        home = 0
        if p.partitions > 1:  # the groups of a slot are at home in either partition in turn
            home = (turn + scrambled(slot)) & 1
        m[scalar.ACCESSES] += 1
        low = max(address - start, 0)
        high = min(end - start, 1 << p.group_shift) - 1
        covered = low == 0 and high == (1 << p.group_shift) - 1
        if covered and m[set_at(p, 0, slot, 0) + SPLIT] == 0 and not through_l1:
            m[scalar.MOVED] += 1 << p.group_shift
            near = sm % p.partitions
            done = line_access(m, p, k, near, home, group, slot, np.int64(WHOLE), p.line_mask, now, kind, hint)
        else:
            done = part_access(m, p, k, sm, home, group, slot, low, high, now, kind, hint, through_l1)
        ready = max(ready, done)
        group += 1
    return ready
