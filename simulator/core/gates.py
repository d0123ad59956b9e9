"""Servers that many channels have alike: a use by all of them, or by one, takes constant time.

A *gate* serves its uses one after the other and never idles while one waits: a use that comes at `now` and takes
`cost` begins at max(free, now), and the gate is then free `cost` later.  Because every use only adds its cost, the
gap left by a request that waits for its bank is filled by younger ones, as a first-ready scheduler fills it.

A channel group has one gate per channel (its *lanes*).  A use by all lanes is the function x -> max(x, floor) + shift
on each lane's free time, and two such functions make one of the same form.  So the group keeps one function (`floor`,
`shift`) that is still to be applied to every lane, each lane the time before it, and the group the latest of these,
looked for after lanes were used alone: what looping over the lanes each time gives, without the loop.  A lane that is
used alone takes the gate apart: the function is applied to all, until all are used at once again.
"""

from __future__ import annotations

from simulator.core.compiled import called, small_function
from simulator.core.dram_state import APART, FLOOR, GATE_WORDS, LATEST, SHIFT
from simulator.core.layout import Int64Array


@small_function
def use_all(m: Int64Array, gate: int, lanes: int, now: int, cost: int) -> int:
    """Use a gate of all `lanes` of a channel group for `cost`; return when the last of them can begin (ps)."""
    if m[gate + APART]:
        m[gate + APART] = 0
        latest = m[gate + GATE_WORDS]
        for lane in range(1, lanes):
            latest = max(latest, m[gate + GATE_WORDS + lane])
        m[gate + LATEST] = latest
    floor = m[gate + FLOOR]
    shift = m[gate + SHIFT]
    m[gate + FLOOR] = max(floor, now - shift)
    m[gate + SHIFT] = shift + cost
    return max(max(m[gate + LATEST], floor) + shift, now)


@called
def take_apart(m: Int64Array, gate: int, lanes: int) -> None:
    """Apply a gate's function to each of its `lanes`, whose times are from then on what they say."""
    floor, shift = m[gate + FLOOR], m[gate + SHIFT]
    for place in range(gate + GATE_WORDS, gate + GATE_WORDS + lanes):
        m[place] = max(m[place], floor) + shift
    m[gate + FLOOR] = m[gate + SHIFT] = 0
    m[gate + APART] = 1


@small_function
def use_lane(m: Int64Array, gate: int, lane: int, lanes: int, now: int, cost: int) -> int:
    """Use a gate of one of the `lanes` of a channel group for `cost`; return when it can begin (ps)."""
    place = gate + GATE_WORDS + lane
    if m[gate + APART] == 0:
        take_apart(m, gate, lanes)
    begin = max(m[place], now)
    m[place] = begin + cost
    return begin
