"""Why a cache missed: its log against two twins, an infinite cache and a fully associative LRU cache of the same size
(the three Cs of Hill and Smith 1989), and who evicted what is fetched again.

A sector that misses had never been touched (compulsory), or the fully associative twin has lost its line since
(capacity), or that twin still has it (conflict: sets, replacement, hints, copies in two partitions).  What is known of
a line is one word; `l1_reasons` and `l2_reasons` find it, and whether the twin has lost the line.
"""

from __future__ import annotations

from typing import NamedTuple

from simulator.core.bitwise import ones
from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array

HITS, COMPULSORY, CAPACITY, CONFLICT = 0, 1, 2, 3
LUCKY = 4
"""Of the hits, those that the fully associative twin misses."""

OUTCOMES = 5
READS, WRITES = 0, OUTCOMES
"""Where the columns of reads and prefetches, and of writes and reductions, begin."""

COLUMNS = 2 * OUTCOMES

MOST_CELLS = 254
"""Cells (kernel x tensor class) that an evictor can be told from."""

TOUCHED, VALID, USED, EVICTOR = 0, 4, 8, 12
"""Parts of the word of a line: sectors touched so far, sectors in the twin, sectors touched since the line came into
the cache, evictor's cell + 1 (0: what was not kept, or has lost sectors to a write in the other partition)."""

WORD_BITS = 20


class Tallies(NamedTuple):
    """What is counted of a cache."""

    counts: Int64Array  # (cells, COLUMNS), flat: sectors
    refetched: Int64Array  # (cells, cells + 1), flat: sectors whose reads missed again, by who evicted them
    filled: Int64Array  # (tensor classes, 2), flat: lines that came and went, and sectors touched in between


@small_function
def tally(t: Tallies, cell: int, column: int, word: int, mask: int, missing: int, lost: bool, lines: int) -> int:
    """Count an access to each of `lines` lines of one word, which the twin may have `lost`; return their new word."""
    cells = len(t.counts) // COLUMNS
    touched = (word >> TOUCHED) & 15
    valid = 0 if lost else (word >> VALID) & 15
    used = (word >> USED) & 15
    evictor = word >> EVICTOR
    again = missing & touched
    place = cell * COLUMNS + column
    t.counts[place + HITS] += ones(mask & ~missing) * lines
    t.counts[place + COMPULSORY] += ones(missing & ~touched) * lines
    t.counts[place + CAPACITY] += ones(again & ~valid) * lines
    t.counts[place + CONFLICT] += ones(again & valid) * lines
    t.counts[place + LUCKY] += ones(mask & ~missing & touched & ~valid) * lines
    if again and column == READS:
        t.refetched[cell * (cells + 1) + evictor] += ones(again) * lines
    return (touched | mask) << TOUCHED | (valid | mask) << VALID | (used | mask) << USED | evictor << EVICTOR


@small_function
def count_use(t: Tallies, tensor_class: int, word: int, lines: int) -> int:
    """Count what was touched of each of `lines` lines since they came into the cache, which begins anew; return their
    new word."""
    used = ones((word >> USED) & 15)
    if used:
        t.filled[2 * tensor_class] += lines
        t.filled[2 * tensor_class + 1] += used * lines
    return word & ~(15 << USED)


@small_function
def gone(t: Tallies, tensor_class: int, word: int, evictor: int, lines: int) -> int:
    """Count that each of `lines` lines left the cache for the cell `evictor` - 1; return their new word."""
    return (count_use(t, tensor_class, word, lines) & ((1 << EVICTOR) - 1)) | evictor << EVICTOR
