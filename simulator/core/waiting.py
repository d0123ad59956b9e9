"""CTAs that wait for room in their SM: an arrival wakes one of them up, and the next only where it finds room too.

All that wait in an SM wait for one arrival, the oldest in flight, and ask in the order of their numbers.  So only the
first has an event, and once it has asked, the next that there is room for has one at that time, or the first at the
next arrival.
"""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import called, small_function
from simulator.core.layout import CONTEXT_BITS, WAITING_HEADER, Int64Array
from simulator.core.places import counters_at, waiting_at
from simulator.core.state import Parameters

COUNT, SINCE, WAITING = 0, 1, WAITING_HEADER
"""Of an SM: how many wait, and since when (ps); then a word for each, in order."""

NUMBER_SHIFT, AWAKE = 48, 1 << 47
"""Such a word is the CTA's number, whether it has an event, and what it asks for (bytes)."""

ASLEEP = -1
"""In place of an event: there is none."""


@small_function
def note_waiting(m: Int64Array, p: Parameters, k: int, sm: int, now: int) -> None:
    """Count how long the CTAs of an SM have waited since one more or one less did."""
    waiting = waiting_at(p, sm)
    m[counters_at(p, k) + counter.ROOM_WAIT_PS] += m[waiting + COUNT] * (now - m[waiting + SINCE])
    m[waiting + SINCE] = now


@called
def begin_waiting(m: Int64Array, p: Parameters, k: int, sm: int, number: int, asked: int, now: int, until: int) -> int:
    """Let a CTA wait that was refused `asked` bytes, of which some may arrive at `until`; return its event, or ASLEEP
    where another one has it."""
    note_waiting(m, p, k, sm, now)
    waiting = waiting_at(p, sm)
    first = waiting + WAITING
    place = first + m[waiting + COUNT]
    m[waiting + COUNT] += 1
    entry = number << NUMBER_SHIFT | asked
    while place > first and m[place - 1] > entry:
        m[place] = m[place - 1]
        place -= 1
    m[place] = entry
    if place > first:
        return ASLEEP
    m[place] |= AWAKE
    return until << CONTEXT_BITS | number


@called
def wake_next(
    m: Int64Array, p: Parameters, k: int, sm: int, number: int, found: bool, room: int, now: int, until: int
) -> int:
    """Return the event of the CTA to be woken up after one of that number has asked, and `found` room, so that it waits
    no longer, or has not: the next that asks for less than `room`, now, or the first, at the next arrival (`until`);
    ASLEEP where there is none, or it has it."""
    waiting = waiting_at(p, sm)
    first = place = waiting + WAITING
    while m[place] >> NUMBER_SHIFT != number:
        place += 1
    if found:
        note_waiting(m, p, k, sm, now)
        m[waiting + COUNT] -= 1
    end = first + m[waiting + COUNT]
    if found:
        for each in range(place, end):
            m[each] = m[each + 1]
    else:
        m[place] &= ~AWAKE
        place += 1
    while place < end and m[place] & (AWAKE - 1) >= room:
        place += 1
    when = now
    if place == end:
        place, when = first, until
    if first == end or m[place] & AWAKE:
        return ASLEEP
    m[place] |= AWAKE
    return when << CONTEXT_BITS | m[place] >> NUMBER_SHIFT
