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
    """Return records of whole CTAs, given as columns, as `pack` does, but one for each run of lanes.

    CTA c has the records starts[c] to starts[c + 1]; `starts` is changed to say so of what is returned.
    """
    count = len(columns["address"])
    heads, lanes, cycles = np.empty(count, np.int64), np.empty(count, np.int32), np.empty(count, np.int32)
    looked_at = [np.require(column, None, ["C", "W"]) for name, column in columns.items() if name != "row_stride"]
    arguments = (*looked_at, starts, line_bytes, heads, lanes, cycles)
    runs = runs_of_lanes(*arguments)
    if runs == count:
        return pack(**columns)
    kept = {name: column[heads[:runs]] for name, column in columns.items()}
    lanes = lanes[:runs]
    return pack(**kept | {"row_bytes": kept["row_bytes"] * lanes, "compute_cycles": cycles[:runs], "lanes": lanes})


@compiled
def runs_of_lanes(
    op: NDArray[np.uint8],
    address: Int64Array,
    rows: NDArray[np.int32],
    row_bytes: NDArray[np.int32],
    compute_cycles: NDArray[np.int32],
    barrier: NDArray[np.uint8],
    hint: NDArray[np.uint8],
    through_l1: NDArray[np.uint8],
    joined: NDArray[np.uint8],
    starts: Int64Array,
    line_bytes: int,
    heads: Int64Array,
    lanes: NDArray[np.int32],
    cycles: NDArray[np.int32],
) -> int:
    """Find the runs of alike records of one CTA, joined to the one before each, that read on from one another in whole
    lines around L1; return how many runs there are, those of one record included.

    CTA c has the records starts[c] to starts[c + 1], and then the runs of the same numbers.  Of each run, `heads` is
    its first record, `lanes` the records in it and `cycles` the SM cycles all are computed on.
    """
    run = -1
    record = 0
    for cta in range(len(starts) - 1):
        end = starts[cta + 1]
        starts[cta] = run + 1
        following = -1  # address, where a run may go on
        while record < end:
            before = record - 1
            if (
                address[record] == following
                and joined[record]
                and row_bytes[record] == row_bytes[before]
                and rows[record] == 1
                and op[record] == op[before]
                and hint[record] == hint[before]
                and barrier[record] == barrier[before]
                and through_l1[record] == 0
            ):
                lanes[run] += 1
                cycles[run] += compute_cycles[record]
                following += row_bytes[record]
            else:
                run += 1
                heads[run] = record
                lanes[run] = 1
                cycles[run] = compute_cycles[record]
                whole = (address[record] | row_bytes[record]) & (line_bytes - 1) == 0
                following = -1
                if whole and rows[record] == 1 and through_l1[record] == 0:
                    following = address[record] + row_bytes[record]
            record += 1
    starts[len(starts) - 1] = run + 1
    return run + 1
