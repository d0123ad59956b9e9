"""Visits to sampled pages taken straight from records, each with the time at which its CTA comes to it.

When nearly all pages are passed over, so may be the order of their accesses: a CTA that begins in some round of turns
comes to its records in the rounds after that, one a round, and in a round the slots follow one another.  So round and
slot put what is left in order, and the time of a visit is what the rounds before it access, and its slot's share of its
own round: exact to the round, and altogether so where one CTA runs at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled
from simulator.core.heap import sift_down
from simulator.core.layout import Int64Array
from simulator.core.reuse_count import (
    REQUESTER_BITS,
    SM_BITS,
    VISIT_ADDRESS,
    VISIT_NOW,
    VISIT_OWNER,
    VISIT_UNITS,
    VISIT_WORDS,
)
from simulator.core.reuse_stack import is_sampled

SLOT_BITS = 20
"""Bits of a slot below the round."""


@compiled
def place(turns: Int64Array, slots: Int64Array, begins: Int64Array) -> None:
    """Give each of some CTAs, in order, the slot that is free first.

    `turns` are those that each takes, `slots` (slots + 1) a min-heap of round << SLOT_BITS | slot, `begins` what it
    says of each CTA's first turn.
    """
    for cta in range(len(turns)):
        begins[cta] = slots[0]
        sift_down(slots, 0, len(slots) - 1, slots[0] + (turns[cta] << SLOT_BITS))


@compiled
def survey(
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    row_stride: Int64Array,
    unit_shift: int,
    page_shift: int,
    shift: int,
    units: Int64Array,
    marks: NDArray[np.bool_],
) -> None:
    """Set `units` to those of each record that is one run of bytes; and mark those that are not, or that may touch a
    sampled page.

    A loop without more in it, since the compiler makes vector instructions of it: 1 ns a record."""
    for record in range(len(marks)):
        start, size, runs = address[record], np.int64(row_bytes[record]), np.int64(rows[record])
        last = start + size * runs - 1
        units[record] = (last >> unit_shift) - (start >> unit_shift) + 1
        whole = (runs == 1) | (row_stride[record] == size)
        page = start >> page_shift
        marks[record] = (not whole) | (last >> page_shift != page) | is_sampled(page, shift)


@compiled
def sample(
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    row_stride: Int64Array,
    joined: NDArray[np.uint8],
    marked: Int64Array,
    units: Int64Array,
    turns: Int64Array,
    starts: Int64Array,
    requesters: Int64Array,
    begins: Int64Array,
    launch: int,
    sms: int,
    unit_shift: int,
    page_shift: int,
    shift: int,
    keys: Int64Array,
    visits: Int64Array,
) -> int:
    """Write down the visits that the marked records of some CTAs make to sampled pages: `keys` by which to sort them
    (round and slot), and `visits` (VISIT_WORDS each) with the accesses of their turn that come before them; and correct
    the `units` of the marked.  Return how many there are, which may be more than there is room for.

    Record columns are those of a chunk, record i belongs to turn turns[i] of all turns of the chunk, and CTA c owns
    starts[c] to starts[c + 1].
    """
    unit_bits = page_shift - unit_shift
    count = 0
    cta = 0
    for record in marked:
        while starts[cta + 1] <= record:
            cta += 1
        key = begins[cta] + ((turns[record] - turns[starts[cta]]) << SLOT_BITS)
        slot = key & ((1 << SLOT_BITS) - 1)
        owner = ((launch << SM_BITS | slot % sms) << REQUESTER_BITS) | requesters[cta]
        before = 0
        lane = record
        while joined[lane] and lane > starts[cta]:
            lane -= 1
            before += units[lane]
        first_unit = before
        start, size, runs = address[record], np.int64(row_bytes[record]), np.int64(rows[record])
        stride = row_stride[record]
        if stride == size:
            size *= runs
            runs = 1
        for _ in range(runs):
            first, last = start >> unit_shift, (start + size - 1) >> unit_shift
            for page in range(first >> unit_bits, (last >> unit_bits) + 1):
                if is_sampled(page, shift):
                    if count < len(keys):
                        low = max(first, page << unit_bits)
                        keys[count] = key
                        visits[count * VISIT_WORDS + VISIT_ADDRESS] = max(start, page << page_shift)
                        visits[count * VISIT_WORDS + VISIT_UNITS] = min(last + 1, (page + 1) << unit_bits) - low
                        visits[count * VISIT_WORDS + VISIT_NOW] = before + low - first
                        visits[count * VISIT_WORDS + VISIT_OWNER] = owner
                    count += 1
            before += last - first + 1
            start += stride
        units[record] = before - first_unit
    return count


@compiled
def add_up(
    units: Int64Array, turns: Int64Array, starts: Int64Array, begins: Int64Array, first_round: int, accesses: Int64Array
) -> None:
    """Add the units of records to the `accesses` of their round, which begin with those of `first_round`."""
    for cta in range(len(begins)):
        ahead = (begins[cta] >> SLOT_BITS) - first_round - turns[starts[cta]]
        for record in range(starts[cta], starts[cta + 1]):
            accesses[ahead + turns[record]] += units[record]
