"""Which joined records become one request, and which a gather?

Invariants: (1) runs hold the records that were given, CTA by CTA, with their bytes and cycles; (2) a run is of one
record, or of joined ones alike that read on from one another in whole lines around L1, and no run could be longer; (3)
gathers hold the records that were given, and are made of all that are issued together where each is a plain read of one
row of as many bytes within one line, and they fit the table of lines; (4) what is found beside it holds for all records
that were given; (5) compiled and plain Python agree.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.core import lanes, marks
from simulator.core.program import ADDRESS, EXTENT, GATHER, LANES_SHIFT, RECORD_WORDS, REST, pack
from simulator.core.state import READ_ROOM
from simulator.trace.record import COLUMNS, Op, Records

LINE = 128
PACKED = [name for name in COLUMNS if name not in ("kernel", "requester")]
Columns = dict[str, NDArray[Any]]


def columns_of(count: int, **columns: NDArray[Any]) -> Columns:
    records = Records.of(count, **columns)
    return {name: getattr(records, name) for name in PACKED}


def packed(columns: Columns, bounds: list[int], gathers: bool) -> lanes.Packed:
    """Return records packed, of which each of `bounds` but the last is the first of a CTA."""
    requester = np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))
    room = np.zeros(len(requester) * RECORD_WORDS, np.int64)
    return lanes.packed_lanes(requester, columns, LINE, gathers, room)


def lanes_in(words: NDArray[np.int64]) -> list[int]:
    return [(rest & 0xFFFFFFFF) >> LANES_SHIFT for rest in words[:, REST].tolist()]


def test_a_warp_that_reads_a_line_group_is_one_record() -> None:
    columns = columns_of(
        64,
        address=np.arange(64) * LINE,
        row_bytes=np.full(64, LINE),
        compute_cycles=np.arange(64),
        joined=np.arange(64) % 32 > 0,
    )
    found = packed(columns, [0, 64], False)
    words = found.words
    assert words[:, ADDRESS].tolist() == [0, 32 * LINE]
    assert words[:, EXTENT].tolist() == [(1 << 32) + 32 * LINE] * 2
    assert [rest >> 32 for rest in words[:, REST].tolist()] == [sum(range(32)), sum(range(32, 64))]
    assert lanes_in(words) == [31, 31]
    assert found.starts.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"op": int(Op.WRITE)}, 2),  # of another kind
        ({"through_l1": 1}, 2),
        ({"rows": 2}, 2),
        ({"joined": 0}, 2),
        ({"address": 3 * LINE}, 2),  # leaves a line out
        ({"row_bytes": LINE // 2}, 1),  # ends within a line: the next does not follow either
    ],
)
def test_another_record_ends_a_run(change: dict[str, int], at: int) -> None:
    columns = columns_of(4, address=np.arange(4) * LINE, row_bytes=np.full(4, LINE), joined=np.array([0, 1, 1, 1]))
    for name, value in change.items():
        columns[name][at] = value
    words = packed(columns, [0, 4], False).words
    assert lanes_in(words) == {1: [0, 0, 1], 2: [1, 0, 0]}[at] if change != {"joined": 0} else [1, 1]


def test_a_run_ends_with_its_cta() -> None:
    columns = columns_of(4, address=np.arange(4) * LINE, row_bytes=np.full(4, LINE), joined=np.ones(4))
    found = packed(columns, [0, 3, 4], False)
    assert lanes_in(found.words) == [2, 0]
    assert found.starts.tolist() == [0, 1, 2]


@st.composite
def records(draw: st.DrawFn) -> tuple[Columns, list[int]]:
    """Return records most of which read on from the one before, and where each CTA's begin."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = int(rng.integers(1, 60)) + marks.BLOCK * bool(rng.random() < 0.1)
    row_bytes = np.where(rng.random(count) < 0.9, LINE, LINE // 2)
    jumps = np.where(rng.random(count) < 0.8, 0, LINE)
    columns = columns_of(
        count,
        op=rng.random(count) < 0.1,
        address=np.cumsum(jumps + np.roll(row_bytes, 1)),
        row_bytes=row_bytes,
        rows=1 + (rng.random(count) < 0.1),
        compute_cycles=rng.integers(0, 9, count),
        hint=rng.random(count) < 0.1,
        barrier=rng.random(count) < 0.1,
        through_l1=rng.random(count) < 0.1,
        joined=rng.random(count) < 0.9,
    )
    inner = np.flatnonzero(rng.random(count - 1) < 0.1) + 1
    return columns, [0, *inner.tolist(), count]


@settings(max_examples=80, deadline=None)
@given(case=records())
def test_runs_are_what_reads_on(case: tuple[Columns, list[int]]) -> None:
    columns, bounds = case
    found = packed(columns, bounds, False)
    words, single = found.words, pack(**columns)
    heads = np.cumsum([0, *(count + 1 for count in lanes_in(words))])
    assert [int(heads[start]) for start in found.starts] == bounds

    def reads_on(record: int) -> bool:
        alike = all(
            columns[name][record] == columns[name][record - 1]
            for name in ("op", "row_bytes", "rows", "hint", "barrier")
        )
        return bool(
            record not in bounds
            and columns["joined"][record]
            and alike
            and columns["rows"][record] == 1
            and not columns["through_l1"][record - 1 : record + 1].any()
            and columns["address"][record] == columns["address"][record - 1] + columns["row_bytes"][record]
            and all(columns["address"][record - 1 : record + 1] % LINE == 0)
            and columns["row_bytes"][record] % LINE == 0
        )

    assert heads[:-1].tolist() == [record for record in range(len(single)) if not reads_on(record)]
    for word, begin, end in zip(words, heads[:-1], heads[1:], strict=True):
        assert word[ADDRESS] == single[begin, ADDRESS]
        assert word[EXTENT] & 0xFFFFFFFF == (single[begin:end, EXTENT] & 0xFFFFFFFF).sum()
        assert word[REST] >> 32 == (single[begin:end, REST] >> 32).sum()


@st.composite
def lone_sectors(draw: st.DrawFn) -> tuple[Columns, list[int]]:
    """Return records most of which are a sector each, with long and short runs of joined ones, and where each CTA's
    begin."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = int(rng.integers(1, 400)) + marks.BLOCK * bool(rng.random() < 0.1)
    other = float(rng.choice([0, 0.01, 0.1]))
    columns = columns_of(
        count,
        op=rng.random(count) < other,
        address=rng.integers(0, 99, count) * 32 + (rng.random(count) < other),
        row_bytes=np.where(rng.random(count) < other, 64, 32),
        rows=1 + (rng.random(count) < other),
        row_stride=rng.integers(0, 9, count),
        compute_cycles=rng.integers(0, 9, count),
        hint=rng.random(count) < other,
        barrier=rng.random(count) < other,
        through_l1=np.full(count, rng.random() < 0.5) ^ (rng.random(count) < other),
        joined=rng.random(count) < rng.choice([0.5, 0.95, 0.99]),
    )
    inner = np.flatnonzero(rng.random(count - 1) < 0.02) + 1
    return columns, [0, *inner.tolist(), count]


@settings(max_examples=80, deadline=None)
@given(case=lone_sectors())
def test_gathers_stand_for_what_is_issued_together(case: tuple[Columns, list[int]]) -> None:
    columns, bounds = case
    found = packed(columns, bounds, True)
    words, single = found.words, pack(**columns)
    events = [n for n in range(len(single)) if n in bounds or not columns["joined"][n]]
    at, begins = 0, {}
    for first, last in zip(events, [*events[1:], len(single)], strict=True):
        of_event = single[first:last]
        begins[first] = at
        within = columns["address"][first:last] % LINE + columns["row_bytes"][first:last] <= LINE
        same = (columns[name][first:last] == columns[name][first] for name in ("row_bytes", "through_l1"))
        plain = (columns[name][first:last] == value for name, value in (("op", 0), ("hint", 0), ("rows", 1)))
        is_gather = 1 < last - first <= READ_ROOM and all(map(np.all, (within, *same, *plain)))
        if not is_gather:
            assert words[at : at + len(of_event)].tolist() == of_event.tolist()
            at += len(of_event)
            continue
        head, size = words[at], -(-len(of_event) // RECORD_WORDS)
        assert head[:REST].tolist() == of_event[0, :REST].tolist()
        flags = (of_event[0, REST] & 0xFFFFFFFF) | GATHER | (len(of_event) - 1) << LANES_SHIFT
        assert head[REST] == (of_event[:, REST] >> 32).sum() << 32 | flags
        addresses = words[at + 1 : at + 1 + size].reshape(-1)[: len(of_event)]
        assert addresses.tolist() == of_event[:, ADDRESS].tolist()
        at += 1 + size
    assert len(words) == at
    assert found.starts.tolist() == [*(begins[bound] for bound in bounds[:-1]), at]


@settings(max_examples=30, deadline=None)
@given(case=records() | lone_sectors(), gathers=st.booleans())
def test_compiled_as_python(case: tuple[Columns, list[int]], gathers: bool) -> None:
    columns, bounds = case
    compiled = packed(columns, bounds, gathers)
    with ExitStack() as plain:
        for module in (lanes, marks):
            for name, value in vars(module).items():
                if hasattr(value, "py_func"):
                    plain.enter_context(patch.object(module, name, value.py_func))
        python = packed(columns, bounds, gathers)
    assert compiled.words.tolist() == python.words.tolist()
    assert compiled.starts.tolist() == python.starts.tolist()
    assert compiled.addresses == python.addresses == np.bitwise_or.reduce(columns["address"])
    assert compiled.flags == python.flags == np.bitwise_or.reduce(pack(**columns)[:, REST] & 0xFFFFFFFF)


def test_runs_go_on_over_blocks() -> None:
    """Records are looked at in blocks, at whose bounds neither runs nor CTAs end."""
    count, first = 3 * marks.BLOCK, marks.BLOCK + 32
    columns = columns_of(
        count,
        address=np.arange(count) * LINE,
        row_bytes=np.full(count, LINE),
        compute_cycles=np.ones(count),
        joined=np.ones(count),
    )
    found = packed(columns, [0, first, count], False)
    words = found.words
    assert lanes_in(words) == [first - 1, count - first - 1]
    assert [word & 0xFFFFFFFF for word in words[:, EXTENT].tolist()] == [first * LINE, (count - first) * LINE]
    assert [rest >> 32 for rest in words[:, REST].tolist()] == [first, count - first]
    assert found.starts.tolist() == [0, 1, 2]


def test_gathers_stand_over_the_bounds_of_blocks() -> None:
    count, warp = 3 * marks.BLOCK, 30
    address = np.arange(count)[::-1] * LINE
    columns = columns_of(count, address=address, row_bytes=np.full(count, 32), joined=np.arange(count) % warp > 0)
    words = packed(columns, [0, count], True).words
    room = 1 + -(-warp // RECORD_WORDS)
    heads = words[::room]
    assert heads[:, ADDRESS].tolist() == address[::warp].tolist()
    assert lanes_in(heads) == [warp - 1] * (count // warp) + [count % warp - 1]


@pytest.mark.parametrize(("step", "gathers"), [(LINE, False), (2 * LINE, True)])
def test_long_computations_stay_with_their_records(step: int, gathers: bool) -> None:
    """The cycles of a run, or of a gather, have 31 bits: records that could add up to more stay apart."""
    columns = columns_of(
        3,
        address=np.arange(3) * step,
        row_bytes=np.full(3, LINE),
        compute_cycles=np.full(3, 2**31 - 1),
        joined=np.ones(3),
    )
    words = packed(columns, [0, 3], gathers).words
    assert words.tolist() == pack(**columns).tolist()


def test_a_run_has_an_end() -> None:
    count = lanes.MOST_LANES + 2
    columns = columns_of(count, address=np.arange(count) * LINE, row_bytes=np.full(count, LINE), joined=np.ones(count))
    assert lanes_in(packed(columns, [0, count], False).words) == [
        lanes.MOST_LANES - 1,
        1,
    ]  # less one
