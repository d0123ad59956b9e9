"""Hits explained: why the accesses of a run missed its caches, and what these saved, by kernel and tensor class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.analysis.locality import tensor_space
from simulator.analysis.reuse import roomier
from simulator.core.l1_reasons import LIST_WORDS, NODES, SmLines, empty_l1s, explain_l1, index_nodes, new_sm_lines
from simulator.core.l2_reasons import (
    NEEDED,
    count_l2_lines_left,
    explain_l2,
    new_lines,
)
from simulator.core.layout import KERNEL_SLOTS, Int64Array
from simulator.core.reuse_count import Space
from simulator.core.reuse_stack import PAGES, new_stack
from simulator.core.state import Parameters, as_record
from simulator.core.three_cs import COLUMNS, MOST_CELLS, OUTCOMES, READS, WRITES, Tallies
from simulator.trace.record import KernelHeader, TraceHeader

FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS = 1 << 16, 1 << 12, 1 << 10
FIRST_NODES = 1 << 12
OTHER = "other kernels"
"""Name of the kernels after as many as can be told apart."""


@dataclass(frozen=True)
class Outcome:
    """Bytes asked of a cache: those it had, and those it had not, by the reason.

    `kept_bytes` are hits that a fully associative LRU cache of that size would have missed.
    """

    hit_bytes: int
    compulsory_bytes: int
    capacity_bytes: int
    conflict_bytes: int
    kept_bytes: int

    @property
    def asked_bytes(self) -> int:
        """All of them."""
        return self.hit_bytes + self.compulsory_bytes + self.capacity_bytes + self.conflict_bytes


@dataclass(frozen=True)
class Explanation:
    """What a kernel (all launches of that name) came to in one tier and tensor class."""

    tier: str  # as in results: "sram" (the L1s), "l2", "hbm" (device memory), "dram" (of the host) or "ssd"
    kernel: str
    tensor_class: str
    reads: Outcome  # prefetches included
    writes: Outcome  # reductions included


@dataclass(frozen=True)
class Refetch:
    """Bytes whose reads missed though they had been in a cache, and whose access had evicted them (None: not kept)."""

    tier: str
    kernel: str
    tensor_class: str
    evicted_by: str | None
    evicted_for: str | None
    bytes: int


@dataclass(frozen=True)
class LineUse:
    """Lines of a tensor class that came into a cache, and the mean sectors of them touched before they left it or the
    run ended."""

    tier: str
    tensor_class: str
    lines: int
    sectors_per_line: float


@dataclass(frozen=True)
class Hits:
    """Why accesses hit and missed, in the timed passes that were replayed."""

    capacity_bytes: dict[str, int]  # by tier; of one SM's L1
    kernels: tuple[Explanation, ...]
    refetched: tuple[Refetch, ...]
    lines: tuple[LineUse, ...]


class _Twins(Protocol):
    """What tells the reasons of one tier's misses."""

    tier: str
    capacity: int  # lines
    tallies: Tallies

    def logged(self, entries: Int64Array, kernels: Int64Array) -> None:
        """Explain entries of the log, flat; `kernels` are the numbers of the kernels in the slots of the device."""

    def launched(self) -> None:
        """A kernel begins."""

    def count_lines_left(self) -> None:
        """Count the lines that are still there."""


