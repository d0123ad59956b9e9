"""Why accesses to L2 hit and missed (`three_cs`).

The fully associative twin is an LRU stack: it has lost a line between two accesses whose reuse distance, in lines, is
no less than its lines.  The lines of a group that have lived the same life share one word; they get one each when they
are first told apart.
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
from simulator.core.compiled import compiled, small_function
from simulator.core.l2 import REDUCE, WRITE
from simulator.core.layout import Int64Array
from simulator.core.places import slot_of
from simulator.core.reuse_count import MIXED, Space, class_of, class_of_page
from simulator.core.reuse_stack import (
    ENTRY_BITS,
    KEY,
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
from simulator.core.three_cs import READS, WORD_BITS, WRITES, Tallies, count_use, gone, tally

RESUME, PARTED, NEEDED = 0, 1, 2
SCALARS = 3
"""Scalars: the entry of a log to go on with; pages whose lines have a word each, and how many there may be after the
next entry."""

_PARTED = 1 << WORD_BITS
"""Bit of a page's word: the bits above are the number of its part."""


class Lines(NamedTuple):
    """What is known of lines, page by page; a page is a line group."""

    scalars: Int64Array
    pages: Int64Array  # word of all lines, or which part has them
    parts: NDArray[np.uint32]  # (parts, lines of a group), flat: their words
    classes: NDArray[np.uint8]  # tensor class of each page, MIXED


def new_lines(pages: int, parts: int, lines: int) -> Lines:
    """Return room for pages of `lines` lines, nothing being known of them."""
    return Lines(
        np.zeros(SCALARS, np.int64),
        np.zeros(pages, np.int64),
        np.zeros(parts * lines, np.uint32),
        np.zeros(pages, np.uint8),
    )


@small_function
def is_parted(known: Lines, page: int) -> bool:
    """Return whether the lines of a page have a word each."""
    return (known.pages[page] & _PARTED) != 0


@small_function
def part_of(known: Lines, page: int, lines: int) -> int:
    """Return where the words of a page's lines begin, giving them one each if they share one."""
    value = known.pages[page]
    if value & _PARTED:
        return (value >> (WORD_BITS + 1)) * lines
    number = known.scalars[PARTED]
    known.scalars[PARTED] = number + 1
    known.pages[page] = number << (WORD_BITS + 1) | _PARTED
    for place in range(number * lines, (number + 1) * lines):
        known.parts[place] = value
    return number * lines


@small_function
def entry_for(s: Stack, known: Lines, space: Space, p: Parameters, group: int) -> int:
    """Return the entry of a group, made if it was not there."""
    entry = entry_of(s, group)
    if s.table[entry] == 0:
        number = s.scalars[PAGES]
        new_entry(s, entry, group, number)
        known.classes[number] = class_of_page(space, group << p.group_shift, (group + 1) << p.group_shift)
        known.pages[number] = 0
    return entry


@small_function
def class_of_line(known: Lines, space: Space, p: Parameters, group: int, number: int, line: int) -> int:
    """Return the tensor class of a line of a page."""
    its = int(known.classes[number])
    return class_of(space, (group << p.group_shift) + (line << p.line_shift)) if its == MIXED else its


@small_function
def leave(
    t: Tallies, known: Lines, space: Space, p: Parameters, group: int, page: int, low: int, high: int, evictor: int
) -> None:
    """Note that the lines low <= i < high of a page left L2 for the cell `evictor` - 1."""
    lines = p.group_lines
    if high - low == lines and not is_parted(known, page) and known.classes[page] != MIXED:
        known.pages[page] = gone(t, int(known.classes[page]), known.pages[page], evictor, lines)
        return
    part = part_of(known, page, lines)
    for each in range(low, high):
        its = class_of_line(known, space, p, group, page, each)
        known.parts[part + each] = gone(t, its, int(known.parts[part + each]), evictor, 1)


