"""What an LRU stack tells of a run of accesses: histograms of reuse distances and gaps, and who shared what with whom.

Histograms have bins of a constant relative width, exact where they begin: one per number below 64, 32 per octave above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.core.bitwise import length
from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.reuse_stack import (
    MAX_SHIFT,
    NEVER,
    OWNER,
    PIECE_DISTANCE,
    PIECE_END,
    PIECE_SLOT,
    PIECE_START,
    PIECE_WORDS,
    SHIFT,
    SLOTS,
    WHEN,
    Stack,
    class_at,
    entry_of,
    has_room,
    is_sampled,
    new_entry,
    page_hash,
    slot_of,
    visit,
)

EXACT_BINS, OCTAVE_BITS = 64, 5
BINS = 1280
"""Bins of a histogram, of numbers below 2^43."""

FINE = 1 << 20
"""Reuse distances below this are also counted one by one, for all accesses together."""

GROUPS = 8
"""Parts that the sample is divided into, to see by how much they differ."""

RUN_ADDRESS, RUN_BYTES, RUN_OWNER, RUN_WORDS = 0, 1, 2, 3
"""A run of bytes that somebody accesses."""

REQUESTER_BITS, SM_BITS = 32, 12
FIRST, SAME_REQUESTER, SAME_SM, OTHER_SM, OTHER_KERNEL = 0, 1, 2, 3, 4
ORIGINS = 5
"""Who touched a unit last: nobody, the same CTA, another one of this kernel on the same SM or elsewhere, an earlier
kernel."""

NOW, SAMPLED, VISITS, RESUME_RUN, RESUME_PAGE, WINDOW, WINDOW_SLOT, WINDOW_END = 0, 1, 2, 3, 4, 5, 6, 7
COUNT_SCALARS = 8
"""Scalars: accesses so far, those that the sampled ones stand for, visits to sampled pages; where to go on; number of
the current window, its first slot, the access at which it ends."""

WINDOW_START, WINDOW_UNITS, WINDOW_NEW, WINDOW_WORDS = 0, 1, 2, 3
"""A window of time: accesses before it, distinct units touched in it, how many of them for the first time."""

MIXED = 255
"""Class of a page that holds more than one."""

MAX_CLASSES = 255


class Counts(NamedTuple):
    """What is counted.  A *cell* is a kernel class x tensor class."""

    scalars: Int64Array
    distances: Int64Array  # (cells, BINS), flat
    fine: Int64Array  # (FINE)
    groups: Int64Array  # (GROUPS, BINS + 1), flat; in the last bin first touches
    origins: Int64Array  # (cells, ORIGINS), flat
    flows: Int64Array  # (kernel classes, kernel classes), flat: last touched by, touched again by
    gaps: Int64Array  # (BINS, 2), flat: number and sum of gaps, see `analysis.working_set`
    windows: Int64Array  # (windows, WINDOW_WORDS), flat


class Space(NamedTuple):
    """The address space as segments of one tensor class each, from `bounds` on, and the class of each launch."""

    bounds: Int64Array
    classes: Int64Array
    launches: Int64Array


@small_function
def bin_of(number: int) -> int:
    """Return the bin of a number that is not negative."""
    if number < EXACT_BINS:
        return number
    octave = length(number)
    low = (number >> (octave - 1 - OCTAVE_BITS)) & ((1 << OCTAVE_BITS) - 1)
    return EXACT_BINS + ((octave - 7) << OCTAVE_BITS) + low


def bin_edges() -> Int64Array:
    """Return the least number of each bin."""
    small = np.arange(EXACT_BINS, dtype=np.int64)
    octave, low = np.divmod(np.arange(BINS - EXACT_BINS, dtype=np.int64), 1 << OCTAVE_BITS)
    return np.concatenate([small, ((1 << OCTAVE_BITS) + low) << (octave + 1)])


@small_function
def class_of(space: Space, address: int) -> int:
    """Return the tensor class of an address."""
    low, high = 0, len(space.bounds)
    while high - low > 1:
        middle = (low + high) >> 1
        if space.bounds[middle] <= address:
            low = middle
        else:
            high = middle
    return space.classes[low]


@small_function
def class_of_page(space: Space, start: int, end: int) -> int:
    """Return the tensor class of a page, MIXED if a segment ends in it."""
    low, high = 0, len(space.bounds)
    while high - low > 1:
        middle = (low + high) >> 1
        if space.bounds[middle] <= start:
            low = middle
        else:
            high = middle
    if low + 1 < len(space.bounds) and space.bounds[low + 1] < end:
        return MIXED
    return space.classes[low]


@small_function
def origin_of(before: int, owner: int) -> int:
    """Return how the last owner of a unit relates to this one."""
    if before == owner:
        return SAME_REQUESTER
    if before >> (REQUESTER_BITS + SM_BITS) != owner >> (REQUESTER_BITS + SM_BITS):
        return OTHER_KERNEL
    return SAME_SM if before >> REQUESTER_BITS == owner >> REQUESTER_BITS else OTHER_SM


@small_function
def add_gaps(gaps: Int64Array, gap: int, step: int, count: int, shift: int) -> None:
    """Count the gaps `gap`, `gap` + `step`... of `count` units."""
    least = bin_of(gap)
    if step == 0 or bin_of(gap + step * (count - 1)) == least:
        gaps[2 * least] += count << shift
        gaps[2 * least + 1] += (gap * count + step * (count * (count - 1) // 2)) << shift
    else:
        for number in range(count):
            each = bin_of(gap + step * number)
            gaps[2 * each] += 1 << shift
            gaps[2 * each + 1] += (gap + step * number) << shift


@small_function
def count_piece(
    s: Stack, c: Counts, space: Space, piece: int, cell: int, kernel_class: int, kernel_classes: int, group: int
) -> None:
    """Count a piece of the last visit."""
    start, end = s.pieces[piece + PIECE_START], s.pieces[piece + PIECE_END]
    slot = s.pieces[piece + PIECE_SLOT]
    shift = s.scalars[SHIFT]
    this = s.scalars[SLOTS] - 1
    weight = (end - start) << shift
    c.scalars[SAMPLED] += weight
    window = c.scalars[WINDOW] * WINDOW_WORDS
    if slot < c.scalars[WINDOW_SLOT]:
        c.windows[window + WINDOW_UNITS] += weight
    if slot == NEVER:
        c.origins[cell * ORIGINS + FIRST] += weight
        c.groups[group * (BINS + 1) + BINS] += weight
        c.windows[window + WINDOW_NEW] += weight
        add_gaps(c.gaps, s.visits[2 * this + WHEN] + start, 1, end - start, shift)
        return
    distance = s.pieces[piece + PIECE_DISTANCE] << shift
    place = bin_of(distance)
    c.distances[cell * BINS + place] += weight
    c.groups[group * (BINS + 1) + place] += weight
    if distance < FINE:
        c.fine[distance] += weight
    add_gaps(c.gaps, s.visits[2 * this + WHEN] - s.visits[2 * slot + WHEN], 0, end - start, shift)
    origin = origin_of(s.visits[2 * slot + OWNER], s.visits[2 * this + OWNER])
    c.origins[cell * ORIGINS + origin] += weight
    if origin == OTHER_KERNEL:
        before = space.launches[s.visits[2 * slot + OWNER] >> (REQUESTER_BITS + SM_BITS)]
        c.flows[before * kernel_classes + kernel_class] += weight


@small_function
def next_window(s: Stack, c: Counts) -> None:
    """Begin the next window of time; the last one has no end."""
    span = c.scalars[WINDOW_END] // (c.scalars[WINDOW] + 1)
    number = c.scalars[WINDOW] + 1
    if number * WINDOW_WORDS < len(c.windows):
        c.scalars[WINDOW] = number
        c.scalars[WINDOW_SLOT] = s.scalars[SLOTS]
        c.scalars[WINDOW_END] = max(c.scalars[WINDOW_END] + span, c.scalars[NOW] + 1)
        c.windows[number * WINDOW_WORDS + WINDOW_START] = c.scalars[NOW]


@compiled
def count_runs(
    s: Stack,
    c: Counts,
    space: Space,
    runs: Int64Array,
    count: int,
    unit_shift: int,
    page_shift: int,
    kernel_class: int,
    kernel_classes: int,
    tensor_classes: int,
) -> bool:
    """Touch what `count` runs (RUN_WORDS each) of one kernel cover; return whether that is done: if not, the stack
    needs room, and the same call goes on where this one stopped."""
    unit_bits = page_shift - unit_shift
    for run in range(c.scalars[RESUME_RUN], count):
        if c.scalars[RESUME_PAGE] == 0 and c.scalars[NOW] >= c.scalars[WINDOW_END]:
            next_window(s, c)
        address = runs[run * RUN_WORDS + RUN_ADDRESS]
        owner = runs[run * RUN_WORDS + RUN_OWNER]
        first = address >> unit_shift
        last = (address + runs[run * RUN_WORDS + RUN_BYTES] - 1) >> unit_shift
        page = max(first >> unit_bits, c.scalars[RESUME_PAGE])
        while page <= last >> unit_bits:
            low = max(first - (page << unit_bits), 0)
            high = min(last - (page << unit_bits), (1 << unit_bits) - 1) + 1
            if is_sampled(page, s.scalars[SHIFT]):
                if not has_room(s):
                    c.scalars[RESUME_RUN] = run
                    c.scalars[RESUME_PAGE] = page
                    return False
                entry = entry_of(s, page)
                if s.table[entry] == 0:
                    its = class_of_page(space, page << page_shift, (page + 1) << page_shift)
                    new_entry(s, entry, page, its)
                its = class_at(s, entry)
                pieces = visit(s, entry, low, high, c.scalars[NOW], owner)
                c.scalars[VISITS] += 1
                group = (page_hash(page) >> MAX_SHIFT) & (GROUPS - 1)
                for number in range(pieces):
                    piece = number * PIECE_WORDS
                    if class_at(s, entry) == MIXED:
                        its = class_of(space, max(address, (page << page_shift) + (s.pieces[piece] << unit_shift)))
                    cell = kernel_class * tensor_classes + its
                    count_piece(s, c, space, piece, cell, kernel_class, kernel_classes, group)
            c.scalars[NOW] += high - low
            page += 1
        c.scalars[RESUME_PAGE] = 0
    c.scalars[RESUME_RUN] = 0
    return True


@compiled
def count_last(s: Stack, c: Counts) -> None:
    """Count the gaps from the last access of each unit to the end of the trace."""
    units = len(s.pieces) // PIECE_WORDS
    end = c.scalars[NOW] + 1
    for entry in range(0, len(s.table), 2):
        if s.table[entry]:
            unit = 0
            while unit < units:
                slot = slot_of(s, entry, unit)
                last = unit + 1
                while last < units and slot_of(s, entry, last) == slot:
                    last += 1
                if slot != NEVER:
                    add_gaps(c.gaps, end - s.visits[2 * slot + WHEN] - (last - 1), 1, last - unit, s.scalars[SHIFT])
                unit = last
