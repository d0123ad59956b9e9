"""Why accesses to L2 missed: the log of a device against two twins, an infinite cache and a fully associative LRU cache
of the same size (the three Cs of Hill and Smith 1989), and who evicted what is fetched again.

A sector that misses had never been touched (compulsory), or the fully associative twin has lost its line since
(capacity), or that twin still has it (conflict: sets, replacement, hints, copies in two partitions).  The twin loses a
line between two accesses whose reuse distance, in lines, is no less than its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core.access_log import (
    ENTRY_WORDS,
    EVICTION,
    KERNEL,
    L2_ACCESS,
    LANE_BITS,
    MISSING,
    OPERATION,
    PARTITION,
    SECTORS,
)
from simulator.core.bitwise import ones
from simulator.core.compiled import compiled, small_function
from simulator.core.l2 import REDUCE, WRITE
from simulator.core.layout import Int64Array
from simulator.core.places import slot_of
from simulator.core.reuse_count import MIXED, Space, class_of, class_of_page
from simulator.core.reuse_stack import (
    NEVER,
    PAGES,
    PIECE_DISTANCE,
    PIECE_END,
    PIECE_START,
    PIECE_WORDS,
    TAG,
    Stack,
    entry_of,
    has_room,
    new_entry,
    visit,
)
from simulator.core.state import Parameters

HITS, COMPULSORY, CAPACITY, CONFLICT = 0, 1, 2, 3
LUCKY = 4
"""Of the hits, those that the fully associative twin misses."""

OUTCOMES = 5
READS, WRITES = 0, OUTCOMES
"""Where the columns of reads and prefetches, and of writes and reductions, begin."""

COLUMNS = 2 * OUTCOMES

NOBODY = 0
"""Evictor of what was not kept, or has lost sectors to a write in the other partition."""

MOST_CELLS = 254
"""Cells (kernel x tensor class) that an evictor can be told from."""

RESUME = 0

_TOUCHED, _VALID, _EVICTOR = 0, 4, 8
"""Parts of the word of a line: sectors touched so far, sectors in the twin, evictor's cell + 1."""


class Explained(NamedTuple):
    """What is known of lines, and what was counted."""

    scalars: Int64Array
    lines: NDArray[np.uint16]  # (pages, lines of a group), flat
    classes: NDArray[np.uint8]  # tensor class of each page, MIXED
    counts: Int64Array  # (cells, COLUMNS), flat: sectors
    refetched: Int64Array  # (cells, cells + 1), flat: sectors missed that had been touched, by who evicted them
    evicted: Int64Array  # (tensor classes, 2), flat: lines evicted, and sectors that were valid in them


@small_function
def entry_for(s: Stack, e: Explained, space: Space, p: Parameters, group: int) -> int:
    """Return the entry of a group, made if it was not there."""
    entry = entry_of(s, group)
    if s.table[entry] == 0:
        number = s.scalars[PAGES]
        new_entry(s, entry, group, number)
        e.classes[number] = class_of_page(space, group << p.group_shift, (group + 1) << p.group_shift)
        for line in range(number * p.group_lines, (number + 1) * p.group_lines):
            e.lines[line] = 0
    return entry


@small_function
def class_of_line(e: Explained, space: Space, p: Parameters, group: int, number: int, line: int) -> int:
    """Return the tensor class of a line of a page."""
    its = int(e.classes[number])
    return class_of(space, (group << p.group_shift) + (line << p.line_shift)) if its == MIXED else its


@small_function
def tally(e: Explained, cell: int, cells: int, column: int, word: int, mask: int, missing: int, lost: bool) -> int:
    """Count an access to a line; return its new word."""
    touched = (word >> _TOUCHED) & 15
    valid = 0 if lost else (word >> _VALID) & 15
    evictor = word >> _EVICTOR
    again = missing & touched
    place = cell * COLUMNS + column
    e.counts[place + HITS] += ones(mask & ~missing)
    e.counts[place + COMPULSORY] += ones(missing & ~touched)
    e.counts[place + CAPACITY] += ones(again & ~valid)
    e.counts[place + CONFLICT] += ones(again & valid)
    e.counts[place + LUCKY] += ones(mask & ~missing & touched & ~valid)
    if again:
        e.refetched[cell * (cells + 1) + evictor] += ones(again)
    return (touched | mask) << _TOUCHED | (valid | mask) << _VALID | evictor << _EVICTOR


