"""What the simulator is measured against: the same L2, one line at a time, without timing.

Both are what one would write first: dictionaries in plain Python, and arrays with a loop over the ways in numba.  They
take over which set a line goes to (from a table, so that the hash costs them nothing), do the rest on their own, and
count the lines that hit, which must come out equal.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from simulator.core.hashing import dealt
from simulator.core.state import Parameters

Int64Array = NDArray[np.int64]


def set_groups_of(groups: int, parameters: Parameters) -> Int64Array:
    """Return the set group of each of the first `groups` groups of lines."""
    return _dealt(groups, parameters.set_groups)


@numba.njit
def _dealt(groups: int, size: int) -> Int64Array:
    table = np.empty(groups, np.int64)
    for group in range(groups):
        table[group] = dealt(group, size, 1 / size)[1]
    return table


def python_hits(
    address: Int64Array, size: int, set_group: Int64Array, group_lines: int, ways: int, line_bytes: int
) -> int:
    """Return the line hits of reading `size` bytes at each address: a dict per set, in order of last use."""
    table = set_group.tolist()
    sets: dict[int, dict[int, None]] = {}
    hits = 0
    for start in address.tolist():
        for line in range(start // line_bytes, (start + size) // line_bytes):
            index = table[line // group_lines] * group_lines + line % group_lines
            content = sets.setdefault(index, {})
            if line in content:
                hits += 1
                del content[line]
            elif len(content) == ways:
                del content[next(iter(content))]
            content[line] = None
    return hits


@numba.njit
def numba_hits(
    address: Int64Array, size: int, set_group: Int64Array, group_lines: int, ways: int, line_bytes: int
) -> int:
    """Return the same, from arrays of tags and times of last use."""
    sets = (set_group.max() + 1) * group_lines
    tags = np.full((sets, ways), -1, np.int64)
    used = np.zeros((sets, ways), np.int64)
    hits = 0
    clock = 0
    for start in address:
        for line in range(start // line_bytes, (start + size) // line_bytes):
            index = set_group[line // group_lines] * group_lines + line % group_lines
            clock += 1
            found = -1
            oldest = 0
            for way in range(ways):
                if tags[index, way] == line:
                    found = way
                    break
                if used[index, way] < used[index, oldest]:
                    oldest = way
            if found >= 0:
                hits += 1
            else:
                found = oldest
                tags[index, found] = line
            used[index, found] = clock
    return hits
