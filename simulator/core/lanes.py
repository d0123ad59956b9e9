"""Joined records that read on from one another, as lanes of a warp do: one request, as a coalescer makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled
from simulator.core.layout import Int64Array
from simulator.core.program import pack


def packed_lanes(columns: Mapping[str, NDArray[Any]], starts: Int64Array, line_bytes: int) -> Int64Array:
    """Return records of whole CTAs, given as columns, as `pack` does, but one for each run of lanes: alike records of
    one CTA, joined to the one before each, that read on from one another in whole lines around L1.

    CTA c has the records starts[c] to starts[c + 1]; `starts` is changed to say so of what is returned.
    """
    count = len(columns["address"])
    on = np.zeros(count, np.bool_)
    looked_at = [column for name, column in columns.items() if name not in ("row_stride", "compute_cycles")]
    arguments = (*(np.require(column, None, ["C", "W"]) for column in looked_at), line_bytes, on)
    reads_on(*arguments)
    on[starts[:-1]] = False
    heads = np.flatnonzero(~on)
    if len(heads) == count:
        return pack(**columns)
    lanes = np.diff(heads, append=count).astype(np.int32)
    cycles = np.add.reduceat(columns["compute_cycles"], heads)
    starts[:] = np.searchsorted(heads, starts)
    kept = {name: column[heads] for name, column in columns.items()}
    return pack(**kept | {"row_bytes": kept["row_bytes"] * lanes, "compute_cycles": cycles, "lanes": lanes})


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
) -> None:
    """Say in `on` of each record but the first whether it may be one request with the record before, were they of one
    CTA.

    Two loops without branches, of few arrays each, which the compiler makes vector code of: 0.3 ns a record, where
    looking at one record after the other took 5.
    """
    for number in range(1, len(on)):
        record, before = np.uint64(number), np.uint64(number - 1)
        on[record] = (
            (address[record] == address[before] + row_bytes[before])
            & (row_bytes[record] == row_bytes[before])
            & ((rows[record] | rows[before]) == 1)
            & (((address[before] | row_bytes[before]) & (line_bytes - 1)) == 0)
        )
    for number in range(1, len(on)):
        record, before = np.uint64(number), np.uint64(number - 1)
        on[record] &= (
            (joined[record] != 0)
            & (op[record] == op[before])
            & (hint[record] == hint[before])
            & (barrier[record] == barrier[before])
            & ((through_l1[record] | through_l1[before]) == 0)
        )
