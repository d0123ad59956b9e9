"""Visits of one unit each, as gathers make them: what `reuse_count.count_visits` counts, in half the time.

A batch of them is looked up step by step, each step asking for the memory of the next one, so that it waits for none.
What the visits of a batch weigh is added at its end, for all of them together: until then a distance is the weight of
the slots before the batch, plus the units of the batch that nobody has touched again.
"""

from __future__ import annotations

from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.prefetch import prefetch
from simulator.core.reuse_count import (
    BINS,
    FINE,
    FIRST,
    MIXED,
    ORIGINS,
    OTHER_KERNEL,
    QUEUED,
    REQUESTER_BITS,
    RESUME,
    SM_BITS,
    VISIT_ADDRESS,
    VISIT_NOW,
    VISIT_OWNER,
    VISIT_UNITS,
    VISIT_WORDS,
    VISITS,
    WINDOW,
    WINDOW_END,
    WINDOW_NEW,
    WINDOW_SLOT,
    WINDOW_UNITS,
    WINDOW_WORDS,
    Counts,
    Space,
    add_queued,
    bin_of,
    class_of,
    class_of_page,
    next_window,
    origin_of,
)
from simulator.core.reuse_stack import (
    BLOCK_BITS,
    FAN_BITS,
    NEVER,
    OWNER,
    SLOTS,
    SPAN_BITS,
    STRIP_BITS,
    STRIP_UNITS,
    STRIPS,
    TAG,
    WHEN,
    Stack,
    above,
    add_weight,
    bring_slot,
    entry_from,
    entry_of,
    first_entry,
    has_room,
    new_entry,
    new_part,
    page_hash,
    part_at,
    units_in_slot,
)

SINGLES = 64
"""Visits that are looked up together, no more than a queue of distances has room for."""


@compiled
def are_single(visits: Int64Array, count: int) -> bool:
    """Return whether each of the first `count` visits touches one unit."""
    number = 0
    while number < count and visits[number * VISIT_WORDS + VISIT_UNITS] == 1:
        number += 1
    return number == count


@small_function
def find(
    s: Stack, c: Counts, space: Space, visits: Int64Array, first: int, size: int, unit_shift: int, page_shift: int
) -> None:
    """Note of `size` visits from `first` on, in `c.ahead`, where the slot of their unit stands, and its class."""
    for number in range(size):
        page = visits[(first + number) * VISIT_WORDS + VISIT_ADDRESS] >> page_shift
        entry = first_entry(s, page_hash(page))
        prefetch(s.table, entry)
        c.ahead[2 * number] = entry
    for number in range(size):
        address = visits[(first + number) * VISIT_WORDS + VISIT_ADDRESS]
        page = address >> page_shift
        unit = (address & ((1 << page_shift) - 1)) >> unit_shift
        entry = entry_from(s, page, c.ahead[2 * number])
        if s.table[entry] == 0:
            new_entry(s, entry, page, class_of_page(space, page << page_shift, (page + 1) << page_shift))
        strip = 2 * entry + STRIPS + (unit >> STRIP_BITS)
        value = s.strips[strip]
        if value >= NEVER:
            value = new_part(s, value)
            s.strips[strip] = value
        place = part_at(s, value) + (unit & (STRIP_UNITS - 1))
        prefetch(s.parts, place)
        its = s.table[entry + TAG]
        c.ahead[2 * number] = place
        c.ahead[2 * number + 1] = class_of(space, address) if its == MIXED else its
    for number in range(size):
        bring_slot(s, s.parts[c.ahead[2 * number]])


@small_function
def settle(s: Stack, c: Counts, base: int, size: int) -> None:
    """Add the weight of `size` slots from `base` on, of units that `c.ahead` says have not been touched again."""
    number = 0
    while number < size:
        slot = base + number
        block = slot >> BLOCK_BITS
        weight = 0
        while number < size and (base + number) >> BLOCK_BITS == block:
            left = c.ahead[2 * number + 1]
            s.weight[base + number] = left
            weight += left
            number += 1
        s.sums[block] += weight
        s.tops[block >> FAN_BITS] += weight
        s.peaks[block >> (2 * FAN_BITS)] += weight
        s.crowns[block >> (3 * FAN_BITS)] += weight


@compiled
def count_singles(
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
    """Do as `reuse_count.count_visits`, for visits of one unit each to pages of several, all of which are looked at."""
    for first in range(c.scalars[RESUME], count, SINGLES):
        if not has_room(s, SINGLES):
            c.scalars[RESUME] = first
            return False
        size = min(SINGLES, count - first)
        find(s, c, space, visits, first, size, unit_shift, page_shift)
        base = s.scalars[SLOTS]
        kept = 0
        queued = 0
        for number in range(size):
            word = (first + number) * VISIT_WORDS
            address, now, owner = visits[word + VISIT_ADDRESS], visits[word + VISIT_NOW], visits[word + VISIT_OWNER]
            slot = base + number
            if now >= c.scalars[WINDOW_END]:
                s.scalars[SLOTS] = slot
                next_window(s, c, now)
            unit = (address & ((1 << page_shift) - 1)) >> unit_shift
            when = now + 1 - unit
            s.visits[2 * slot + WHEN] = when
            s.visits[2 * slot + OWNER] = owner
            s.spans[slot] = unit << SPAN_BITS | 1
            place = c.ahead[2 * number]
            cell = kernel_class * tensor_classes + c.ahead[2 * number + 1]
            c.ahead[2 * number + 1] = 1
            before = s.parts[place]
            s.parts[place] = slot
            window = c.scalars[WINDOW] * WINDOW_WORDS
            c.windows[window + WINDOW_UNITS] += before < c.scalars[WINDOW_SLOT]
            if before == NEVER:
                c.origins[cell * ORIGINS + FIRST] += 1
                c.windows[window + WINDOW_NEW] += 1
                gap = now + 1
            else:
                if before >= base:
                    distance = 0
                    for other in range(before - base + 1, number):
                        distance += c.ahead[2 * other + 1]
                    c.ahead[2 * (before - base) + 1] = 0
                    kept -= 1
                else:
                    distance = kept + above(s, before)
                    if s.weight[before] > 1:
                        entry = entry_of(s, address >> page_shift)
                        distance += units_in_slot(s, entry, unit + 1, before)
                    add_weight(s, before, -1)
                c.distances[cell * BINS + bin_of(distance)] += 1
                if distance < FINE:
                    prefetch(c.fine, distance)
                    c.queue[2 * queued] = distance
                    c.queue[2 * queued + 1] = 1
                    queued += 1
                gap = when - s.visits[2 * before + WHEN]
                previous = s.visits[2 * before + OWNER]
                origin = origin_of(previous, owner)
                c.origins[cell * ORIGINS + origin] += 1
                if origin == OTHER_KERNEL:
                    source = space.launches[previous >> (REQUESTER_BITS + SM_BITS)]
                    c.flows[source * kernel_classes + kernel_class] += 1
            kept += 1
            least = bin_of(gap)
            c.gaps[2 * least] += 1
            c.gaps[2 * least + 1] += gap
        c.scalars[QUEUED] = queued
        add_queued(c)
        s.scalars[SLOTS] = base + size
        settle(s, c, base, size)
    c.scalars[RESUME] = 0
    c.scalars[VISITS] += count
    return True
