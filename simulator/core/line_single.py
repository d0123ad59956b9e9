"""A read of part of one line that is alone in its event: what core/line_reads.py does for many, without their table."""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.bitwise import ones
from simulator.core.coalescer import joins, remember
from simulator.core.compiled import called, small_function
from simulator.core.deliver import deliver
from simulator.core.dram import accesses_of, note_read
from simulator.core.dram_places import channel_group_of, line_at, places_of
from simulator.core.dram_steady import book_transfer, read_row
from simulator.core.l1 import l1_lookup
from simulator.core.l2 import arrives, cross
from simulator.core.layout import KERNEL_RUNS, SPLIT, STREAK, Int64Array
from simulator.core.ledger import note_crossing, note_fetch, note_server
from simulator.core.line_asks import LANES
from simulator.core.line_table import sectors_of
from simulator.core.mshr import admit_misses, fetch, take_mshr
from simulator.core.places import counters_at, kernel_at, near_partition, set_at, set_group_at, slice_at, slot_of
from simulator.core.plain_reads import is_plain, look_up, split_lanes, with_neighbours
from simulator.core.program import ADDRESS, EXTENT, GATHER, RECORD_WORDS, REST, THROUGH_L1, high, hint_of, low, op_of
from simulator.core.server import book
from simulator.core.state import Parameters


@small_function
def is_part_of_line(p: Parameters, program: Int64Array, record: int) -> bool:
    """Return whether a record is for `read_single` to read."""
    word = record * RECORD_WORDS
    rest, extent = program[word + REST], program[word + EXTENT]
    line_bytes = 1 << p.line_shift
    within = (program[word + ADDRESS] & (line_bytes - 1)) + low(extent) <= line_bytes
    one = (high(extent) == 1) & within & (rest & GATHER == 0)
    return one and is_plain(p, op_of(rest), hint_of(rest)) and p.group_lines > 1


@small_function
def fetch_steadily(
    m: Int64Array, p: Parameters, k: int, channel_group: int, access: int, lane: int, size: int, now: int
) -> int:
    """Do as `fetch` does for a line where DRAM is steady (see `DramParameters`) and a kernel has no runs."""
    q, counters = p.dram, counters_at(p, k)
    free = admit_misses(m, p, k, 1, now, 1)
    channel, bank, row, _ = line_at(q, lane, access)
    channel &= LANES
    gates, columns, record, _ = places_of(q, channel_group, bank, channel)
    count = accesses_of(q, size)
    column, burst = count * q.column_read_ps, count * q.burst_ps
    note_read(m, gates)
    ready = book_transfer(m, q, gates, columns, channel, column, burst, free)
    more = column - q.column_read_ps
    came, waited, opened, closed = read_row(m, q, gates, record, channel, row, more, 0, ready, free)
    came += q.latency_ps
    take_mshr(m, p, k, lane, size, free, came)
    conflict, opening = (waited, 0) if closed else (0, min(waited, q.t_rcd_ps))
    note_fetch(m, p, now, free, came, conflict, 0, opening)
    m[counters + counter.DRAM_READ_BYTES] += count << q.access_shift
    m[counters + counter.DRAM_BUSY_PS] += max(burst, q.activate_ps) if opened else burst
    m[counters + counter.ROW_HITS] += count - opened
    m[counters + counter.ROW_MISSES] += opened and not closed
    m[counters + counter.ROW_CONFLICTS] += closed
    return came


@small_function
def read_line(
    m: Int64Array, p: Parameters, k: int, near: int, home: int, group: int, slot: int, lane: int, mask: int, now: int
) -> int:
    """Do as `line_access` does for the sectors `mask` of a line, no whole group, that are read without a hint."""
    counters, set_group = counters_at(p, k), set_group_at(p, slot)
    if m[set_group + SPLIT] == 0:
        split_lanes(m, p, slot)
    m[set_group + STREAK + near] = 0
    place = set_at(p, lane, slot, near)
    way, missing, ready = look_up(m, p, k, near, group, place, lane, mask, now)
    copy, copied, crossing = place, way, 0
    if missing and near != home:
        crossing = missing
        m[set_group + STREAK + home] = 0
        place = set_at(p, lane, slot, home)
        way, missing, came = look_up(m, p, k, near, group, place, lane, crossing, now)
        ready = max(ready, came)
    m[counters + counter.READ_SECTOR_HITS] += ones(mask) - ones(missing)
    if missing:
        m[counters + counter.READ_SECTOR_MISSES] += ones(missing)
        if p.fetch_sectors > 1:
            missing = with_neighbours(m, p, place, way, missing)
        channel_group, access = channel_group_of(p.dram, group)
        size = ones(missing) << p.sector_shift
        if p.dram.steady and m[kernel_at(p, k) + KERNEL_RUNS] == 0:
            came = fetch_steadily(m, p, k, channel_group, access, lane, size, now)
        else:
            came = fetch(m, p, k, channel_group, access, lane, size, now)
        ready = max(ready, came)
        arrives(m, place, way, ready)
    if crossing:
        m[counters + counter.FAR_SECTORS] += ones(crossing)
        ready = note_crossing(m, p, ready, cross(m, p, k, near, ones(crossing) << p.sector_shift, now))
        arrives(m, copy, copied, ready)
    return ready


@called
def read_single(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, now: int
) -> tuple[int, int]:
    """Issue a record that reads part of one line; return as `read_lines`."""
    word = record * RECORD_WORDS
    address, through_l1 = program[word + ADDRESS], program[word + REST] & THROUGH_L1 != 0
    line, mask = address >> p.line_shift, sectors_of(p, address, low(program[word + EXTENT]))
    counters = counters_at(p, k)
    m[counters + counter.LINES] += 1
    m[scalar.ACCESSES] += 1
    m[scalar.MOVED] = m[scalar.COALESCED] = 0
    m[scalar.LOADED] = done = now
    loaded = 0
    if through_l1:
        loaded, mask = l1_lookup(m, p, k, sm, line, mask, now)
        m[scalar.LOADED] = m[loaded]
    size = ones(mask) << p.sector_shift
    m[scalar.MOVED] = size
    if mask and not (through_l1 and joins(m, p, sm, line, mask, size, loaded, now)):
        near, group, lane = near_partition(p, sm), address >> p.group_shift, line & (p.group_lines - 1) & LANES
        slot, home = slot_of(p, group)
        busy = counters + counter.SLICE_BUSY_TICKS
        done = book(m, slice_at(p, line, near), p.slice_ticks_per_kib, size, now, busy)
        note_server(m, counter.L2_BANDWIDTH, done)
        there = read_line(m, p, k, near, home, group, slot, lane, mask, now)
        done = max(done, there)
        if through_l1:
            remember(m, p, sm, line, mask, there)
            m[loaded] = m[scalar.LOADED] = max(m[loaded], there + p.l2_hit_ps)
    return deliver(m, p, program, k, sm, record, done, now)
