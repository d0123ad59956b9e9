"""Which channel, bank and row of DRAM an access falls on, and where their records are."""

from __future__ import annotations

from simulator.core.bitwise import LOW
from simulator.core.compiled import small_function
from simulator.core.dram_state import BANK_WORDS, FIRST_OF_BANK_GROUPS, QUEUE_HEADER, REFRESH_WORDS, DramParameters
from simulator.core.hashing import dealt

WHOLE = -1
"""Lane number of an access to all lines of a group."""


@small_function
def locate(p: DramParameters, access: int) -> tuple[int, int]:
    """Return bank and row of an access, given its number within the channel."""
    row = (access >> p.row_bit) & p.row_mask
    bank = ((access >> p.bank_bit) & p.bank_mask) << p.group_bits | ((access >> p.group_bit) & (p.bank_groups - 1))
    return (bank ^ (row >> p.hash_first) ^ (row >> p.hash_second)) & (p.banks - 1), row


@small_function
def access_of(p: DramParameters, lap: int) -> int:
    """Return the number of the first access, in each channel, of the groups of a lap: one of each channel group."""
    return lap << (p.chunks_shift + p.chunk_access_shift)


@small_function
def channel_group_of(p: DramParameters, group: int) -> tuple[int, int]:
    """Return the channel group of a line group, and the number of the group's first access in each channel."""
    quotient, slot = dealt(group, p.channel_groups, p.channel_groups_inverse)
    return slot, access_of(p, quotient)


@small_function
def lane_of(p: DramParameters, line: int) -> tuple[int, int]:
    """Return the channel of a line within its channel group, and its first access counted from the group's first."""
    chunk = line >> p.chunk_line_shift
    within = (line & ((1 << p.chunk_line_shift) - 1)) << p.line_access_shift
    return chunk & (p.group_channels - 1), ((chunk >> p.channel_shift) << p.chunk_access_shift) + within


@small_function
def line_at(p: DramParameters, lane: int, access: int) -> tuple[int, int, int, bool]:
    """Return channel, bank and row of a line of a group whose first access in each channel is `access`, and whether it
    is the first line of its channel."""
    channel, offset = lane_of(p, lane)
    bank, row = locate(p, access + offset)
    return channel, bank, row, offset == 0


@small_function
def bank_place(p: DramParameters, group: int, bank: int, channel: int) -> int:
    """Return the place of the record that a channel of a channel group, or all (WHOLE), has of a bank."""
    number = (group & LOW) * (p.banks & LOW) + bank
    return p.bank_at + (number & LOW) * (p.bank_words & LOW) + (1 + channel) * BANK_WORDS


@small_function
def refresh_unit(p: DramParameters, group: int, bank: int) -> int:
    """Return the place of the refresh unit of a bank."""
    unit = (group & LOW) * (p.refresh_units & LOW) + (bank if p.refresh_units > 1 else 0)
    return p.refresh_at + unit * REFRESH_WORDS


@small_function
def places_of(p: DramParameters, group: int, bank: int, channel: int) -> tuple[int, int, int, int]:
    """Return the places of what an access to a bank needs, in one channel of a channel group or in all (WHOLE): the
    gates of the channel group, that of the bank group's columns, the record of the bank and its refresh unit."""
    gates = gates_of(p, group)
    columns = gates + ((FIRST_OF_BANK_GROUPS + 2 * (bank & (p.bank_groups - 1))) & LOW) * (p.gate_words & LOW)
    return gates, columns, bank_place(p, group, bank, channel), refresh_unit(p, group, bank)


@small_function
def gates_of(p: DramParameters, group: int) -> int:
    """Return the place of the gates of a channel group."""
    return p.gates_at + (group & LOW) * (p.group_words & LOW)


@small_function
def queue_of(p: DramParameters, group: int, lane: int) -> int:
    """Return the place of the write queue of a lane's controller, or of a whole channel group."""
    queue = p.channels + group if lane == WHOLE else (group * p.group_channels + lane) >> p.command_shift
    return p.waiting_at + queue * (QUEUE_HEADER + p.queue)
