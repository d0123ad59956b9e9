"""Accesses of SMs to L2, by whole groups of lines as far as possible.

Addresses are split into *groups*: `group_lines` consecutive lines that fall into consecutive sets.  As long as
accesses have covered whole groups of a set group, one tag stands for all its lanes (lines of a group); the first
access to a part splits the set group into lanes, and it is joined again when no trace of the difference is left.
Both forms give the same hits, misses and write-backs.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.access_log import L1_ACCESS, note_access
from simulator.core.bitwise import ones
from simulator.core.coalescer import joins, remember
from simulator.core.compiled import called, small_function
from simulator.core.dram_places import WHOLE
from simulator.core.l1 import l1_lookup
from simulator.core.l2 import NORMAL, PREFETCH, READ, line_access
from simulator.core.layout import SPLIT, STREAK, Int64Array
from simulator.core.ledger import note_server
from simulator.core.line_reads import read_part
from simulator.core.places import counters_at, near_partition, set_group_at, slice_at, slot_of
from simulator.core.plain_reads import is_plain, read_groups, split_lanes
from simulator.core.replacement import LRU
from simulator.core.server import book
from simulator.core.state import Parameters


@small_function
def rejoin(m: Int64Array, p: Parameters, slot: int, whole: bool, hint: int) -> None:
    """After an access to a split set group, join its lanes again if they cannot differ any more.

    An LRU set holds its last `ways` distinct lines, so after that many whole groups have missed in every lane, all
    lanes hold the same lines in the same order.  Whole groups that hit in between do no harm unless they are dirty in
    some lanes only.  A partition whose lanes are alike has a streak of `ways`.
    """
    joined = p.grouped and p.replacement == LRU and p.set_aside_ways == 0
    for partition in range(p.partitions):
        streak = set_group_at(p, slot) + STREAK + partition
        if m[scalar.DIRTY + partition] >= 0 or m[scalar.ALIKE + partition] == 0:
            if not whole or hint != NORMAL or m[scalar.ALIKE + partition] == 0:
                m[streak] = 0
            elif (m[scalar.MISSED + partition] << p.sector_shift) == (1 << p.group_shift):
                m[streak] += 1
        joined = joined and m[streak] >= p.l2_ways
    if joined:
        m[set_group_at(p, slot) + SPLIT] = 0


@small_function
def begin_parts(m: Int64Array, p: Parameters, slot: int) -> None:
    """Make a set group ready for accesses to its lanes one by one."""
    if m[set_group_at(p, slot) + SPLIT] == 0:
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
    ready = now
    for lane in range(low >> p.line_shift, (high >> p.line_shift) + 1):
        start = lane << p.line_shift
        below = max(low - start, 0) >> p.sector_shift
        above = min(high - start, (1 << p.line_shift) - 1) >> p.sector_shift
        mask = (2 << above) - (1 << below)
        line = group * p.group_lines + lane
        loaded = 0  # word that says when the line is in L1
        if through_l1:
            asked = mask
            loaded, mask = l1_lookup(m, p, k, sm, line, asked, now)
            if p.log_words:
                note_access(m, p, L1_ACCESS, k, sm, group, lane, kind, asked, mask)
            if mask == 0:
                m[scalar.LOADED] = max(m[scalar.LOADED], m[loaded])
                continue
        size = ones(mask) << p.sector_shift
        m[scalar.MOVED] += size
        if through_l1 and joins(m, p, sm, line, mask, size, loaded, now):
            continue
        near = near_partition(p, sm)
        slice_free = slice_at(p, line, near if kind in (READ, PREFETCH) else home)
        done = book(m, slice_free, p.slice_ticks_per_kib, size, now, counters + counter.SLICE_BUSY_TICKS)
        note_server(m, counter.L2_BANDWIDTH, done)
        ready = max(ready, done)
        done = line_access(m, p, k, near, home, group, slot, lane, mask, now, kind, hint)
        ready = max(ready, done)
        if through_l1:
            remember(m, p, sm, line, mask, done)
            done = max(m[loaded], done + p.l2_hit_ps)
            m[loaded] = done
            m[scalar.LOADED] = max(m[scalar.LOADED], done)
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
    plain = is_plain(p, kind, hint)
    group = address >> p.group_shift
    last = (end - 1) >> p.group_shift
    m[counters + counter.LINES] += ((end - 1) >> p.line_shift) + 1 - (address >> p.line_shift)
    while group <= last:
        start = group << p.group_shift
        low = max(address - start, 0)
        high = min(end - start, 1 << p.group_shift) - 1
        covered = low == 0 and high == (1 << p.group_shift) - 1
        if covered and plain and not through_l1:
            count, done = read_groups(m, p, k, sm, group, end >> p.group_shift, now)
            ready = max(ready, done)
            group += count
            if count:
                continue
        slot, home = slot_of(p, group)
        m[scalar.ACCESSES] += 1
        if covered and m[set_group_at(p, slot) + SPLIT] == 0 and not through_l1:
            m[scalar.MOVED] += 1 << p.group_shift
            near = near_partition(p, sm)
            done = line_access(m, p, k, near, home, group, slot, np.int64(WHOLE), p.line_mask, now, kind, hint)
        else:
            begin_parts(m, p, slot)
            if plain:
                done = read_part(m, p, k, sm, group, low, high, now, through_l1)
            else:
                done = part_access(m, p, k, sm, home, group, slot, low, high, now, kind, hint, through_l1)
            rejoin(m, p, slot, covered and not through_l1, hint)
        ready = max(ready, done)
        group += 1
    return ready
