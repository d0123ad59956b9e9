"""CTAs that wait for room in their SM: an arrival wakes one of them up, and the next only as long as there is room.

All that wait in an SM wait for one arrival, the oldest in flight, and ask in the order of their numbers.  So only the
first has an event, and whether it then finds room or not, the next is woken up that may find some: who asks for no less
than was refused at that time will not.
"""

from __future__ import annotations

from simulator.core import counter
from simulator.core.compiled import called, small_function
from simulator.core.dram_state import NEVER
from simulator.core.layout import CONTEXT_BITS, WAITING_HEADER, Int64Array
from simulator.core.places import counters_at, waiting_at
from simulator.core.state import Parameters

COUNT, SINCE, REFUSED, REFUSED_AT, WAITING = 0, 1, 2, 3, WAITING_HEADER
"""Of an SM: how many wait, and since when (ps); the least that was refused at a time; a word for each, in order."""

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


@small_function
def refuse(m: Int64Array, waiting: int, asked: int, now: int) -> None:
    """Keep that there was no room for what a CTA asked for."""
    if m[waiting + REFUSED_AT] == now:
        m[waiting + REFUSED] = min(m[waiting + REFUSED], asked)
    else:
        m[waiting + REFUSED] = asked
        m[waiting + REFUSED_AT] = now


@called
def begin_waiting(m: Int64Array, p: Parameters, k: int, sm: int, number: int, asked: int, now: int, until: int) -> int:
    """Let a CTA wait that was refused `asked` bytes, of which some may arrive at `until`; return its event, or ASLEEP
    where another one has it."""
    note_waiting(m, p, k, sm, now)
    waiting = waiting_at(p, sm)
    refuse(m, waiting, asked, now)
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
def place_of(m: Int64Array, p: Parameters, sm: int, number: int) -> int:
    """Return the place of the word of a CTA that waits."""
    place = waiting_at(p, sm) + WAITING
    while m[place] >> NUMBER_SHIFT != number:
        place += 1
    return place


@called
def end_waiting(m: Int64Array, p: Parameters, k: int, sm: int, number: int, now: int) -> None:
    """Let a CTA that found room wait no longer."""
    note_waiting(m, p, k, sm, now)
    waiting = waiting_at(p, sm)
    m[waiting + COUNT] -= 1
    for place in range(place_of(m, p, sm, number), waiting + WAITING + m[waiting + COUNT]):
        m[place] = m[place + 1]


@called
def wait_on(m: Int64Array, p: Parameters, sm: int, number: int, asked: int, now: int) -> None:
    """Let a CTA wait on that was woken up, and refused `asked` bytes again."""
    refuse(m, waiting_at(p, sm), asked, now)
    m[place_of(m, p, sm, number)] &= ~AWAKE


@called
def wake_next(m: Int64Array, p: Parameters, sm: int, number: int, now: int, until: int) -> int:
    """Return the event of the CTA to be woken up after one of that number has asked, now or at the next arrival,
    `until`; ASLEEP where there is none, or it has it."""
    waiting = waiting_at(p, sm)
    first = waiting + WAITING
    refused = m[waiting + REFUSED] if m[waiting + REFUSED_AT] == now else NEVER
    place, end = first, first + m[waiting + COUNT]
    while place < end and (m[place] >> NUMBER_SHIFT <= number or m[place] & (AWAKE - 1) >= refused):
        place += 1
    when = now
    if place == end:
        place, when = first, until
    if first == end or m[place] & AWAKE:
        return ASLEEP
    m[place] |= AWAKE
    return when << CONTEXT_BITS | m[place] >> NUMBER_SHIFT
