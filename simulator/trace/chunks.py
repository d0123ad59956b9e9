"""Cutting the records of one kernel into chunks that hold whole requesters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from simulator.errors import TraceError
from simulator.trace import validate
from simulator.trace.record import Records

CHUNK_RECORDS = 1 << 16

HELD_RECORDS = 1 << 23
"""Most records held at once (42 bytes each): a requester, or a kernel whose records are not sorted by requester."""


def whole_requesters(where: object, parts: Iterable[Records], first_row: int) -> Iterator[Records]:
    """Yield the records of a kernel, given in ascending order of requester, cut between requesters.

    Raises TraceError where the order is broken (rows count from `first_row`) or a requester is too long to hold.
    """
    held: list[Records] = []  # of the last requester seen
    count = 0
    row = first_row
    for part in parts:
        last = held[-1].requester[-1] if held else part.requester[0]
        check_order(where, part, int(last), row)
        row += len(part)
        complete = int(np.searchsorted(part.requester, part.requester[-1]))
        if complete or last != part.requester[0]:
            yield Records.concatenate([*held, part[:complete]])
            held, count = [], 0
        held.append(part[complete:])
        count += len(held[-1])
        if count > HELD_RECORDS:
            raise too_long(where, int(part.requester[-1]), row)
    if held:
        yield held[0] if len(held) == 1 else Records.concatenate(held)


def by_requester(parts: Iterable[Records]) -> Iterator[Records]:
    """Yield the records of a kernel, given in any order, stably sorted by requester and cut between requesters.

    Holds the whole kernel.
    """
    records = Records.concatenate(parts)
    records = records[np.argsort(records.requester, kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(records.requester)) + 1, len(records))
    start = 0
    while start < len(records):
        end = int(ends[np.searchsorted(ends, min(start + CHUNK_RECORDS, len(records)))])
        yield records[start:end]
        start = end


def check_order(where: object, part: Records, previous: int, first_row: int) -> None:
    """Raise TraceError where a requester of `part` is lower than the one before; `previous` came before the part."""
    falls = np.diff(part.requester, prepend=np.int32(previous)) < 0
    if falls.any():
        row = int(np.argmax(falls))
        before = previous if row == 0 else part.requester[row - 1]
        problem = f"is {part.requester[row]} after {before}; sort the records by kernel and requester"
        raise validate.at(where, "requester", first_row + row, problem)


def too_long(where: object, requester: int, row: int) -> TraceError:
    """Return the error of a requester with more records than can be held."""
    problem = f"requester {requester} has more than {HELD_RECORDS} records; deal them to more requesters"
    return validate.at(where, "requester", row - 1, problem)
