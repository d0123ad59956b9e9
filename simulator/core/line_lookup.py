"""Looking for lines in L2, those that an SM reads at once: what is found is used, what is missing noted and asked for
(core/line_asks.py)."""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.asks import PENDING
from simulator.core.bitwise import ones
from simulator.core.compiled import called, small_function
from simulator.core.l2 import note_lane, whole_fetches
from simulator.core.layout import SET_GROUP_WORDS, SPLIT, STREAK, Int64Array
from simulator.core.line_asks import LANES, TO_TAKE, ask_lines, fills, to_ask
from simulator.core.line_table import COPY_WAY, CROSSING, GROUP, HOME, LINE, MASK, SET, SET_GROUP, THERE, WAY
from simulator.core.places import counters_at
from simulator.core.plain_reads import clean_victim, look_up, split_lanes, take_hit, with_neighbours
from simulator.core.sets import DIRTY, LATEST, ORDER, SET_WORDS, WAYS, find_way, least_recent, nibble
from simulator.core.state import Parameters


@called
def find_lines(m: Int64Array, p: Parameters, k: int, near: int, count: int, now: int) -> None:
    """Do as `look_for` does for lines that are no whole group, where L2 has one partition: those missing take the place
    of others when they are asked for."""
    counters = counters_at(p, k)
    table, ways, group_lines, sector_shift = m[scalar.TABLE], p.l2_ways, p.group_lines, p.sector_shift
    several = p.fetch_sectors > 1
    asked = missed = 0
    for read in range(table, table + count):
        asked += ones(m[read + MASK])
    for read in range(table, table + count):
        wanted = m[read + MASK]
        if wanted == 0:
            continue
        place, set_group = m[read + SET], m[read + SET_GROUP]
        if m[set_group + SPLIT] == 0:
            split_lanes(m, p, (set_group - p.at.set_groups) // SET_GROUP_WORDS)
        m[set_group + STREAK] = 0
        if m[place + LATEST] == PENDING:
            ask_lines(m, p, k, near, now)
        way = find_way(m, place, m[read + GROUP])
        if way == WAYS:
            if m[place + DIRTY] != 0:
                lane = m[read + LINE] & (group_lines - 1) & LANES
                m[read + THERE] = clean_victim(m, p, k, near, place, lane, ways, now)
            way = least_recent(m[place + ORDER], ways)
            missed += ones(wanted)
            if several:
                wanted = whole_fetches(p, wanted)
            fills(m, read, WAY, place, way)
            m[read + WAY] = way | TO_TAKE
            to_ask(m, read, ones(wanted) << sector_shift)
            continue
        missing, m[read + THERE] = take_hit(m, p, k, place, way, wanted, 1, now)
        if missing:
            missed += ones(missing)
            if several:
                missing = with_neighbours(m, p, place, way, missing)
            fills(m, read, WAY, place, way)
            to_ask(m, read, ones(missing) << sector_shift)
    m[counters + counter.READ_SECTOR_HITS] += asked - missed
    m[counters + counter.READ_SECTOR_MISSES] += missed
    ask_lines(m, p, k, near, now)


@called
def look_for(m: Int64Array, p: Parameters, k: int, near: int, count: int, now: int, single: bool) -> None:
    """Look from partition `near` for the first `count` lines listed, and ask for those missing; `single`: they are no
    whole group, else what `rejoin` needs to know of its lanes is kept."""
    counters = counters_at(p, k)
    table, group_lines = m[scalar.TABLE], p.group_lines
    asked = missed = 0
    for read in range(table, table + count):
        wanted = m[read + MASK]
        if wanted == 0:
            continue
        asked += ones(wanted)
        place, group, home = m[read + SET], m[read + GROUP], near
        lane = m[read + LINE] & (group_lines - 1) & LANES
        set_group = m[read + SET_GROUP]
        if single:
            if m[set_group + SPLIT] == 0:
                split_lanes(m, p, (set_group - p.at.set_groups) // SET_GROUP_WORDS)
            m[set_group + STREAK + near] = 0
        way, missing, ready = look_up(m, p, k, near, group, place, lane, wanted, now)
        if not single:
            note_lane(m, near, ones(missing), nibble(m[place + DIRTY], way), True)
        if missing == 0:
            m[read + THERE] = ready
            continue
        copy, copied, crossing = place, way, 0
        if p.partitions > 1:
            home = m[read + HOME]
            if near != home:
                crossing = missing
                place += (home - near) * SET_WORDS  # the sets of a line lie side by side
                way, missing, came = look_up(m, p, k, near, group, place, lane, crossing, now)
                if single:
                    m[set_group + STREAK + home] = 0
                else:
                    note_lane(m, home, ones(missing), nibble(m[place + DIRTY], way), True)
                ready = max(ready, came)
        m[read + THERE] = ready
        missed += ones(missing)
        if missing:
            if p.fetch_sectors > 1:
                missing = with_neighbours(m, p, place, way, missing)
            fills(m, read, WAY, place, way)
        to_ask(m, read, ones(missing) << p.sector_shift)
        if p.partitions > 1:
            m[read + CROSSING] = ones(crossing) << p.sector_shift
            if crossing:
                m[counters + counter.FAR_SECTORS] += ones(crossing)
                fills(m, read, COPY_WAY, copy, copied)
    m[counters + counter.READ_SECTOR_HITS] += asked - missed
    m[counters + counter.READ_SECTOR_MISSES] += missed
    ask_lines(m, p, k, near, now)


@small_function
def look_for_parts(m: Int64Array, p: Parameters, k: int, near: int, count: int, now: int) -> None:
    """Do as `look_for` does for lines that are no whole group, in the shortest way."""
    if p.partitions == 1:
        find_lines(m, p, k, near, count, now)
    else:
        look_for(m, p, k, near, count, now, True)
