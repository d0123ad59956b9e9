"""Joined records as the event loop is given them: few words for what the lanes of a warp read at once.

Those that read on from one another are one request, as a coalescer makes of them (a *run*).  Else, where all records
that are issued together read parts of lines, they become a gather (core/program.py), which takes a quarter of the room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled
from simulator.core.l2 import NORMAL, READ
from simulator.core.layout import Int64Array
from simulator.core.program import (
    ADDRESS,
    EXTENT,
    GATHER,
    LANES_SHIFT,
    RECORD_WORDS,
    REST,
    STRIDE,
    gather_records,
)
from simulator.core.state import READ_ROOM

BLOCK = 2048
"""Records looked at at once: few enough to be still in the processor's cache when they are written."""

MOST_LANES, MOST_OF_LANE = 1 << 12, 1 << 18
"""Records in a run, and below what bytes and cycles of each are: so that sums fit 31 bits, whatever a trace says."""

READS_ON, ALIKE = 1, 2
"""Marks of a record: it may be one request with the record before; it may be in a gather if that is."""


def packed_lanes(
    columns: Mapping[str, NDArray[Any]],
    starts: Int64Array,
    line_bytes: int,
    gathers: bool,
    room: Int64Array | None = None,
) -> Int64Array:
    """Return records of whole CTAs, given as columns in the order of `pack`, as that does, but one for each run of
    lanes: alike records of one CTA, joined to the one before each, that read on from one another in whole lines around
    L1; and, with `gathers`, a gather for other records that are issued together where one can stand for them.

    CTA c has the records starts[c] to starts[c + 1]; `starts` is changed to say so of what is returned, which is in
    `room` for all records if given.
    """
    count = len(columns["address"])
    words = np.empty((count, RECORD_WORDS), np.int64) if room is None else room.reshape(-1, RECORD_WORDS)
    given = [np.require(column, None, ["C", "W"]) for column in columns.values()]
    arguments = (*given, line_bytes, gathers, np.empty(count, np.uint8), starts, words.reshape(-1))
    return words[: write_lanes(*arguments)]


@compiled
def write_lanes(
    op: NDArray[np.uint8],
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    row_stride: Int64Array,
    compute_cycles: NDArray[np.int32],
    barrier: NDArray[np.uint8],
    hint: NDArray[np.uint8],
    through_l1: NDArray[np.uint8],
    joined: NDArray[np.uint8],
    line_bytes: int,
    gathers: bool,
    marks: NDArray[np.uint8],
    starts: Int64Array,
    words: Int64Array,
) -> int:
    """Write the records that `packed_lanes` returns to `words`, RECORD_WORDS each; return how many there are.

    `marks` is room for a mark a record.  By blocks, so that columns come from memory once: of runs 3.2 -> 2.0 ns a
    record.
    """
    count = len(marks)
    number = marked = cta = next_start = word = run = 0
    while number < count:
        if marked < min(number + READ_ROOM + 2, count):
            end = min(marked + BLOCK, count)
            first = max(marked, 1)
            columns = op, address, rows, row_bytes, compute_cycles, barrier, hint, through_l1, joined
            mark(*columns, line_bytes, marks, first, end)
            while starts[next_start] < end:
                marks[starts[next_start]] = 0
                next_start += 1
            marked = end
        first, cycles = number, 0
        most = min(marked, number + MOST_LANES - run)
        while number < most and marks[number] & READS_ON:
            cycles += compute_cycles[number]
            number += 1
        lanes = number - first
        if lanes > 0:
            words[word - RECORD_WORDS + EXTENT] += lanes * row_bytes[first]
            words[word - RECORD_WORDS + REST] += (np.int64(cycles) << 32) + (lanes << LANES_SHIFT)
            run += lanes
            continue
        run = 1
        alone = joined[number] == 0
        if number == starts[cta]:
            starts[cta] = word // RECORD_WORDS
            cta += 1
            alone = True
        lanes = 1
        if gathers and alone and op[number] == READ and hint[number] == NORMAL and rows[number] == 1:
            lanes = gathered(address, row_bytes, joined, line_bytes, marks, number, starts[cta])
        flags = ((joined[number] * 2 + through_l1[number]) * 2 + barrier[number]) * 4 + hint[number]
        words[word + ADDRESS] = address[number]
        words[word + STRIDE] = row_stride[number]
        words[word + EXTENT] = np.int64(rows[number]) << 32 | row_bytes[number]
        if lanes == 1:
            words[word + REST] = np.int64(compute_cycles[number]) << 32 | (flags * 4 + op[number])
            word += RECORD_WORDS
        else:
            for lane in range(lanes):
                cycles += compute_cycles[number + lane]
                words[word + RECORD_WORDS + lane] = address[number + lane]
            words[word + REST] = np.int64(cycles) << 32 | (lanes - 1) << LANES_SHIFT | GATHER | (flags * 4 + op[number])
            word += gather_records(lanes) * RECORD_WORDS
        number += lanes
    starts[cta] = word // RECORD_WORDS
    return word // RECORD_WORDS


@compiled
def gathered(
    address: Int64Array,
    row_bytes: NDArray[np.int32],
    joined: NDArray[np.uint8],
    line_bytes: int,
    marks: NDArray[np.uint8],
    number: int,
    end: int,
) -> int:
    """Return how many records one gather stands for from `number`, an event's first of a CTA up to `end`, on, or 1."""
    most = min(end - number, READ_ROOM + 1)
    lanes = 1
    while lanes < most and marks[number + lanes] == ALIKE:
        lanes += 1
    within = (address[number] & (line_bytes - 1)) + row_bytes[number] <= line_bytes
    ends = number + lanes == end or joined[number + lanes] == 0
    return lanes if within and ends and lanes <= READ_ROOM else 1


@compiled
def mark(
    op: NDArray[np.uint8],
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    compute_cycles: NDArray[np.int32],
    barrier: NDArray[np.uint8],
    hint: NDArray[np.uint8],
    through_l1: NDArray[np.uint8],
    joined: NDArray[np.uint8],
    line_bytes: int,
    marks: NDArray[np.uint8],
    first: int,
    end: int,
) -> None:
    """Mark the records `first` (not 0) to `end` (not included), as if they were of one CTA.

    Two loops without branches, of few arrays each, which the compiler makes vector code of: about 1 ns a record, where
    looking at one record after the other took 5.
    """
    for record in range(first, end):
        before = record - 1
        reads_on = (address[record] == address[before] + row_bytes[before]) & (
            ((address[before] | row_bytes[before]) & (line_bytes - 1)) == 0
        )
        within = (address[record] & (line_bytes - 1)) + row_bytes[record] <= line_bytes
        alike = (row_bytes[record] == row_bytes[before]) & ((rows[record] | rows[before]) == 1)
        few = (row_bytes[record] | compute_cycles[record] | compute_cycles[before]) < MOST_OF_LANE
        marks[record] = (reads_on * READS_ON | within * ALIKE) * (alike & few)
    for record in range(first, end):
        before = record - 1
        alike = (
            (joined[record] != 0)
            & (op[record] == op[before])
            & (hint[record] == hint[before])
            & (through_l1[record] == through_l1[before])
        )
        one = (barrier[record] == barrier[before]) & (through_l1[record] == 0)
        marks[record] &= alike * ALIKE | (alike & one) * READS_ON
