"""Where the record of each thing begins in the state."""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import small_function
from simulator.core.layout import CONTEXT_WORDS, KERNEL_WORDS, PLACE, SM_WORDS
from simulator.core.sets import SET_WORDS
from simulator.core.state import Parameters


@small_function
def counters_at(p: Parameters, k: int) -> int:
    """Return the place of the counters of a kernel slot."""
    return (p.at.counters + k * counter.COUNT) & PLACE


@small_function
def kernel_at(p: Parameters, k: int) -> int:
    """Return the place of the record of a kernel slot."""
    return (p.at.kernels + k * KERNEL_WORDS) & PLACE


@small_function
def sm_at(p: Parameters, sm: int) -> int:
    """Return the place of the record of an SM."""
    return (p.at.sms + sm * SM_WORDS) & PLACE


@small_function
def context_at(p: Parameters, context: int) -> int:
    """Return the place of the record of a resident CTA."""
    return (p.at.contexts + context * CONTEXT_WORDS) & PLACE


@small_function
def set_at(p: Parameters, lane: int, slot: int, partition: int) -> int:
    """Return the place of a set: that of the line `lane` of the groups of a slot, in one partition."""
    return (p.at.sets + ((lane * p.set_groups + slot) * p.partitions + partition) * SET_WORDS) & PLACE
