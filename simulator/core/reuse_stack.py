"""An LRU stack of everything a trace has touched, for exact reuse distances (Mattson et al. 1970) at a few ns a unit.

Addresses are cut into *units* (sectors, lines or tiles), these into strips of STRIP_UNITS and strips into pages.
Visits to pages are numbered by *slots* in the order in which they happen; a slot weighs as much as the units that were
last touched in that visit.  The reuse distance of a unit is then the weight of all later slots, plus what its own slot
and this visit have touched after it.  Units that were touched one after the other and are so again all have the same
distance, so a visit costs a few steps however many units it covers: a *piece* is a run of units with one distance.

A page is one cache line of the table, which has the slot of each strip that was last touched as a whole; a strip whose
units were touched apart is another, a *part*.  So single sectors all over the memory take no more of it than they must.

Weights are bytes in blocks of 64, whose sums are summed in turn by 32 three times: a distance takes a few cache lines.
A Fenwick tree touches some twenty, twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array
from simulator.core.prefetch import prefetch
from simulator.core.suffix_sums import bytes_after, words_after

BLOCK_BITS, FAN_BITS = 6, 5
STRIP_BITS = 4
STRIP_UNITS = 1 << STRIP_BITS
"""Units of a strip: their slots fill a cache line."""

MAX_UNITS = 128
"""Units of a page: their number must fit a weight."""

SLOTS, PAGES, FREE_PART, FREE_PARTS, PARTS, SHIFT, UNITS, ENTRY_BITS = 0, 1, 2, 3, 4, 5, 6, 7
SCALARS = 8
"""Scalars of a stack: slots and pages in use, first free part (-1: none), how many are free and how many were ever
used, log2 of 1 / sampling rate, units of a page, log2 of the words of an entry."""

KEY, TAG, STRIPS = 0, 1, 4
"""An entry of the table: number of the page + 1 (0: free), what the caller wants to know of it, and from 32-bit word
STRIPS on its strips, each the slot of all its units, or NEVER, or its part as FIRST_PART - part."""

WHEN, OWNER = 0, 1
SPAN_BITS = 8

PIECE_START, PIECE_END, PIECE_DISTANCE, PIECE_SLOT, PIECE_WORDS = 0, 1, 2, 3, 4
MAX_SHIFT = 12
"""At most 1 page in 2^12 is sampled."""

NEVER, FIRST_PART = -1, -2
"""Distance and slot of what had never been touched before; the first part."""


class Stack(NamedTuple):
    """The arrays of a stack."""

    scalars: Int64Array
    table: Int64Array  # (capacity, 2^ENTRY_BITS), flat; the capacity is a power of two
    strips: NDArray[np.int32]  # the same memory in words of 32 bits
    parts: NDArray[np.int32]  # (parts, STRIP_UNITS), flat: a slot each, NEVER for those never touched; free ones linked
    weight: NDArray[np.uint8]  # by slot
    sums: NDArray[np.int32]  # of 64 weights
    tops: NDArray[np.int32]  # of 32 sums
    peaks: NDArray[np.int32]  # of 32 tops
    crowns: NDArray[np.int32]  # of 32 peaks
    visits: Int64Array  # (slots, 2), flat: number of the access to what would be the first unit of the page; by whom
    spans: NDArray[np.uint16]  # by slot: first unit touched << SPAN_BITS | units touched
    pieces: Int64Array  # (units, PIECE_WORDS), flat: of the last visit


def aligned(count: int, kind: Any) -> NDArray[Any]:
    """Return zeros that begin with a cache line."""
    size = np.dtype(kind).itemsize
    room = np.zeros(count + 64 // size, kind)
    first = -room.ctypes.data // size % (64 // size)
    return room[first : first + count]


def new_table(units: int, pages: int) -> tuple[Int64Array, NDArray[np.int32]]:
    """Return an empty table of `pages` entries (a power of two) and its 32-bit words."""
    table = aligned(pages << entry_bits(units), np.int64)
    return table, table.view(np.int32)


def entry_bits(units: int) -> int:
    """Return log2 of the words of an entry."""
    return 2 if units <= 4 * STRIP_UNITS else 3


def new_slots(slots: int) -> dict[str, NDArray[Any]]:
    """Return the arrays that have a place for each slot, by name."""
    blocks = -(-slots >> BLOCK_BITS << BLOCK_BITS)
    arrays: dict[str, NDArray[Any]] = {"weight": aligned(blocks, np.uint8), "spans": aligned(blocks, np.uint16)}
    arrays["visits"] = aligned(2 * blocks, np.int64)
    count = blocks >> BLOCK_BITS
    for name in ("sums", "tops", "peaks", "crowns"):
        count = -(-count >> FAN_BITS)
        arrays[name] = aligned(count << FAN_BITS, np.int32)
    return arrays


def new_stack(units: int, slots: int, pages: int, parts: int) -> Stack:
    """Return an empty stack of pages of `units` units with room for `slots` visits, `pages` pages (a power of two) and
    `parts` strips in parts."""
    scalars = np.zeros(SCALARS, np.int64)
    scalars[FREE_PART] = -1
    scalars[UNITS], scalars[ENTRY_BITS] = units, entry_bits(units)
    table, strips = new_table(units, pages)
    return Stack(
        scalars=scalars,
        table=table,
        strips=strips,
        parts=aligned(parts * STRIP_UNITS, np.int32),
        pieces=np.zeros(units * PIECE_WORDS, np.int64),
        **new_slots(slots),
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
def first_entry(s: Stack, hashed: int) -> int:
    """Return where in the table a page with this hash is looked for first."""
    last = (len(s.table) >> s.scalars[ENTRY_BITS]) - 1
    return (((hashed * 0x1E3779B1) >> 17) & last) << s.scalars[ENTRY_BITS]  # sampled pages have low bits in common


@small_function
def entry_from(s: Stack, page: int, entry: int) -> int:
    """Return where the entry of a page is in the table, or belongs, looked for from `entry` on."""
    while s.table[entry + KEY] != page + 1 and s.table[entry + KEY] != 0:
        entry = (entry + (1 << s.scalars[ENTRY_BITS])) & (len(s.table) - 1)
    return entry


@small_function
def entry_of(s: Stack, page: int) -> int:
    """Return where the entry of a page is in the table, or belongs."""
    return entry_from(s, page, first_entry(s, page_hash(page)))


@small_function
def new_entry(s: Stack, entry: int, page: int, tag: int) -> None:
    """Put a page into the table whose units are yet to be touched."""
    s.table[entry + KEY] = page + 1
    s.table[entry + TAG] = tag
    for strip in range((s.scalars[UNITS] + STRIP_UNITS - 1) >> STRIP_BITS):
        s.strips[2 * entry + STRIPS + strip] = NEVER
    s.scalars[PAGES] += 1


@small_function
def part_at(s: Stack, value: int) -> int:
    """Return where the part begins that a strip names."""
    return (FIRST_PART - value) << STRIP_BITS


@small_function
def slot_of(s: Stack, entry: int, unit: int) -> int:
    """Return the slot in which a unit of a page was last touched, or NEVER."""
    value = s.strips[2 * entry + STRIPS + (unit >> STRIP_BITS)]
    return value if value >= NEVER else s.parts[part_at(s, value) + (unit & (STRIP_UNITS - 1))]


@small_function
def new_part(s: Stack, slot: int) -> int:
    """Return a part, as strips name it, whose units were all last touched in `slot`."""
    part = s.scalars[FREE_PART]
    if part < 0:
        part = s.scalars[PARTS]
        s.scalars[PARTS] = part + 1
    else:
        s.scalars[FREE_PART] = FIRST_PART - s.parts[part << STRIP_BITS]
        s.scalars[FREE_PARTS] -= 1
    for unit in range(part << STRIP_BITS, (part + 1) << STRIP_BITS):
        s.parts[unit] = slot
    return FIRST_PART - part


@small_function
def free_part(s: Stack, value: int) -> None:
    """Take back the part that a strip names; what it has instead of slots names the next free one."""
    for unit in range(part_at(s, value), part_at(s, value) + STRIP_UNITS):
        s.parts[unit] = FIRST_PART - s.scalars[FREE_PART]
    s.scalars[FREE_PART] = FIRST_PART - value
    s.scalars[FREE_PARTS] += 1


@small_function
def add_weight(s: Stack, slot: int, weight: int) -> None:
    """Add to the weight of a slot."""
    s.weight[slot] = int(s.weight[slot]) + weight
    s.sums[slot >> BLOCK_BITS] += weight
    s.tops[slot >> (BLOCK_BITS + FAN_BITS)] += weight
    s.peaks[slot >> (BLOCK_BITS + 2 * FAN_BITS)] += weight
    s.crowns[slot >> (BLOCK_BITS + 3 * FAN_BITS)] += weight


@small_function
def above(s: Stack, slot: int) -> int:
    """Return the weight of all slots after `slot`."""
    total = bytes_after(s.weight, slot) + words_after(s.sums, slot >> BLOCK_BITS)
    total += words_after(s.tops, slot >> (BLOCK_BITS + FAN_BITS))
    total += words_after(s.peaks, slot >> (BLOCK_BITS + 2 * FAN_BITS))
    last = s.scalars[SLOTS] >> (BLOCK_BITS + 3 * FAN_BITS)
    for place in range((slot >> (BLOCK_BITS + 3 * FAN_BITS)) + 1, last + 1):
        total += s.crowns[place]
    return total


@small_function
def has_room(s: Stack, visits: int) -> bool:
    """Return whether so many more pages can be visited."""
    slots = s.scalars[SLOTS] + visits < len(s.weight)
    pages = (4 * (s.scalars[PAGES] + visits)) << s.scalars[ENTRY_BITS] < 3 * len(s.table)  # three quarters full
    parts = (len(s.parts) >> STRIP_BITS) - s.scalars[PARTS] + s.scalars[FREE_PARTS]
    return slots and pages and parts >= 2 * visits  # a visit breaks at most its first strip and its last


@small_function
def bring_part(s: Stack, entry: int, unit: int) -> None:
    """Ask for what names the slot of a unit."""
    value = s.strips[2 * entry + STRIPS + (unit >> STRIP_BITS)]
    if value < NEVER:
        prefetch(s.parts, part_at(s, value))


@small_function
def bring_slot(s: Stack, slot: int) -> None:
    """Ask for what is known of a slot."""
    if slot != NEVER:
        prefetch(s.weight, slot)
        prefetch(s.visits, 2 * slot)
        prefetch(s.sums, (slot >> (BLOCK_BITS + FAN_BITS)) << FAN_BITS)
        prefetch(s.sums, ((slot >> (BLOCK_BITS + FAN_BITS)) << FAN_BITS) + 16)


@small_function
def visit(s: Stack, entry: int, low: int, high: int, now: int, owner: int) -> int:
    """Touch the units low <= u < high of a page, in ascending order; `now` accesses came before.  Return the pieces,
    which are in `s.pieces`."""
    slot = s.scalars[SLOTS]
    s.scalars[SLOTS] = slot + 1
    s.visits[2 * slot + WHEN] = now + 1 - low
    s.visits[2 * slot + OWNER] = owner
    s.spans[slot] = low << SPAN_BITS | (high - low)
    count = 1
    value = s.strips[2 * entry + STRIPS + (low >> STRIP_BITS)]
    if high == low + 1 and value < NEVER:  # the common case of gathers, in 10 ns less
        place = part_at(s, value) + (low & (STRIP_UNITS - 1))
        _set_piece(s, 0, low, high, s.parts[place])
        s.parts[place] = slot
    else:
        count = _find_pieces(s, entry, low, high)
    for number in range(count):
        piece = number * PIECE_WORDS
        before, end = s.pieces[piece + PIECE_SLOT], s.pieces[piece + PIECE_END]
        size = end - s.pieces[piece + PIECE_START]
        distance = NEVER
        if before != NEVER:
            # units of that slot that come later in the page were touched after these then
            after = units_in_slot(s, entry, end, before) if s.weight[before] > size else 0
            distance = above(s, before) + after + end - 1 - low
            add_weight(s, before, -size)
        s.pieces[piece + PIECE_DISTANCE] = distance
    if high > low + 1 or value >= NEVER:
        _set_slot(s, entry, low, high, slot)
    add_weight(s, slot, high - low)
    return count


@small_function
def _find_pieces(s: Stack, entry: int, low: int, high: int) -> int:
    """Find runs of units that were last touched in one slot each; return their number."""
    count = 0
    unit = low
    slot = slot_of(s, entry, low)
    start = low
    while unit < high:
        value = s.strips[2 * entry + STRIPS + (unit >> STRIP_BITS)]
        end = min(((unit >> STRIP_BITS) + 1) << STRIP_BITS, high)
        if value >= NEVER:
            if value != slot:
                _set_piece(s, count, start, unit, slot)
                count += 1
                start, slot = unit, value
        else:
            part = part_at(s, value) - (unit >> STRIP_BITS << STRIP_BITS)
            for each in range(unit, end):
                its = s.parts[part + each]
                if its != slot:
                    _set_piece(s, count, start, each, slot)
                    count += 1
                    start, slot = each, its
        unit = end
    _set_piece(s, count, start, high, slot)
    return count + 1


@small_function
def _set_piece(s: Stack, number: int, start: int, end: int, slot: int) -> None:
    piece = number * PIECE_WORDS
    s.pieces[piece + PIECE_START] = start
    s.pieces[piece + PIECE_END] = end
    s.pieces[piece + PIECE_SLOT] = slot


@small_function
def units_in_slot(s: Stack, entry: int, first: int, slot: int) -> int:
    """Return how many units from `first` on were last touched in `slot`."""
    found = 0
    unit, units = first, s.scalars[UNITS]
    while unit < units:
        value = s.strips[2 * entry + STRIPS + (unit >> STRIP_BITS)]
        end = min(((unit >> STRIP_BITS) + 1) << STRIP_BITS, units)
        if value >= NEVER:
            found += (end - unit) * (value == slot)
        else:
            part = part_at(s, value) - (unit >> STRIP_BITS << STRIP_BITS)
            for each in range(unit, end):
                found += s.parts[part + each] == slot
        unit = end
    return found


@small_function
def _set_slot(s: Stack, entry: int, low: int, high: int, slot: int) -> None:
    """Note that the units low <= u < high were last touched in `slot`."""
    unit, units = low, s.scalars[UNITS]
    while unit < high:
        strip = unit >> STRIP_BITS
        word = 2 * entry + STRIPS + strip
        value = s.strips[word]
        end = min((strip + 1) << STRIP_BITS, high)
        if unit == strip << STRIP_BITS and end == min((strip + 1) << STRIP_BITS, units):
            if value < NEVER:
                free_part(s, value)
            s.strips[word] = slot
        else:
            if value >= NEVER:
                value = new_part(s, value)
                s.strips[word] = value
            part = part_at(s, value) - (strip << STRIP_BITS)
            for each in range(unit, end):
                s.parts[part + each] = slot
        unit = end
