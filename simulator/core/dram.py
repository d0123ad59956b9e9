"""DRAM: which channel, bank and row an access falls on, what its commands cost, and when its data are there.

Requests reserve what they need when they come and know at once when they are done.  A request is classified hit, miss
or conflict once, then books, as far as it needs them: the row command bus, an activate (tRRD, tFAW), its bank (tRP,
tRCD, tRAS, tRTP, tWR), a column command of its bank group (tCCD_L) and the data bus (tCCD_S).  Shared parts are gates
(core/gates.py), in which younger requests fill the gaps that others leave while they wait for their bank, and a row
that is still to be closed for a later conflict serves hits until then: together what a first-ready scheduler does.

Channels that share a line group take one step for all when a whole group is accessed: a bank has one record for all
lanes, which a lane departs from when a part of a group touches it alone, until the next whole access.
"""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import compiled, inlined
from simulator.core.dram_state import (
    ACTIVATE,
    BANK_WORDS,
    BUS,
    CLOSE_FROM,
    COLUMN_FROM,
    COMMAND,
    DUE,
    EPOCH,
    EPOCHS,
    FIRST_OF_BANK_GROUPS,
    HEAD,
    LOST,
    MIXED,
    OLD_CLOSES,
    OLD_ROW,
    PENDING,
    QUEUE_HEADER,
    REFRESH_WORDS,
    ROW,
    STAMP,
    TAIL,
    DramParameters,
    DramState,
)
from simulator.core.gates import use_all, use_lane
from simulator.core.hashing import quotient_of, rotated
from simulator.core.state import Parameters, State

WHOLE = -1
"""Lane number of an access to all lines of a group."""

COUNT_BITS = 12
"""A waiting write is one integer: (row x banks + bank) << 12 + accesses."""


@inlined
def locate(p: DramParameters, access: int) -> tuple[int, int]:
    """Return bank and row of an access, given its number within the channel."""
    row = (access >> p.row_bit) & p.row_mask
    bank = ((access >> p.bank_bit) & p.bank_mask) << p.group_bits | ((access >> p.group_bit) & (p.bank_groups - 1))
    return (bank ^ (row >> p.hash_first) ^ (row >> p.hash_second)) & (p.banks - 1), row


@inlined
def channel_group_of(p: DramParameters, group: int) -> tuple[int, int]:
    """Return the channel group of a line group, and the number of the group's first access in each channel."""
    quotient = quotient_of(group, p.channel_groups, p.channel_groups_inverse)
    return rotated(group, quotient, p.channel_groups), quotient << (p.chunks_shift + p.chunk_access_shift)


@inlined
def lane_of(p: DramParameters, line: int) -> tuple[int, int]:
    """Return the channel of a line within its channel group, and its first access counted from the group's first."""
    chunk = line >> p.chunk_line_shift
    within = (line & ((1 << p.chunk_line_shift) - 1)) << p.line_access_shift
    return chunk & (p.group_channels - 1), ((chunk >> p.channel_shift) << p.chunk_access_shift) + within


@inlined
def work_time(d: DramState, p: DramParameters, unit: int, now: int) -> int:
    """Carry out the refreshes of a unit that are due; return `now` on the clock that stands still during all-bank
    refresh (ps)."""
    due = d.refresh[unit + DUE]
    lost = d.refresh[unit + LOST]
    if now - lost >= due:
        passed = (now - lost - due) // (p.refresh_period_ps + p.refresh_lost_ps) + 1
        due += passed * p.refresh_period_ps
        lost += passed * p.refresh_lost_ps
        d.refresh[unit + DUE] = due
        d.refresh[unit + LOST] = lost
        d.refresh[unit + EPOCHS] += passed
    return max(now - lost, due - p.refresh_period_ps)


