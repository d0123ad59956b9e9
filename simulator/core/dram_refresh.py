"""Refresh of DRAM: a clock that stands still while a channel is refreshed, and how often a bank has been."""

from __future__ import annotations

from simulator.core.compiled import small_function
from simulator.core.dram_state import DUE, EPOCHS, LOST, NEVER, DramParameters
from simulator.core.layout import Int64Array


@small_function
def work_time(m: Int64Array, p: DramParameters, unit: int, now: int) -> int:
    """Carry out the refreshes of a unit that are due; return `now` on the clock that stands still during all-bank
    refresh (ps)."""
    if p.refresh_period_ps >= NEVER:
        return now
    due = m[unit + DUE]
    lost = m[unit + LOST]
    if now - lost >= due:
        passed = (now - lost - due) // (p.refresh_period_ps + p.refresh_lost_ps) + 1
        due += passed * p.refresh_period_ps
        lost += passed * p.refresh_lost_ps
        m[unit + DUE] = due
        m[unit + LOST] = lost
        m[unit + EPOCHS] += passed
    return max(now - lost, due - p.refresh_period_ps)


@small_function
def clock_of(m: Int64Array, p: DramParameters, unit: int, now: int) -> tuple[int, int, int]:
    """Return `now` as `work_time`, when a bank is next refreshed on that clock, and its refreshes so far."""
    if p.refresh_period_ps >= NEVER:
        return now, NEVER, 0
    start = work_time(m, p, unit, now)
    return start, m[unit + DUE], m[unit + EPOCHS]


@small_function
def wall_time(m: Int64Array, p: DramParameters, unit: int, time: int) -> int:
    """Return a time of the clock of `work_time` as simulated time (ps)."""
    if p.refresh_lost_ps == 0:
        return time
    wall = time + m[unit + LOST]
    if time >= m[unit + DUE]:
        wall += ((time - m[unit + DUE]) // p.refresh_period_ps + 1) * p.refresh_lost_ps
    return wall
