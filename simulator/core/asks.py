"""What L2 still has to ask for: misses that have been found, but not yet sent to DRAM or across partitions.

Reads of several lines first look for all of them and then ask for those that are missing, so that each of the two loops
is short and the processor works on several lines at once.  The outcome is that of one line after the other: until it
has been asked for, a fill makes its set say PENDING, and who comes upon such a set, or writes a line back, has all that
is pending asked for before.
"""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import called, small_function
from simulator.core.dram_places import WHOLE
from simulator.core.dram_state import NEVER
from simulator.core.l2 import cross
from simulator.core.layout import Int64Array
from simulator.core.ledger import note_crossing
from simulator.core.mshr import fetch_group, fetch_line
from simulator.core.prefetch import prefetch
from simulator.core.sets import LATEST, READY
from simulator.core.state import ASK_ROOM, Parameters

PENDING = NEVER
"""In place of when the latest fill of a set arrives: one of its fills has not been asked for yet."""

LANES = 63
"""Mask of a lane number: no use but to tell the compiler that it is not WHOLE."""

OWNER, SINCE, BYTES, CHANNEL_GROUP, ACCESS, CHANNEL, BANK, ROW, FIRST = 0, 1, 2, 3, 4, 4, 5, 6, 7
"""A line, or group, that is asked for: the word that is to say when it is there, and when what L2 has of it is; the
bytes that DRAM has to send (0: none) and from where, for a group as `channel_group_of`, for a line as `line_at`."""

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
def ask(m: Int64Array, p: Parameters, k: int, now: int, whole: bool, steady: bool) -> None:
    """Ask for all that is pending, whole groups or lines, in the order in which it was found."""
    end = p.at.asks + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] = 0
    for entry in range(p.at.asks, end, ASK_WORDS):
        ready = m[entry + SINCE]
        size = m[entry + BYTES]
        if size > 0:
            group = m[entry + CHANNEL_GROUP]
            if whole:
                came = fetch_group(m, p, k, group, m[entry + ACCESS], size, now, steady)
            else:
                channel, bank, row = m[entry + CHANNEL] & LANES, m[entry + BANK], m[entry + ROW]
                came = fetch_line(m, p, k, group, channel, bank, row, m[entry + FIRST] != 0, size, now, steady)
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
        ask(m, p, k, now, True, True)
    else:
        ask(m, p, k, now, True, False)


@called
def ask_lines(m: Int64Array, p: Parameters, k: int, now: int) -> None:
    """Ask for the lines that are pending, at `now`."""
    if p.dram.steady:
        ask(m, p, k, now, False, True)
    else:
        ask(m, p, k, now, False, False)


@small_function
def ask_pending(m: Int64Array, p: Parameters, k: int, lane: int, now: int) -> None:
    """Ask for all that is pending while lines (`lane` WHOLE: whole groups) are looked for at `now`."""
    if lane == WHOLE:
        ask_groups(m, p, k, now)
    else:
        ask_lines(m, p, k, now)


@small_function
def new_ask(m: Int64Array, p: Parameters, k: int, lane: int, owner: int, since: int, now: int) -> int:
    """Return the place of a new entry, all but empty, for a line or group."""
    if m[scalar.ASKS] == ASK_ROOM:
        ask_pending(m, p, k, lane, now)
    entry = p.at.asks + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] += 1
    m[entry + OWNER] = owner
    m[entry + SINCE] = since
    m[entry + BYTES] = 0
    if p.partitions > 1:
        m[entry + CROSSING] = 0
    return entry
