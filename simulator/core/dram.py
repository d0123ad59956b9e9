"""DRAM channels: where a group lies, which rows it opens, when its bytes have moved."""

from __future__ import annotations

import numpy as np

from simulator.core import counter
from simulator.core.compiled import inlined
from simulator.core.hashing import quotient_of, rotated
from simulator.core.state import TICKS_PER_PS, Parameters, State

WHOLE = -1
"""Lane number of an access to all lines of a group."""


@inlined
def open_rows(
    s: State, p: Parameters, k: int, bank: int, row: int, accesses: int, channels: int, lane: int
) -> tuple[int, int]:
    """Make `row` the open row of a bank in `channels` channels; return how many rows each channel has to open and
    how much later the first data come (ps).

    Each access is classified once, before its first command.  A kernel whose tiles are made of short runs of the
    tensor's own layout opens a row for each run, since by the time it comes back for the next one, others have used
    the bank.
    """
    opened = 1
    run = s.kernel_run_bytes[k]
    if lane == WHOLE and run > 0:
        opened = max(1, min((1 << p.group_shift) // (run << p.channel_shift), accesses >> p.channel_shift))
    elif s.open_row[bank] == row:
        opened = 0
    s.counters[k, counter.ROW_HITS] += accesses - opened * channels
    latency = 0
    if opened > 0:
        latency = p.t_rcd_ps
        if s.open_row[bank] < 0:
            s.counters[k, counter.ROW_MISSES] += opened * channels
        else:
            s.counters[k, counter.ROW_CONFLICTS] += opened * channels
            latency += p.t_rp_ps
        s.open_row[bank] = row
    return opened, latency


@inlined
def dram_place(p: Parameters, group: int, lane: int, size: int) -> tuple[int, int, int, int, int]:
    """Return where `size` bytes of a group lie: bank, row, first channel, number of channels, accesses to each.

    A whole group lies on all its channels; a part of one on the channel of its line.
    """
    quotient = quotient_of(group, p.channel_groups, p.channel_groups_inverse)
    channel_group = rotated(group, quotient, p.channel_groups)
    row = quotient >> p.row_shift
    bank = channel_group * p.banks + ((row ^ (row >> 5) ^ (row >> 10)) & (p.banks - 1))
    first = channel_group << p.channel_shift
    channels = p.group_channels
    share = size >> p.channel_shift
    if lane != WHOLE:
        first += (lane >> p.interleave_shift) & (channels - 1)
        channels = 1
        share = size
    accesses = (share + p.access_bytes - 1) >> p.access_shift
    return bank, row, first, channels, accesses


@inlined
def dram_read(s: State, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Fetch `size` bytes of a group into L2; return when they are there (ps).

    A whole group comes from all its channels at once; a part of one from the channel its line lies on.  A channel is
    done when its bus has moved the bytes and its banks have opened the rows.  Row state is kept per channel group and
    bank, since whole groups open the same row in all their channels.
    """
    bank, row, first, channels, accesses = dram_place(p, group, lane, size)
    opened, latency = open_rows(s, p, k, bank, row, accesses * channels, channels, lane)
    busy = (accesses * p.access_bytes * p.channel_ticks_per_kib + 1023) >> 10
    opening = opened * p.row_ticks
    start = now * TICKS_PER_PS
    end = start
    for channel in range(np.uint64(first), np.uint64(first + channels)):
        moved = max(s.channel_free[channel], start) + busy
        s.channel_free[channel] = moved
        rows_open = max(s.rows_free[channel], start) + opening
        s.rows_free[channel] = rows_open
        end = max(end, max(moved, rows_open))
    s.counters[k, counter.DRAM_READ_BYTES] += accesses * channels * p.access_bytes
    s.counters[k, counter.DRAM_BUSY_PS] += max(busy, opening) * channels // TICKS_PER_PS
    return end // TICKS_PER_PS + latency + p.dram_ps


@inlined
def dram_write(s: State, p: Parameters, k: int, group: int, lane: int, size: int, now: int) -> int:
    """Post `size` bytes of a group to DRAM; return when they will be there (ps), the queue before them drained.

    Writes wait in their channel until `write_drain_bytes` are pending and then go out together, paying the bus
    turnaround once.
    """
    bank, row, first, channels, accesses = dram_place(p, group, lane, size)
    opened, _ = open_rows(s, p, k, bank, row, accesses * channels, channels, lane)
    s.counters[k, counter.DRAM_WRITE_BYTES] += accesses * channels * p.access_bytes
    end = now * TICKS_PER_PS
    for channel in range(first, first + channels):
        s.rows_free[channel] = max(s.rows_free[channel], now * TICKS_PER_PS) + opened * p.row_ticks
        pending = s.pending_writes[channel] + accesses * p.access_bytes
        if pending >= p.write_drain_bytes:
            busy = ((pending * p.channel_ticks_per_kib + 1023) >> 10) + p.turnaround_ticks
            s.channel_free[channel] = max(s.channel_free[channel], now * TICKS_PER_PS) + busy
            s.counters[k, counter.DRAM_BUSY_PS] += busy // TICKS_PER_PS
            pending = 0
        s.pending_writes[channel] = pending
        end = max(end, s.channel_free[channel])
    return end // TICKS_PER_PS
