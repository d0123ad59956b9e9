"""The state of one device's memory system: one array of words, its parameters, and where what begins."""

from __future__ import annotations

import mmap
from contextlib import suppress
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from simulator.core import counter, scalar
from simulator.core.dram_state import DramParameters, fill_dram, placed
from simulator.core.in_flight import FIRST_TURN, TURN
from simulator.core.layout import (
    CONTEXT_WORDS,
    KERNEL_SLOTS,
    KERNEL_WORDS,
    L1_ORDER,
    L1_READY,
    L1_SET_WORDS,
    L1_USE_WORDS,
    L1_VALID,
    MAX_CONTEXTS,
    MAX_STAGES,
    MAX_WAVES,
    SET_GROUP_WORDS,
    SM_CAPACITY,
    SM_QUEUE,
    SM_ROOM,
    SM_WORDS,
    SPLIT,
    STREAK,
    WAITING_HEADER,
    WHY_WORDS,
    Int64Array,
)
from simulator.core.replacement import LRU, first_order
from simulator.core.sets import SET_WORDS, new_sets, new_tags

RING = 4096
"""Room of the queue of an SM, in entries."""

COALESCER_LINES = 512
"""Lines a coalescer remembers, a power of two: those in flight to a few SMs."""

MSHR_RING = 1 << 17
"""Room of the queue of misses on their way, in entries."""

ASK_ROOM = 64
"""Groups whose fills may be pending (core/asks.py), of 16 words."""

READ_ROOM, TABLE_COLUMNS, COLUMN_WORDS = 64, 38, 72
"""Lines read at once, and what is known of one (core/line_table.py): columns a cache line longer than they have to be,
so that they do not all fall on the same sets of the processor's cache."""


ALIGNED, WORD_BYTES = 8, 8
"""Words of a cache line of the machine this runs on; bytes of a word."""

HUGE_PAGES_BYTES = 1 << 28
"""States up to this size, those of all real devices, are kept in pages of 2 MiB."""


class Places(NamedTuple):
    """Where the records of each kind begin in the state; scalars come first."""

    counters: int = 0  # (kernel slots, counter.COUNT)
    kernels: int = 0
    waves: int = 0  # (kernel slots, MAX_WAVES): when each wave of CTAs began and ended
    order: int = 0  # slots of the kernels in flight, oldest first
    sms: int = 0
    in_flight: int = 0  # (SMs, RING) pairs
    waiting: int = 0  # (SMs, WAITING_HEADER + CTAs), see core/waiting.py
    contexts: int = 0
    whys: int = 0  # (contexts, MAX_STAGES, WHY_WORDS)
    heap: int = 0
    free: int = 0  # contexts
    slices: int = 0  # when each is free, in ticks
    coalescers: int = 0  # see core/coalescer.py
    cross: int = 0  # likewise the link to each partition
    asks: int = 0  # see core/asks.py
    reads: int = 0  # see core/line_table.py
    mshrs: int = 0  # MSHR_RING pairs
    set_groups: int = 0  # of L2: what the lanes of one have in common
    sets: int = 0  # of L2, (see `places.set_row`, partition)
    l1_sets: int = 0  # (SM, set)
    l1_uses: int = 0  # (SM, set)
    log: int = 0  # of accesses, see core/access_log.py
    dram: int = 0
    end: int = 0


class Parameters(NamedTuple):
    """Every scalar the core works with.  Times in ps, `_ticks` in 1/1024 ps."""

    sms: int
    sm_ctas: int  # resident CTAs per SM
    cta_interval_ticks: int  # from one CTA placed to the next, anywhere
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
    plain: int  # 1: reads without a hint may take the short paths of core/plain_reads.py
    set_aside_ways: int  # of each set, for lines to be evicted last
    fetch_sectors: int  # that a read miss fetches at least, a power of two
    slices: int
    slice_sites: int  # of a partition: memory sites that lines are drawn among
    site_line_shift: int  # lines in a row that are drawn together, as a power of two
    site_slices: int  # of a site, dealt evenly
    slice_ticks_per_kib: int
    coalescer_sms: int  # SMs that share a coalescer, 0: there is none
    mshr_lines: int  # on their way from and to DRAM at once
    mshr_batch: int  # lines of one event that are admitted together
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
    log_words: int  # room for the log of accesses; 0: none is kept
    at: Places = Places()