class HitExplainer:
    """An observer of a device that explains its caches.  One run each."""

    def __init__(self, header: TraceHeader) -> None:
        self._space, self._tensors = tensor_space(header.tensors)
        self._names: list[str] = []
        self._most = max(1, MOST_CELLS // len(self._tensors))
        self._slots = np.zeros(KERNEL_SLOTS, np.int64)

    def attached(self, parameters: Parameters) -> None:
        """Begin with empty caches."""
        cells, tensors = self._most * len(self._tensors), len(self._tensors)
        self._parameters = parameters
        self._tiers: tuple[_Twins, ...] = (
            _L1Twins(self._space, parameters, _no_tallies(cells, tensors)),
            _L2Twins(self._space, parameters, _no_tallies(cells, tensors)),
        )

    def started(self) -> None:
        """Forget what was counted, not what was seen."""
        for tier in self._tiers:
            tier.count_lines_left()
            for counted in tier.tallies:
                counted[:] = 0

    def launched(self, slot: int, header: KernelHeader) -> None:
        """Take the name of the kernel in a slot."""
        name = header.name
        if name not in self._names and len(self._names) < self._most:
            self._names.append(name if len(self._names) < self._most - 1 else OTHER)
        self._slots[slot] = self._names.index(name) if name in self._names else self._most - 1
        for tier in self._tiers:
            tier.launched()

    def logged(self, entries: NDArray[np.int64]) -> None:
        """Explain entries of the log."""
        for tier in self._tiers:
            tier.logged(entries.reshape(-1), self._slots)

    def finish(self) -> Hits:
        """Return what was counted."""
        for tier in self._tiers:
            tier.count_lines_left()
        names = [(kernel, tensor) for kernel in self._names for tensor in self._tensors]
        refetched = [row for tier in self._tiers for row in self._refetched(tier, names)]
        return Hits(
            capacity_bytes={tier.tier: tier.capacity << self._parameters.line_shift for tier in self._tiers},
            kernels=tuple(row for tier in self._tiers for row in self._explanations(tier, names)),
            refetched=tuple(sorted(refetched, key=lambda row: -row.bytes)),
            lines=tuple(row for tier in self._tiers for row in self._line_use(tier)),
        )

    def _explanations(self, tier: _Twins, names: list[tuple[str, str]]) -> list[Explanation]:
        counts = tier.tallies.counts.reshape(-1, COLUMNS) << self._parameters.sector_shift
        return [
            Explanation(tier.tier, *names[cell], _outcome(counts[cell], READS), _outcome(counts[cell], WRITES))
            for cell in np.flatnonzero(counts.any(axis=1)).tolist()
        ]

    def _refetched(self, tier: _Twins, names: list[tuple[str, str]]) -> list[Refetch]:
        cells = len(tier.tallies.counts) // COLUMNS
        sizes = tier.tallies.refetched.reshape(cells, cells + 1) << self._parameters.sector_shift
        evictors = [(None, None), *names]
        return [
            Refetch(tier.tier, *names[cell], *evictors[by], int(sizes[cell, by]))
            for cell, by in np.argwhere(sizes).tolist()
        ]

    def _line_use(self, tier: _Twins) -> list[LineUse]:
        filled = tier.tallies.filled.reshape(-1, 2).tolist()
        return [
            LineUse(tier.tier, name, lines, sectors / lines)
            for name, (lines, sectors) in zip(self._tensors, filled, strict=True)
            if lines
        ]


class _L1Twins:
    """Twins of the L1 of each SM."""

    tier = "sram"

    def __init__(self, space: Space, parameters: Parameters, tallies: Tallies) -> None:
        self._space, self._record, self.tallies = space, as_record(parameters), tallies
        self.capacity = parameters.l1_sets * parameters.l1_ways
        self._known: SmLines = new_sm_lines(FIRST_NODES, parameters.sms)

    def logged(self, entries: Int64Array, kernels: Int64Array) -> None:
        """Explain entries of the log."""
        while not explain_l1(self.tallies, self._known, self._space, self._record, entries, kernels, self.capacity):
            self._make_room()

    def _make_room(self) -> None:
        old = self._known
        self._known = new = new_sm_lines(len(old.table), len(old.lists) // LIST_WORDS)
        new.scalars[:], new.lists[:] = old.scalars, old.lists
        new.nodes[: len(old.nodes)] = old.nodes
        index_nodes(new)

    def launched(self) -> None:
        """Begin with empty L1s, as every kernel does."""
        self.count_lines_left()

    def count_lines_left(self) -> None:
        """Count the lines that are still there, and forget all."""
        if self._known.scalars[NODES]:
            empty_l1s(self.tallies, self._known, self._space, self._record)


class _L2Twins:
    """Twins of L2, both partitions together."""

    tier = "l2"

    def __init__(self, space: Space, parameters: Parameters, tallies: Tallies) -> None:
        self._space, self._record, self.tallies = space, as_record(parameters), tallies
        self._lines = lines = parameters.group_lines
        self.capacity = parameters.l2_ways * parameters.set_groups * lines * parameters.partitions
        self._stack = new_stack(lines, FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS)
        self._known = new_lines(FIRST_PAGES, FIRST_PARTS, lines)

    def logged(self, entries: Int64Array, kernels: Int64Array) -> None:
        """Explain entries of the log."""
        while not explain_l2(
            self._stack, self.tallies, self._known, self._space, self._record, entries, kernels, self.capacity
        ):
            self._make_room()

    def launched(self) -> None:
        """Go on: L2 outlives kernels."""

    def count_lines_left(self) -> None:
        """Count the lines that are still there."""
        count_l2_lines_left(self._stack, self.tallies, self._known, self._space, self._record)

    def _make_room(self) -> None:
        self._stack, _ = roomier(self._stack, 1)
        known = self._known
        if int(self._stack.scalars[PAGES]) == len(known.pages):
            pages, classes = _twice(known.pages), _twice(known.classes)
            self._known = known = known._replace(pages=pages, classes=classes)
        while int(known.scalars[NEEDED]) * self._lines > len(known.parts):
            self._known = known = known._replace(parts=_twice(known.parts))


def _twice(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate((array, np.zeros_like(array)))


def _no_tallies(cells: int, tensors: int) -> Tallies:
    return Tallies(
        np.zeros(cells * COLUMNS, np.int64),
        np.zeros(cells * (cells + 1), np.int64),
        np.zeros(tensors * 2, np.int64),
    )


def _outcome(row: NDArray[np.int64], first: int) -> Outcome:
    return Outcome(*row[first : first + OUTCOMES].tolist())
