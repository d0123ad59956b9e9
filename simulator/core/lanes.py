"""Joined records that read on from one another, as lanes of a warp do: one request, as a coalescer makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled
from simulator.core.layout import Int64Array
from simulator.core.program import ADDRESS, EXTENT, LANES_SHIFT, RECORD_WORDS, REST, STRIDE

BLOCK = 2048
"""Records looked at at once: few enough to be still in the processor's cache when they are written."""


def packed_lanes(
    columns: Mapping[str, NDArray[Any]], starts: Int64Array, line_bytes: int, room: Int64Array | None = None
) -> Int64Array:
    """Return records of whole CTAs, given as columns in the order of `pack`, as that does, but one for each run of
    lanes: alike records of one CTA, joined to the one before each, that read on from one another in whole lines around
    L1.

    CTA c has the records starts[c] to starts[c + 1]; `starts` is changed to say so of what is returned, which is in
    `room` for all records if given.
    """
    count = len(columns["address"])
    words = np.empty((count, RECORD_WORDS), np.int64) if room is None else room.reshape(-1, RECORD_WORDS)
    given = [np.require(column, None, ["C", "W"]) for column in columns.values()]
    arguments = (*given, line_bytes, np.empty(count, np.bool_), starts, words.reshape(-1))
    runs = write_runs(*arguments)
    return words[:runs]


@compiled
def write_runs(
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
    on: NDArray[np.bool_],
    starts: Int64Array,
    words: Int64Array,
) -> int:
    """Write the records that `packed_lanes` returns to `words`, RECORD_WORDS each; return how many there are.

    `on` is room for a mark a record.  By blocks, so that columns come from memory once: 3.2 -> 2.0 ns a record.
    """
    runs = cta = marked = 0
    word = -RECORD_WORDS
    for begin in range(0, len(on), BLOCK):
        end = min(begin + BLOCK, len(on))
        reads_on(op, address, rows, row_bytes, barrier, hint, through_l1, joined, line_bytes, on, max(begin, 1), end)
        while starts[marked] < end:
            on[starts[marked]] = False
            marked += 1
        number = begin
        while number < end:
            first, cycles = number, 0
            while number < end and on[number]:
                cycles += compute_cycles[number]
                number += 1
            lanes = number - first
            if lanes > 0:
                words[word + EXTENT] += lanes * row_bytes[first]
                words[word + REST] += (np.int64(cycles) << 32) + (lanes << LANES_SHIFT)
            if number < end:
                if number == starts[cta]:
                    starts[cta] = runs
                    cta += 1
                runs += 1
                word += RECORD_WORDS
                flags = ((joined[number] * 2 + through_l1[number]) * 2 + barrier[number]) * 4 + hint[number]
                words[word + ADDRESS] = address[number]
                words[word + STRIDE] = row_stride[number]
                words[word + EXTENT] = np.int64(rows[number]) << 32 | row_bytes[number]
                words[word + REST] = np.int64(compute_cycles[number]) << 32 | (flags * 4 + op[number])
                number += 1
    starts[cta] = runs
    return runs


@compiled
def reads_on(
    op: NDArray[np.uint8],
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    barrier: NDArray[np.uint8],
    hint: NDArray[np.uint8],
    through_l1: NDArray[np.uint8],
    joined: NDArray[np.uint8],
    line_bytes: int,
    on: NDArray[np.bool_],
    first: int,
    end: int,
) -> None:
    """Say in `on` of the records `first` (not 0) to `end` (not included) whether each may be one request with the
    record before, were they of one CTA.

    Two loops without branches, of few arrays each, which the compiler makes vector code of: 0.3 ns a record, where
    looking at one record after the other took 5.
    """
    for record in range(first, end):
        before = record - 1
        on[record] = (
            (address[record] == address[before] + row_bytes[before])
            & (row_bytes[record] == row_bytes[before])
            & ((rows[record] | rows[before]) == 1)
            & (((address[before] | row_bytes[before]) & (line_bytes - 1)) == 0)
        )
    for record in range(first, end):
        before = record - 1
        on[record] &= (
            (joined[record] != 0)
            & (op[record] == op[before])
            & (hint[record] == hint[before])
            & (barrier[record] == barrier[before])
            & ((through_l1[record] | through_l1[before]) == 0)
        )
