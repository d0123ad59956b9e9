"""Records as the event loop reads them: four words each, so that one is one or two to a cache line.

A *gather* stands for records joined to one another, each of one row of as many bytes within one line: it is followed,
in the place of further records, by the address of each, the first included (core/lanes.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array

ADDRESS, STRIDE, EXTENT, REST, RECORD_WORDS = 0, 1, 2, 3, 4
"""A record's words; `STRIDE` is 0 for one row; `EXTENT` is rows x 2^32 + bytes a row, `REST` compute cycles x 2^32 +
flags (little-endian)."""

BARRIER, THROUGH_L1, JOINED, GATHER = 1 << 4, 1 << 5, 1 << 6, 1 << 7
"""Flags; below them two bits each of operation and hint."""

KIND = 15
"""Operation and hint."""

LANES_SHIFT = 8
"""Above the flags: how many records a record stands for, less one."""


def pack(
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
) -> Int64Array:
    """Return records, given as columns of one length n, as words (n, RECORD_WORDS), one for each."""
    words = np.empty((len(address), RECORD_WORDS), np.int64)
    words[:, ADDRESS] = address
    words[:, STRIDE] = np.where(rows > 1, row_stride, 0)
    halves = words.view("<i4")
    halves[:, 2 * EXTENT] = row_bytes
    halves[:, 2 * EXTENT + 1] = rows
    # products: numpy takes six times as long to shift bytes (with these and the halves 3.2 -> 1.9 ns a record)
    halves[:, 2 * REST] = (((joined * 2 + through_l1) * 2 + barrier) * 4 + hint) * 4 + op
    halves[:, 2 * REST + 1] = compute_cycles
    return words


@small_function
def op_of(rest: int) -> int:
    """Return the operation of a record."""
    return rest & 3


@small_function
def hint_of(rest: int) -> int:
    """Return the hint of a record."""
    return (rest >> 2) & 3


@small_function
def size_of(program: Int64Array, record: int) -> int:
    """Return the bytes of a record."""
    extent = program[record * RECORD_WORDS + EXTENT]
    return high(extent) * low(extent)


@small_function
def follows(program: Int64Array, record: int) -> bool:
    """Return whether a record of one row begins where the one before, as long and of the same kind, ends."""
    word = record * RECORD_WORDS
    before = word - RECORD_WORDS
    extent = program[word + EXTENT]
    alike = (low(program[word + REST] ^ program[before + REST]) & ~JOINED) == 0
    begins = program[word + ADDRESS] == program[before + ADDRESS] + extent - (1 << 32)
    return (program[before + EXTENT] == extent) & begins & alike


@small_function
def lanes_of(rest: int) -> int:
    """Return how many records a record stands for."""
    return (low(rest) >> LANES_SHIFT) + 1


@compiled
def gather_records(lanes: int) -> int:
    """Return how many records a gather of so many lanes takes the place of."""
    return 1 + (lanes + RECORD_WORDS - 1) // RECORD_WORDS


@small_function
def high(word: int) -> int:
    """Return the upper half of a word: rows, or compute cycles."""
    return word >> 32


@small_function
def low(word: int) -> int:
    """Return the lower half of a word: bytes a row."""
    return word & 0xFFFFFFFF
