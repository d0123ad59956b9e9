"""DRAM: what the commands of an access cost, and when its data are there.

Requests reserve what they need when they come and know at once when they are done.  A request is classified hit, miss
or conflict once, then books, as far as it needs them: the row command bus, an activate (tRRD, tFAW), its bank (tRP,
tRCD, tRAS, tRTP, tWR), a column command of its bank group (tCCD_L) and the data bus (tCCD_S).  Shared parts are gates
(core/gates.py), in which younger requests fill the gaps that others leave while they wait for their bank, and a row
that is still to be closed for a later conflict serves hits until then: together what a first-ready scheduler does.

Channels that share a line group take one step for all when a whole group is accessed: a bank has one record for all
lanes, which a lane departs from when a part of a group touches it alone, until the next whole access.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter
from simulator.core.compiled import called, small_function
from simulator.core.dram_places import WHOLE, gates_of, lane_of, line_at, locate, places_of, refresh_unit
from simulator.core.dram_refresh import clock_of, wall_time, work_time
from simulator.core.dram_state import (
    ACTIVATE,
    BANK_WORDS,
    BUS,
    CLOSE_FROM,
    COLUMN_FROM,
    COMMAND,
    EPOCH,
    MIXED,
    OLD_CLOSES,
    OLD_COLUMN_FROM,
    OLD_ROW,
    OWN,
    READS,
    ROW,
    DramParameters,
)
from simulator.core.gates import use_all, use_lane
from simulator.core.layout import KERNEL_RUN_GAP, KERNEL_RUNS, KERNEL_WORDS, Int64Array
from simulator.core.state import Parameters


@small_function
def use(m: Int64Array, gate: int, lane: int, lanes: int, now: int, cost: int) -> int:
    """Use a gate of a lane, or of all, for `cost`; return when it, or the last of them, can begin (ps)."""
    return use_all(m, gate, lanes, now, cost) if lane == WHOLE else use_lane(m, gate, lane, lanes, now, cost)


@small_function
def use_commands(m: Int64Array, p: DramParameters, gate: int, lane: int, now: int, rows: int, closing: bool) -> int:
    """Use the row command bus, which some lanes share, to open rows, after closing others or not; return as `use`."""
    cost = rows * (p.activate_command_ps + (p.precharge_command_ps if closing else 0))
    if lane != WHOLE:
        return use_lane(m, gate, lane >> p.command_shift, p.group_channels, now, cost)
    sharing = 1 << p.command_shift
    return use_all(m, gate, p.group_channels, now, cost * sharing) + cost * (sharing - 1)


@small_function
def own_record(m: Int64Array, record: int, lane: int) -> None:
    """Make the record of a bank at `record` a copy of that of all lanes, if the lane has none of its own."""
    if lane != WHOLE and m[record + OWN] == 0:
        shared = record - (1 + lane) * BANK_WORDS
        for word in range(OWN):
            m[record + word] = m[shared + word]
        m[record + OWN] = 1
        m[shared + MIXED] = 1


@small_function
def open_row(
    m: Int64Array,
    p: DramParameters,
    gates: int,
    columns: int,
    record: int,
    lane: int,
    rows: int,
    start: int,
    due: int,
    epoch: int,
    current: int,
    stands: bool,
) -> tuple[int, int, int]:
    """Activate a row of a bank, or `rows` one after the other, the one that `stands` open being closed before; return
    when the (last) activate goes out, how long refresh held it up (ps), and the bank's refreshes before it."""
    opens = use(m, gates + ACTIVATE * p.gate_words, lane, p.group_channels, start, rows * p.activate_ps)
    if p.activate_group_ps > 0:
        opens = max(opens, use(m, columns + p.gate_words, lane, p.group_channels, start, rows * p.activate_group_ps))
    closes = max(start, m[record + CLOSE_FROM])
    if p.activate_command_ps > 0:
        issued = use_commands(m, p, gates + COMMAND * p.gate_words, lane, start, rows, stands)
        opens = max(opens, issued)
        closes = max(closes, issued)
    shut = 0
    if stands:
        opens = max(opens, closes + p.t_rp_ps)
        m[record + OLD_ROW] = m[record + ROW]
        m[record + OLD_COLUMN_FROM] = m[record + COLUMN_FROM]
        m[record + OLD_CLOSES] = closes
    else:
        opens = max(opens, closes if m[record + ROW] < 0 else start)
        after = due if current > epoch else due - p.refresh_period_ps
        shut = max(0, after + p.refresh_shut_ps - opens)
        opens += shut
        m[record + OLD_ROW] = -1
    if opens >= due and current == epoch:
        shut += max(0, due + p.refresh_shut_ps - opens)
        opens = max(opens, due + p.refresh_shut_ps)
        current += 1
    return opens, shut, current


