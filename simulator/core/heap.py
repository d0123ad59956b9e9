"""The event heap: a binary min-heap of integers in an array."""

from __future__ import annotations

from simulator.core.compiled import inlined
from simulator.core.state import Int64Array

LAST = (1 << 63) - 1


@inlined
def sift_down(heap: Int64Array, count: int, key: int) -> None:
    """Put `key` in place of the root of a binary min-heap of `count` keys."""
    heap[count] = LAST  # so that a node with one child has two
    hole = 0
    child = 1
    while child < count:
        child += heap[child + 1] < heap[child]  # without a branch, which would be mispredicted every other time
        if heap[child] >= key:
            break
        heap[hole] = heap[child]
        hole = child
        child = 2 * hole + 1
    heap[hole] = key


@inlined
def push(heap: Int64Array, count: int, key: int) -> None:
    """Add `key` to a binary min-heap of `count` keys."""
    hole = count
    while hole > 0 and heap[(hole - 1) >> 1] > key:
        heap[hole] = heap[(hole - 1) >> 1]
        hole = (hole - 1) >> 1
    heap[hole] = key
