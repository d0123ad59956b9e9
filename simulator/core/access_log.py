"""What the caches did, access by access in simulated order, for whoever wants to know why.

An entry is two words: the line, as group x 64 + lane + 1 (0: all lines of the group), and the rest, packed as below.
A device without an observer has no room for a log (`log_words` 0) and passes one branch per access.
"""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import called
from simulator.core.layout import Int64Array
from simulator.core.sets import SET_WORDS, VALID, nibble, tag_of
from simulator.core.state import Parameters

ENTRY_WORDS = 2
LANE_BITS = 6

L2_ACCESS, L1_ACCESS, EVICTION, L1_EVICTION = 0, 1, 2, 3
"""Kinds of entries.  An access has the sectors asked for and those of them that were missing: for L2 in the partition
that is home to the line, so that DRAM had to be asked.  An eviction, from L2 or an L1, has the sectors that were valid;
it comes before the access that caused it."""

WHAT, OPERATION, KERNEL, PARTITION, SECTORS, MISSING, SM = 0, 2, 4, 10, 12, 16, 20
"""Bits at which the parts of the second word begin: 2, 2, 6 (slot), 1, 4, 4 and the rest wide."""


@called
def note_access(
    m: Int64Array, p: Parameters, what: int, k: int, sm: int, group: int, lane: int, kind: int, mask: int, missing: int
) -> None:
    """Write down an access to the sectors `mask` of a line, or of all lines of a group (lane -1)."""
    rest = what | kind << OPERATION | k << KERNEL | mask << SECTORS | missing << MISSING | sm << SM
    _append(m, p, group << LANE_BITS | (lane + 1), rest)


@called
def note_eviction(m: Int64Array, p: Parameters, k: int, place: int, way: int, lane: int) -> None:
    """Write down what is about to be replaced in a way of an L2 set, if it holds anything."""
    group = tag_of(m, place, way)
    if group >= 0:
        partition = (place - p.at.sets) // SET_WORDS % p.partitions
        valid = nibble(m[place + VALID], way)
        rest = EVICTION | k << KERNEL | partition << PARTITION | valid << SECTORS
        _append(m, p, group << LANE_BITS | (lane + 1), rest)


@called
def note_l1_eviction(m: Int64Array, p: Parameters, k: int, sm: int, line: int, valid: int) -> None:
    """Write down that a line with the sectors `valid` is about to be replaced in the L1 of an SM."""
    group = line // p.group_lines
    lane = line - group * p.group_lines
    _append(m, p, group << LANE_BITS | (lane + 1), L1_EVICTION | k << KERNEL | valid << SECTORS | sm << SM)


@called
def _append(m: Int64Array, p: Parameters, line: int, rest: int) -> None:
    """Append an entry; what does not fit is only counted, which `Device` turns into an error."""
    end = m[scalar.LOGGED]
    m[scalar.LOGGED] = end + ENTRY_WORDS
    if end + ENTRY_WORDS <= p.log_words:
        m[p.at.log + end] = line
        m[p.at.log + end + 1] = rest
