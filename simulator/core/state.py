"""The state of one device's memory system as flat arrays, and what its parameters and counters are called."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter, scalar
from simulator.core.ways import IDENTITY, WAYS

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

LRU, RANDOM = 0, 1


class Parameters(NamedTuple):
    """Every scalar the core works with.  Times in ps, `_ticks` in 1/1024 ps."""

    sms: int
    sm_ctas: int  # resident CTAs per SM
    sm_outstanding_bytes: int
    sm_cycle_ticks: int
    port_ticks_per_kib: int
    l2_sets: int
    l2_ways: int
    l2_ticks_per_kib: int
    l2_hit_ps: int
    replacement: int  # LRU or RANDOM
    channels: int
    channel_ticks_per_kib: int  # refresh included
    access_bytes: int
    banks: int  # per channel, a power of two
    dram_ps: int
    t_rcd_ps: int
    t_rp_ps: int
    row_ticks: int  # least mean time between two rows opened in a channel
    turnaround_ticks: int
    write_drain_bytes: int
    sector_shift: int  # log2 of the sector, the line and the group in bytes
    line_shift: int
    group_shift: int
    group_lines: int  # see `lines_per_group`
    set_groups: int
    set_groups_inverse: float
    group_channels: int  # see `channels_per_group`
    channel_groups: int
    channel_groups_inverse: float
    access_shift: int  # log2 of the least DRAM transfer in bytes
    interleave_shift: int  # log2 of the consecutive lines on one channel
    channel_shift: int  # log2 of group_channels
    row_shift: int  # log2 of the groups that share a row in each of their channels
    grouped: int  # 1: a group is one tag while all its lines live one life; 0: every line apart
    seed: int


def lines_per_group(l2_sets: int) -> int:
    """Return how many consecutive lines, in consecutive sets, share one tag while they live one life."""
    return gcd(l2_sets, 32)


def channels_per_group(channels: int, group_bytes: int, interleave_bytes: int) -> int:
    """Return over how many channels the lines of a group are spread."""
    return gcd(channels, max(1, group_bytes // interleave_bytes))


class State(NamedTuple):
    """Arrays of one device, mutated in place by `advance`.

    L2 arrays have one entry per (lane, set group, way of 16); lane is the line within its group.  A set group that is
    not `split` is described by its lane 0 alone, so that what most accesses need lies close together.
    """

    scalars: Int64Array
    counters: Int64Array  # (kernel slots, counter.COUNT)
    # L2
    order: Int64Array  # per (set group, lane): ways by last use, see core/ways.py
    tag: NDArray[np.int32]  # group number
    ready: Int64Array  # when the fill arrives
    valid: NDArray[np.uint8]  # sector mask
    dirty: NDArray[np.uint8]  # sector mask
    split: NDArray[np.uint8]
    streak: Int64Array  # whole-group misses since a part of a line group was last touched
    # DRAM
    channel_free: Int64Array  # ticks
    open_row: Int64Array
    rows_free: Int64Array  # ticks: when a channel's banks can open a further row
    pending_writes: Int64Array  # bytes per channel waiting to be drained
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


def new_state(p: Parameters) -> State:
    """Return the state of a device at time zero, caches empty."""
    lanes = p.group_lines
    set_groups = p.l2_sets // lanes
    entries = set_groups * lanes * WAYS
    contexts = min(MAX_CONTEXTS, p.sms * p.sm_ctas)

    def zeros(*shape: int) -> Int64Array:
        return np.zeros(shape, np.int64)

    scalars = zeros(scalar.COUNT)
    scalars[scalar.FREE] = contexts
    return State(
        scalars=scalars,
        counters=zeros(KERNEL_SLOTS, counter.COUNT),
        order=np.full(set_groups * lanes, IDENTITY, np.int64),
        tag=np.full(entries, -1, np.int32),
        ready=zeros(entries),
        valid=np.zeros(entries, np.uint8),
        dirty=np.zeros(entries, np.uint8),
        split=np.full(set_groups, 1 - p.grouped, np.uint8),
        streak=zeros(set_groups),
        channel_free=zeros(p.channels),
        open_row=np.full(p.channel_groups * p.banks, -1, np.int64),
        rows_free=zeros(p.channels),
        pending_writes=zeros(p.channels),
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
