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
from simulator.core.compiled import inlined
from simulator.core.dram import WHOLE, dram_read, dram_write
from simulator.core.hashing import bits, mix, quotient_of, rotated, scrambled
from simulator.core.l1 import l1_lookup
from simulator.core.outstanding import note_outstanding
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
from simulator.core.state import MSHR_RING, TICKS_PER_PS, Parameters, State
from simulator.core.ways import WAYS, find_way, least_recent

READ, WRITE, REDUCE, PREFETCH = 0, 1, 2, 3
NORMAL, EVICT_FIRST, EVICT_LAST, NO_ALLOCATE = 0, 1, 2, 3


@inlined
def victim(s: State, p: Parameters, index: int, hint: int) -> int:
    """Return the way to replace in a set; lines kept by `evict_last` go only to make room for others of their kind."""
    order = s.order[index]
    base = index * WAYS
    way = least_recent(order, p.l2_ways)
    if p.set_aside_ways > 0:
        held = s.persisting[index]
        count = bits(held & 0xFF) + bits(held >> 8)
        if hint == EVICT_LAST and count >= p.set_aside_ways:
            way = unprotected(order, ~held, p.l2_ways)
        elif held:
            way = unprotected(order, held, p.l2_ways)
        s.persisting[index] = held & ~(1 << way)
    elif p.replacement != LRU and (p.replacement > RANDOM or s.tag[base + way] >= 0):
        empty = find_way(s.tag, base, -1)
        if empty < WAYS:
            way = empty
        else:  # drawing from the access number gives all lanes of a group one victim
            way, order = next_victim(p.replacement, order, p.l2_ways, scrambled(s.scalars[scalar.ACCESSES] + p.seed))
            s.order[index] = order
    return way


@inlined
def admit_miss(s: State, p: Parameters, k: int, size: int, now: int) -> int:
    """Return when a miss of `size` bytes finds a free MSHR: now, or when enough earlier ones have been answered."""
    start = now
    while s.scalars[scalar.MSHR_HEAD] < s.scalars[scalar.MSHR_TAIL]:
        slot = s.scalars[scalar.MSHR_HEAD] & (MSHR_RING - 1)
        full = s.scalars[scalar.MSHR_BYTES] + size > p.mshr_bytes
        full = full or s.scalars[scalar.MSHR_TAIL] - s.scalars[scalar.MSHR_HEAD] >= MSHR_RING
        if s.mshr_time[slot] > start:
            if not full:
                break
            start = s.mshr_time[slot]
        s.scalars[scalar.MSHR_BYTES] -= s.mshr_size[slot]
        s.scalars[scalar.MSHR_HEAD] += 1
    s.counters[k, counter.MSHR_FULL_PS] += start - now
    return start


@inlined
def hold_mshr(s: State, size: int, until: int) -> None:
    """Take up MSHRs for `size` bytes until they have come or gone."""
    slot = s.scalars[scalar.MSHR_TAIL] & (MSHR_RING - 1)
    s.mshr_time[slot] = until
    s.mshr_size[slot] = size
    s.scalars[scalar.MSHR_TAIL] += 1
    s.scalars[scalar.MSHR_BYTES] += size


@inlined
def allocate(
    s: State, p: Parameters, k: int, group: int, index: int, lane: int, lines: int, now: int, hint: int
) -> int:
    """Put a line, or a group, into a set, writing back what it replaces; return its way."""
    way = victim(s, p, index, hint)
    entry = index * WAYS + way
    free = now  # when the way has been emptied
    if s.dirty[entry]:
        sectors = bits(np.int64(s.dirty[entry])) * lines
        size = sectors << p.sector_shift
        s.counters[k, counter.WRITEBACK_SECTORS] += sectors
        free = admit_miss(s, p, k, size, now)
        hold_mshr(s, size, dram_write(s, p, k, np.int64(s.tag[entry]), lane, size, free))
        s.dirty[entry] = 0
    s.tag[entry] = group
    s.valid[entry] = 0
    s.ready[entry] = free
    if p.replacement <= RANDOM:
        s.order[index] = on_use(p.replacement, s.order[index], way, p.l2_ways)
    else:
        draw = scrambled(s.scalars[scalar.ACCESSES] + p.seed)
        s.order[index] = on_fill(p.replacement, s.order[index], way, p.l2_ways, draw)
    if hint == EVICT_LAST and p.set_aside_ways > 0:
        s.persisting[index] = s.persisting[index] | (1 << way)
    return way


