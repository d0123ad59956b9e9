"""L1: one per SM, sectored lines under LRU, filled by reads only; stores write through it without a trace.

Loads that ask for asynchronous copies (cp.async.cg, TMA) go around it.  It is empty when a kernel starts, as CUDA
requires of a cache that is not coherent.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.access_log import note_l1_eviction
from simulator.core.bitwise import ones
from simulator.core.compiled import small_function
from simulator.core.hashing import dealt, unrotated
from simulator.core.layout import (
    L1_ORDER,
    L1_READY,
    L1_SET_WORDS,
    L1_USE_WORDS,
    L1_VALID,
    Int64Array,
)
from simulator.core.sets import (
    WAYS,
    find_way,
    least_recent,
    nibble,
    put_first,
    set_tag,
    tag_of,
    touch,
    with_nibble,
)
from simulator.core.state import Parameters


@small_function
def l1_set_of(p: Parameters, sm: int, line: int) -> tuple[int, int, int]:
    """Return the places of the set of a line in the L1 of an SM, and of its use, and the line's tag."""
    turn, slot = dealt(line, p.l1_sets, p.l1_sets_inverse)
    index = sm * p.l1_sets + slot
    return p.at.l1_sets + index * L1_SET_WORDS, p.at.l1_uses + index * L1_USE_WORDS, turn


@small_function
def l1_find(m: Int64Array, place: int, use: int, turn: int, mask: int, ways: int) -> tuple[int, int, bool]:
    """Look for the sectors `mask` of a line in an L1 of some ways, where it is as `l1_set_of`, and make room for them;
    return the place of the word that says when the line is there, the sectors that have to come from L2, and whether
    the line is new, so that this word has yet to be set.  `count_l1` is for the caller."""
    way = find_way(m, place, turn)
    order, valid = m[use + L1_ORDER], m[use + L1_VALID]
    if way == WAYS:
        way = least_recent(order, ways)
        set_tag(m, place, way, turn)
        m[use + L1_ORDER] = put_first(order, way, ways)
        m[use + L1_VALID] = with_nibble(valid, way, mask)
        return place + L1_READY + way, mask, True
    m[use + L1_ORDER] = touch(order, way)
    m[use + L1_VALID] = valid | np.int64(mask) << (4 * way)
    return place + L1_READY + way, mask & ~nibble(valid, way), False


@small_function
def note_replaced(m: Int64Array, p: Parameters, k: int, sm: int, place: int, use: int, turn: int) -> None:
    """Log the line that `l1_find` will replace, if it will."""
    if find_way(m, place, turn) < WAYS:
        return
    way = least_recent(m[use + L1_ORDER], p.l1_ways)
    gone = nibble(m[use + L1_VALID], way)
    if gone:
        slot = (place - p.at.l1_sets) // L1_SET_WORDS % p.l1_sets
        note_l1_eviction(m, p, k, sm, unrotated(slot, tag_of(m, place, way), p.l1_sets), gone)


@small_function
def count_l1(m: Int64Array, p: Parameters, k: int, asked: int, missed: int) -> None:
    """Count sectors that an L1 was asked for, of which it `missed` some."""
    m[scalar.L1_USED] = 1
    counters = p.at.counters + k * counter.COUNT
    m[counters + counter.L1_SECTOR_HITS] += asked - missed
    m[counters + counter.L1_SECTOR_MISSES] += missed


@small_function
def l1_lookup(m: Int64Array, p: Parameters, k: int, sm: int, line: int, mask: int, now: int) -> tuple[int, int]:
    """Do as `l1_find` does, at `now`, and set that word of a new line; return the first two."""
    place, use, turn = l1_set_of(p, sm, line)
    if p.log_words:
        note_replaced(m, p, k, sm, place, use, turn)
    loaded, missing, new = l1_find(m, place, use, turn, mask, p.l1_ways)
    count_l1(m, p, k, ones(mask), ones(missing))
    if new:
        m[loaded] = now
    return loaded, missing