@small_function
def blame(
    s: Stack,
    t: Tallies,
    known: Lines,
    space: Space,
    p: Parameters,
    log: Int64Array,
    first: int,
    last: int,
    cell: int,
) -> None:
    """Note who evicted the lines of the entries first <= i < last of the log."""
    for number in range(first, last):
        line, rest = log[number * ENTRY_WORDS], log[number * ENTRY_WORDS + 1]
        group, lane = line >> LANE_BITS, (line & ((1 << LANE_BITS) - 1)) - 1
        if rest & 3 != EVICTION or (rest >> PARTITION) & 1 != slot_of(p, group)[1]:
            continue
        entry = entry_of(s, group)
        if s.table[entry]:
            low, high = (0, p.group_lines) if lane < 0 else (lane, lane + 1)
            leave(t, known, space, p, group, s.table[entry + TAG], low, high, cell + 1)


@small_function
def fits(s: Stack, known: Lines, lines: int, entries: int) -> bool:
    """Return whether there is room for what `entries` entries of the log may bring: one page, and parts for each."""
    known.scalars[NEEDED] = known.scalars[PARTED] + entries
    pages = s.scalars[PAGES] < len(known.pages)
    return has_room(s, 1) and pages and known.scalars[NEEDED] * lines <= len(known.parts)


@compiled
def explain_l2(
    s: Stack,
    t: Tallies,
    known: Lines,
    space: Space,
    parameters: Sequence[Parameters],
    log: Int64Array,
    kernels: Int64Array,
    capacity: int,
) -> bool:
    """Take a log (entries, ENTRY_WORDS; flat); return whether that is done: if not, the stack or the lines need room,
    and the same call goes on where this one stopped.

    `kernels` are the numbers of the kernels in the slots of the device, `capacity` the lines of the twin.
    """
    p = parameters[0]
    lines = p.group_lines
    tensor_classes = len(t.filled) // 2
    pending = known.scalars[RESUME]  # first entry since the last access
    for number in range(pending, len(log) // ENTRY_WORDS):
        line, rest = log[number * ENTRY_WORDS], log[number * ENTRY_WORDS + 1]
        if rest & 3 != L2_ACCESS:
            continue
        if not fits(s, known, lines, number - pending + 1):
            known.scalars[RESUME] = pending
            return False
        group, lane = line >> LANE_BITS, (line & ((1 << LANE_BITS) - 1)) - 1
        low, high = (0, lines) if lane < 0 else (lane, lane + 1)
        mask, missing = (rest >> SECTORS) & 15, (rest >> MISSING) & 15
        kind = (rest >> OPERATION) & 3
        column = WRITES if kind in (WRITE, REDUCE) else READS
        entry = entry_for(s, known, space, p, group)
        page = s.table[entry + TAG]
        first_cell = kernels[(rest >> KERNEL) & 63] * tensor_classes
        its = class_of_line(known, space, p, group, page, low)
        blame(s, t, known, space, p, log, pending, number, first_cell + its)
        for piece in range(visit(s, entry, low, high, 0, 0)):
            place = piece * PIECE_WORDS
            start, end = s.pieces[place + PIECE_START], s.pieces[place + PIECE_END]
            distance = s.pieces[place + PIECE_DISTANCE]
            lost = distance == NEVER or distance >= capacity
            if end - start == lines and not is_parted(known, page) and known.classes[page] != MIXED:
                cell = first_cell + its
                known.pages[page] = tally(t, cell, column, known.pages[page], mask, missing, lost, lines)
                continue
            part = part_of(known, page, lines)
            for each in range(start, end):
                cell = first_cell + class_of_line(known, space, p, group, page, each)
                word = int(known.parts[part + each])
                known.parts[part + each] = tally(t, cell, column, word, mask, missing, lost, 1)
        pending = number + 1
    known.scalars[RESUME] = 0
    return True


@compiled
def count_l2_lines_left(s: Stack, t: Tallies, known: Lines, space: Space, parameters: Sequence[Parameters]) -> None:
    """Count what was touched so far of the lines that are still in L2."""
    p = parameters[0]
    lines = p.group_lines
    for entry in range(0, len(s.table), 1 << s.scalars[ENTRY_BITS]):
        group = s.table[entry + KEY] - 1
        if group < 0:
            continue
        page = s.table[entry + TAG]
        if not is_parted(known, page) and known.classes[page] != MIXED:
            known.pages[page] = count_use(t, int(known.classes[page]), known.pages[page], lines)
            continue
        part = part_of(known, page, lines)
        for each in range(lines):
            its = class_of_line(known, space, p, group, page, each)
            known.parts[part + each] = count_use(t, its, int(known.parts[part + each]), 1)
