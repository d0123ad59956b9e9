"""Do finding a way and keeping the order of use agree, compiled and as Python, with plain lists?"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core import sets as ways
from simulator.core.sets import IDENTITY, WAYS


@numba.njit
def compiled_find(tags, base, tag):
    return ways.find_way(tags, base, tag)


@numba.njit
def compiled_touch(order, way):
    return ways.touch(order, way)


@numba.njit
def compiled_least_recent(order, count):
    return ways.least_recent(order, count)


FINDERS = {"compiled": compiled_find, "python": ways.find_way}
TOUCHERS = {"compiled": compiled_touch, "python": ways.touch}
ORDERERS = {"compiled": compiled_least_recent, "python": ways.least_recent.py_func}

variants = pytest.mark.parametrize("variant", ["compiled", "python"])
tags = st.integers(-1, 2**31 - 1)


@variants
@settings(max_examples=100, deadline=None)
@given(held=st.lists(tags, min_size=3 * WAYS, max_size=3 * WAYS), sought=tags, lane=st.integers(0, 2))
def test_find_way_is_the_first_index_of_the_tag(variant: str, held: list[int], sought: int, lane: int) -> None:
    own = held[lane * WAYS : (lane + 1) * WAYS]
    expected = own.index(sought) if sought in own else WAYS
    assert FINDERS[variant](np.array(held, np.int32).view(np.int64), lane * WAYS // 2, sought) == expected


@variants
@pytest.mark.parametrize("way", range(WAYS))
def test_find_way_finds_each_way_and_not_its_neighbours(variant: str, way: int) -> None:
    held = np.full(3 * WAYS, 7, np.int32)
    held[WAYS : 2 * WAYS] = -1
    assert FINDERS[variant](held.view(np.int64), WAYS // 2, 7) == WAYS
    held[WAYS + way] = 7
    assert FINDERS[variant](held.view(np.int64), WAYS // 2, 7) == way


@variants
@settings(max_examples=100, deadline=None)
@given(used=st.lists(st.integers(0, WAYS - 1), max_size=60), count=st.integers(1, WAYS))
def test_order_word_is_a_list_by_last_use(variant: str, used: list[int], count: int) -> None:
    """A set of `count` ways uses the last `count` of the 16, and the lowest of them is the first victim."""
    twin = list(range(WAYS - 1, WAYS - 1 - count, -1))  # the most recently used first
    order = np.int64(IDENTITY)
    assert ORDERERS[variant](order, count) == WAYS - count
    for drawn in used:
        way = WAYS - 1 - drawn % count
        order = np.int64(TOUCHERS[variant](order, way))
        twin.remove(way)
        twin.insert(0, way)
        assert ORDERERS[variant](order, count) == twin[-1]


@settings(max_examples=100, deadline=None)
@given(used=st.lists(st.integers(0, WAYS - 1), min_size=1, max_size=60))
def test_compiled_and_python_words_are_equal(used: list[int]) -> None:
    compiled = python = np.int64(IDENTITY)
    for way in used:
        compiled, python = np.int64(compiled_touch(compiled, way)), np.int64(ways.touch(python, way))
        assert compiled == python
