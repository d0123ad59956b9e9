"""Replacement policies: what the 64-bit word of a set says, how a use changes it, which way goes next.

Ways 16 - `ways` to 15 of a set are used.  LRU and random: 4-bit way numbers by last use (`core/sets.py`).  Tree-PLRU: a
bit for each inner node of a binary tree, pointing to the half used longer ago (node 1 is the root).  SRRIP and BRRIP:
a 2-bit prediction of the next use for each way, 3 the farthest (Jaleel et al., ISCA 2010).
"""

from __future__ import annotations

from simulator.core.compiled import small_function
from simulator.core.hashing import mix
from simulator.core.sets import IDENTITY, WAYS, least_recent, touch

LRU, RANDOM, PLRU, SRRIP, BRRIP = 0, 1, 2, 3, 4

POLICIES = {"lru": LRU, "random": RANDOM, "plru": PLRU, "srrip": SRRIP, "brrip": BRRIP}

LONG, DISTANT = 2, 3
BRRIP_LONG_INTERVAL = 32
"""BRRIP inserts one line in 32 with a long prediction, the others with a distant one (Jaleel et al., section 4.2)."""

_LOW_BITS = 0x55555555


def first_order(policy: int, ways: int) -> int:
    """Return the word of an unused set with so many ways."""
    by_last_use = IDENTITY & ((1 << 4 * ways) - 1)
    return {PLRU: 0, SRRIP: 0xFFFFFFFF, BRRIP: 0xFFFFFFFF}.get(policy, by_last_use)


@small_function
def on_use(policy: int, order: int, way: int, ways: int) -> int:
    """Return the word after a hit on `way`."""
    if policy <= RANDOM:
        order = touch(order, way)
    elif policy == PLRU:
        order = _point(order, way - (WAYS - ways), ways, 1)
    else:
        order = order & ~(3 << (2 * way))
    return order


@small_function
def on_fill(policy: int, order: int, way: int, ways: int, draw: int) -> int:
    """Return the word after a line has been put into `way`; `draw` is a random number."""
    if policy <= RANDOM:
        order = touch(order, way)
    elif policy == PLRU:
        order = _point(order, way - (WAYS - ways), ways, 1)
    else:
        predicted = LONG
        if policy == BRRIP and draw % BRRIP_LONG_INTERVAL:
            predicted = DISTANT
        order = (order & ~(3 << (2 * way))) | (predicted << (2 * way))
    return order


@small_function
def on_evict_first(policy: int, order: int, way: int, ways: int) -> int:
    """Return the word with `way` as the next to go (no effect under random replacement)."""
    if policy == LRU:
        place = 0
        while (order >> (4 * place)) & 15 != way:
            place += 1
        while place < ways - 1:
            following = (order >> (4 * (place + 1))) & 15
            order = (order & ~(15 << (4 * place))) | (following << (4 * place))
            place += 1
        order = (order & ~(15 << (4 * place))) | (way << (4 * place))
    elif policy == PLRU:
        order = _point(order, way - (WAYS - ways), ways, 0)
    elif policy > PLRU:
        order = order | (DISTANT << (2 * way))
    return order


@small_function
def _point(tree: int, leaf: int, leaves: int, away: int) -> int:
    """Return the tree with all nodes above `leaf` pointing away from it, or with `away` 0 towards it."""
    node = leaves + leaf
    while node > 1:
        parent = node >> 1
        tree = (tree & ~(1 << parent)) | (((node & 1) ^ away) << parent)
        node = parent
    return tree


@small_function
def next_victim(policy: int, order: int, ways: int, draw: int) -> tuple[int, int]:
    """Return the way to replace, all ways being in use, and the word (predictions age until one is distant)."""
    way = least_recent(order, ways)
    if policy == RANDOM:
        way = WAYS - ways + mix(draw, ways)
    elif policy == PLRU:
        node = 1
        while node < ways:
            node = 2 * node + ((order >> node) & 1)
        way = node - ways + WAYS - ways
    elif policy > PLRU:
        used = _LOW_BITS & ~((1 << (2 * (WAYS - ways))) - 1)
        distant = order & (order >> 1) & used
        while distant == 0:
            order = order + used
            distant = order & (order >> 1) & used
        way = 0
        while (distant >> (2 * way)) & 1 == 0:
            way += 1
    return way, order


@small_function
def unprotected(order: int, protected: int, ways: int) -> int:
    """Return the least recently used way of an LRU word that is not in the mask `protected`, or WAYS."""
    place = ways - 1
    way = WAYS
    while place >= 0 and way == WAYS:
        candidate = (order >> (4 * place)) & 15
        if (protected >> candidate) & 1 == 0:
            way = candidate
        place -= 1
    return way