@small_function
def blame(
    s: Stack, e: Explained, space: Space, p: Parameters, log: Int64Array, first: int, last: int, cell: int
) -> None:
    """Note who evicted the lines of the entries first <= i < last of the log."""
    for number in range(first, last):
        line, rest = log[number * ENTRY_WORDS], log[number * ENTRY_WORDS + 1]
        group, lane = line >> LANE_BITS, (line & ((1 << LANE_BITS) - 1)) - 1
        if rest & 3 != EVICTION or (rest >> PARTITION) & 1 != slot_of(p, group)[1]:
            continue
        entry = entry_of(s, group)
        if s.table[entry] == 0:
            continue
        page = s.table[entry + TAG]
        low, high = (0, p.group_lines) if lane < 0 else (lane, lane + 1)
        sectors = ones((rest >> SECTORS) & 15)
        for each in range(low, high):
            place = page * p.group_lines + each
            e.lines[place] = (int(e.lines[place]) & 255) | (cell + 1) << _EVICTOR
        its = class_of_line(e, space, p, group, page, low)
        e.evicted[2 * its] += high - low
        e.evicted[2 * its + 1] += sectors * (high - low)


@compiled
def explain(
    s: Stack,
    e: Explained,
    space: Space,
    parameters: Sequence[Parameters],
    log: Int64Array,
    kernels: Int64Array,
    tensor_classes: int,
    capacity: int,
) -> bool:
    """Take a log (entries, ENTRY_WORDS; flat); return whether that is done: if not, the stack or the lines need room,
    and the same call goes on where this one stopped.

    `kernels` are the numbers of the kernels in the slots of the device, `capacity` the lines of the twin.
    """
    p = parameters[0]
    cells = len(e.counts) // COLUMNS
    pending = e.scalars[RESUME]  # first entry since the last access
    for number in range(e.scalars[RESUME], len(log) // ENTRY_WORDS):
        line, rest = log[number * ENTRY_WORDS], log[number * ENTRY_WORDS + 1]
        if rest & 3 != L2_ACCESS:
            continue
        if not has_room(s, 1) or (s.scalars[PAGES] + 1) * p.group_lines > len(e.lines):
            e.scalars[RESUME] = pending
            return False
        group, lane = line >> LANE_BITS, (line & ((1 << LANE_BITS) - 1)) - 1
        low, high = (0, p.group_lines) if lane < 0 else (lane, lane + 1)
        mask, missing = (rest >> SECTORS) & 15, (rest >> MISSING) & 15
        kind = (rest >> OPERATION) & 3
        column = WRITES if kind in (WRITE, REDUCE) else READS
        entry = entry_for(s, e, space, p, group)
        page = s.table[entry + TAG]
        kernel = kernels[(rest >> KERNEL) & 63]
        its = class_of_line(e, space, p, group, page, low)
        cell = kernel * tensor_classes + its
        blame(s, e, space, p, log, pending, number, cell)
        for piece in range(visit(s, entry, low, high, 0, 0)):
            place = piece * PIECE_WORDS
            distance = s.pieces[place + PIECE_DISTANCE]
            lost = distance == NEVER or distance >= capacity
            for each in range(s.pieces[place + PIECE_START], s.pieces[place + PIECE_END]):
                if e.classes[page] == MIXED:
                    cell = kernel * tensor_classes + class_of_line(e, space, p, group, page, each)
                where = page * p.group_lines + each
                e.lines[where] = tally(e, cell, cells, column, int(e.lines[where]), mask, missing, lost)
        pending = number + 1
    e.scalars[RESUME] = 0
    return True
