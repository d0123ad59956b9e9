"""Servers that many channels have alike: a use by all of them, or by one, takes constant time.

A *gate* serves its uses one after the other and never idles while one waits: a use that comes at `now` and takes
`cost` begins at max(free, now), and the gate is then free `cost` later.  Because every use only adds its cost, the
gap left by a request that waits for its bank is filled by younger ones, as a first-ready scheduler fills it.

A channel group has one gate per channel (its *lanes*).  A use by all lanes is the function x -> max(x, floor) + shift
on each lane's free time, and two such functions make one of the same form.  So the group keeps one function (`floor`,
`shift`) that is still to be applied to every lane, each lane the time before it, and the group the latest of these:
what looping over the lanes gives, without the loop.
"""

from __future__ import annotations

from simulator.core.compiled import inlined
from simulator.core.dram_state import DramState

FLOOR, SHIFT, LATEST, GATE_WORDS = 0, 1, 2, 4


@inlined
def use_all(d: DramState, gate: int, now: int, cost: int) -> int:
    """Use a gate of all lanes of a channel group for `cost`; return when the last lane can begin (ps)."""
    word = gate * GATE_WORDS
    floor = d.gate[word + FLOOR]
    shift = d.gate[word + SHIFT]
    begin = max(max(d.gate[word + LATEST], floor) + shift, now)
    d.gate[word + FLOOR] = max(floor, now - shift)
    d.gate[word + SHIFT] = shift + cost
    return begin


@inlined
def use_lane(d: DramState, gate: int, place: int, now: int, cost: int) -> int:
    """Use a gate of one lane, whose time is `d.lane[place]`, for `cost`; return when it can begin (ps)."""
    word = gate * GATE_WORDS
    shift = d.gate[word + SHIFT]
    begin = max(max(d.lane[place], d.gate[word + FLOOR]) + shift, now)
    before = begin + cost - shift
    d.lane[place] = before
    d.gate[word + LATEST] = max(d.gate[word + LATEST], before)
    return begin