@called
def serve(
    m: Int64Array,
    p: DramParameters,
    counters: int,
    gates: int,
    columns: int,
    record: int,
    unit: int,
    lane: int,
    row: int,
    count: int,
    runs: int,
    now: int,
    write: bool,
) -> tuple[int, int, int, int, int]:
    """Make `count` consecutive accesses to a row, in one lane of a channel group or in all, whose gates, bank and
    refresh are where `places_of` says; return when the last one has been transferred and when the first left the
    controller's queue, for the bank or for the bus, and how long it waited for another row to be closed, for refresh
    and for its row to be opened (ps).

    `runs`: rows to open whatever is open (0: the row, if it is not).  The closed form for `count` is what single
    accesses one after the other come to, since tCCD_L is at least the transfer.
    """
    start, due, epoch = clock_of(m, p, unit, now)
    own_record(m, record, lane)
    channels = p.group_channels if lane == WHOLE else 1
    column = p.column_write_ps if write else p.column_read_ps
    more = (count - 1) * column
    busy = count * p.burst_ps
    ready = use(m, gates + BUS * p.gate_words, lane, p.group_channels, start, busy)
    ready = max(ready, use(m, columns, lane, p.group_channels, start, count * column))
    left = max(ready, m[record + COLUMN_FROM])
    current = epoch + (left >= due)
    stands = (m[record + ROW] >= 0) & (m[record + EPOCH] >= current)
    last = left + more
    waited = shut = 0
    if runs == 0 and stands and m[record + ROW] == row:
        m[record + COLUMN_FROM] = last + column
        m[record + CLOSE_FROM] = max(m[record + CLOSE_FROM], last + (p.write_recovery_ps if write else p.t_rtp_ps))
        m[counters + counter.ROW_HITS] += count * channels
    elif runs == 0 and m[record + OLD_ROW] == row and not write and in_time(m, p, record, ready, more, due):
        left = max(ready, m[record + OLD_COLUMN_FROM])
        last = left + more
        m[record + OLD_COLUMN_FROM] = last + column
        m[counters + counter.ROW_HITS] += count * channels
    else:
        rows = max(1, runs)
        left, shut, current = open_row(m, p, gates, columns, record, lane, rows, start, due, epoch, current, stands)
        begins = max(ready, left + (p.t_rcd_wr_ps if write else p.t_rcd_ps))
        shut = min(shut, begins - ready)
        waited = begins - ready - shut
        last = begins + more
        closes = max(left + p.t_ras_ps, last + (p.write_recovery_ps if write else p.t_rtp_ps))
        m[record + COLUMN_FROM] = last + column
        m[record + EPOCH] = current
        m[record + ROW] = row
        m[record + CLOSE_FROM] = closes
        if p.closed_page:
            m[record + ROW] = -1
            m[record + CLOSE_FROM] = closes + p.t_rp_ps
        busy = max(busy, rows * p.activate_ps)
        m[counters + counter.ROW_HITS] += (count - rows) * channels
        m[counters + (counter.ROW_CONFLICTS if stands else counter.ROW_MISSES)] += rows * channels
    m[counters + counter.DRAM_BUSY_PS] += busy * channels
    end = wall_time(m, p, unit, last + p.burst_ps)
    conflict = waited if stands else 0
    refreshed = shut + (end - now) - (last + p.burst_ps - start)
    opening = 0 if stands else min(waited, p.t_rcd_ps)
    return end, wall_time(m, p, unit, left), conflict, refreshed, opening


