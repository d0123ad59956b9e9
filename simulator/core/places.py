"""Where the record of each thing begins in the state."""

from __future__ import annotations

from simulator.core import counter
from simulator.core.bitwise import LOW
from simulator.core.compiled import small_function
from simulator.core.hashing import dealt, mix, scrambled
from simulator.core.layout import CONTEXT_WORDS, KERNEL_WORDS, SET_GROUP_WORDS, SM_WORDS, WAITING_HEADER
from simulator.core.sets import SET_WORDS
from simulator.core.state import RING, Parameters


@small_function
def counters_at(p: Parameters, k: int) -> int:
    """Return the place of the counters of a kernel slot."""
    return p.at.counters + k * counter.COUNT


@small_function
def kernel_at(p: Parameters, k: int) -> int:
    """Return the place of the record of a kernel slot."""
    return p.at.kernels + k * KERNEL_WORDS


@small_function
def sm_at(p: Parameters, sm: int) -> int:
    """Return the place of the record of an SM."""
    return p.at.sms + sm * SM_WORDS


@small_function
def queue_entries(p: Parameters, sm: int) -> int:
    """Return where the queue of bytes in flight to an SM has its entries."""
    return p.at.in_flight + sm * RING * 2


@small_function
def waiting_at(p: Parameters, sm: int) -> int:
    """Return the place of the record of the CTAs that wait for room in an SM."""
    return p.at.waiting + sm * (WAITING_HEADER + p.sm_ctas)


@small_function
def context_at(p: Parameters, context: int) -> int:
    """Return the place of the record of a resident CTA."""
    return p.at.contexts + context * CONTEXT_WORDS


@small_function
def set_group_at(p: Parameters, slot: int) -> int:
    """Return the place of the record of a set group of L2."""
    return p.at.set_groups + slot * SET_GROUP_WORDS


@small_function
def set_row(lane: int, slot: int, lanes: int, slots: int) -> int:
    """Return the row of a set among those of a partition: first the sets of the first lane, which stand for all while
    a group has one tag, slot by slot; then, slot by slot, those of the other lanes, which are read together."""
    apart = slots + (slot & LOW) * ((lanes - 1) & LOW) + lane - 1
    return apart if lane > 0 else slot


@small_function
def set_at(p: Parameters, lane: int, slot: int, partition: int) -> int:
    """Return the place of a set: that of the line `lane` of the groups of a slot, in one partition."""
    return p.at.sets + (set_row(lane, slot, p.group_lines, p.set_groups) * p.partitions + partition) * SET_WORDS


@small_function
def near_partition(p: Parameters, sm: int) -> int:
    """Return the partition of L2 that an SM looks into; there are one or two (a division takes 15 cycles)."""
    return sm & (p.partitions - 1)


@small_function
def slot_of(p: Parameters, group: int) -> tuple[int, int]:
    """Return the slot of a line group among the set groups of a partition, and its home partition."""
    turn, slot = dealt(group, p.set_groups, p.set_groups_inverse)
    home = 0
    if p.partitions > 1:  # the groups of a slot are at home in either partition in turn
        home = (turn + scrambled(slot)) & 1
    return slot, home


@small_function
def slice_at(p: Parameters, line: int, partition: int) -> int:
    """Return the word of the slice of a line in a partition that says when it is free."""
    site = partition * p.slice_sites
    if p.slice_sites > 1:
        site += (scrambled(line >> p.site_line_shift) * (p.slice_sites & LOW)) >> 31
    return p.at.slices + (site & LOW) * (p.site_slices & LOW) + mix(line, p.site_slices)
