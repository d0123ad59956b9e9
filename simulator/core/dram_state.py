"""What the DRAM model keeps of each channel group, bank and queue, and the scalars it works with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

NEVER = 1 << 62

BUS, COMMAND, ACTIVATE, FIRST_OF_BANK_GROUPS = 0, 1, 2, 3
"""Gates of a channel group: data bus, row command bus, activates; then per bank group its columns and activates."""

ROW, COLUMN_FROM, CLOSE_FROM, OLD_ROW, OLD_CLOSES, EPOCH, STAMP, MIXED, BANK_WORDS = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""A bank: its open row (-1 none), when its next column command may come, when it may be precharged (with no row open:
activated), the row open before and when that is closed, and the refresh epoch its row was opened in.  Stamp and mixed:
the record of one lane holds while its stamp is that of the record all lanes share, and that is mixed while some lane
has a record of its own."""

DUE, LOST, EPOCHS, REFRESH_WORDS = 0, 1, 2, 4
"""A refresh unit: when it is next refreshed (work time, ps), wall time lost to refresh so far, refreshes so far."""

HEAD, TAIL, PENDING, QUEUE_HEADER = 0, 1, 2, 4
"""A write queue: entries taken and put, and the accesses they hold."""


class DramParameters(NamedTuple):
    """Every scalar of the DRAM model.  Times in ps; shifts and bits are log2."""

    channels: int
    group_channels: int  # channels the lines of a group are spread over, a power of two
    channel_shift: int
    channel_groups: int
    channel_groups_inverse: float
    chunk_line_shift: int  # lines of a chunk, the consecutive bytes on one channel
    chunk_access_shift: int  # accesses of a chunk
    chunks_shift: int  # chunks of a line group on each of its channels
    access_bytes: int  # least transfer
    access_shift: int
    line_access_shift: int  # accesses of a line
    piece_accesses: int  # of a line group in a channel that lie in one row
    # where an access lies, from its number within the channel
    banks: int
    bank_groups: int
    group_bit: int
    group_bits: int
    bank_bit: int
    bank_mask: int  # of a bank within its bank group
    row_bit: int
    row_mask: int
    hash_first: int  # the bank is xored with the row shifted by each of these; 63: not
    hash_second: int
    # timing
    latency_ps: int  # column command to data in L2, controller and tCL included, without the transfer
    burst_ps: int
    column_read_ps: int  # tCCD_L
    column_write_ps: int
    t_rcd_ps: int
    t_rcd_wr_ps: int
    t_rp_ps: int
    t_ras_ps: int
    t_rtp_ps: int
    write_recovery_ps: int  # write column command to precharge: tCWL + burst + tWR
    activate_ps: int  # least mean time between activates of a channel
    activate_group_ps: int  # tRRD_L
    precharge_command_ps: int  # row command bus taken
    activate_command_ps: int
    command_shift: int  # channels that share a command bus
    turnaround_ps: int  # bus time lost to one batch of writes
    drain_from: int  # accesses waiting in a write queue when it is drained, and when that ends
    drain_to: int
    queue: int  # entries of a write queue, a power of two
    closed_page: int  # 1: precharge after each access
    # refresh
    refresh_units: int  # per channel group: 1, or one for each bank
    refresh_period_ps: int  # tREFI less `refresh_lost_ps`
    refresh_lost_ps: int  # all-bank: the channel stands still so long
    refresh_shut_ps: int  # per-bank: the bank is shut so long


class DramState(NamedTuple):
    """Arrays of the DRAM model, in lane-last order so that the channels of a group lie together."""

    gate: Int64Array  # (channel group, gate, GATE_WORDS), see core/gates.py
    lane: Int64Array  # (channel group, gate, lane)
    bank: Int64Array  # (channel group, bank, 1 + lanes, BANK_WORDS): the record all lanes share, then those of each
    refresh: Int64Array  # (channel group, unit, REFRESH_WORDS)
    waiting: Int64Array  # (write queue, QUEUE_HEADER + entries): a queue per channel, then one per channel group


def gates_of(p: DramParameters) -> int:
    """Return the number of gates of a channel group."""
    return FIRST_OF_BANK_GROUPS + 2 * p.bank_groups


def new_dram(p: DramParameters) -> DramState:
    """Return the state of idle channels with all rows closed.

    Refreshes are spread evenly over the refresh period, so that channel groups (or banks) take turns.
    """
    gates = gates_of(p)
    bank = np.zeros((p.channel_groups, p.banks, 1 + p.group_channels, BANK_WORDS), np.int64)
    bank[..., ROW] = bank[..., OLD_ROW] = -1
    bank[:, :, 1:, STAMP] = -1
    refresh = np.zeros((p.channel_groups, p.refresh_units, REFRESH_WORDS), np.int64)
    interval = p.refresh_period_ps + p.refresh_lost_ps
    units = p.refresh_units if p.refresh_units > 1 else p.channel_groups
    turn = np.arange(1, units + 1, dtype=np.int64)
    due = turn * (interval // units) if interval < NEVER else np.full(units, NEVER, np.int64)
    due[-1] = interval
    refresh[..., DUE] = due if p.refresh_units > 1 else due[:, None]
    return DramState(
        gate=np.zeros(p.channel_groups * gates * 4, np.int64),
        lane=np.zeros(p.channel_groups * gates * p.group_channels, np.int64),
        bank=bank.reshape(-1),
        refresh=refresh.reshape(-1),
        waiting=np.zeros((p.channels + p.channel_groups) * (QUEUE_HEADER + p.queue), np.int64),
    )
