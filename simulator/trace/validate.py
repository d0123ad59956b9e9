"""What the columns of a trace may hold, checked before a record is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import TraceError
from simulator.trace.record import Hint, Op, Records

ADDRESS_SPACE_BYTES = 1 << 43
"""Addresses lie below 8 TiB."""

RECORD_BYTES = 1 << 31
"""The most one record may touch."""

_INT32_MAX = 2**31 - 1

BOUNDS: dict[str, tuple[int, int]] = {
    "kernel": (0, _INT32_MAX),
    "requester": (0, _INT32_MAX),
    "op": (int(min(Op)), int(max(Op))),
    "address": (0, ADDRESS_SPACE_BYTES - 1),
    "rows": (1, _INT32_MAX),
    "row_bytes": (1, _INT32_MAX),
    "row_stride": (-ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES),
    "compute_cycles": (0, _INT32_MAX),
    "barrier": (0, 1),
    "hint": (int(min(Hint)), int(max(Hint))),
    "through_l1": (0, 1),
    "joined": (0, 1),
}
"""Smallest and largest value of each column."""


def at(where: object, column: str, row: int, problem: str) -> TraceError:
    """Return the error of one value; `row` counts from 0."""
    return TraceError(f"{where}: column {column!r}, row {row}: {problem}")


def check_column(where: object, column: str, values: NDArray[Any], first_row: int) -> None:
    """Raise TraceError for the first of integer `values` outside the bounds of its column."""
    low, high = BOUNDS[column]
    if len(values) and not (values.min() >= low and values.max() <= high):
        row = int(np.argmax((values < low) | (values > high)))
        raise at(where, column, first_row + row, f"is {values[row]}; write a value from {low} to {high}")


def check_extent(where: object, records: Records, first_row: int) -> None:
    """Raise TraceError for the first record that touches too much or leaves the address space.

    Each column must be within its bounds.
    """
    gaps = records.rows.astype(np.int64) - 1
    size = (gaps + 1) * records.row_bytes
    if len(size) and size.max() > RECORD_BYTES:
        row = int(np.argmax(size > RECORD_BYTES))
        problem = f"rows x row_bytes is {size[row]}, over the {RECORD_BYTES} of one record; split the record"
        raise at(where, "rows", first_row + row, problem)
    # dividing instead of multiplying cannot overflow; what passes spans at most the address space
    too_far = np.abs(records.row_stride) > ADDRESS_SPACE_BYTES // np.maximum(gaps, 1)
    span = np.where(too_far, 0, gaps * records.row_stride)
    end = records.address + np.maximum(span, 0) + records.row_bytes
    outside = too_far | (records.address + span < 0) | (end > ADDRESS_SPACE_BYTES)
    if outside.any():
        row = int(np.argmax(outside))
        problem = f"is {records.address[row]}, from where the record's rows leave 0 to {ADDRESS_SPACE_BYTES}; move it"
        raise at(where, "address", first_row + row, problem)
