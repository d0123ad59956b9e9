"""Counting reuse at one granularity while runs of bytes go by, exactly or on a sample of pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.core import reuse_count
from simulator.core.reuse_count import BINS, COUNT_SCALARS, FINE, GROUPS, ORIGINS, Counts, Space, bin_edges
from simulator.core.reuse_stack import (
    FREE_PART,
    MAX_SHIFT,
    PAGES,
    PARTS,
    PIECE_WORDS,
    SHIFT,
    SLOTS,
    Stack,
    move_slots,
    new_stack,
)

PAGE_BYTES = 4096
"""Units are kept in pages of this size, or of one unit where that is larger."""

FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS = 1 << 16, 1 << 12, 1 << 10
MAX_PAGES = 1 << 22
MAX_PART_BYTES = 1 << 28
"""A stack that may sample holds at most 4 M pages (16 GiB of lines), and 256 MiB of pages touched in parts."""

MAX_VISITS = 1 << 26
"""Visits to pages (about four seconds' worth) after which one that may sample takes half the pages."""

WINDOWS = 128

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """What was counted at one granularity, in units of `unit_bytes`; each counted access stands for 1 / rate of them.

    `distances` has shape (kernel classes, tensor classes, BINS), `origins` (kernel classes, tensor classes, ORIGINS),
    `flows` (kernel classes, kernel classes), `groups` (GROUPS, BINS + 1), `gaps` (BINS, 2), `windows` (n, 3); see
    `simulator.core.reuse_count`.
    """

    unit_bytes: int
    rate: float  # of pages looked at, at the end
    accesses: int
    sampled: int
    distances: Int64Array
    fine: Int64Array
    groups: Int64Array
    origins: Int64Array
    flows: Int64Array
    gaps: Int64Array
    windows: Int64Array

    @cached_property
    def first_touches(self) -> int:
        """Units touched, each counted once."""
        return int(self.origins[:, :, reuse_count.FIRST].sum())

    def misses(self) -> tuple[Int64Array, FloatArray]:
        """Return all capacities (in units) at which an LRU cache that holds any unit anywhere starts to miss less, and
        its misses from there on.

        Every capacity is told apart below FINE, and the beginnings of bins above; of a sample, only the latter.
        """
        coarse = self.distances.sum(axis=(0, 1))
        edges = bin_edges()
        if self.rate == 1:
            fine = np.flatnonzero(self.fine)
            above = np.flatnonzero((edges >= FINE) & (coarse > 0))
            places = np.concatenate((fine, edges[above + 1] - 1))
            counts = np.concatenate((self.fine[fine], coarse[above]))
        else:
            used = np.flatnonzero(coarse)
            places, counts = edges[used + 1] - 1, coarse[used]
        left = counts.sum() - np.cumsum(counts) + self.first_touches
        capacities = np.concatenate(([0], places + 1)).astype(np.int64)
        return capacities, np.concatenate(([counts.sum() + self.first_touches], left)).astype(float)

    def miss_error(self, capacities: Int64Array) -> FloatArray | None:
        """Return the standard error of the miss ratio at each capacity (units), from how the groups of a sample differ;
        None without sampling."""
        if self.rate == 1 or not self.accesses:
            return None
        # misses of each group at the beginnings of bins: those of the bin and beyond, and first touches
        tail = np.cumsum(self.groups[:, ::-1], axis=1)[:, ::-1]
        place = np.minimum(np.searchsorted(bin_edges(), capacities), BINS)
        misses = tail[:, place].astype(float)
        spread = ((misses - misses.mean(axis=0)) ** 2).sum(axis=0)
        error: FloatArray = np.sqrt(GROUPS / (GROUPS - 1) * spread) / self.accesses
        return error


class ReuseCounter:
    """Takes runs of bytes and counts reuse between units of `unit_bytes`.

    Starts at sampling rate 2^-shift; with `adaptive` it halves the rate where pages, parts or visits exceed what is
    above, otherwise memory grows with what the trace touches.
    """

    def __init__(
        self,
        unit_bytes: int,
        space: Space,
        kernel_classes: int,
        tensor_classes: int,
        window_bytes: int,
        shift: int,
        adaptive: bool,
    ) -> None:
        self.unit_bytes = unit_bytes
        self._unit_shift = unit_bytes.bit_length() - 1
        self._page_shift = max(PAGE_BYTES, unit_bytes).bit_length() - 1
        self._units = 1 << (self._page_shift - self._unit_shift)
        self._space = space
        self._classes = (kernel_classes, tensor_classes)
        self._adaptive = adaptive
        self._stack = new_stack(self._units, FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS)
        self._stack.scalars[SHIFT] = shift
        cells = kernel_classes * tensor_classes
        self._counts = Counts(
            scalars=np.zeros(COUNT_SCALARS, np.int64),
            distances=np.zeros(cells * BINS, np.int64),
            fine=np.zeros(FINE, np.int64),
            groups=np.zeros(GROUPS * (BINS + 1), np.int64),
            origins=np.zeros(cells * ORIGINS, np.int64),
            flows=np.zeros(kernel_classes**2, np.int64),
            gaps=np.zeros(BINS * 2, np.int64),
            windows=np.zeros(WINDOWS * reuse_count.WINDOW_WORDS, np.int64),
        )
        self._counts.scalars[reuse_count.WINDOW_END] = max(1, window_bytes // unit_bytes)

    @property
    def shift(self) -> int:
        """log2 of 1 / sampling rate."""
        return int(self._stack.scalars[SHIFT])

    def add(self, runs: Int64Array, kernel_class: int) -> None:
        """Count what runs of a kernel of one class touch."""
        count = len(runs) // reuse_count.RUN_WORDS
        while not reuse_count.count_runs(
            self._stack,
            self._counts,
            self._space,
            runs,
            count,
            self._unit_shift,
            self._page_shift,
            kernel_class,
            *self._classes,
        ):
            self._make_room()
        if self._adaptive and self._counts.scalars[reuse_count.VISITS] >= MAX_VISITS and self.shift < MAX_SHIFT:
            self._counts.scalars[reuse_count.VISITS] = 0
            self._move(self.shift + 1, self._stack)

    def finish(self) -> Counted:
        """Return what was counted."""
        counts = self._counts
        reuse_count.count_last(self._stack, counts)
        windows = counts.windows.reshape(-1, reuse_count.WINDOW_WORDS)
        kernels, tensors = self._classes
        return Counted(
            unit_bytes=self.unit_bytes,
            rate=2.0**-self.shift,
            accesses=int(counts.scalars[reuse_count.NOW]),
            sampled=int(counts.scalars[reuse_count.SAMPLED]),
            distances=counts.distances.reshape(kernels, tensors, BINS),
            fine=counts.fine,
            groups=counts.groups.reshape(GROUPS, BINS + 1),
            origins=counts.origins.reshape(kernels, tensors, ORIGINS),
            flows=counts.flows.reshape(kernels, kernels),
            gaps=counts.gaps.reshape(BINS, 2),
            windows=windows[: int(counts.scalars[reuse_count.WINDOW]) + 1],
        )

    def _make_room(self) -> None:
        """Renumber the slots in use; give the stack more of what it lacks, or fewer pages to hold."""
        stack = self._stack
        pages, parts = int(stack.scalars[PAGES]), int(stack.scalars[PARTS])
        crowded = 4 * pages >= 3 * MAX_PAGES or parts * self._units * 4 >= MAX_PART_BYTES
        shift = self.shift
        if self._adaptive and crowded and shift < MAX_SHIFT:
            shift += 1
        self._move(shift, stack)

    def _move(self, shift: int, old: Stack) -> None:
        self._stack, place = roomier(old, FIRST_SLOTS, shift)
        window = int(self._counts.scalars[reuse_count.WINDOW_SLOT])
        self._counts.scalars[reuse_count.WINDOW_SLOT] = int(np.count_nonzero(place[:window] >= 0))


def roomier(old: Stack, least_slots: int, shift: int | None = None) -> tuple[Stack, NDArray[np.int32]]:
    """Return a stack renumbered, with more of what it lacks, and the new number of each slot; with `shift`, only pages
    that are sampled at that rate."""
    units = len(old.pieces) // PIECE_WORDS
    live = int(np.count_nonzero(old.weight[: int(old.scalars[SLOTS])]))
    pages, table, parts = int(old.scalars[PAGES]), len(old.table) // 2, int(old.scalars[PARTS])
    lacks_parts = old.scalars[FREE_PART] < 0 and (parts + 1) * units > len(old.parts)
    new = new_stack(
        units,
        max(least_slots, len(old.weight) * (2 if 3 * live > len(old.weight) else 1)),
        table * 2 if 8 * pages >= 5 * table else table,
        len(old.parts) // units * (2 if lacks_parts else 1),
    )
    new.scalars[SHIFT] = old.scalars[SHIFT] if shift is None else shift
    place = np.full(len(old.weight), -1, np.int32)
    move_slots(old, new, place)
    return new, place