@small_function
def in_time(m: Int64Array, p: DramParameters, record: int, ready: int, more: int, due: int) -> bool:
    """Return whether reads that are `ready`, the last of them `more` later, still find the row open before."""
    last = max(ready, m[record + OLD_COLUMN_FROM]) + more
    return last + p.t_rtp_ps <= min(m[record + OLD_CLOSES], due)


@called
def serve_lanes(
    m: Int64Array,
    p: DramParameters,
    counters: int,
    group: int,
    bank: int,
    row: int,
    count: int,
    runs: int,
    now: int,
    write: bool,
) -> tuple[int, int, int, int]:
    """Make `count` accesses to a row in each lane, some of which have a record of the bank of their own; return as
    `serve_any`.  From then on the lanes share a record again, in which each time is that of
    the last of them."""
    gates, columns, shared, unit = places_of(p, group, bank, np.int64(WHOLE))
    for lane in range(p.group_channels):
        own_record(m, shared + (1 + lane) * BANK_WORDS, lane)  # before the shared one, which it may copy, changes
    end = now
    conflict = refreshed = opening = 0
    for lane in range(p.group_channels):
        record = shared + (1 + lane) * BANK_WORDS
        done, _, conflict, refreshed, opening = serve(
            m, p, counters, gates, columns, record, unit, lane, row, count, runs, now, write
        )
        end = max(end, done)
        m[shared + ROW] = m[record + ROW]
        for word in range(COLUMN_FROM, CLOSE_FROM + 1):
            m[shared + word] = max(m[shared + word], m[record + word])
        m[shared + EPOCH] = m[record + EPOCH] if lane == 0 else min(m[record + EPOCH], m[shared + EPOCH])
        m[record + OWN] = 0
    m[shared + OLD_ROW] = -1
    m[shared + MIXED] = 0
    return end, conflict, refreshed, opening


@small_function
def serve_any(
    m: Int64Array,
    p: DramParameters,
    counters: int,
    group: int,
    lane: int,
    bank: int,
    row: int,
    count: int,
    runs: int,
    now: int,
    write: bool,
) -> tuple[int, int, int, int]:
    """Make `count` accesses to a row in one lane of a channel group or in all; return when the last has been
    transferred and what it waited for, as `serve` does (ps)."""
    gates, columns, record, unit = places_of(p, group, bank, lane)
    if lane == WHOLE and m[record + MIXED]:
        return serve_lanes(m, p, counters, group, bank, row, count, runs, now, write)
    end, _, conflict, refreshed, opening = serve(
        m, p, counters, gates, columns, record, unit, lane, row, count, runs, now, write
    )
    return end, conflict, refreshed, opening


@small_function
def runs_of(m: Int64Array, p: Parameters, k: int, count: int) -> int:
    """Return how many rows a whole group opens in each channel whatever is open, 0 when its bytes lie as the tensor's.

    A kernel whose tiles are made of short runs of the tensor's own layout opens a row for each run, since by the time
    it comes back for the next one, others have used the bank.
    """
    return min(m[p.at.kernels + k * KERNEL_WORDS + KERNEL_RUNS], count)


@small_function
def accesses_of(p: DramParameters, size: int) -> int:
    """Return how many accesses `size` bytes in one channel take."""
    return (size + p.access_bytes - 1) >> p.access_shift


@small_function
def accesses_each(p: DramParameters, size: int) -> int:
    """Return how many accesses `size` bytes of a group take in each of its channels."""
    return accesses_of(p, size >> p.channel_shift)


@small_function
def extent_of(
    m: Int64Array, p: Parameters, k: int, access: int, lane: int, size: int
) -> tuple[int, int, int, int, int]:
    """Return where `size` bytes of a group lie whose first access in each channel is `access`: channel (WHOLE: all of
    them), the first access in each, their number, how many of them lie in one row, and the rows opened whatever is
    open: by the first line of a channel, as far as it has accesses, since the runs of a group open at one time."""
    q = p.dram
    if lane == WHOLE:
        count = accesses_each(q, size)
        return WHOLE, access, count, q.piece_accesses, runs_of(m, p, k, count)
    count = accesses_of(q, size)
    channel, offset = lane_of(q, lane)
    return channel, access + offset, count, count, runs_of(m, p, k, count) if offset == 0 else 0


@small_function
def note_read(m: Int64Array, gates: int) -> None:
    """Remember that a channel group has read: its next batch of writes turns the bus."""
    m[gates + READS] += 1


