"""Whole groups that L2 still has to ask for: they have been found missing, but not been sent for to DRAM or across
partitions.

Reads of several groups first look for all of them and then ask for those that are missing, so that each of the two
loops is short and the processor works on several groups at once.  The outcome is that of one group after the other:
until it has been asked for, a fill makes its set say PENDING, and who comes upon such a set, or writes a group back,
has all that is pending asked for before.
"""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import called, small_function
from simulator.core.dram_state import NEVER
from simulator.core.l2 import cross
from simulator.core.layout import Int64Array
from simulator.core.ledger import note_crossing
from simulator.core.mshr import fetch_group
from simulator.core.prefetch import prefetch
from simulator.core.sets import LATEST, READY
from simulator.core.state import ASK_ROOM, Parameters

PENDING = NEVER
"""In place of when the latest fill of a set arrives: one of its fills has not been asked for yet."""

OWNER, SINCE, BYTES, CHANNEL_GROUP, ACCESS = 0, 1, 2, 3, 4
"""A group that is asked for: the word that is to say when it is there, and when what L2 has of it is; the bytes that
DRAM has to send (0: none) and from where, as `channel_group_of`."""

SET, WAY, FILLED_BEFORE = 8, 9, 10
"""Where they go, and when the latest fill of that set before arrives."""

CROSSING, NEAR, COPY_SET, COPY_WAY, COPIED_BEFORE, ASK_WORDS = 11, 12, 13, 14, 15, 16
"""The bytes that cross to the partition `NEAR` (0: none), and where they go, likewise."""


@small_function
def fills(m: Int64Array, entry: int, word: int, place: int, way: int) -> None:
    """Have the words from `word` on of an entry say that a way of a set is to be filled."""
    m[entry + word] = place
    m[entry + word + 1] = way
    m[entry + word + 2] = m[place + LATEST]
    m[place + LATEST] = PENDING
    prefetch(m, place + READY + way)


@small_function
def arrives(m: Int64Array, entry: int, word: int, when: int) -> None:
    """Note that a fill that `fills` announced arrives at `when` (ps)."""
    place = m[entry + word]
    m[place + READY + m[entry + word + 1]] = when
    m[place + LATEST] = max(m[entry + word + 2], when)


@small_function
def ask(m: Int64Array, p: Parameters, k: int, now: int, steady: bool) -> None:
    """Ask for all that is pending, in the order in which it was found."""
    end = p.at.asks + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] = 0
    for entry in range(p.at.asks, end, ASK_WORDS):
        ready = m[entry + SINCE]
        size = m[entry + BYTES]
        if size > 0:
            came = fetch_group(m, p, k, m[entry + CHANNEL_GROUP], m[entry + ACCESS], size, now, steady)
            ready = max(ready, came)
            arrives(m, entry, SET, ready)
        if p.partitions > 1 and m[entry + CROSSING] > 0:
            ready = note_crossing(m, p, ready, cross(m, p, k, m[entry + NEAR], m[entry + CROSSING], now))
            arrives(m, entry, COPY_SET, ready)
        owner = m[entry + OWNER]
        m[owner] = max(m[owner], ready)


@called
def ask_groups(m: Int64Array, p: Parameters, k: int, now: int) -> None:
    """Ask for the whole groups that are pending, at `now`."""
    if p.dram.steady:
        ask(m, p, k, now, True)
    else:
        ask(m, p, k, now, False)


@small_function
def new_ask(m: Int64Array, p: Parameters, k: int, owner: int, since: int, now: int) -> int:
    """Return the place of a new entry, all but empty, for a group."""
    if m[scalar.ASKS] == ASK_ROOM:
        ask_groups(m, p, k, now)
    entry = p.at.asks + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] += 1
    m[entry + OWNER] = owner
    m[entry + SINCE] = since
    m[entry + BYTES] = 0
    if p.partitions > 1:
        m[entry + CROSSING] = 0
    return entry
