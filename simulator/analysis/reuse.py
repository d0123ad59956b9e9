"""Counting reuse at one granularity while runs of bytes go by, exactly or on a sample of pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.core import reuse_count
from simulator.core.reuse_count import (
    BATCH,
    BINS,
    COUNT_SCALARS,
    FINE,
    GROUPS,
    ORIGINS,
    QUEUE,
    Counts,
    Space,
    bin_edges,
)
from simulator.core.reuse_room import move_pages, renumber
from simulator.core.reuse_singles import SINGLES, are_single, count_singles
from simulator.core.reuse_stack import (
    ENTRY_BITS,
    FREE_PARTS,
    MAX_SHIFT,
    MAX_UNITS,
    PAGES,
    PARTS,
    SHIFT,
    SLOTS,
    STRIP_UNITS,
    UNITS,
    Stack,
    aligned,
    new_slots,
    new_stack,
    new_table,
)
from simulator.core.visits import ACCESSES, CUT_SCALARS, PAGE, RUN, RUN_WORDS, cut

PAGE_BYTES = 4096
"""Units are kept in pages of this size, or of one unit where that is larger."""

FIRST_SLOTS, FIRST_PAGES, FIRST_PARTS = 1 << 16, 1 << 12, 1 << 12
MAX_PAGES = 1 << 22
MAX_PART_BYTES = 1 << 28
"""A stack that may sample holds at most 4 M pages (16 GiB of lines), and 256 MiB of strips touched in parts."""

BUFFER_VISITS = 1 << 12
"""Visits counted at a time: 128 KiB."""

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
    distances: Int64Array
    fine: Int64Array
    groups: Int64Array
    origins: Int64Array
    flows: Int64Array
    gaps: Int64Array
    windows: Int64Array

    @property
    def resolution_bytes(self) -> int:
        """Capacity from which misses are told apart: of a sample, what one page looked at stands for."""
        return self.unit_bytes if self.rate == 1 else round(max(PAGE_BYTES, self.unit_bytes) / self.rate)

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
        return np.minimum(1, error)


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
            fine=aligned(FINE, np.int64),
            queue=np.zeros(2 * (QUEUE + MAX_UNITS), np.int64),
            groups=np.zeros(GROUPS * (BINS + 1), np.int64),
            origins=np.zeros(cells * ORIGINS, np.int64),
            flows=np.zeros(kernel_classes**2, np.int64),
            gaps=np.zeros(BINS * 2, np.int64),
            windows=np.zeros(WINDOWS * reuse_count.WINDOW_WORDS, np.int64),
            ahead=np.zeros(max(4 * BATCH, 2 * SINGLES), np.int64),
        )
        self._visits = np.empty(BUFFER_VISITS * reuse_count.VISIT_WORDS, np.int64)
        self._cut = np.zeros(CUT_SCALARS, np.int64)
        self._counts.scalars[reuse_count.WINDOW_END] = max(1, window_bytes // unit_bytes)

    @property
    def shift(self) -> int:
        """log2 of 1 / sampling rate."""
        return int(self._stack.scalars[SHIFT])

    @property
    def shifts(self) -> tuple[int, int, int]:
        """log2 of the bytes of a unit and of a page, and of 1 / sampling rate."""
        return self._unit_shift, self._page_shift, self.shift

    @property
    def accesses(self) -> int:
        """Accesses so far."""
        return int(self._cut[ACCESSES])

    def pass_over(self, accesses: int) -> None:
        """Note that there have been so many accesses, those that are not sampled too."""
        self._cut[ACCESSES] = accesses

    def add(self, runs: Int64Array, kernel_class: int) -> None:
        """Count what runs of a kernel of one class touch."""
        self._cut[RUN] = self._cut[PAGE] = 0
        while self._cut[RUN] * RUN_WORDS < len(runs):
            count = cut(runs, self._cut, self._unit_shift, self._page_shift, self.shift, self._visits)
            self.count(self._visits, count, kernel_class)

    def count(self, visits: Int64Array, count: int, kernel_class: int) -> None:
        """Count the first `count` of visits of a kernel of one class."""
        counts = self._counts
        single = self._units > 1 and are_single(visits, count)
        while not (count_singles if single and self.shift == 0 else reuse_count.count_visits)(
            self._stack,
            counts,
            self._space,
            visits,
            count,
            self._unit_shift,
            self._page_shift,
            kernel_class,
            *self._classes,
        ):
            self._make_room()
        if self._adaptive and counts.scalars[reuse_count.VISITS] >= MAX_VISITS and self.shift < MAX_SHIFT:
            counts.scalars[reuse_count.VISITS] = 0
            self._move(self.shift + 1)

    def finish(self) -> Counted:
        """Return what was counted."""
        counts = self._counts
        counts.scalars[reuse_count.NOW] = self.accesses
        reuse_count.count_last(self._stack, counts)
        windows = counts.windows.reshape(-1, reuse_count.WINDOW_WORDS)
        kernels, tensors = self._classes
        return Counted(
            unit_bytes=self.unit_bytes,
            rate=2.0**-self.shift,
            accesses=int(counts.scalars[reuse_count.NOW]),
            distances=counts.distances.reshape(kernels, tensors, BINS),
            fine=counts.fine,
            groups=counts.groups.reshape(GROUPS, BINS + 1),
            origins=counts.origins.reshape(kernels, tensors, ORIGINS),
            flows=counts.flows.reshape(kernels, kernels),
            gaps=counts.gaps.reshape(BINS, 2),
            windows=windows[: int(counts.scalars[reuse_count.WINDOW]) + 1],
        )

    def _make_room(self) -> None:
        """Give the stack more of what it lacks, or fewer pages to hold."""
        stack = self._stack
        pages, parts = int(stack.scalars[PAGES]), int(stack.scalars[PARTS])
        crowded = 4 * pages >= 3 * MAX_PAGES or parts * STRIP_UNITS * 4 >= MAX_PART_BYTES
        self._move(self.shift + (self._adaptive and crowded and self.shift < MAX_SHIFT))

    def _move(self, shift: int) -> None:
        self._stack, numbers = roomier(self._stack, max(BATCH, SINGLES), shift)
        if numbers is not None:
            scalars = self._counts.scalars
            scalars[reuse_count.WINDOW_SLOT] = numbers[scalars[reuse_count.WINDOW_SLOT]]


def roomier(s: Stack, visits: int, shift: int = 0) -> tuple[Stack, NDArray[np.int32] | None]:
    """Return the stack with more of what it lacks for some more visits, only pages in it that are sampled at 2^-shift;
    and the new number of each slot, if they have been numbered anew."""
    fewer = shift > s.scalars[SHIFT]
    words = 1 << int(s.scalars[ENTRY_BITS])
    if fewer or 4 * (int(s.scalars[PAGES]) + visits) * words >= 3 * len(s.table):
        size = len(s.table) // words * (1 if fewer else 2)
        table, strips = new_table(int(s.scalars[UNITS]), size)
        s.scalars[SHIFT] = shift
        new = s._replace(table=table, strips=strips)
        move_pages(s, new)
        s = new
    if len(s.parts) // STRIP_UNITS - s.scalars[PARTS] + s.scalars[FREE_PARTS] < 2 * visits:
        parts = aligned(4 * len(s.parts) + 2 * visits * STRIP_UNITS, np.int32)  # not used, not there
        parts[: len(s.parts)] = s.parts
        s = s._replace(parts=parts)
    slots = int(s.scalars[SLOTS])
    if slots + visits < len(s.weight):
        return s, None
    used = int(np.count_nonzero(s.weight[:slots]))
    if 3 * used > slots or used + visits >= len(s.weight):
        larger = new_slots(2 * len(s.weight) + visits)
        for name, array in larger.items():
            array[: len(getattr(s, name))] = getattr(s, name)
        return s._replace(**larger), None
    numbers = np.empty(slots + 1, np.int32)
    renumber(s, numbers)
    return s, numbers
