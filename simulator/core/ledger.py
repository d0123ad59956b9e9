"""Where the time of the SMs goes: every picosecond of every SM is counted under one kind of `counter.LEDGER`.

An SM's time between two events of its CTAs is computing, for as long as its tensor cores have work booked, and else a
wait.  The wait is that of the CTA whose event comes next, for a record: it is shared out in proportion to what made up
the latency of that record along its slowest part, the queues at named servers and the unloaded latency (`PARTS` kinds).
Where the CTA waits for room in the SM, or at a barrier, the unloaded part is put down to that instead: with more in
flight it would have been hidden, while the queues would only have been longer.  A record whose bytes arrived before
the CTA had computed on earlier ones passes on what those waited for.  Between its last CTA and the end of the kernel an
SM is in the tail.

Of the records a CTA issues at once only the slowest part is kept: a server of L2 or the SM, or the lines, whose wait is
split as that of the slowest of their fetches from DRAM (of a *merge*, a line that another SM has asked for, as that of
the last fetch).
"""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.compiled import called, small_function
from simulator.core.layout import (
    CONTEXT_KERNEL,
    CONTEXT_SM,
    CONTEXT_WAITS,
    MAX_STAGES,
    SM_COMPUTE_FREE,
    SM_IDLE,
    SM_RESIDENTS,
    SM_SINCE,
    SM_WORDS,
    TICKS_PER_PS,
    WHY_TOTAL,
    WHY_WORDS,
    Int64Array,
)
from simulator.core.state import Parameters

FOR_RECORD, FOR_ROOM, FOR_EARLIER, FOR_START = 0, 32, 64, 96
"""What a CTA waits for, in the word `CONTEXT_WAITS` beside the buffer of the record concerned: the record in a buffer,
room in its SM, all earlier records at a barrier, its own start."""

LINES = counter.PARTS
"""Stands among the servers for the lines of a record: MSHRs, DRAM and the link between partitions."""


@small_function
def ledger_at(p: Parameters, k: int) -> int:
    """Return the place of the ledger of a kernel slot."""
    return p.at.counters + k * counter.COUNT + counter.LEDGER


@small_function
def why_at(p: Parameters, number: int, buffer: int) -> int:
    """Return the place of what made up the wait for the record in a buffer of a resident CTA."""
    return p.at.whys + (number * MAX_STAGES + buffer) * WHY_WORDS


@small_function
def begin_step(m: Int64Array, now: int) -> None:
    """Begin to look for the slowest part of the records a CTA issues at `now`."""
    m[scalar.SLOWEST] = now
    m[scalar.SLOWEST_SERVER] = LINES
    m[scalar.CROSSED] = 0
    m[scalar.FETCHED_AT] = 0


@small_function
def note_server(m: Int64Array, server: int, served: int) -> None:
    """Keep that a record waited for a server until `served`, if that is its slowest part."""
    if served > m[scalar.SLOWEST]:
        m[scalar.SLOWEST] = served
        m[scalar.SLOWEST_SERVER] = server


@small_function
def note_fetch(
    m: Int64Array, p: Parameters, now: int, free: int, ready: int, conflict: int, refreshed: int, opening: int
) -> None:
    """Keep what a fetch from DRAM waited for, which had its MSHR at `free` and its data at `ready` (ps), if it is the
    slowest of its record; the rest is as `serve` returns it."""
    if ready > m[scalar.FETCHED_AT]:
        m[scalar.FETCHED_AT] = ready
        m[scalar.FETCHED] = ready - now
        m[scalar.FETCHED_MSHR] = free - now
        m[scalar.FETCHED_CONFLICT] = conflict
        m[scalar.FETCHED_REFRESH] = refreshed
        m[scalar.FETCHED_LATENCY] = opening + p.dram.latency_ps


@small_function
def note_crossing(m: Int64Array, p: Parameters, ready: int, crossed: int) -> int:
    """Return when a line that is `ready` in the other partition is there, the link being through with it at `crossed`
    (ps); keep that if it is the slowest of its record."""
    there = max(ready, crossed) + p.cross_ps
    if there > m[scalar.CROSSED]:
        m[scalar.CROSSED] = there
        m[scalar.CROSSED_WAIT] = max(0, crossed - ready)
    return there


