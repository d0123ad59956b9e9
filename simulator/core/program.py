"""Records as the event loop reads them: four words each, so that one is one or two to a cache line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array

ADDRESS, STRIDE, EXTENT, REST, RECORD_WORDS = 0, 1, 2, 3, 4
"""A record's words; `EXTENT` is rows x 2^32 + bytes a row, `REST` compute cycles x 2^32 + flags."""

BARRIER, THROUGH_L1, JOINED = 1 << 4, 1 << 5, 1 << 6
"""Flags; below them two bits each of operation and hint."""


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
    """Return records, given as columns of one length n, as words (n, RECORD_WORDS)."""
    words = np.empty((len(address), RECORD_WORDS), np.int64)
    words[:, ADDRESS] = address
    words[:, STRIDE] = row_stride
    words[:, EXTENT] = (rows.astype(np.int64) << 32) | row_bytes
    flags = op | (hint << 2) | (barrier << 4) | (through_l1 << 5) | (joined << 6)
    words[:, REST] = (compute_cycles.astype(np.int64) << 32) | flags
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
def high(word: int) -> int:
    """Return the upper half of a word: rows, or compute cycles."""
    return word >> 32


@small_function
def low(word: int) -> int:
    """Return the lower half of a word: bytes a row."""
    return word & 0xFFFFFFFF
