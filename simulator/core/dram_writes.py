"""Writes to DRAM: they wait in queues and go out in batches."""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import called, small_function
from simulator.core.dram import (
    extent_of,
    own_record,
    serve_any,
    use,
)
from simulator.core.dram_places import WHOLE, bank_place, channel_group_of, gates_of, locate, queue_of, refresh_unit
from simulator.core.dram_refresh import work_time
from simulator.core.dram_state import (
    ACTIVATE,
    BUS,
    CLOSE_FROM,
    COMMAND,
    HEAD,
    NEVER,
    PENDING,
    QUEUE_HEADER,
    READS,
    READS_BEFORE,
    ROW,
    TAIL,
    DramParameters,
)
from simulator.core.gates import use_lane
from simulator.core.layout import Int64Array
from simulator.core.state import Parameters

COUNT_BITS = 10
"""A waiting write is one integer: row x banks + bank, rows to open whatever is open, accesses."""


@called
def dram_write(m: Int64Array, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Post `size` bytes of a group to DRAM; return when a controller that sends what waits will have done so (ps).

    Writes wait in a queue of their channel (whole groups: of their channel group) and go out in batches.
    """
    q = p.dram
    counters = p.at.counters + k * counter.COUNT
    channel_group, access = channel_group_of(q, group)
    channel, access, count, step, runs = extent_of(m, p, k, access, lane, size)
    m[counters + counter.DRAM_WRITE_BYTES] += (count * (q.group_channels if lane == WHOLE else 1)) << q.access_shift
    end = now
    while count > 0:
        bank, row = locate(q, access)
        piece = min(count, step)
        place = row * q.banks + bank
        end = max(end, post(m, q, counters, channel_group, channel, place, piece, min(runs, piece), now))
        access += step
        count -= step
    return end


@called
def post(
    m: Int64Array,
    p: DramParameters,
    counters: int,
    group: int,
    lane: int,
    place: int,
    count: int,
    runs: int,
    now: int,
) -> int:
    """Put `count` writes to a row into a write queue, and drain it if it is full; return when they are through, or
    `now` while they wait (ps)."""
    queue = queue_of(p, group, lane)
    tail = m[queue + TAIL]
    within = 0 if lane == WHOLE else lane & ((1 << p.command_shift) - 1)
    entry = (((place << p.command_shift) + within) << (2 * COUNT_BITS)) + (runs << COUNT_BITS) + count
    m[queue + QUEUE_HEADER + (tail & (p.queue - 1))] = entry
    m[queue + TAIL] = tail + 1
    m[queue + PENDING] += count << p.command_shift if lane == WHOLE else count
    if m[queue + PENDING] >= p.drain_from or tail + 1 - m[queue + HEAD] == p.queue:
        done = drain(m, p, counters, group, lane, now)
        m[counters + counter.WRITE_QUEUE_FULL_PS] += done - now
        return done
    return now


@called
def drain(m: Int64Array, p: DramParameters, counters: int, group: int, lane: int, now: int) -> int:
    """Send waiting writes until few are left; return when the last has been transferred (ps).

    The data bus is turned around once for all of them, or not at all where the channel group has read nothing since it
    last wrote.  Writes whose bank is ready when their turn comes go first, oldest first, then the others.
    """
    queue = queue_of(p, group, lane)
    gates = gates_of(p, group)
    start = work_time(m, p, refresh_unit(p, group, 0), now)
    first = lane if lane == WHOLE else lane >> p.command_shift << p.command_shift
    lanes = 1 if lane == WHOLE else 1 << p.command_shift
    reads = m[gates + READS]
    turns = reads != m[queue + READS_BEFORE]
    m[queue + READS_BEFORE] = reads
    turn = start
    if turns:
        for each in range(first, first + lanes):
            use(m, gates + BUS * p.gate_words, each, p.group_channels, start, p.turnaround_ps)
        m[counters + counter.DRAM_BUSY_PS] += p.turnaround_ps * (p.group_channels if lane == WHOLE else lanes)
        turn = turn_of(m, p, gates, first, lanes, start)
    end = now
    for until in (turn, NEVER):
        kept = m[queue + HEAD]
        for number in range(m[queue + HEAD], m[queue + TAIL]):
            entry = m[queue + QUEUE_HEADER + (number & (p.queue - 1))]
            count = entry & ((1 << COUNT_BITS) - 1)
            runs = (entry >> COUNT_BITS) & ((1 << COUNT_BITS) - 1)
            each = first + ((entry >> (2 * COUNT_BITS)) & (lanes - 1))
            place = entry >> (2 * COUNT_BITS + p.command_shift)
            row = place // p.banks
            bank = place - row * p.banks
            record = bank_place(p, group, bank, each)
            own_record(m, record, each)
            if m[queue + PENDING] > p.drain_to and (m[record + CLOSE_FROM] <= until or m[record + ROW] == row):
                m[queue + PENDING] -= count << p.command_shift if lane == WHOLE else count
                done, _, _, _ = serve_any(m, p, counters, group, each, bank, row, count, runs, now, True)
                end = max(end, done)
            else:
                m[queue + QUEUE_HEADER + (kept & (p.queue - 1))] = entry
                kept += 1
        m[queue + TAIL] = kept
    if turns:
        turn_of(m, p, gates, first, lanes, start)
    return end


@small_function
def turn_of(m: Int64Array, p: DramParameters, gates: int, first: int, lanes: int, now: int) -> int:
    """Let a controller change between reads and writes; return when it has sent the row commands before that (ps).

    The channels of a controller change together.  Rows of the other kind have to be closed first, so that activates
    stand still for a while.
    """
    turn = now
    for each in range(first, first + lanes):
        turn = max(turn, use(m, gates + ACTIVATE * p.gate_words, each, p.group_channels, now, 0))
    if p.activate_command_ps > 0 and first != WHOLE:
        turn = max(
            turn, use_lane(m, gates + COMMAND * p.gate_words, first >> p.command_shift, p.group_channels, now, 0)
        )
    if p.activate_command_ps > 0 and first != WHOLE:
        use_lane(m, gates + COMMAND * p.gate_words, first >> p.command_shift, p.group_channels, turn, 0)
    for each in range(first, first + lanes):
        use(m, gates + ACTIVATE * p.gate_words, each, p.group_channels, turn, p.activate_switch_ps)
    return turn
