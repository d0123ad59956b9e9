"""Servers that many channels have alike: a use by all of them, or by one, takes constant time.

A *gate* serves its uses one after the other and never idles while one waits: a use that comes at `now` and takes
`cost` begins at max(free, now), and the gate is then free `cost` later.  Because every use only adds its cost, the
gap left by a request that waits for its bank is filled by younger ones, as a first-ready scheduler fills it.

A channel group has one gate per channel (its *lanes*).  A use by all lanes is the function x -> max(x, floor) + shift
on each lane's free time, and two such functions make one of the same form.  So the group keeps one function (`floor`,
`shift`) that is still to be applied to every lane, each lane the time before it, and the group the latest of these,
looked for after lanes were used alone: what looping over the lanes each time gives, without the loop.
"""

from __future__ import annotations

from simulator.core.compiled import small_function
from simulator.core.dram_state import APART, FLOOR, GATE_WORDS, LATEST, SHIFT, Int64Array


@small_function
def use_all(d: Int64Array, gate: int, lanes: int, now: int, cost: int) -> int:
    """Use a gate of all `lanes` of a channel group for `cost`; return when the last of them can begin (ps)."""
    if d[gate + APART]:
        d[gate + APART] = 0
        latest = d[gate + GATE_WORDS]
        for lane in range(1, lanes):
            latest = max(latest, d[gate + GATE_WORDS + lane])
        d[gate + LATEST] = latest
    floor = d[gate + FLOOR]
    shift = d[gate + SHIFT]
    d[gate + FLOOR] = max(floor, now - shift)
    d[gate + SHIFT] = shift + cost
    return max(max(d[gate + LATEST], floor) + shift, now)


@small_function
def use_lane(d: Int64Array, gate: int, lane: int, now: int, cost: int) -> int:
    """Use a gate of one lane for `cost`; return when it can begin (ps)."""
    if d[gate + APART] == 0:
        d[gate + APART] = 1
    shift = d[gate + SHIFT]
    begin = max(max(d[gate + GATE_WORDS + lane], d[gate + FLOOR]) + shift, now)
    d[gate + GATE_WORDS + lane] = begin + cost - shift
    return begin
