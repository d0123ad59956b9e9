"""Why accesses to the L1s hit and missed (`three_cs`), each SM's against twins of its own.

All L1s are emptied when a kernel starts, and their twins with them: a sector is touched for the first time (compulsory)
when this SM has not read it since.  The fully associative twin is a list of lines, the last one read first; a line that
falls off its end stays known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simulator.core.access_log import (
    ENTRY_WORDS,
    KERNEL,
    L1_ACCESS,
    L1_EVICTION,
    LANE_BITS,
    MISSING,
    SECTORS,
    SM,
)
from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.reuse_count import SM_BITS, Space, class_of
from simulator.core.state import Parameters
from simulator.core.three_cs import READS, Tallies, count_use, gone, tally

RESUME, NODES = 0, 1
SCALARS = 2
"""Scalars: the entry of a log to go on with; nodes in use."""

KEY, WORD, NEWER, OLDER, NODE_WORDS = 0, 1, 2, 3, 4
"""A node: line and SM; word of the line; neighbours in the list of the SM as number + 1, 0 at its ends."""

_OFF = -1
"""Neighbour of a node that the twin has lost, or that is new."""

NEWEST, OLDEST, LENGTH, LIST_WORDS = 0, 1, 2, 3


class SmLines(NamedTuple):
    """What is known of lines, SM by SM; an open-addressed table finds the node of a line."""

    scalars: Int64Array
    table: Int64Array  # node + 1, 0: free; a power of two
    nodes: Int64Array  # (nodes, NODE_WORDS), flat
    lists: Int64Array  # (SMs, LIST_WORDS), flat


def new_sm_lines(nodes: int, sms: int) -> SmLines:
    """Return room for `nodes` lines (a power of two), nothing being known of them."""
    return SmLines(
        np.zeros(SCALARS, np.int64),
        np.zeros(2 * nodes, np.int64),
        np.zeros(nodes * NODE_WORDS, np.int64),
        np.zeros(sms * LIST_WORDS, np.int64),
    )


@small_function
def place_of(known: SmLines, key: int) -> int:
    """Return where a key is in the table, or belongs."""
    last = len(known.table) - 1
    place = ((key * 0x9E3779B1) >> 16) & last
    while known.table[place] and known.nodes[(known.table[place] - 1) * NODE_WORDS + KEY] != key:
        place = (place + 1) & last
    return place


@small_function
def node_for(known: SmLines, key: int) -> int:
    """Return where the node of a key begins, made if it was not there."""
    place = place_of(known, key)
    if known.table[place] == 0:
        number = known.scalars[NODES]
        known.scalars[NODES] = number + 1
        known.table[place] = number + 1
        node = number * NODE_WORDS
        known.nodes[node + KEY] = key
        known.nodes[node + WORD] = 0
        known.nodes[node + NEWER] = _OFF
    return (known.table[place] - 1) * NODE_WORDS


@small_function
def take_off(known: SmLines, ends: int, node: int) -> None:
    """Take a node off the list that begins at `ends`."""
    newer, older = known.nodes[node + NEWER], known.nodes[node + OLDER]
    if newer:
        known.nodes[(newer - 1) * NODE_WORDS + OLDER] = older
    else:
        known.lists[ends + NEWEST] = older
    if older:
        known.nodes[(older - 1) * NODE_WORDS + NEWER] = newer
    else:
        known.lists[ends + OLDEST] = newer
    known.nodes[node + NEWER] = _OFF
    known.lists[ends + LENGTH] -= 1


@small_function
def read_line(known: SmLines, sm: int, node: int, capacity: int) -> bool:
    """Let the twin of an SM read a line; return whether it had lost it, or never had it."""
    ends = sm * LIST_WORDS
    lost = known.nodes[node + NEWER] == _OFF
    if not lost:
        take_off(known, ends, node)
    newest = known.lists[ends + NEWEST]
    number = node // NODE_WORDS + 1
    known.nodes[node + NEWER] = 0
    known.nodes[node + OLDER] = newest
    if newest:
        known.nodes[(newest - 1) * NODE_WORDS + NEWER] = number
    else:
        known.lists[ends + OLDEST] = number
    known.lists[ends + NEWEST] = number
    known.lists[ends + LENGTH] += 1
    if known.lists[ends + LENGTH] > capacity:
        take_off(known, ends, (known.lists[ends + OLDEST] - 1) * NODE_WORDS)
    return lost


@compiled
def explain_l1(
    t: Tallies,
    known: SmLines,
    space: Space,
    parameters: Sequence[Parameters],
    log: Int64Array,
    kernels: Int64Array,
    capacity: int,
) -> bool:
    """Take a log as `l2_reasons.explain_l2` does; `capacity` are the lines of one SM's twin."""
    p = parameters[0]
    tensor_classes = len(t.filled) // 2
    evicted = -1  # node of the line evicted since the last access
    pending = known.scalars[RESUME]  # first entry since the last access
    for number in range(pending, len(log) // ENTRY_WORDS):
        word, rest = log[number * ENTRY_WORDS], log[number * ENTRY_WORDS + 1]
        what = rest & 3
        if what not in (L1_ACCESS, L1_EVICTION):
            continue
        if 2 * (known.scalars[NODES] + 1) > len(known.table):
            known.scalars[RESUME] = pending
            return False
        line = (word >> LANE_BITS) * p.group_lines + (word & ((1 << LANE_BITS) - 1)) - 1
        sm = (rest >> SM) & ((1 << SM_BITS) - 1)
        node = node_for(known, line << SM_BITS | sm)
        its = class_of(space, line << p.line_shift)
        if what == L1_EVICTION:
            evicted = node
            continue
        cell = kernels[(rest >> KERNEL) & 63] * tensor_classes + its
        if evicted >= 0:
            left = known.nodes[evicted + KEY] >> SM_BITS
            tensor_class = class_of(space, left << p.line_shift)
            known.nodes[evicted + WORD] = gone(t, tensor_class, known.nodes[evicted + WORD], cell + 1, 1)
            evicted = -1
        lost = read_line(known, sm, node, capacity)
        mask, missing = (rest >> SECTORS) & 15, (rest >> MISSING) & 15
        known.nodes[node + WORD] = tally(t, cell, READS, known.nodes[node + WORD], mask, missing, lost, 1)
        pending = number + 1
    known.scalars[RESUME] = 0
    return True


@compiled
def empty_l1s(t: Tallies, known: SmLines, space: Space, parameters: Sequence[Parameters]) -> None:
    """Count the lines that are still in the L1s as gone, and forget all."""
    p = parameters[0]
    for number in range(known.scalars[NODES]):
        node = number * NODE_WORDS
        tensor_class = class_of(space, (known.nodes[node + KEY] >> SM_BITS) << p.line_shift)
        count_use(t, tensor_class, known.nodes[node + WORD], 1)
    known.scalars[NODES] = 0
    known.table[:] = 0
    known.lists[:] = 0


@compiled
def index_nodes(known: SmLines) -> None:
    """Put all nodes in use into an empty table."""
    for number in range(known.scalars[NODES]):
        known.table[place_of(known, known.nodes[number * NODE_WORDS + KEY])] = number + 1
