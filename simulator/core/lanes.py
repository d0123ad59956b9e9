"""Joined records as the event loop is given them: few words for what the lanes of a warp read at once.

Those that read on from one another are one request, as a coalescer makes of them (a *run*).  Else, where all records
that are issued together read parts of lines, they become a gather (core/program.py), which takes a quarter of the room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import called, compiled
from simulator.core.l2 import NORMAL, READ
from simulator.core.layout import Int64Array
from simulator.core.marks import (
    AHEAD,
    BLOCK,
    GOES_ON,
    NEXT_CTA,
    READS_ON,
    alone,
    is_lane,
    issued_alike,
    mark,
    note_flags,
    read_on,
)
from simulator.core.program import (
    ADDRESS,
    EXTENT,
    GATHER,
    KIND,
    LANES_SHIFT,
    RECORD_WORDS,
    REST,
    STRIDE,
    gather_records,
)
from simulator.core.state import READ_ROOM

MOST_LANES = 1 << 12
"""Records in a run, so that their sums fit 31 bits."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Records as words (n, RECORD_WORDS); CTA c has the records starts[c] to starts[c + 1].

    `flags` and `addresses` are the ones of all records that were given.
    """

    words: Int64Array
    starts: Int64Array
    flags: int
    addresses: int


def packed_lanes(
    requester: NDArray[np.int32],
    columns: Mapping[str, NDArray[Any]],
    line_bytes: int,
    gathers: bool,
    room: Int64Array | None = None,
) -> Packed:
    """Return records of whole CTAs, given as columns in the order of `pack`, as that does, but one for each run of
    lanes: alike records of one CTA, joined to the one before each, that read on from one another in whole lines around
    L1; and, with `gathers`, a gather for other records that are issued together where one can stand for them.

    `requester` are the CTAs of records; words are in `room` for all records if given.
    """
    count = len(requester)
    words = np.empty(count * RECORD_WORDS, np.int64) if room is None else room
    starts = np.empty(count + 1, np.int64)
    given = [np.require(column, None, ["C", "W"]) for column in (requester, *columns.values())]
    of_block = np.empty(BLOCK, np.uint8), np.empty(BLOCK + AHEAD, np.uint8)
    arguments = (*given, line_bytes, gathers, *of_block, starts, words)
    records, ctas, flags, addresses = write_lanes(*arguments)
    return Packed(words.reshape(-1, RECORD_WORDS)[:records], starts[: ctas + 1].copy(), flags, addresses)


@compiled
def write_lanes(
    requester: NDArray[np.int32],
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
    flags: NDArray[np.uint8],
    marks: NDArray[np.uint8],
    starts: Int64Array,
    words: Int64Array,
) -> tuple[int, int, int, int]:
    """Write the records that `packed_lanes` returns to `words`, RECORD_WORDS each, and where CTAs begin to `starts`;
    return how many records and CTAs there are, and the ones of all flags and addresses.

    `flags` and `marks` are room for those of a block.
    """
    count = len(address)
    number = word = cta = run = all_flags = all_addresses = 0
    marks[0] = NEXT_CTA
    while number < count:
        base = max(number - 1, 0)
        end = min(base + BLOCK, count)
        all_flags |= note_flags(op, barrier, hint, through_l1, joined, base, end, flags)
        all_addresses |= ones_of(address, base, end)
        mark(requester, address, rows, row_bytes, compute_cycles, line_bytes, base, end, flags, marks)
        last = end if end == count else end - AHEAD
        while number < last:
            at = number - base
            if marks[at] & READS_ON and run < MOST_LANES and is_lane(rows, compute_cycles, number - 1):
                lanes = min(read_on(marks, at), MOST_LANES - run)
                words[word - RECORD_WORDS + EXTENT] += lanes * row_bytes[number]
                words[word - RECORD_WORDS + REST] += rest_of(compute_cycles, number, lanes)
                number += lanes
                run += lanes
                continue
            if marks[at] & NEXT_CTA:
                starts[cta] = word // RECORD_WORDS
                cta += 1
            run = 1
            if marks[at + 1] & GOES_ON == 0:
                several = alone(marks, at)
                write(address, rows, row_bytes, row_stride, compute_cycles, number, several, flags, at, words, word)
                word += several * RECORD_WORDS
                number += several
                continue
            write(address, rows, row_bytes, row_stride, compute_cycles, number, 1, flags, at, words, word)
            word += RECORD_WORDS
            number += 1
            if gathers and marks[at] & GOES_ON == 0 and flags[at] & KIND == READ | NORMAL << 2:
                columns = address, rows, row_bytes, compute_cycles
                others = gather(*columns, number - 1, line_bytes, flags, marks, at, words, word)
                if others > 0:
                    word += (gather_records(others + 1) - 1) * RECORD_WORDS
                    number += others
    starts[cta] = word // RECORD_WORDS
    return word // RECORD_WORDS, cta, all_flags, all_addresses


@called
def write(
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    row_stride: Int64Array,
    compute_cycles: NDArray[np.int32],
    first: int,
    count: int,
    flags: NDArray[np.uint8],
    at: int,
    words: Int64Array,
    word: int,
) -> None:
    """Write records from `first` on, whose flags begin at `at`, one by one to `words` from `word` on."""
    for n in range(count):
        record, here = first + n, word + n * RECORD_WORDS
        words[here + ADDRESS] = address[record]
        words[here + STRIDE] = row_stride[record] if rows[record] > 1 else 0
        words[here + EXTENT] = np.int64(rows[record]) << 32 | row_bytes[record]
        words[here + REST] = np.int64(compute_cycles[record]) << 32 | flags[at + n]


@called
def ones_of(address: Int64Array, first: int, end: int) -> int:
    """Return the ones of all addresses from `first` to `end` (not included)."""
    found = 0
    for record in range(first, end):
        found |= address[record]
    return found


@called
def rest_of(compute_cycles: NDArray[np.int32], first: int, lanes: int) -> int:
    """Return what `lanes` records from `first` on add to the word `REST` of another that stands for them too."""
    cycles = np.int64(0)
    for record in range(first, first + lanes):
        cycles += compute_cycles[record]
    return (cycles << 32) + (lanes << LANES_SHIFT)


@called
def gather(
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    compute_cycles: NDArray[np.int32],
    first: int,
    line_bytes: int,
    flags: NDArray[np.uint8],
    marks: NDArray[np.uint8],
    at: int,
    words: Int64Array,
    word: int,
) -> int:
    """Make the record `first`, a plain read that begins an event and is written before `word`, a gather of all that are
    issued with it; return how many others it stands for then, 0 if it cannot."""
    others = issued_alike(marks, at)
    if others == 0 or others >= READ_ROOM or not is_lane(rows, compute_cycles, first):
        return 0
    most = line_bytes - row_bytes[first]
    cycles, beyond = write_addresses(address, compute_cycles, first, others + 1, line_bytes, most, words, word)
    if beyond < 0:
        return 0
    words[word - RECORD_WORDS + REST] = cycles << 32 | others << LANES_SHIFT | GATHER | flags[at]
    return others


@called
def write_addresses(
    address: Int64Array,
    compute_cycles: NDArray[np.int32],
    first: int,
    lanes: int,
    line_bytes: int,
    most: int,
    words: Int64Array,
    word: int,
) -> tuple[int, int]:
    """Write the addresses of a gather to `words` from `word` on; return its cycles, and a negative number where not all
    begin at most `most` bytes into their line."""
    cycles = beyond = np.int64(0)
    for lane in range(lanes):
        its = address[first + lane]
        words[word + lane] = its
        cycles += compute_cycles[first + lane]
        beyond |= most - (its & (line_bytes - 1))
    return cycles, beyond
