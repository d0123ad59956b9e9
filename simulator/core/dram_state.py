"""What the DRAM model keeps of each channel group, bank and queue, and the scalars it works with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.core.layout import Int64Array

NEVER = 1 << 62

FLOOR, SHIFT, LATEST, APART, GATE_WORDS = 0, 1, 2, 3, 4
"""A gate, see core/gates.py; the times of its lanes follow."""

BUS, COMMAND, ACTIVATE, FIRST_OF_BANK_GROUPS = 0, 1, 2, 3
"""Gates of a channel group: data bus, row command bus, activates; then per bank group its columns and activates."""

ROW, COLUMN_FROM, CLOSE_FROM, OLD_ROW, OLD_COLUMN_FROM, OLD_CLOSES, EPOCH, OWN, BANK_WORDS = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)
"""A bank: its open row (-1 none), when its next column command may come, when it may be precharged (with no row open:
activated), the row open before, when its next column command may come and when it is closed, and the refresh epoch the
open row was opened in.  The record of one lane holds if that lane has one of its `OWN`, else that of all lanes does;
the latter has in that word (`MIXED`) whether some lane has a record of its own."""

MIXED = OWN

DUE, LOST, EPOCHS, REFRESH_WORDS = 0, 1, 2, 4
"""A refresh unit: when it is next refreshed (work time, ps), wall time lost to refresh so far, refreshes so far."""

READS = -1
"""The word before a channel group's gates: its reads so far."""

HEAD, TAIL, PENDING, READS_BEFORE, QUEUE_HEADER = 0, 1, 2, 3, 8
"""A write queue: entries taken and put, the accesses they hold, and the reads of its channel group when it was last
drained."""


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
    activate_group_ps: int  # tRRD_L; 0: never binds
    precharge_command_ps: int  # row command bus taken
    activate_command_ps: int  # 0: the bus never binds
    command_shift: int  # channels that share a command bus
    activate_switch_ps: int  # that activates stand still when writes follow reads or reads writes
    turnaround_ps: int  # bus time lost to one batch of writes
    drain_from: int  # accesses waiting in a write queue when it is drained, and when that ends
    drain_to: int
    queue: int  # entries of a write queue, one per controller and one per channel group, a power of two
    closed_page: int  # 1: precharge after each access
    # refresh
    refresh_units: int  # per channel group: 1, or one for each bank
    refresh_period_ps: int  # tREFI less `refresh_lost_ps`
    refresh_lost_ps: int  # all-bank: the channel stands still so long
    refresh_shut_ps: int  # per-bank: the bank is shut so long
    steady: int = 0  # 1: rows stay open, no refresh at stated times, and only gates that all devices have bind
    # words of a gate, of all those of a channel group, and of the records of a bank: that of all lanes, and of each
    gate_words: int = 0
    group_words: int = 0
    bank_words: int = 0
    # where records of each kind begin in the state
    gates_at: int = 0
    bank_at: int = 0
    refresh_at: int = 0
    waiting_at: int = 0
    end: int = 0


def placed(p: DramParameters, start: int) -> DramParameters:
    """Return the scalars with the place of each kind of record in a state whose DRAM words begin at `start`."""
    gate_words = GATE_WORDS + p.group_channels
    group_words = 1 + (FIRST_OF_BANK_GROUPS + 2 * p.bank_groups) * gate_words
    bank_words = (1 + p.group_channels) * BANK_WORDS
    bank_at = start + -(-p.channel_groups * group_words // BANK_WORDS) * BANK_WORDS  # a record is one cache line
    refresh_at = bank_at + p.channel_groups * p.banks * bank_words
    waiting_at = refresh_at + p.channel_groups * p.refresh_units * REFRESH_WORDS
    return p._replace(
        steady=int(
            p.refresh_period_ps >= NEVER
            and p.refresh_lost_ps == p.activate_group_ps == p.activate_command_ps == p.closed_page == 0
        ),
        gate_words=gate_words,
        group_words=group_words,
        bank_words=bank_words,
        gates_at=start + 1,
        bank_at=bank_at,
        refresh_at=refresh_at,
        waiting_at=waiting_at,
        end=waiting_at + (p.channels + p.channel_groups) * (QUEUE_HEADER + p.queue),
    )


def fill_dram(words: Int64Array, p: DramParameters) -> None:
    """Write idle channels with all rows closed into a device's words, which are zero.

    Refreshes are spread evenly over the refresh interval, so that channel groups (or banks) take turns.
    """
    bank = words[p.bank_at : p.refresh_at].reshape(p.channel_groups, p.banks, 1 + p.group_channels, BANK_WORDS)
    bank[..., ROW] = bank[..., OLD_ROW] = -1
    refresh = words[p.refresh_at : p.waiting_at].reshape(p.channel_groups, p.refresh_units, REFRESH_WORDS)
    interval = p.refresh_period_ps + p.refresh_lost_ps
    turns = p.refresh_units if p.refresh_units > 1 else p.channel_groups
    due = interval // turns * np.arange(1, turns + 1, dtype=np.int64) if interval < NEVER else np.full(turns, NEVER)
    refresh[..., DUE] = due if p.refresh_units > 1 else due[:, None]
