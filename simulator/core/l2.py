"""L2: sectored lines in one or two partitions, write-back, with misses merged.

With two partitions each SM looks into its near one.  A line's home is the partition its memory is attached to: near
misses of far lines cross over, are served or fetched there, and leave a copy behind, so that lines used from both
sides take up room twice (NVIDIA A100 white paper: "each L2 partition caches data for memory accesses from SMs in the
GPCs directly connected to the partition").  Writes go to the home, across if it is
far, and make the copy invalid.
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.access_log import L2_ACCESS, note_access, note_eviction
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.dram_places import WHOLE, channel_group_of
from simulator.core.hashing import scrambled
from simulator.core.layout import STREAK, Int64Array
from simulator.core.ledger import note_crossing
from simulator.core.mshr import fetch, write_back
from simulator.core.places import counters_at, set_at, set_group_at
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
    VALID,
    WAYS,
    find_way,
    least_recent,
    nibble,
    set_tag,
    tag_of,
    with_nibble,
)
from simulator.core.state import Parameters

READ, WRITE, REDUCE, PREFETCH = 0, 1, 2, 3
NORMAL, EVICT_FIRST, EVICT_LAST, NO_ALLOCATE = 0, 1, 2, 3


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


@called
def allocate(
    m: Int64Array, p: Parameters, k: int, group: int, place: int, lane: int, lines: int, now: int, hint: int
) -> int:
    """Put a line, or a group, into a set, writing back what it replaces; return its way."""
    way = least_recent(m[place + ORDER], p.l2_ways)
    if p.replacement != LRU or p.set_aside_ways > 0:
        way = special_victim(m, p, place, hint)
    if p.log_words:
        note_eviction(m, p, k, place, way, lane)
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
def note_lane(m: Int64Array, partition: int, missed: int, dirty: int, kept: bool) -> None:
    """Keep what `rejoin` needs to know of a lane: sectors missed, and whether all are dirty in the same ones."""
    m[scalar.MISSED + partition] += missed
    seen = m[scalar.DIRTY + partition]
    if not kept or (seen >= 0 and seen != dirty):
        m[scalar.ALIKE + partition] = 0
    m[scalar.DIRTY + partition] = dirty


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
    if p.log_words:
        note_access(m, p, L2_ACCESS, k, near, group, lane, kind, mask, missing)
    if missing and kind != WRITE:
        if not writing:
            m[counters + counter.READ_SECTOR_MISSES] += ones(missing) * lines
            if p.fetch_sectors > 1 and way >= 0:
                missing = whole_fetches(p, missing) & ~valid
                m[place + VALID] = with_nibble(m[place + VALID], way, valid | wanted | missing)
        channel_group, access = channel_group_of(p.dram, group)
        size = (ones(missing) * lines) << p.sector_shift
        ready = max(ready, fetch(m, p, k, channel_group, access, lane, size, now))
        if way >= 0:
            arrives(m, place, way, ready)
    if p.partitions > 1:
        other = set_at(p, row, slot, 1 - home)
        if writing:
            drop_copy(m, other, group, mask)
            if partition != near:
                ready = max(ready, cross(m, p, k, home, (ones(mask) * lines) << p.sector_shift, now))
            m[set_group_at(p, slot) + STREAK + 1 - home] = 0  # the same line may now miss twice
        elif partition != near:
            crossed = cross(m, p, k, near, (ones(wanted) * lines) << p.sector_shift, now)
            ready = note_crossing(m, p, ready, crossed)
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