@small_function
def keep_why(m: Int64Array, p: Parameters, number: int, buffer: int, now: int, once: int, size: int) -> None:
    """Keep, in the place of its buffer, what made up the wait for a record of `size` bytes: from `now` to the end of
    its first round trip, `once` (ps).

    A record larger than an SM may have in flight takes further ones, whose latency is put down to that.
    """
    why = why_at(p, number, buffer)
    slowest = min(m[scalar.SLOWEST], once)  # which it is not of prefetches, for which nobody waits
    queue = slowest - now
    server = m[scalar.SLOWEST_SERVER]
    latency = once - slowest
    link = mshr = conflict = refresh = far = 0
    if server == LINES:
        if m[scalar.CROSSED] == slowest:
            link = m[scalar.CROSSED_WAIT]
            queue -= link + p.cross_ps
            latency += p.cross_ps
        share = queue / max(1, m[scalar.FETCHED])
        mshr, conflict = int(m[scalar.FETCHED_MSHR] * share), int(m[scalar.FETCHED_CONFLICT] * share)
        refresh, far = int(m[scalar.FETCHED_REFRESH] * share), int(m[scalar.FETCHED_LATENCY] * share)
        queue -= mshr + conflict + refresh + far
        server = counter.DRAM_BANDWIDTH
    m[why + counter.SM_PORT] = 0
    m[why + counter.L2_BANDWIDTH] = 0
    m[why + counter.DRAM_BANDWIDTH] = 0
    m[why + server] = queue
    m[why + counter.PARTITION_LINK] = link
    m[why + counter.MSHR] = mshr
    m[why + counter.ROW_CONFLICT] = conflict
    m[why + counter.REFRESH] = refresh
    m[why + counter.DRAM_LATENCY] = far
    m[why + counter.CACHE_LATENCY] = latency
    m[why + counter.BYTES_IN_FLIGHT] = 0
    beyond = size - p.sm_outstanding_bytes
    if beyond > 0:
        for part in (counter.CACHE_LATENCY, counter.DRAM_LATENCY):
            moved = m[why + part] * beyond // size
            m[why + part] -= moved
            m[why + counter.BYTES_IN_FLIGHT] += moved
    m[why + WHY_TOTAL] = once - now


@small_function
def pass_on(m: Int64Array, p: Parameters, number: int, earlier: int, buffer: int) -> None:
    """Let the record in a buffer stand for what an `earlier` one of its CTA waited for."""
    source, why = why_at(p, number, earlier), why_at(p, number, buffer)
    for word in range(WHY_WORDS):
        m[why + word] = m[source + word]


@small_function
def waits(m: Int64Array, context: int, buffer: int, mode: int) -> None:
    """Note what the CTA at `context` waits for from now on: the record in a buffer, in one of the ways above."""
    m[context + CONTEXT_WAITS] = mode | buffer


@small_function
def share_out(m: Int64Array, ledger: int, why: int, mode: int, wait: int) -> None:
    """Share a wait (ps) out among the parts of the record that was waited for."""
    instead = counter.COMPUTE  # of a record that made nobody wait: the CTA waits for its own computing
    if mode == FOR_ROOM:
        instead = counter.BYTES_IN_FLIGHT
    elif mode == FOR_EARLIER:
        instead = counter.DEPENDENCY
    whole = m[why + WHY_TOTAL]
    left = wait
    if whole > 0:
        share = wait / whole
        for part in range(counter.QUEUES):
            moved = int(m[why + part] * share)
            m[ledger + part] += moved
            left -= moved
        if mode == FOR_RECORD:
            moved = int(m[why + counter.DRAM_LATENCY] * share)
            m[ledger + counter.DRAM_LATENCY] += moved
            left -= moved
            moved = int(m[why + counter.CACHE_LATENCY] * share)
            m[ledger + counter.CACHE_LATENCY] += moved
            left -= moved
            instead = counter.BYTES_IN_FLIGHT
            if m[why + counter.BYTES_IN_FLIGHT] == 0:
                instead = counter.CACHE_LATENCY  # what rounding down has left
    m[ledger + instead] += left


@called
def account(m: Int64Array, p: Parameters, number: int, context: int, now: int) -> None:
    """Count the time of an SM since its last event, at an event of one of its CTAs."""
    sm = p.at.sms + m[context + CONTEXT_SM] * SM_WORDS
    since = m[sm + SM_SINCE]
    if now > since:
        ledger = ledger_at(p, m[context + CONTEXT_KERNEL])
        m[sm + SM_SINCE] = now
        computing = max(0, min(m[sm + SM_COMPUTE_FREE] // TICKS_PER_PS, now) - since)
        m[ledger + counter.COMPUTE] += computing
        wait = now - since - computing
        reason = m[context + CONTEXT_WAITS]
        mode = reason & FOR_START
        if mode == FOR_START:
            m[ledger + counter.CTA_START] += wait
        elif wait > 0:
            share_out(m, ledger, why_at(p, number, reason & (FOR_ROOM - 1)), mode, wait)


@small_function
def idle(m: Int64Array, p: Parameters, k: int, sm: int, now: int) -> None:
    """Count for a kernel the time in which the SM at `sm` had no CTA."""
    m[ledger_at(p, k) + m[sm + SM_IDLE]] += now - m[sm + SM_SINCE]
    m[sm + SM_SINCE] = now


@called
def settle_ledger(m: Int64Array, p: Parameters, k: int, now: int) -> None:
    """Count the time of the SMs that have no CTA when a kernel ends, as that kernel's."""
    for number in range(p.sms):
        sm = p.at.sms + number * SM_WORDS
        if m[sm + SM_RESIDENTS] == 0:
            idle(m, p, k, sm, now)
            m[sm + SM_IDLE] = counter.UNUSED


@called
def begin_ledger(m: Int64Array, p: Parameters, now: int) -> None:
    """Count from `now` on, after a time in which no kernel was in flight."""
    m[scalar.WAS_IDLE] = 0
    for number in range(p.sms):
        sm = p.at.sms + number * SM_WORDS
        m[sm + SM_SINCE] = now
        m[sm + SM_IDLE] = counter.UNUSED