@small_function
def gap_of(m: Int64Array, p: Parameters, k: int) -> int:
    """Return how long the data bus stands still after the runs of a whole group (ps)."""
    kernel = p.at.kernels + k * KERNEL_WORDS
    return m[kernel + KERNEL_RUNS] * m[kernel + KERNEL_RUN_GAP]


@small_function
def leave_gaps(
    m: Int64Array, p: Parameters, gap: int, counters: int, gates: int, unit: int, channel: int, size: int, now: int
) -> None:
    """Let the data bus of a channel of a group, or of all (WHOLE), stand still after the runs of the `size` bytes read,
    for `gap` (ps) where they are a group; parts of a run count in proportion, so that a group takes as long in lines as
    whole."""
    if gap > 0:
        q = p.dram
        lost = gap * (size if channel == WHOLE else size * q.group_channels) >> p.group_shift
        bus = gates + BUS * q.gate_words
        use(m, bus, channel, q.group_channels, work_time(m, q, unit, now), lost)
        m[counters + counter.DRAM_BUSY_PS] += lost * (q.group_channels if channel == WHOLE else 1)


@called
def serve_pieces(
    m: Int64Array,
    p: DramParameters,
    counters: int,
    group: int,
    access: int,
    count: int,
    step: int,
    runs: int,
    now: int,
) -> tuple[int, int, int, int]:
    """Make `count` reads in each channel of a group, `step` of which lie in one row; return as `serve_any`."""
    end = now
    conflict = refreshed = opening = 0
    while count > 0:
        bank, row = locate(p, access)
        piece = min(count, step)
        lane, few = np.int64(WHOLE), min(runs, piece)
        done, conflict, refreshed, opening = serve_any(m, p, counters, group, lane, bank, row, piece, few, now, False)
        end = max(end, done)
        access += step
        count -= step
    return end, conflict, refreshed, opening


@small_function
def read_group(
    m: Int64Array, p: Parameters, k: int, channel_group: int, access: int, size: int, now: int
) -> tuple[int, int, int, int]:
    """Fetch `size` bytes of a group, which `channel_group_of` places, into L2, from all its channels; return when they
    are there and what they waited for, as `serve` does (ps)."""
    q = p.dram
    counters = p.at.counters + k * counter.COUNT
    lane = np.int64(WHOLE)
    _, _, count, step, runs = extent_of(m, p, k, access, lane, size)
    gates, unit = gates_of(q, channel_group), refresh_unit(q, channel_group, 0)
    note_read(m, gates)
    m[counters + counter.DRAM_READ_BYTES] += (count * q.group_channels) << q.access_shift
    leave_gaps(m, p, gap_of(m, p, k), counters, gates, unit, lane, size, now)
    if count > step:
        end, conflict, refreshed, opening = serve_pieces(m, q, counters, channel_group, access, count, step, runs, now)
    else:
        bank, row = locate(q, access)
        end, conflict, refreshed, opening = serve_any(
            m, q, counters, channel_group, lane, bank, row, count, runs, now, False
        )
    return end + q.latency_ps, conflict, refreshed, opening


@called
def dram_read(
    m: Int64Array, p: Parameters, k: int, channel_group: int, access: int, lane: int, size: int, now: int
) -> tuple[int, int, int, int]:
    """Do as `read_group` does for all of a group (`lane` WHOLE), or one of its lines."""
    if lane == WHOLE:
        return read_group(m, p, k, channel_group, access, size, now)
    q = p.dram
    counters = p.at.counters + k * counter.COUNT
    channel, bank, row, first = line_at(q, lane, access)
    count = accesses_of(q, size)
    runs = runs_of(m, p, k, count) if first else 0
    gates, unit = gates_of(q, channel_group), refresh_unit(q, channel_group, 0)
    note_read(m, gates)
    m[counters + counter.DRAM_READ_BYTES] += count << q.access_shift
    leave_gaps(m, p, gap_of(m, p, k), counters, gates, unit, channel, size, now)
    end, conflict, refreshed, opening = serve_any(
        m, q, counters, channel_group, channel, bank, row, count, runs, now, False
    )
    return end + q.latency_ps, conflict, refreshed, opening
