"""The event heap: a binary min-heap of integers in the state."""

from __future__ import annotations

from simulator.core.compiled import called, small_function
from simulator.core.layout import Int64Array

LAST = (1 << 63) - 1


@small_function
def sift_down(m: Int64Array, heap: int, count: int, key: int) -> None:
    """Put `key` in place of the root of a binary min-heap of `count` keys that begins at `heap`."""
    m[heap + count] = LAST  # so that a node with one child has two
    hole = 0
    child = 1
    while child < count:
        place = heap + child
        child += m[place + 1] < m[place]  # without a branch, which would be mispredicted every other time
        least = m[heap + child]
        if least >= key:
            break
        m[heap + hole] = least
        hole = child
        child = 2 * hole + 1
    m[heap + hole] = key


@called
def push(m: Int64Array, heap: int, count: int, key: int) -> None:
    """Add `key` to a binary min-heap of `count` keys that begins at `heap`."""
    hole = count
    while hole > 0 and m[heap + ((hole - 1) >> 1)] > key:
        m[heap + hole] = m[heap + ((hole - 1) >> 1)]
        hole = (hole - 1) >> 1
    m[heap + hole] = key
