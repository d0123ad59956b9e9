"""Does the event heap give its keys back in ascending order?"""

from __future__ import annotations

import heapq

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core import heap as replay


@numba.njit
def compiled_push(heap, start, count, key):
    replay.push(heap, start, count, key)


@numba.njit
def compiled_sift_down(heap, start, count, key):
    replay.sift_down(heap, start, count, key)


PUSH = {"compiled": compiled_push, "python": replay.push.py_func}
SIFT_DOWN = {"compiled": compiled_sift_down, "python": replay.sift_down.py_func}

variants = pytest.mark.parametrize("variant", ["compiled", "python"])
keys = st.lists(st.integers(0, 2**62), min_size=1, max_size=60)


@variants
@settings(max_examples=60, deadline=None)
@given(keys=keys)
def test_keys_come_out_sorted(variant: str, keys: list[int]) -> None:
    heap = np.zeros(len(keys) + 1, np.int64)
    for count, key in enumerate(keys):
        PUSH[variant](heap, 0, count, key)
    drained = []
    for count in range(len(keys) - 1, -1, -1):  # as `advance` takes out a context that has ended
        drained.append(int(heap[0]))
        SIFT_DOWN[variant](heap, 0, count, heap[count])
    assert drained == sorted(keys)


@variants
@settings(max_examples=60, deadline=None)
@given(keys=keys, later=st.lists(st.integers(0, 2**20), max_size=60))
def test_a_replaced_root_is_as_in_the_standard_library(variant: str, keys: list[int], later: list[int]) -> None:
    """The common event: the earliest context comes back at a later time."""
    heap, twin = np.zeros(len(keys) + 1, np.int64), sorted(keys)
    for count, key in enumerate(keys):
        PUSH[variant](heap, 0, count, key)
    for delay in later:
        assert heap[0] == twin[0]
        key = int(heap[0]) + delay
        SIFT_DOWN[variant](heap, 0, len(keys), key)
        heapq.heapreplace(twin, key)
    assert sorted(heap[: len(keys)].tolist()) == sorted(twin)
