"""Hits explained: why the accesses of a run missed L2, and what its caches saved, by kernel and tensor class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.analysis.locality import tensor_space
from simulator.analysis.reuse import roomier
from simulator.core.layout import KERNEL_SLOTS
from simulator.core.reuse_stack import PAGES, new_stack
from simulator.core.state import Parameters, as_record
from simulator.core.three_cs import COLUMNS, MOST_CELLS, OUTCOMES, READS, WRITES, Explained, explain
from simulator.trace.record import KernelHeader, TraceHeader

FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS = 1 << 16, 1 << 12, 1 << 10
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

    tier: str  # as in results: "l2"
    kernel: str
    tensor_class: str
    reads: Outcome  # prefetches included
    writes: Outcome  # reductions included


@dataclass(frozen=True)
class Refetch:
    """Bytes that missed though they had been in L2, and whose access had evicted them (None: they were not kept)."""

    kernel: str
    tensor_class: str
    evicted_by: str | None
    evicted_for: str | None
    bytes: int


@dataclass(frozen=True)
class LineFill:
    """Lines of a tensor class that were evicted, and the mean sectors of them that had been fetched or written."""

    tensor_class: str
    lines: int
    sectors_per_line: float


@dataclass(frozen=True)
class Hits:
    """Why accesses hit and missed L2, in the timed passes that were replayed."""

    capacity_bytes: int
    kernels: tuple[Explanation, ...]
    refetched: tuple[Refetch, ...]
    evicted: tuple[LineFill, ...]


class HitExplainer:
    """An observer of a device that explains its L2.  One run each."""

    def __init__(self, header: TraceHeader) -> None:
        self._space, self._tensors = tensor_space(header.tensors)
        self._names: list[str] = []
        self._most = max(1, MOST_CELLS // len(self._tensors))
        self._slots = np.zeros(KERNEL_SLOTS, np.int64)

    def attached(self, parameters: Parameters) -> None:
        """Begin with an empty cache."""
        lines = parameters.group_lines
        cells = self._most * len(self._tensors)
        self._parameters, self._record = parameters, as_record(parameters)
        self._capacity = parameters.l2_ways * parameters.set_groups * lines * parameters.partitions
        self._stack = new_stack(lines, FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS)
        self._explained = Explained(
            scalars=np.zeros(1, np.int64),
            lines=np.zeros(FIRST_PAGES * lines, np.uint16),
            classes=np.zeros(FIRST_PAGES, np.uint8),
            counts=np.zeros(cells * COLUMNS, np.int64),
            refetched=np.zeros(cells * (cells + 1), np.int64),
            evicted=np.zeros(len(self._tensors) * 2, np.int64),
        )

    def started(self) -> None:
        """Forget what was counted, not what was seen."""
        for counted in (self._explained.counts, self._explained.refetched, self._explained.evicted):
            counted[:] = 0

    def launched(self, slot: int, header: KernelHeader) -> None:
        """Take the name of the kernel in a slot."""
        name = header.name
        if name not in self._names and len(self._names) < self._most:
            self._names.append(name if len(self._names) < self._most - 1 else OTHER)
        self._slots[slot] = self._names.index(name) if name in self._names else self._most - 1

    def logged(self, entries: NDArray[np.int64]) -> None:
        """Explain entries of the log."""
        while not explain(
            self._stack,
            self._explained,
            self._space,
            self._record,
            entries.reshape(-1),
            self._slots,
            len(self._tensors),
            self._capacity,
        ):
            self._make_room()

    def _make_room(self) -> None:
        lines = self._parameters.group_lines
        self._stack, _ = roomier(self._stack, 1)
        known = self._explained
        if (int(self._stack.scalars[PAGES]) + 1) * lines > len(known.lines):
            self._explained = known._replace(
                lines=np.concatenate((known.lines, np.zeros_like(known.lines))),
                classes=np.concatenate((known.classes, np.zeros_like(known.classes))),
            )

    def finish(self) -> Hits:
        """Return what was counted."""
        sector = 1 << self._parameters.sector_shift
        known, tensors = self._explained, self._tensors
        names = [(kernel, tensor) for kernel in self._names for tensor in tensors]
        counts = known.counts.reshape(-1, COLUMNS) * sector
        cells = len(counts)
        refetched = known.refetched.reshape(cells, cells + 1) * sector
        evictors = [(None, None), *names]
        lines, sectors = known.evicted.reshape(-1, 2).T.tolist()
        return Hits(
            capacity_bytes=self._capacity << self._parameters.line_shift,
            kernels=tuple(
                Explanation("l2", *names[cell], _outcome(counts[cell], READS), _outcome(counts[cell], WRITES))
                for cell in np.flatnonzero(counts.any(axis=1)).tolist()
            ),
            refetched=tuple(
                sorted(
                    (
                        Refetch(*names[cell], *evictors[by], int(refetched[cell, by]))
                        for cell, by in np.argwhere(refetched).tolist()
                    ),
                    key=lambda row: -row.bytes,
                )
            ),
            evicted=tuple(
                LineFill(name, lines[i], sectors[i] / lines[i]) for i, name in enumerate(tensors) if lines[i]
            ),
        )


def _outcome(row: NDArray[np.int64], first: int) -> Outcome:
    return Outcome(*row[first : first + OUTCOMES].tolist())