@inlined
def wall_time(d: DramState, p: DramParameters, unit: int, time: int) -> int:
    """Return a time of the clock of `work_time` as simulated time (ps)."""
    wall = time + d.refresh[unit + LOST]
    if p.refresh_lost_ps > 0 and time >= d.refresh[unit + DUE]:
        wall += ((time - d.refresh[unit + DUE]) // p.refresh_period_ps + 1) * p.refresh_lost_ps
    return wall


@inlined
def depart(d: DramState, shared: int, record: int) -> None:
    """Give a lane its own record of a bank, if it has none."""
    if d.bank[record + STAMP] != d.bank[shared + STAMP]:
        for word in range(STAMP):
            d.bank[record + word] = d.bank[shared + word]
        d.bank[record + STAMP] = d.bank[shared + STAMP]
        d.bank[shared + MIXED] = 1


@inlined
def serve(
    s: State,
    p: DramParameters,
    k: int,
    group: int,
    lane: int,
    bank: int,
    row: int,
    count: int,
    runs: int,
    now: int,
    write: bool,
) -> tuple[int, int]:
    """Make `count` consecutive accesses to a row, in one lane of a channel group or in all; return when the last one
    has been transferred and when the first left the controller's queue, for the bank or for the bus (ps).

    `runs`: rows to open whatever is open (0: the row, if it is not).  The closed form for `count` is what single
    accesses one after the other come to, since tCCD_L is at least the transfer.
    """
    d = s.dram
    unit = (group * p.refresh_units + (bank if p.refresh_units > 1 else 0)) * REFRESH_WORDS
    start = work_time(d, p, unit, now)
    due = d.refresh[unit + DUE]
    epoch = d.refresh[unit + EPOCHS]
    gate = group * (FIRST_OF_BANK_GROUPS + 2 * p.bank_groups)
    columns = gate + FIRST_OF_BANK_GROUPS + 2 * (bank & (p.bank_groups - 1))
    shared = (group * p.banks + bank) * (1 + p.group_channels) * BANK_WORDS
    record = shared + (1 + lane) * BANK_WORDS
    column = p.column_write_ps if write else p.column_read_ps
    channels = 1
    if lane == WHOLE:
        channels = p.group_channels
        ready = use_all(d, gate + BUS, start, count * p.burst_ps)
        ready = max(ready, use_all(d, columns, start, count * column))
    else:
        depart(d, shared, record)
        ready = use_lane(d, gate + BUS, (gate + BUS) * p.group_channels + lane, start, count * p.burst_ps)
        ready = max(ready, use_lane(d, columns, columns * p.group_channels + lane, start, count * column))
    held = d.bank[record + ROW]
    first = max(ready, d.bank[record + COLUMN_FROM])
    current = epoch + 1 if first >= due else epoch
    stands = held >= 0 and d.bank[record + EPOCH] >= current
    hits = count * channels
    left = first
    last = first + (count - 1) * column
    if stands and held == row and runs == 0:
        d.bank[record + COLUMN_FROM] = last + column
        d.bank[record + CLOSE_FROM] = max(
            d.bank[record + CLOSE_FROM], last + (p.write_recovery_ps if write else p.t_rtp_ps)
        )
    elif (
        d.bank[record + OLD_ROW] == row
        and runs == 0
        and not write
        and ready < due
        and ready + (count - 1) * column + p.t_rtp_ps <= d.bank[record + OLD_CLOSES]
    ):
        left = ready
        last = ready + (count - 1) * column
    else:
        rows = max(1, runs)
        hits -= rows * channels
        command = rows * (p.activate_command_ps + (p.precharge_command_ps if stands else 0))
        activates = columns + 1
        if lane == WHOLE:
            sharing = 1 << p.command_shift
            slot = use_all(d, gate + COMMAND, start, command * sharing) + command * (sharing - 1)
            opens = use_all(d, gate + ACTIVATE, start, rows * p.activate_ps)
            opens = max(opens, use_all(d, activates, start, rows * p.activate_group_ps))
        else:
            place = (gate + COMMAND) * p.group_channels + (lane >> p.command_shift)
            slot = use_lane(d, gate + COMMAND, place, start, command)
            place = (gate + ACTIVATE) * p.group_channels + lane
            opens = use_lane(d, gate + ACTIVATE, place, start, rows * p.activate_ps)
            place = activates * p.group_channels + lane
            opens = max(opens, use_lane(d, activates, place, start, rows * p.activate_group_ps))
        opens = max(opens, max(start, slot))
        shut = due + p.refresh_shut_ps if current > epoch else due - p.refresh_period_ps + p.refresh_shut_ps
        if stands:
            closes = max(max(start, slot), d.bank[record + CLOSE_FROM])
            opens = max(opens, closes + p.t_rp_ps)
            d.bank[record + OLD_ROW] = held
            d.bank[record + OLD_CLOSES] = closes
            s.counters[k, counter.ROW_CONFLICTS] += rows * channels
        else:
            opens = max(opens, shut)
            if held < 0:
                opens = max(opens, d.bank[record + CLOSE_FROM])
            d.bank[record + OLD_ROW] = -1
            s.counters[k, counter.ROW_MISSES] += rows * channels
        if opens >= due and current == epoch:
            opens = max(opens, due + p.refresh_shut_ps)
            current += 1
        left = opens
        first = max(ready, opens + (p.t_rcd_wr_ps if write else p.t_rcd_ps))
        last = first + (count - 1) * column
        closes = max(opens + p.t_ras_ps, last + (p.write_recovery_ps if write else p.t_rtp_ps))
        d.bank[record + ROW] = row
        d.bank[record + EPOCH] = current
        if p.closed_page:
            d.bank[record + ROW] = -1
            closes += p.t_rp_ps
        d.bank[record + COLUMN_FROM] = last + column
        d.bank[record + CLOSE_FROM] = closes
        s.counters[k, counter.DRAM_BUSY_PS] += max(0, rows * p.activate_ps - count * p.burst_ps) * channels
    s.counters[k, counter.ROW_HITS] += hits
    s.counters[k, counter.DRAM_BUSY_PS] += count * p.burst_ps * channels
    return wall_time(d, p, unit, last + p.burst_ps), wall_time(d, p, unit, left)


@compiled
def serve_lanes(
    s: State, p: DramParameters, k: int, group: int, bank: int, row: int, count: int, runs: int, now: int, write: bool
) -> int:
    """Make `count` accesses to a row in each lane, some of which have a record of the bank of their own; return when
    the last has been transferred (ps).  From then on the lanes share a record again, in which each time is that of
    the last of them."""
    d = s.dram
    shared = (group * p.banks + bank) * (1 + p.group_channels) * BANK_WORDS
    end = now
    for lane in range(p.group_channels):
        done, _ = serve(s, p, k, group, lane, bank, row, count, runs, now, write)
        end = max(end, done)
        record = shared + (1 + lane) * BANK_WORDS
        d.bank[shared + ROW] = d.bank[record + ROW]
        for word in range(COLUMN_FROM, CLOSE_FROM + 1):
            d.bank[shared + word] = max(d.bank[shared + word], d.bank[record + word])
        epoch = d.bank[record + EPOCH]
        d.bank[shared + EPOCH] = epoch if lane == 0 else min(epoch, d.bank[shared + EPOCH])
    d.bank[shared + OLD_ROW] = -1
    d.bank[shared + STAMP] += 1
    d.bank[shared + MIXED] = 0
    return end


@inlined
def serve_any(
    s: State,
    p: DramParameters,
    k: int,
    group: int,
    lane: int,
    bank: int,
    row: int,
    count: int,
    runs: int,
    now: int,
    write: bool,
) -> tuple[int, int]:
    """Make `count` accesses to a row in a lane, or in all lanes whether they differ or not; return as `serve`."""
    shared = (group * p.banks + bank) * (1 + p.group_channels) * BANK_WORDS
    if lane == WHOLE and s.dram.bank[shared + MIXED]:
        end = serve_lanes(s, p, k, group, bank, row, count, runs, now, write)
        left = end
    else:
        end, left = serve(s, p, k, group, lane, bank, row, count, runs, now, write)
    return end, left


@inlined
def runs_of(s: State, p: Parameters, k: int, count: int) -> int:
    """Return how many rows a whole group opens in each channel whatever is open, 0 when its bytes lie as the tensor's.

    A kernel whose tiles are made of short runs of the tensor's own layout opens a row for each run, since by the time
    it comes back for the next one, others have used the bank.
    """
    run = s.kernel_run_bytes[k]
    rows = 0
    if run > 0:
        rows = max(1, min((1 << p.group_shift) // (run << p.dram.channel_shift), count))
    return rows


@inlined
def dram_read(s: State, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Fetch `size` bytes of a group into L2, from all its channels (`lane` WHOLE) or that of one of its lines; return
    when they are there (ps)."""
    q = p.dram
    channel_group, access = channel_group_of(q, group)
    if lane == WHOLE:
        count = ((size >> q.channel_shift) + q.access_bytes - 1) >> q.access_shift
        runs = runs_of(s, p, k, count)
        end = now
        moved = count * q.group_channels
        while count > 0:
            bank, row = locate(q, access)
            piece = min(count, q.piece_accesses)
            done, _ = serve_any(s, q, k, channel_group, WHOLE, bank, row, piece, min(runs, piece), now, False)
            end = max(end, done)
            access += q.piece_accesses
            count -= q.piece_accesses
    else:
        moved = (size + q.access_bytes - 1) >> q.access_shift
        channel, offset = lane_of(q, lane)
        bank, row = locate(q, access + offset)
        end, _ = serve(s, q, k, channel_group, channel, bank, row, moved, 0, now, False)
    s.counters[k, counter.DRAM_READ_BYTES] += moved << q.access_shift
    return end + q.latency_ps


@inlined
def dram_write(s: State, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> None:
    """Post `size` bytes of a group to DRAM; nobody waits for them.

    Writes wait in a queue of their channel (whole groups: of their channel group) and go out in batches.
    """
    q = p.dram
    channel_group, access = channel_group_of(q, group)
    if lane == WHOLE:
        count = ((size >> q.channel_shift) + q.access_bytes - 1) >> q.access_shift
        s.counters[k, counter.DRAM_WRITE_BYTES] += (count * q.group_channels) << q.access_shift
        while count > 0:
            bank, row = locate(q, access)
            piece = min(count, q.piece_accesses)
            post(s, p, k, channel_group, WHOLE, row * q.banks + bank, piece, now)
            access += q.piece_accesses
            count -= q.piece_accesses
    else:
        count = (size + q.access_bytes - 1) >> q.access_shift
        s.counters[k, counter.DRAM_WRITE_BYTES] += count << q.access_shift
        channel, offset = lane_of(q, lane)
        bank, row = locate(q, access + offset)
        post(s, p, k, channel_group, channel, row * q.banks + bank, count, now)


@inlined
def queue_of(p: DramParameters, group: int, lane: int) -> int:
    """Return where the write queue of a lane, or of a whole channel group, begins."""
    queue = p.channels + group if lane == WHOLE else group * p.group_channels + lane
    return queue * (QUEUE_HEADER + p.queue)


@inlined
def post(s: State, p: Parameters, k: int, group: int, lane: int, place: int, count: int, now: int) -> None:
    """Put `count` writes to a row into a write queue, and drain it if it is full."""
    w = s.dram.waiting
    queue = queue_of(p.dram, group, lane)
    tail = w[queue + TAIL]
    w[queue + QUEUE_HEADER + (tail & (p.dram.queue - 1))] = (place << COUNT_BITS) + count
    w[queue + TAIL] = tail + 1
    w[queue + PENDING] += count
    if w[queue + PENDING] >= p.dram.drain_from or tail + 1 - w[queue + HEAD] == p.dram.queue:
        drain(s, p, k, group, lane, now)


@compiled
def drain(s: State, p: Parameters, k: int, group: int, lane: int, now: int) -> None:
    """Send the oldest waiting writes until few are left, turning the data bus around once for all of them."""
    q = p.dram
    w = s.dram.waiting
    queue = queue_of(q, group, lane)
    gate = group * (FIRST_OF_BANK_GROUPS + 2 * q.bank_groups) + BUS
    unit = group * q.refresh_units * REFRESH_WORDS
    start = work_time(s.dram, q, unit, now)
    if lane == WHOLE:
        use_all(s.dram, gate, start, q.turnaround_ps)
        s.counters[k, counter.DRAM_BUSY_PS] += q.turnaround_ps * q.group_channels
    else:
        use_lane(s.dram, gate, gate * q.group_channels + lane, start, q.turnaround_ps)
        s.counters[k, counter.DRAM_BUSY_PS] += q.turnaround_ps
    while w[queue + PENDING] > q.drain_to:
        entry = w[queue + QUEUE_HEADER + (w[queue + HEAD] & (q.queue - 1))]
        count = entry & ((1 << COUNT_BITS) - 1)
        place = entry >> COUNT_BITS
        w[queue + HEAD] += 1
        w[queue + PENDING] -= count
        runs = runs_of(s, p, k, count) if lane == WHOLE else 0
        serve_any(s, q, k, group, lane, place & (q.banks - 1), place // q.banks, count, runs, now, True)