@inlined
def fetch(s: State, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Fetch `size` bytes of a group from DRAM, once an MSHR is free; return when they are in L2 (ps)."""
    ready = dram_read(s, p, k, group, lane, size, admit_miss(s, p, k, size, now))
    hold_mshr(s, size, ready)
    note_outstanding(s, k, counter.MISS_HISTOGRAM, counter.MISS_PEAK_BYTES, s.scalars[scalar.MSHR_BYTES])
    s.counters[k, counter.MISS_OUTSTANDING] += (size * (ready - now)) >> 10
    return ready


@inlined
def cross(s: State, p: Parameters, k: int, near: int, size: int, now: int) -> int:
    """Move `size` bytes to partition `near` from the other; return when the link is through with them (ps)."""
    done, _ = book(s.cross_free, near, p.cross_ticks_per_kib, size, now)
    s.counters[k, counter.CROSS_BYTES] += size
    return done // TICKS_PER_PS


@inlined
def whole_fetches(p: Parameters, mask: int) -> int:
    """Return the sectors `mask` rounded out to what one miss fetches."""
    if p.fetch_sectors > 1:
        mask |= ((mask & 0x55) << 1) | ((mask & 0xAA) >> 1)
        if p.fetch_sectors > 2:
            mask |= ((mask & 0x33) << 2) | ((mask & 0xCC) >> 2)
    return mask & p.line_mask


@inlined
def note_lane(s: State, partition: int, missed: int, dirty: int, kept: bool) -> None:
    """Keep what `rejoin` needs to know of a lane: sectors missed, and whether all are dirty in the same ones."""
    s.scalars[scalar.MISSED + partition] += missed
    seen = s.scalars[scalar.DIRTY + partition]
    if not kept or (seen >= 0 and seen != dirty):
        s.scalars[scalar.ALIKE + partition] = 0
    s.scalars[scalar.DIRTY + partition] = dirty


@inlined
def find_or_allocate(
    s: State, p: Parameters, k: int, group: int, index: int, lane: int, lines: int, now: int, kind: int, hint: int
) -> int:
    """Return the entry of a line, or group, in a set, put there if it was not; -1 for one that is not to be kept."""
    way = find_way(s.tag, index * WAYS, group)
    if way == WAYS:
        if hint == NO_ALLOCATE and kind != WRITE and kind != REDUCE:
            return -1
        way = allocate(s, p, k, group, index, lane, lines, now, hint)
    else:
        s.order[index] = on_use(p.replacement, s.order[index], way, p.l2_ways)
        if hint == EVICT_LAST and p.set_aside_ways > 0:
            held = s.persisting[index]
            if bits(held & 0xFF) + bits(held >> 8) < p.set_aside_ways:
                s.persisting[index] = held | (1 << way)
    if hint == EVICT_FIRST:
        s.order[index] = on_evict_first(p.replacement, s.order[index], way, p.l2_ways)
    return index * WAYS + way


@inlined
def line_access(
    s: State,
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
    lines = p.group_lines if lane == WHOLE else 1
    column = max(lane, 0) * p.partitions * p.set_groups + slot
    writing = kind in (WRITE, REDUCE)
    partition = home if writing else near
    copy = -1  # near entry that waits for the home's answer
    wanted = mask
    missing = mask
    ready = now
    while True:  # once in the near partition, once more in the home of what was missing there
        index = partition * p.set_groups + column
        entry = find_or_allocate(s, p, k, group, index, lane, lines, now, kind, hint)
        valid = 0
        dirty = 0
        if entry >= 0:
            valid = np.int64(s.valid[entry])
            dirty = np.int64(s.dirty[entry])
            if s.ready[entry] > now:
                s.counters[k, counter.MERGES] += 0 if writing else bits(wanted & valid) * lines
                ready = max(ready, s.ready[entry])
            if writing:
                dirty |= mask
                s.dirty[entry] = dirty
            s.valid[entry] = valid | wanted
        missing = wanted & ~valid
        if lane != WHOLE:
            note_lane(s, partition, bits(missing), dirty, entry >= 0)
        hits = bits(wanted & valid) * lines
        if writing:
            s.counters[k, counter.WRITE_SECTOR_HITS] += hits
            s.counters[k, counter.WRITE_SECTOR_MISSES] += bits(missing) * lines
        else:
            s.counters[k, counter.READ_SECTOR_HITS] += hits
        if partition == home or missing == 0:
            break
        copy = entry
        wanted = missing
        partition = home
    if missing and kind != WRITE:
        if not writing:
            s.counters[k, counter.READ_SECTOR_MISSES] += bits(missing) * lines
            if p.fetch_sectors > 1 and entry >= 0:
                missing = whole_fetches(p, missing) & ~valid
                s.valid[entry] = valid | wanted | missing
        ready = max(ready, fetch(s, p, k, group, lane, (bits(missing) * lines) << p.sector_shift, now))
        if entry >= 0:
            s.ready[entry] = ready
    if p.partitions > 1:
        if writing:
            drop_copy(s, p, (1 - home) * p.set_groups + column, group, mask)
            s.streak[(1 - home) * p.set_groups + slot] = 0  # the same line may now miss twice
        elif partition != near:
            ready = max(ready, cross(s, p, k, near, (bits(wanted) * lines) << p.sector_shift, now)) + p.cross_ps
            s.counters[k, counter.FAR_SECTORS] += bits(wanted) * lines
            if copy >= 0:
                s.ready[copy] = ready
    return ready


@inlined
def drop_copy(s: State, p: Parameters, index: int, group: int, mask: int) -> None:
    """Make the sectors `mask` of a line's copy away from home invalid, after a write."""
    way = find_way(s.tag, index * WAYS, group)
    if way < WAYS:
        s.valid[index * WAYS + way] &= ~np.uint8(mask)


@inlined
def split_lanes(s: State, p: Parameters, slot: int) -> None:
    """Give every lane of a set group its own copy of lane 0, in each partition."""
    for partition in range(p.partitions):
        source = partition * p.set_groups + slot
        for lane in range(1, p.group_lines):
            copy = lane * p.partitions * p.set_groups + source
            s.order[copy] = s.order[source]
            s.persisting[copy] = s.persisting[source]
            for way in range(WAYS):
                s.tag[copy * WAYS + way] = s.tag[source * WAYS + way]
                s.ready[copy * WAYS + way] = s.ready[source * WAYS + way]
                s.valid[copy * WAYS + way] = s.valid[source * WAYS + way]
                s.dirty[copy * WAYS + way] = s.dirty[source * WAYS + way]
    s.split[slot] = 1


@inlined
def rejoin(s: State, p: Parameters, slot: int, whole: bool, hint: int) -> None:
    """After an access to a split set group, join its lanes again if they cannot differ any more.

    An LRU set holds its last `ways` distinct lines, so after that many whole groups have missed in every lane, all
    lanes hold the same lines in the same order.  Whole groups that hit in between do no harm unless they are dirty in
    some lanes only.  A partition whose lanes are alike has a streak of `ways`.
    """
    joined = p.grouped and p.replacement == LRU and p.set_aside_ways == 0
    for partition in range(p.partitions):
        where = partition * p.set_groups + slot
        if s.scalars[scalar.DIRTY + partition] >= 0 or s.scalars[scalar.ALIKE + partition] == 0:
            if not whole or hint != NORMAL or s.scalars[scalar.ALIKE + partition] == 0:
                s.streak[where] = 0
            elif (s.scalars[scalar.MISSED + partition] << p.sector_shift) == (1 << p.group_shift):
                s.streak[where] += 1
        joined = joined and s.streak[where] >= p.l2_ways
    if joined:
        s.split[slot] = 0


@inlined
def slice_access(s: State, p: Parameters, k: int, line: int, size: int, now: int) -> int:
    """Book `size` bytes at the slice a line lies in; return when it has delivered them (ps)."""
    done, busy = book(s.slice_free, mix(line, p.slices), p.slice_ticks_per_kib, size, now)
    s.counters[k, counter.SLICE_BUSY_TICKS] += busy
    return done // TICKS_PER_PS


@inlined
def begin_parts(s: State, p: Parameters, slot: int) -> None:
    """Make a set group ready for accesses to its lanes one by one."""
    if s.split[slot] == 0:
        split_lanes(s, p, slot)
    for partition in range(p.partitions):
        s.scalars[scalar.MISSED + partition] = 0
        s.scalars[scalar.ALIKE + partition] = 1
        s.scalars[scalar.DIRTY + partition] = -1


@inlined
def range_access(
    s: State, p: Parameters, k: int, sm: int, address: int, size: int, now: int, kind: int, hint: int, through_l1: bool
) -> tuple[int, int, int]:
    """Access a byte range from an SM; return when its last byte is ready in L2, when the last that L1 answers or waits
    for is in a register, and the bytes that L2 moves."""
    near = sm % p.partitions
    end = address + size
    ready = now
    arrival = now
    moved = 0
    for group in range(address >> p.group_shift, ((end - 1) >> p.group_shift) + 1):
        start = group << p.group_shift
        turn = quotient_of(group, p.set_groups, p.set_groups_inverse)
        slot = rotated(group, turn, p.set_groups)
        home = 0
        if p.partitions > 1:  # the groups of a slot are at home in either partition in turn
            home = (turn + scrambled(slot)) & 1
        s.scalars[scalar.ACCESSES] += 1
        low = max(address - start, 0)
        high = min(end - start, 1 << p.group_shift) - 1
        covered = low == 0 and high == (1 << p.group_shift) - 1
        whole = covered and s.split[slot] == 0 and not through_l1
        first, last = low >> p.line_shift, high >> p.line_shift
        s.counters[k, counter.LINES] += last + 1 - first
        mask = p.line_mask
        if whole:
            first, last = WHOLE, WHOLE
            moved += 1 << p.group_shift
        else:
            begin_parts(s, p, slot)
        for lane in range(first, last + 1):
            l1_entry = -1
            if not whole:
                line_start = lane << p.line_shift
                below = max(low - line_start, 0) >> p.sector_shift
                above = min(high - line_start, (1 << p.line_shift) - 1) >> p.sector_shift
                mask = (2 << above) - (1 << below)
                line = group * p.group_lines + lane
                if through_l1:
                    l1_entry, mask = l1_lookup(s, p, k, sm, line, mask, now)
                    if mask == 0:
                        arrival = max(arrival, s.l1_ready[l1_entry])
                        continue
                part = bits(mask) << p.sector_shift
                moved += part
                ready = max(ready, slice_access(s, p, k, line, part, now))
            done = line_access(s, p, k, near, home, group, slot, lane, mask, now, kind, hint)
            ready = max(ready, done)
            if l1_entry >= 0:
                done = max(s.l1_ready[l1_entry], done + p.l2_hit_ps)
                s.l1_ready[l1_entry] = done
                arrival = max(arrival, done)
        if not whole:
            rejoin(s, p, slot, covered and not through_l1, hint)
    return ready, arrival, moved
