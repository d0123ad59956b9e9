"""An LRU stack of everything a trace has touched, for exact reuse distances (Mattson et al. 1970) at a few ns a unit.

Addresses are cut into *units* (sectors, lines or tiles), and these into pages of `units` consecutive ones.  Visits to
pages are numbered by *slots* in the order in which they happen; a slot weighs as much as the units that were last
touched in that visit.  The reuse distance of a unit is then the weight of all later slots, plus what its own slot and
this visit have touched after it.  Units that were touched one after the other and are so again all have the same
distance, so a visit costs a few steps however many units it covers: a *piece* is a run of units with one distance.

Weights are bytes in blocks of 64, whose sums are summed in turn by 32 and 32: a distance takes one cache line of each.
A Fenwick tree touches some twenty, twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.suffix_sums import bytes_after, words_after

BLOCK_BITS, FAN_BITS = 6, 5
SLOT_GRANULE = 1 << (BLOCK_BITS + 2 * FAN_BITS)
"""Slots come in multiples of this."""

MAX_UNITS = 128
"""Units of a page: their number must fit a weight."""

SLOTS, PAGES, FREE_PART, PARTS, SHIFT = 0, 1, 2, 3, 4
SCALARS = 8
"""Scalars of a stack: slots and pages in use, first free part (-1: none) and parts ever used, log2 of 1 / sampling
rate."""

WHEN, OWNER = 0, 1

PIECE_START, PIECE_END, PIECE_DISTANCE, PIECE_SLOT, PIECE_WORDS = 0, 1, 2, 3, 4
MAX_SHIFT = 12
"""At most 1 page in 2^12 is sampled."""

NEVER = -1
"""Distance and slot of what had never been touched before."""

_SPLIT = 1 << 32
_UNTOUCHED = _SPLIT - 1
_CLASS = 40


class Stack(NamedTuple):
    """The arrays of a stack.

    An entry of `table` is a page number + 1 (0: free) and its value: the slot of a page whose units were last touched
    together, or the part that has the slot of each; and its tensor class from bit 40 on.
    """

    scalars: Int64Array
    table: Int64Array  # (capacity, 2), flat; the capacity is a power of two
    parts: NDArray[np.int32]  # (parts, units), flat: a slot each, NEVER for those never touched; free ones are linked
    weight: NDArray[np.uint8]  # by slot
    sums: NDArray[np.int32]  # of 64 weights
    tops: NDArray[np.int32]  # of 32 sums
    peaks: NDArray[np.int32]  # of 32 tops
    visits: Int64Array  # (slots, 2), flat: number of the access to what would be the first unit of the page; by whom
    pieces: Int64Array  # (units, PIECE_WORDS), flat: of the last visit


def new_stack(units: int, slots: int, pages: int, parts: int) -> Stack:
    """Return an empty stack of pages of `units` units with room for `slots` visits, `pages` pages (a power of two) and
    `parts` pages in parts."""
    slots = -(-slots // SLOT_GRANULE) * SLOT_GRANULE
    scalars = np.zeros(SCALARS, np.int64)
    scalars[FREE_PART] = -1
    return Stack(
        scalars=scalars,
        table=np.zeros(2 * pages, np.int64),
        parts=np.zeros(parts * units, np.int32),
        weight=np.zeros(slots, np.uint8),
        sums=np.zeros(slots >> BLOCK_BITS, np.int32),
        tops=np.zeros(slots >> (BLOCK_BITS + FAN_BITS), np.int32),
        peaks=np.zeros(slots >> (BLOCK_BITS + 2 * FAN_BITS), np.int32),
        visits=np.zeros(2 * slots, np.int64),
        pieces=np.zeros(units * PIECE_WORDS, np.int64),
    )


@small_function
def page_hash(page: int) -> int:
    """Return 32 pseudo-random bits of a page number."""
    x = (page ^ (page >> 32)) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return x ^ (x >> 16)


@small_function
def is_sampled(page: int, shift: int) -> bool:
    """Return whether a page is among the 1 in 2^shift that are looked at (SHARDS: Waldspurger et al. 2015)."""
    return (page_hash(page) & ((1 << shift) - 1)) == 0


@small_function
def entry_of(s: Stack, page: int) -> int:
    """Return where the entry of a page is in the table, or belongs."""
    last = (len(s.table) >> 1) - 1
    place = ((page_hash(page) * 0x1E3779B1) >> 17) & last  # sampled pages have low bits in common
    while s.table[2 * place] != page + 1 and s.table[2 * place] != 0:
        place = (place + 1) & last
    return 2 * place


@small_function
def class_at(s: Stack, entry: int) -> int:
    """Return the tensor class of an entry."""
    return s.table[entry + 1] >> _CLASS


@small_function
def new_entry(s: Stack, entry: int, page: int, tensor_class: int) -> None:
    """Put a page into the table whose units are yet to be touched."""
    s.table[entry] = page + 1
    s.table[entry + 1] = tensor_class << _CLASS | _UNTOUCHED
    s.scalars[PAGES] += 1


@small_function
def new_part(s: Stack, slot: int) -> int:
    """Return a part whose units were all last touched in `slot`."""
    units = len(s.pieces) // PIECE_WORDS
    part = s.scalars[FREE_PART]
    if part < 0:
        part = s.scalars[PARTS]
        s.scalars[PARTS] = part + 1
    else:
        s.scalars[FREE_PART] = s.parts[part * units]
    for unit in range(units):
        s.parts[part * units + unit] = slot
    return part


@small_function
def add_weight(s: Stack, slot: int, weight: int) -> None:
    """Add to the weight of a slot."""
    s.weight[slot] = int(s.weight[slot]) + weight
    s.sums[slot >> BLOCK_BITS] += weight
    s.tops[slot >> (BLOCK_BITS + FAN_BITS)] += weight
    s.peaks[slot >> (BLOCK_BITS + 2 * FAN_BITS)] += weight


@small_function
def above(s: Stack, slot: int) -> int:
    """Return the weight of all slots after `slot`."""
    block = slot >> BLOCK_BITS
    total = bytes_after(s.weight, slot) + words_after(s.sums, block)
    block >>= FAN_BITS
    total += words_after(s.tops, block)
    block >>= FAN_BITS
    for place in range(block + 1, (s.scalars[SLOTS] >> (BLOCK_BITS + 2 * FAN_BITS)) + 1):
        total += s.peaks[place]
    return total


@small_function
def has_room(s: Stack) -> bool:
    """Return whether one more page can be visited."""
    units = len(s.pieces) // PIECE_WORDS
    slots = s.scalars[SLOTS] < len(s.weight) - 1
    pages = 8 * s.scalars[PAGES] < 3 * len(s.table)  # three quarters of the entries
    return slots and pages and (s.scalars[FREE_PART] >= 0 or (s.scalars[PARTS] + 1) * units <= len(s.parts))


@small_function
def visit(s: Stack, entry: int, low: int, high: int, now: int, owner: int) -> int:
    """Touch the units low <= u < high of a page, in ascending order; `now` accesses came before.  Return the pieces,
    which are in `s.pieces`."""
    units = len(s.pieces) // PIECE_WORDS
    value = s.table[entry + 1]
    slot = s.scalars[SLOTS]
    s.scalars[SLOTS] = slot + 1
    s.visits[2 * slot + WHEN] = now + 1 - low
    s.visits[2 * slot + OWNER] = owner
    where = value & (_SPLIT - 1)
    whole = low == 0 and high == units
    count = 1
    if (value & _SPLIT) == 0:
        before = NEVER
        distance = NEVER
        if where != _UNTOUCHED:
            before = where
            distance = above(s, where) + units - 1 - low
            add_weight(s, where, low - high)
        _set_piece(s, 0, low, high, distance, before)
        if not whole:
            where = new_part(s, before)
            value = (value >> _CLASS << _CLASS) | _SPLIT | where
    else:
        count = _visit_parts(s, where * units, low, high)
        if whole:
            s.parts[where * units] = s.scalars[FREE_PART]
            s.scalars[FREE_PART] = where
    if whole:
        value = (value >> _CLASS << _CLASS) | slot
    else:
        for unit in range(where * units + low, where * units + high):
            s.parts[unit] = slot
    s.table[entry + 1] = value
    add_weight(s, slot, high - low)
    return count


@small_function
def _visit_parts(s: Stack, part: int, low: int, high: int) -> int:
    """Find the pieces of a visit to a page whose units were last touched apart, and take them off their slots."""
    units = len(s.pieces) // PIECE_WORDS
    count = 0
    start = low
    while start < high:
        slot = s.parts[part + start]
        end = start + 1
        while end < high and s.parts[part + end] == slot:
            end += 1
        distance = NEVER
        if slot >= 0:
            after = 0  # units of this slot that come later in the page, and were touched after these then
            if s.weight[slot] > end - start:
                for unit in range(end, units):
                    after += s.parts[part + unit] == slot
            distance = above(s, slot) + after + end - 1 - low
            add_weight(s, slot, start - end)
        _set_piece(s, count, start, end, distance, slot)
        count += 1
        start = end
    return count


@small_function
def _set_piece(s: Stack, number: int, start: int, end: int, distance: int, slot: int) -> None:
    piece = number * PIECE_WORDS
    s.pieces[piece + PIECE_START] = start
    s.pieces[piece + PIECE_END] = end
    s.pieces[piece + PIECE_DISTANCE] = distance
    s.pieces[piece + PIECE_SLOT] = slot


@compiled
def move_slots(old: Stack, new: Stack, place: NDArray[np.int32]) -> None:
    """Copy what is still in use of a stack into an empty one, slots renumbered in order; pages that are no longer
    sampled are left out.  `place` is room for the new number of each slot, NEVER at first."""
    units = len(old.pieces) // PIECE_WORDS
    shift = new.scalars[SHIFT]
    for entry in range(0, len(old.table), 2):  # mark what stays
        if old.table[entry] and is_sampled(old.table[entry] - 1, shift):
            value = old.table[entry + 1]
            where = value & (_SPLIT - 1)
            if (value & _SPLIT) == 0:
                place[where] = 0
            else:
                for unit in range(where * units, (where + 1) * units):
                    if old.parts[unit] >= 0:
                        place[old.parts[unit]] = 0
    count = 0
    for slot in range(old.scalars[SLOTS]):
        if place[slot] >= 0:
            place[slot] = count
            new.visits[2 * count + WHEN] = old.visits[2 * slot + WHEN]
            new.visits[2 * count + OWNER] = old.visits[2 * slot + OWNER]
            count += 1
    new.scalars[SLOTS] = count
    for entry in range(0, len(old.table), 2):
        if old.table[entry] and is_sampled(old.table[entry] - 1, shift):
            _move_page(old, new, place, entry, units)


@small_function
def _move_page(old: Stack, new: Stack, place: NDArray[np.int32], entry: int, units: int) -> None:
    value = old.table[entry + 1]
    where = value & (_SPLIT - 1)
    there = entry_of(new, old.table[entry] - 1)
    new.table[there] = old.table[entry]
    new.scalars[PAGES] += 1
    if (value & _SPLIT) == 0:
        moved = place[where]
        add_weight(new, moved, units)
    else:
        part = new_part(new, NEVER)
        moved = _SPLIT | part
        for unit in range(units):
            slot = old.parts[where * units + unit]
            if slot >= 0:
                new.parts[part * units + unit] = place[slot]
                add_weight(new, place[slot], 1)
    new.table[there + 1] = (value >> _CLASS << _CLASS) | moved


@small_function
def slot_of(s: Stack, entry: int, unit: int) -> int:
    """Return the slot in which a unit of a page was last touched, or NEVER."""
    value = s.table[entry + 1]
    where = value & (_SPLIT - 1)
    return where if (value & _SPLIT) == 0 else s.parts[where * (len(s.pieces) // PIECE_WORDS) + unit]
