"""The slow twins of locality: a list as the LRU stack, and a fully associative LRU cache as a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Touch(NamedTuple):
    """A run of bytes accessed by a CTA of a kernel launch."""

    launch: int
    requester: int
    address: int
    size: int


def units_of(touches: Iterable[Touch], unit_bytes: int) -> list[int]:
    """Return the units touched one after the other."""
    return [
        unit
        for touch in touches
        for unit in range(touch.address // unit_bytes, (touch.address + touch.size - 1) // unit_bytes + 1)
    ]


def reuse_distances(units: Sequence[int]) -> list[int | None]:
    """Return the reuse distance of each access, None for first touches."""
    stack: list[int] = []
    distances: list[int | None] = []
    for unit in units:
        if unit in stack:
            place = stack.index(unit)
            distances.append(place)
            del stack[place]
        else:
            distances.append(None)
        stack.insert(0, unit)
    return distances


def lru_misses(units: Sequence[int], capacity: int) -> int:
    """Return the misses of a fully associative LRU cache of `capacity` units."""
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for unit in units:
        if unit in cache:
            cache.move_to_end(unit)
        else:
            misses += 1
            cache[unit] = None
            if len(cache) > capacity:
                cache.popitem(last=False)
    return misses


def mean_distinct(units: Sequence[int], window: int) -> float:
    """Return the distinct units in a window of accesses, averaged over all windows."""
    counts = [len(set(units[first : first + window])) for first in range(len(units) - window + 1)]
    return sum(counts) / len(counts)
