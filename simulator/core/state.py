"""The state of one device's memory system as flat arrays, and what its parameters and counters are called."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter, scalar
from simulator.core.dram_state import DramParameters, new_dram
from simulator.core.replacement import LRU, first_order
from simulator.core.ways import WAYS

Int64Array = NDArray[np.int64]

TICKS_PER_PS = 1024
"""Bandwidth servers that several units share keep time in 1/1024 ps, so that a 32-byte sector at 10 TB/s (3.2 ps)
is not rounded to a whole picosecond."""

CONTEXT_BITS = 14
MAX_CONTEXTS = 1 << CONTEXT_BITS
"""An event is one integer, time x 2^14 + context: 2^49 ps are 560 s of simulated time in one advance chain."""

MAX_STAGES = 16
SM_CAPACITY = 1 << 20
"""Room of one SM; a CTA takes SM_CAPACITY // (CTAs of its kernel that fit), so that kernels can share an SM."""


class Parameters(NamedTuple):
    """Every scalar the core works with.  Times in ps, `_ticks` in 1/1024 ps."""

    sms: int
    sm_ctas: int  # resident CTAs per SM
    sm_outstanding_bytes: int
    l1_sets: int  # per SM
    l1_sets_inverse: float
    l1_ways: int
    l1_hit_ps: int
    l1_ticks_per_kib: int
    sm_cycle_ticks: int
    port_ticks_per_kib: int
    l2_ways: int
    l2_ticks_per_kib: int
    l2_hit_ps: int  # near partition
    replacement: int  # see core/replacement.py
    set_aside_ways: int  # of each set, for lines to be evicted last
    fetch_sectors: int  # that a read miss fetches at least, a power of two
    slices: int
    slice_ticks_per_kib: int
    mshr_bytes: int  # misses on their way from DRAM at once
    partitions: int  # 1 or 2
    cross_ps: int  # that a hit in the other partition takes longer
    cross_ticks_per_kib: int  # of the link between them, each way
    dram: DramParameters
    sector_shift: int  # log2 of the sector, the line and the group in bytes
    line_shift: int
    group_shift: int
    group_lines: int  # see `lines_per_group`
    line_mask: int  # all sectors of a line
    set_groups: int  # per partition
    set_groups_inverse: float
    grouped: int  # 1: a group is one tag while all its lines live one life; 0: every line apart
    seed: int


def lines_per_group(l2_sets: int) -> int:
    """Return how many consecutive lines, in consecutive sets, share one tag while they live one life."""
    return gcd(l2_sets, 32)


class State(NamedTuple):
    """Arrays of one device, mutated in place by `advance`.

    L2 arrays have one entry per (lane, partition, set group, way of 16); lane is the line within its group.  A set
    group that is not `split` is described by its lane 0 alone, so that what most accesses need lies close together.
    L1 arrays have one entry per (SM, set, way of 16).
    """

    scalars: Int64Array
    counters: Int64Array  # (kernel slots, counter.COUNT)
    # L2
    order: Int64Array  # per (set group, lane): ways by last use, see core/ways.py
    tag: NDArray[np.int32]  # group number
    ready: Int64Array  # when the fill arrives
    valid: NDArray[np.uint8]  # sector mask
    dirty: NDArray[np.uint8]  # sector mask
    persisting: Int64Array  # per (lane, partition, set group): mask of the ways to be evicted last
    split: NDArray[np.uint8]  # per set group, of all partitions
    streak: Int64Array  # per (partition, set group): whole-group misses since a part of a group was last touched
    slice_free: Int64Array  # ticks
    cross_free: Int64Array  # ticks, per partition data move to
    mshr_time: Int64Array  # ring of misses on their way: when they arrive
    mshr_size: Int64Array
    # L1
    l1_order: Int64Array
    l1_tag: NDArray[np.int32]
    l1_valid: NDArray[np.uint8]  # sector mask
    l1_ready: Int64Array
    l1_free: Int64Array  # ticks, per SM
    dram: Int64Array  # see core/dram_state.py
    # SMs
    port_free: Int64Array  # ticks
    compute_free: Int64Array
    room: Int64Array
    residents: Int64Array
    in_flight_bytes: Int64Array
    in_flight_head: Int64Array
    in_flight_tail: Int64Array
    in_flight_time: Int64Array  # (SMs, ring)
    in_flight_size: Int64Array
    # CTA contexts and the event heap
    heap: Int64Array
    free_contexts: Int64Array
    context_next: Int64Array
    context_end: Int64Array
    context_sm: Int64Array
    context_kernel: Int64Array
    context_done: Int64Array  # end of the last computation
    context_buffer: Int64Array  # buffer of the next record
    context_ring: Int64Array  # (contexts, MAX_STAGES): when each buffer is free again
    # kernels in flight
    launch_order: Int64Array  # slots of the kernels in flight, oldest first
    kernel_pending: Int64Array  # next CTA to place
    kernel_last: Int64Array  # end of the placed chunk
    kernel_more: Int64Array  # further chunks will come
    kernel_live: Int64Array  # resident CTAs
    kernel_weight: Int64Array
    kernel_stages: Int64Array
    kernel_run_bytes: Int64Array  # see KernelHeader.run_bytes
    kernel_prologue: Int64Array  # from placement to first access


