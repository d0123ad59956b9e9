"""L1: one per SM, sectored lines under LRU, filled by reads only; stores write through it without a trace.

Loads that ask for asynchronous copies (cp.async.cg, TMA) go around it.  It is empty when a kernel starts, as CUDA
requires of a cache that is not coherent.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.compiled import inlined
from simulator.core.hashing import bits, quotient_of, rotated
from simulator.core.state import Parameters, State
from simulator.core.ways import WAYS, find_way, least_recent, touch


@inlined
def l1_lookup(s: State, p: Parameters, k: int, sm: int, line: int, mask: int, now: int) -> tuple[int, int]:
    """Look for the sectors `mask` of a line in the L1 of an SM, and make room for them; return the entry and the
    sectors that have to come from L2."""
    turn = quotient_of(line, p.l1_sets, p.l1_sets_inverse)
    index = sm * p.l1_sets + rotated(line, turn, p.l1_sets)
    tag = turn + 1  # an empty entry holds 0
    s.scalars[scalar.L1_USED] = 1
    way = find_way(s.l1_tag, index * WAYS, tag)
    if way == WAYS:
        way = least_recent(s.l1_order[index], p.l1_ways)
        s.l1_tag[index * WAYS + way] = tag
        s.l1_valid[index * WAYS + way] = 0
        s.l1_ready[index * WAYS + way] = now
    entry = index * WAYS + way
    s.l1_order[index] = touch(s.l1_order[index], way)
    valid = np.int64(s.l1_valid[entry])
    s.l1_valid[entry] = valid | mask
    s.counters[k, counter.L1_SECTOR_HITS] += bits(mask & valid)
    s.counters[k, counter.L1_SECTOR_MISSES] += bits(mask & ~valid)
    return entry, mask & ~valid
