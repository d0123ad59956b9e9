"""What an LRU stack tells of a run of accesses: histograms of reuse distances and gaps, and who shared what with whom.

Histograms have bins of a constant relative width, exact where they begin: one per number below 64, 32 per octave above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.core.bitwise import length
from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.prefetch import prefetch
from simulator.core.reuse_stack import (
    ENTRY_BITS,
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
    SPAN_BITS,
    STRIP_BITS,
    STRIP_UNITS,
    STRIPS,
    TAG,
    UNITS,
    WHEN,
    Stack,
    bring_part,
    bring_slot,
    entry_from,
    first_entry,
    has_room,
    new_entry,
    page_hash,
    part_at,
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

VISIT_ADDRESS, VISIT_UNITS, VISIT_NOW, VISIT_OWNER, VISIT_WORDS = 0, 1, 2, 3, 4
"""A visit to a page: where it begins, units touched, accesses before it, by whom."""

BATCH = 16
"""Visits whose memory is asked for together, while those before them are counted."""

AHEAD = 2 * BATCH - 1
"""Mask of the number of a visit, to find what is noted of it."""

LAST_AHEAD = 8
"""Pages by which memory is asked for ahead at the end."""

QUEUE = 64
"""Reuse distances whose memory is asked for together."""

REQUESTER_BITS, SM_BITS = 32, 12
FIRST, SAME_REQUESTER, SAME_SM, OTHER_SM, OTHER_KERNEL = 0, 1, 2, 3, 4
ORIGINS = 5
"""Who touched a unit last: nobody, the same CTA, another one of this kernel on the same SM or elsewhere, an earlier
kernel."""

NOW, VISITS, RESUME, WINDOW, WINDOW_SLOT, WINDOW_END, QUEUED = 0, 1, 2, 3, 4, 5, 6
COUNT_SCALARS = 8
"""Scalars: accesses so far; visits to sampled pages; visit to go on with; number of the current window, its first slot,
the access at which it ends; distances in the queue."""

WINDOW_START, WINDOW_UNITS, WINDOW_NEW, WINDOW_WORDS = 0, 1, 2, 3
"""A window of time: accesses before it, distinct units touched in it, how many of them for the first time."""

MIXED = 255
"""Class of a page that holds more than one."""


class Counts(NamedTuple):
    """What is counted.  A *cell* is a kernel class x tensor class."""

    scalars: Int64Array
    distances: Int64Array  # (cells, BINS), flat
    fine: Int64Array  # (FINE)
    queue: Int64Array  # (QUEUE + MAX_UNITS, 2), flat: distances and numbers yet to be added to `fine`
    groups: Int64Array  # (GROUPS, BINS + 1), flat; of what was sampled, in the last bin first touches
    origins: Int64Array  # (cells, ORIGINS), flat
    flows: Int64Array  # (kernel classes, kernel classes), flat: last touched by, touched again by
    gaps: Int64Array  # (BINS, 2), flat: number and sum of gaps, see `analysis.working_set`
    windows: Int64Array  # (windows, WINDOW_WORDS), flat
    ahead: Int64Array  # (2 BATCH, 2), flat: hash and entry of the pages of the visits to come


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
def segment_of(space: Space, address: int) -> int:
    """Return the segment of an address."""
    low, high = 0, len(space.bounds)
    while high - low > 1:
        middle = (low + high) >> 1
        if space.bounds[middle] <= address:
            low = middle
        else:
            high = middle
    return low


@small_function
def class_of(space: Space, address: int) -> int:
    """Return the tensor class of an address."""
    return space.classes[segment_of(space, address)]


@small_function
def class_of_page(space: Space, start: int, end: int) -> int:
    """Return the tensor class of a page, MIXED if a segment ends in it."""
    segment = segment_of(space, start)
    if segment + 1 < len(space.bounds) and space.bounds[segment + 1] < end:
        return MIXED
    return space.classes[segment]


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
    window = c.scalars[WINDOW] * WINDOW_WORDS
    if slot < c.scalars[WINDOW_SLOT]:
        c.windows[window + WINDOW_UNITS] += weight
    if slot == NEVER:
        c.origins[cell * ORIGINS + FIRST] += weight
        if shift:
            c.groups[group * (BINS + 1) + BINS] += weight
        c.windows[window + WINDOW_NEW] += weight
        add_gaps(c.gaps, s.visits[2 * this + WHEN] + start, 1, end - start, shift)
        return
    distance = s.pieces[piece + PIECE_DISTANCE] << shift
    place = bin_of(distance)
    c.distances[cell * BINS + place] += weight
    if shift:
        c.groups[group * (BINS + 1) + place] += weight
    if distance < FINE:
        prefetch(c.fine, distance)
        queued = c.scalars[QUEUED]
        c.queue[2 * queued] = distance
        c.queue[2 * queued + 1] = weight
        c.scalars[QUEUED] = queued + 1
    add_gaps(c.gaps, s.visits[2 * this + WHEN] - s.visits[2 * slot + WHEN], 0, end - start, shift)
    origin = origin_of(s.visits[2 * slot + OWNER], s.visits[2 * this + OWNER])
    c.origins[cell * ORIGINS + origin] += weight
    if origin == OTHER_KERNEL:
        before = space.launches[s.visits[2 * slot + OWNER] >> (REQUESTER_BITS + SM_BITS)]
        c.flows[before * kernel_classes + kernel_class] += weight


@small_function
def add_queued(c: Counts) -> None:
    """Add what is in the queue, whose memory has come by now."""
    for place in range(c.scalars[QUEUED]):
        c.fine[c.queue[2 * place]] += c.queue[2 * place + 1]
    c.scalars[QUEUED] = 0


@small_function
def next_window(s: Stack, c: Counts, now: int) -> None:
    """Begin the next window of time at access `now`; the last one has no end."""
    span = c.scalars[WINDOW_END] // (c.scalars[WINDOW] + 1)
    number = c.scalars[WINDOW] + 1
    if number * WINDOW_WORDS < len(c.windows):
        c.scalars[WINDOW] = number
        c.scalars[WINDOW_SLOT] = s.scalars[SLOTS]
        c.scalars[WINDOW_END] = max(c.scalars[WINDOW_END] + span, now + 1)
        c.windows[number * WINDOW_WORDS + WINDOW_START] = now


@small_function
def look_ahead(
    s: Stack, c: Counts, visits: Int64Array, first: int, last: int, unit_shift: int, page_shift: int
) -> None:
    """Ask for the memory that the visits `first` to `last` will need, all of it at once instead of one after the other,
    and note hash and entry of their pages."""
    for number in range(first, last):
        hashed = page_hash(visits[number * VISIT_WORDS + VISIT_ADDRESS] >> page_shift)
        entry = first_entry(s, hashed)
        prefetch(s.table, entry)
        c.ahead[2 * (number & AHEAD)] = hashed
        c.ahead[2 * (number & AHEAD) + 1] = entry
    for number in range(first, last):
        address = visits[number * VISIT_WORDS + VISIT_ADDRESS]
        entry = entry_from(s, address >> page_shift, c.ahead[2 * (number & AHEAD) + 1])
        c.ahead[2 * (number & AHEAD) + 1] = entry
        if s.table[entry] != 0:
            bring_part(s, entry, (address & ((1 << page_shift) - 1)) >> unit_shift)
    for number in range(first, last):
        entry = c.ahead[2 * (number & AHEAD) + 1]
        if s.table[entry] != 0:
            unit = (visits[number * VISIT_WORDS + VISIT_ADDRESS] & ((1 << page_shift) - 1)) >> unit_shift
            bring_slot(s, slot_of(s, entry, unit))


@compiled
def count_visits(
    s: Stack,
    c: Counts,
    space: Space,
    visits: Int64Array,
    count: int,
    unit_shift: int,
    page_shift: int,
    kernel_class: int,
    kernel_classes: int,
    tensor_classes: int,
) -> bool:
    """Touch what `count` visits (VISIT_WORDS each) of one kernel cover, as far as it is sampled; return whether that is
    done: if not, the stack needs room, and the same call goes on where this one stopped."""
    for first in range(c.scalars[RESUME] - BATCH, count, BATCH):
        look_ahead(s, c, visits, first + BATCH, min(first + 2 * BATCH, count), unit_shift, page_shift)
        if first < c.scalars[RESUME]:
            continue
        if not has_room(s, BATCH):
            c.scalars[RESUME] = first
            return False
        for number in range(first, min(first + BATCH, count)):
            hashed = c.ahead[2 * (number & AHEAD)]
            if hashed & ((1 << s.scalars[SHIFT]) - 1):
                continue
            word = number * VISIT_WORDS
            address, now = visits[word + VISIT_ADDRESS], visits[word + VISIT_NOW]
            if now >= c.scalars[WINDOW_END]:
                next_window(s, c, now)
            page = address >> page_shift
            entry = entry_from(s, page, c.ahead[2 * (number & AHEAD) + 1])
            if s.table[entry] == 0:
                new_entry(s, entry, page, class_of_page(space, page << page_shift, (page + 1) << page_shift))
            low = (address & ((1 << page_shift) - 1)) >> unit_shift
            pieces = visit(s, entry, low, low + visits[word + VISIT_UNITS], now, visits[word + VISIT_OWNER])
            its = s.table[entry + TAG]
            group = (hashed >> MAX_SHIFT) & (GROUPS - 1)
            if c.scalars[QUEUED] >= QUEUE:
                add_queued(c)
            for each in range(pieces):
                piece = each * PIECE_WORDS
                if s.table[entry + TAG] == MIXED:
                    its = class_of(space, max(address, (page << page_shift) + (s.pieces[piece] << unit_shift)))
                cell = kernel_class * tensor_classes + its
                count_piece(s, c, space, piece, cell, kernel_class, kernel_classes, group)
    c.scalars[RESUME] = 0
    c.scalars[VISITS] += count
    add_queued(c)
    return True


@small_function
def is_whole(s: Stack, slot: int) -> bool:
    """Return whether all that was touched in a slot was last touched then."""
    return s.weight[slot] == s.spans[slot] & ((1 << SPAN_BITS) - 1)


@small_function
def count_parted(s: Stack, c: Counts, end: int) -> None:
    """Count the gaps from the last access of each unit to the `end`, where that touched others that were since."""
    words, units = 1 << s.scalars[ENTRY_BITS], s.scalars[UNITS]
    for entry in range(0, len(s.table), words):
        ahead = entry + LAST_AHEAD * words
        if ahead < len(s.table) and s.table[ahead]:
            for unit in range(0, units, STRIP_UNITS):
                bring_part(s, ahead, unit)
        ahead = entry + LAST_AHEAD // 2 * words
        if ahead < len(s.table) and s.table[ahead]:
            for first in range(0, units, STRIP_UNITS):
                value = s.strips[2 * ahead + STRIPS + (first >> STRIP_BITS)]
                if value < NEVER:
                    part = part_at(s, value)
                    for unit in range(part, part + STRIP_UNITS):
                        prefetch(s.spans, max(0, s.parts[unit]))
                        prefetch(s.weight, max(0, s.parts[unit]))
        if s.table[entry] == 0:
            continue
        for first in range(0, units, STRIP_UNITS):
            value = s.strips[2 * entry + STRIPS + (first >> STRIP_BITS)]
            size = min(STRIP_UNITS, units - first)
            if value >= 0:
                if not is_whole(s, value):
                    gap = end - s.visits[2 * value + WHEN] - (first + size - 1)
                    add_gaps(c.gaps, gap, 1, size, s.scalars[SHIFT])
            elif value != NEVER:
                part = part_at(s, value)
                for unit in range(size):
                    slot = s.parts[part + unit]
                    if slot != NEVER and not is_whole(s, slot):
                        add_gaps(c.gaps, end - s.visits[2 * slot + WHEN] - (first + unit), 0, 1, s.scalars[SHIFT])


@compiled
def count_last(s: Stack, c: Counts) -> None:
    """Count the gaps from the last access of each unit to the end of the trace: by slots, which follow one another in
    memory, and page by page for those of which only a part is left."""
    end = c.scalars[NOW] + 1
    parted = 0
    for slot in range(s.scalars[SLOTS]):
        if is_whole(s, slot):
            size = s.spans[slot] & ((1 << SPAN_BITS) - 1)
            last = (s.spans[slot] >> SPAN_BITS) + size - 1
            add_gaps(c.gaps, end - s.visits[2 * slot + WHEN] - last, 1, size, s.scalars[SHIFT])
        elif s.weight[slot]:
            parted += 1
    if parted:
        count_parted(s, c, end)