KERNEL_SLOTS = 64
RING = 4096
MSHR_RING = 1 << 17


def new_state(p: Parameters) -> State:
    """Return the state of a device at time zero, caches empty."""
    sets = p.partitions * p.set_groups * p.group_lines
    entries = sets * WAYS
    l1_sets = p.sms * p.l1_sets
    contexts = min(MAX_CONTEXTS, p.sms * p.sm_ctas)

    def zeros(*shape: int) -> Int64Array:
        return np.zeros(shape, np.int64)

    scalars = zeros(scalar.COUNT)
    scalars[scalar.FREE] = contexts
    return State(
        scalars=scalars,
        counters=zeros(KERNEL_SLOTS, counter.COUNT),
        order=np.full(sets, first_order(p.replacement), np.int64),
        tag=np.tile(np.where(np.arange(WAYS) < WAYS - p.l2_ways, -2, -1).astype(np.int32), sets),
        ready=zeros(entries),
        valid=np.zeros(entries, np.uint8),
        dirty=np.zeros(entries, np.uint8),
        persisting=zeros(sets),
        split=np.full(p.set_groups, 1 - p.grouped, np.uint8),
        streak=np.full(p.partitions * p.set_groups, p.l2_ways, np.int64),
        slice_free=zeros(p.slices),
        cross_free=zeros(p.partitions),
        mshr_time=zeros(MSHR_RING),
        mshr_size=zeros(MSHR_RING),
        l1_order=np.full(l1_sets, first_order(LRU), np.int64),
        l1_tag=np.zeros(l1_sets * WAYS, np.int32),
        l1_valid=np.zeros(l1_sets * WAYS, np.uint8),
        l1_ready=zeros(l1_sets * WAYS),
        l1_free=zeros(p.sms),
        dram=new_dram(p.dram),
        port_free=zeros(p.sms),
        compute_free=zeros(p.sms),
        room=np.full(p.sms, SM_CAPACITY, np.int64),
        residents=zeros(p.sms),
        in_flight_bytes=zeros(p.sms),
        in_flight_head=zeros(p.sms),
        in_flight_tail=zeros(p.sms),
        in_flight_time=zeros(p.sms * RING),
        in_flight_size=zeros(p.sms * RING),
        heap=zeros(contexts + 2),
        free_contexts=np.arange(contexts - 1, -1, -1, dtype=np.int64),
        context_next=zeros(contexts),
        context_end=zeros(contexts),
        context_sm=zeros(contexts),
        context_kernel=zeros(contexts),
        context_done=zeros(contexts),
        context_buffer=zeros(contexts),
        context_ring=zeros(contexts * MAX_STAGES),
        launch_order=zeros(KERNEL_SLOTS),
        kernel_pending=zeros(KERNEL_SLOTS),
        kernel_last=zeros(KERNEL_SLOTS),
        kernel_more=zeros(KERNEL_SLOTS),
        kernel_live=zeros(KERNEL_SLOTS),
        kernel_weight=zeros(KERNEL_SLOTS),
        kernel_stages=zeros(KERNEL_SLOTS),
        kernel_run_bytes=zeros(KERNEL_SLOTS),
        kernel_prologue=zeros(KERNEL_SLOTS),
    )


class Program(NamedTuple):
    """Records in program order of their CTAs: CTA c owns records first[c] to first[c + 1]."""

    first: Int64Array
    op: NDArray[np.uint8]
    address: Int64Array
    rows: NDArray[np.int32]
    row_bytes: NDArray[np.int32]
    row_stride: Int64Array
    compute_cycles: NDArray[np.int32]
    barrier: NDArray[np.uint8]
    hint: NDArray[np.uint8]
    through_l1: NDArray[np.uint8]
    joined: NDArray[np.uint8]