MOST_GROUP_LINES = 32

MOST_MSHR_BATCH = 32
"""Lines of one event, a warp's, that are admitted to MSHRs together."""


def mshr_batch(mshr_lines: int) -> int:
    """Return how many lines of one event are admitted together: never more than a sixteenth of all MSHRs."""
    return max(1, min(MOST_MSHR_BATCH, mshr_lines // 16))


def lines_per_group(l2_sets: int, most: int = MOST_GROUP_LINES) -> int:
    """Return how many consecutive lines, in consecutive sets, share one tag while they live one life, of a power of two
    at most."""
    return gcd(l2_sets, most)


def contexts_of(p: Parameters) -> int:
    """Return how many CTAs can be resident at once."""
    return min(MAX_CONTEXTS, p.sms * p.sm_ctas)


def laid_out(p: Parameters) -> Parameters:
    """Return the parameters with the places of a device's records."""
    contexts = contexts_of(p)
    sizes = {
        "counters": KERNEL_SLOTS * counter.COUNT,
        "kernels": KERNEL_SLOTS * KERNEL_WORDS,
        "waves": KERNEL_SLOTS * MAX_WAVES * 2,
        "order": KERNEL_SLOTS,
        "sms": p.sms * SM_WORDS,
        "in_flight": p.sms * RING * 2,
        "waiting": p.sms * (WAITING_HEADER + p.sm_ctas),
        "contexts": contexts * CONTEXT_WORDS,
        "whys": contexts * MAX_STAGES * WHY_WORDS,
        "heap": contexts + 2,
        "free": contexts,
        "slices": p.slices,
        "coalescers": -(-p.sms // p.coalescer_sms) * COALESCER_LINES * 2 if p.coalescer_sms else 0,
        "cross": p.partitions,
        "asks": ASK_ROOM * 16,
        "reads": 2 * COLUMN_WORDS * TABLE_COLUMNS,
        "mshrs": MSHR_RING * 2,
        "set_groups": p.set_groups * SET_GROUP_WORDS,
        "sets": p.group_lines * p.set_groups * p.partitions * SET_WORDS,
        "l1_sets": p.sms * p.l1_sets * L1_SET_WORDS,
        "l1_uses": p.sms * p.l1_sets * L1_USE_WORDS,
        "log": p.log_words,
    }
    at = scalar.COUNT
    places = {}
    for name, size in sizes.items():
        places[name] = at = -(-at // ALIGNED) * ALIGNED
        at += size
    dram = placed(p.dram, -(-at // ALIGNED) * ALIGNED)
    return p._replace(dram=dram, at=Places(**places, dram=dram.gates_at - 1, end=dram.end))


def as_record(p: Any) -> Any:
    """Return a (nested) tuple of numbers as an array of one record, of which compiled code takes a pointer."""

    def kind(values: Any) -> list[tuple[str, Any]]:
        return [
            (name, kind(value) if isinstance(value, tuple) else np.float64 if isinstance(value, float) else np.int64)
            for name, value in zip(values._fields, values, strict=True)
        ]

    return np.array([p], np.dtype(kind(p))).view(np.recarray)


def _zeros(words: int) -> Int64Array:
    """Return zeros that begin with a cache line (and a page).

    Most lanes of the sets of a very large L2 are never touched, and others here and there: in pages of 2 MiB, which
    numpy asks for, that would be nearly all of it (2.1 GB in 3.8 s, against 0.1 GB).
    """
    room = mmap.mmap(-1, words * WORD_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            room.madvise(mmap.MADV_HUGEPAGE if words * WORD_BYTES <= HUGE_PAGES_BYTES else mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(room, np.int64)


def _emptied(room: Int64Array, at: Places) -> Int64Array:
    """Return used room for a device with zeros where they are needed: entries of queues, all but the first lane of
    sets and L1 are written before they are read.  It takes a tenth of what the operating system takes for new pages."""
    for start, end in ((0, at.in_flight), (at.waiting, at.mshrs), (at.set_groups, at.sets), (at.dram, at.end)):
        room[start:end] = 0
    return room


class State:
    """The words of one device, changed in place by `advance`, and named views of some of them."""

    def __init__(self, p: Parameters, room: Int64Array | None = None) -> None:
        """Lay out a device at time zero, caches empty, if possible in the `room` of one that is no longer used; L1 is
        for `empty_l1` to lay out."""
        at = p.at
        self.room = _zeros(at.end) if room is None or len(room) < at.end else _emptied(room, at)
        self.words = words = self.room[: at.end]
        contexts = contexts_of(p)
        self.scalars = words[: scalar.COUNT]
        self.counters = self._table(at.counters, KERNEL_SLOTS, counter.COUNT)
        self.kernels = self._table(at.kernels, KERNEL_SLOTS, KERNEL_WORDS)
        self.waves = words[at.waves : at.order][: KERNEL_SLOTS * MAX_WAVES * 2].reshape(KERNEL_SLOTS, MAX_WAVES, 2)
        self.order = words[at.order : at.order + KERNEL_SLOTS]
        self.sms = self._table(at.sms, p.sms, SM_WORDS)
        self.in_flight = words[at.in_flight : at.waiting][: p.sms * RING * 2].reshape(p.sms, RING, 2)
        self.contexts = self._table(at.contexts, contexts, CONTEXT_WORDS)
        self.heap = words[at.heap : at.heap + contexts]
        self.sets = self._table(at.sets, p.group_lines * p.set_groups * p.partitions, SET_WORDS)
        self.set_groups = self._table(at.set_groups, p.set_groups, SET_GROUP_WORDS)
        self.split = self.set_groups[:, SPLIT]
        self.l1_sets = self._table(at.l1_sets, p.sms * p.l1_sets, L1_SET_WORDS)
        self.l1_uses = self._table(at.l1_uses, p.sms * p.l1_sets, L1_USE_WORDS)
        self.log = words[at.log : at.log + p.log_words]
        self.free = words[at.free : at.free + contexts]
        self._empty_caches(p)
        self.free[:] = np.arange(contexts - 1, -1, -1)
        self.scalars[scalar.FREE] = contexts
        self.scalars[scalar.TABLE] = at.reads
        self.scalars[scalar.MSHR_QUEUE + TURN] = FIRST_TURN
        self.sms[:, SM_ROOM] = SM_CAPACITY
        self.sms[:, SM_QUEUE + TURN] = FIRST_TURN
        fill_dram(words, p.dram)

    def _empty_caches(self, p: Parameters) -> None:
        lanes = 1 if p.grouped else p.group_lines  # the others are copied from the first when a set group is split
        self.sets[: lanes * p.set_groups * p.partitions] = new_sets(1, p.l2_ways, first_order(p.replacement, p.l2_ways))
        self.set_groups[:, STREAK:] = p.l2_ways
        self.split[:] = 1 - p.grouped

    def empty_l1(self, p: Parameters) -> None:
        """Lay out the sets of all L1, which most kernels never touch; needed before the first access through L1."""
        self.l1_sets[:, :L1_READY] = new_tags(p.l1_ways)
        self.l1_sets[:, L1_READY:] = 0
        self.l1_uses[:, L1_ORDER] = first_order(LRU, p.l1_ways)
        self.l1_uses[:, L1_VALID] = 0

    def _table(self, start: int, rows: int, columns: int) -> Int64Array:
        return self.words[start : start + rows * columns].reshape(rows, columns)
