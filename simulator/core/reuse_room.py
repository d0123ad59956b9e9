"""Making room in an LRU stack: slots that are no longer in use, a larger table, fewer pages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled, small_function
from simulator.core.reuse_stack import (
    BLOCK_BITS,
    ENTRY_BITS,
    FAN_BITS,
    KEY,
    NEVER,
    PAGES,
    PARTS,
    SHIFT,
    SLOTS,
    STRIP_BITS,
    STRIP_UNITS,
    STRIPS,
    UNITS,
    Stack,
    add_weight,
    entry_of,
    free_part,
    is_sampled,
    slot_of,
)


@compiled
def move_pages(old: Stack, new: Stack) -> None:
    """Put into the empty table of `new`, which shares all else with `old`, the pages that are sampled at its rate, and
    forget the others."""
    words, units = 1 << old.scalars[ENTRY_BITS], old.scalars[UNITS]
    new.scalars[PAGES] = 0
    for entry in range(0, len(old.table), words):
        page = old.table[entry + KEY] - 1
        if page < 0:
            continue
        if is_sampled(page, new.scalars[SHIFT]):
            place = entry_of(new, page)
            for word in range(words):
                new.table[place + word] = old.table[entry + word]
            new.scalars[PAGES] += 1
            continue
        for unit in range(units):
            slot = slot_of(old, entry, unit)
            if slot != NEVER:
                add_weight(old, slot, -1)
        for strip in range((units + STRIP_UNITS - 1) >> STRIP_BITS):
            value = old.strips[2 * entry + STRIPS + strip]
            if value < NEVER:
                free_part(old, value)


@small_function
def _sum_up(sums: NDArray[np.int32], parts: NDArray[Any], bits: int) -> None:
    """Set each sum to that of 2^bits parts."""
    for place in range(len(parts) >> bits):
        total = 0
        for part in range(place << bits, (place + 1) << bits):
            total += parts[part]
        sums[place] = total


@compiled
def renumber(s: Stack, numbers: NDArray[np.int32]) -> None:
    """Number the slots in use anew, in order; `numbers` (slots + 1) is room for the new number of each slot, or of the
    first one in use after it."""
    slots = s.scalars[SLOTS]
    count = 0
    for slot in range(slots):
        numbers[slot] = count
        if s.weight[slot]:
            s.weight[count] = s.weight[slot]
            s.visits[2 * count] = s.visits[2 * slot]
            s.visits[2 * count + 1] = s.visits[2 * slot + 1]
            s.spans[count] = s.spans[slot]
            count += 1
    numbers[slots] = count
    for slot in range(count, slots):
        s.weight[slot] = 0
    s.scalars[SLOTS] = count
    words = 1 << s.scalars[ENTRY_BITS]
    strips = (s.scalars[UNITS] + STRIP_UNITS - 1) >> STRIP_BITS
    for entry in range(0, len(s.table), words):
        if s.table[entry + KEY]:
            for word in range(2 * entry + STRIPS, 2 * entry + STRIPS + strips):
                slot = s.strips[word]
                s.strips[word] = numbers[max(slot, 0)] if slot >= 0 else slot
    for unit in range(s.scalars[PARTS] << STRIP_BITS):
        slot = s.parts[unit]
        s.parts[unit] = numbers[max(slot, 0)] if slot >= 0 else slot
    _sum_up(s.sums, s.weight, BLOCK_BITS)
    _sum_up(s.tops, s.sums, FAN_BITS)
    _sum_up(s.peaks, s.tops, FAN_BITS)
    _sum_up(s.crowns, s.peaks, FAN_BITS)
