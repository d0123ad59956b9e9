"""Marks of records: a byte each that says how it goes together with the record before.

Records are compared by blocks, so that columns come from memory once, in loops over few arrays without branches, which
the compiler makes vector code of: columns of bytes apart from wider ones, so that it looks at 64 of them at once.  What
follows a record is then read off 64 marks in one step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.bitwise import MOST_AGREEING, agreeing
from simulator.core.compiled import called
from simulator.core.layout import Int64Array
from simulator.core.program import BARRIER, JOINED, KIND, THROUGH_L1

READS_ON, ALIKE, GOES_ON, NEXT_CTA = 1, 2, 4, 8
"""Marks: it may be one request with the record before, or in a gather, if that is such a lane too (`is_lane`); it is
issued together with it; it is of another CTA."""

BLOCK = 2048
"""Records marked at once: few enough to be still in the processor's cache when they are written."""

AHEAD = MOST_AGREEING + 2
"""Marks that are looked at from a record on."""

MOST_OF_LANE = 1 << 18
"""Below what bytes and cycles of a lane are: so that sums fit 31 bits, whatever a trace says."""


@called
def note_flags(
    op: NDArray[np.uint8],
    barrier: NDArray[np.uint8],
    hint: NDArray[np.uint8],
    through_l1: NDArray[np.uint8],
    joined: NDArray[np.uint8],
    base: int,
    end: int,
    flags: NDArray[np.uint8],
) -> int:
    """Write the flags of the records `base` to `end` (not included), as in their word REST; return the ones of all."""
    found = np.uint8(0)
    for record in range(base, end):
        its = op[record] | hint[record] << 2 | barrier[record] << 4 | through_l1[record] << 5 | joined[record] << 6
        flags[record - base] = its
        found = np.uint8(found | its)
    return found


@called
def mark(
    requester: NDArray[np.int32],
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    compute_cycles: NDArray[np.int32],
    line_bytes: int,
    base: int,
    end: int,
    flags: NDArray[np.uint8],
    marks: NDArray[np.uint8],
) -> None:
    """Mark the records after `base` up to `end` (not included), and as many beyond as are looked at as if another CTA
    began there."""
    count = end - base
    by_flags(flags, count, marks)
    if by_size(requester, rows, row_bytes, compute_cycles, line_bytes, base, end, marks) & READS_ON:
        by_place(address, row_bytes, line_bytes, base, end, marks)
    marks[count : count + AHEAD] = NEXT_CTA


@called
def by_flags(flags: NDArray[np.uint8], count: int, marks: NDArray[np.uint8]) -> None:
    """Mark records in view of their flags (numbers of more than a byte would take five times as long)."""
    for record in range(1, count):
        its = flags[record]
        other = its ^ flags[record - 1]
        may_be = np.uint8(0 if np.uint8(other & (KIND | THROUGH_L1)) else ALIKE | READS_ON)
        apart = np.uint8((other & BARRIER) | (its & THROUGH_L1))
        may_be &= np.uint8(ALIKE if apart else ALIKE | READS_ON)
        marks[record] = np.uint8(may_be | GOES_ON) if np.uint8(its & JOINED) else np.uint8(0)


@called
def by_size(
    requester: NDArray[np.int32],
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    compute_cycles: NDArray[np.int32],
    line_bytes: int,
    base: int,
    end: int,
    marks: NDArray[np.uint8],
) -> int:
    """Take back marks in view of CTAs, sizes and cycles; return the marks that are left to any."""
    found = np.uint8(0)
    for record in range(base + 1, end):
        before = record - 1
        unlike = (row_bytes[record] ^ row_bytes[before]) | (rows[record] ^ 1)
        unlike |= (row_bytes[record] | compute_cycles[record]) & -MOST_OF_LANE
        its = np.uint8(marks[record - base] & np.uint8(GOES_ON if unlike else GOES_ON | ALIKE | READS_ON))
        its &= np.uint8(GOES_ON | ALIKE if row_bytes[record] & (line_bytes - 1) else GOES_ON | ALIKE | READS_ON)
        its = its if requester[record] == requester[before] else np.uint8(NEXT_CTA)
        marks[record - base] = its
        found = np.uint8(found | its)
    return found


@called
def by_place(
    address: Int64Array, row_bytes: NDArray[np.int32], line_bytes: int, base: int, end: int, marks: NDArray[np.uint8]
) -> None:
    """Take back that records, of whole lines, read on where they do not."""
    others = np.uint8(ALIKE | GOES_ON | NEXT_CTA)
    for record in range(base + 1, end):
        reads_on = address[record] == address[record - 1] + row_bytes[record]
        reads_on &= (address[record] & (line_bytes - 1)) == 0
        marks[record - base] &= np.uint8(others | READS_ON) if reads_on else others


@called
def is_lane(rows: NDArray[np.int32], compute_cycles: NDArray[np.int32], record: int) -> bool:
    """Return whether records may be added to one (of its other columns marks of the next say it)."""
    return (rows[record] == 1) & (compute_cycles[record] < MOST_OF_LANE)


@called
def alone(marks: NDArray[np.uint8], at: int) -> int:
    """Return how many records from `at` on, all of one CTA, are issued each alone; not all if they are very many."""
    more = agreeing(marks, at + 1, GOES_ON | NEXT_CTA, 0)
    return more if marks[at + 1 + more] & GOES_ON else more + 1


@called
def read_on(marks: NDArray[np.uint8], at: int) -> int:
    """Return how many records from `at` on read on from the one before; not all if they are very many."""
    return agreeing(marks, at, READS_ON, READS_ON)


@called
def issued_alike(marks: NDArray[np.uint8], at: int) -> int:
    """Return how many records are issued together with the one at `at`, which begins an event, if it and all of them
    may be in a gather, else 0."""
    others = agreeing(marks, at + 1, ALIKE | READS_ON, ALIKE)
    return 0 if (marks[at] | marks[at + 1 + others]) & GOES_ON else others
