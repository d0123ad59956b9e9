"""Whole groups that L2 still has to ask for: they have been found missing, but not been sent for to DRAM or across
partitions.

Reads of several groups first look for all of them and then ask for those that are missing, so that each of the two
loops is short and the processor works on several groups at once.  The outcome is that of one group after the other:
until it has been asked for, a fill makes its set say PENDING, and who comes upon such a set, or writes a group back,
has all that is pending asked for before.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.compiled import called, small_function
from simulator.core.dram import accesses_each, gap_of, note_read, runs_of
from simulator.core.dram_places import WHOLE, places_of
from simulator.core.dram_state import BUS, MIXED, NEVER
from simulator.core.dram_steady import book_transfer, read_row
from simulator.core.gates import use_all
from simulator.core.l2 import cross
from simulator.core.layout import Int64Array
from simulator.core.ledger import note_crossing, note_fetch
from simulator.core.mshr import admit_misses, fetch, fetch_group, take_mshr
from simulator.core.places import counters_at
from simulator.core.prefetch import prefetch
from simulator.core.sets import LATEST, READY
from simulator.core.state import ASK_ROOM, Parameters

PENDING = NEVER
"""In place of when the latest fill of a set arrives: one of its fills has not been asked for yet."""

SINCE, BYTES, CHANNEL_GROUP, ACCESS, BANK, ROW = 0, 1, 2, 3, 4, 5
"""A group that is asked for: when what L2 has of it is there; the bytes that DRAM has to send (0: none) and from where,
as `channel_group_of` and `locate`."""

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
def has_come(m: Int64Array, p: Parameters, k: int, entry: int, came: int, now: int) -> int:
    """Note that DRAM has sent a group that was asked for at `now` when it `came`, in the home of its lines; return when
    it is in the partition that was asked (ps)."""
    ready = m[entry + SINCE]
    if m[entry + BYTES] > 0:
        ready = max(ready, came)
        arrives(m, entry, SET, ready)
    if p.partitions > 1 and m[entry + CROSSING] > 0:
        ready = note_crossing(m, p, ready, cross(m, p, k, m[entry + NEAR], m[entry + CROSSING], now))
        arrives(m, entry, COPY_SET, ready)
    return ready


@small_function
def ask(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int) -> int:
    """Ask for what is pending from `first` to `end` (not included), in the order in which it was found; return when all
    is there (ps)."""
    ready = now
    for entry in range(first, end, ASK_WORDS):
        size, came = m[entry + BYTES], now
        if size > 0:
            came = fetch_group(m, p, k, m[entry + CHANNEL_GROUP], m[entry + ACCESS], size, now)
        ready = max(ready, has_come(m, p, k, entry, came, now))
    return ready


@small_function
def ask_steadily(m: Int64Array, p: Parameters, k: int, first: int, end: int, now: int) -> int:
    """Do as `ask` does where DRAM is steady (see `DramParameters`)."""
    q, counters, lane = p.dram, counters_at(p, k), np.int64(WHOLE)
    gap = gap_of(m, p, k)
    alike = count = runs = rows = column = burst = beyond = 0  # of groups that want as many bytes
    accesses = misses = conflicts = busy = 0
    there = now
    for entry in range(first, end, ASK_WORDS):
        size, came = m[entry + BYTES], now
        if size > 0:
            channel_group, access = m[entry + CHANNEL_GROUP], m[entry + ACCESS]
            gates, columns, record, _ = places_of(q, channel_group, m[entry + BANK], lane)
            if size != alike:
                alike = size
                count = accesses_each(q, size)
                runs = runs_of(m, p, k, count)
                rows = max(1, runs)
                column, burst = count * q.column_read_ps, count * q.burst_ps
                beyond = max(0, rows * q.activate_ps - burst)
            if m[record + MIXED] or count > q.piece_accesses:
                came = fetch(m, p, k, channel_group, access, lane, size, now)
            else:
                free = admit_misses(m, p, k, p.group_lines, now, 1)
                note_read(m, gates)
                if gap > 0:
                    lost = gap * size >> p.group_shift
                    use_all(m, gates + BUS * q.gate_words, q.group_channels, free, lost)
                    busy += lost
                ready = book_transfer(m, q, gates, columns, lane, column, burst, free)
                more = column - q.column_read_ps
                came, waited, opened, closed = read_row(
                    m, q, gates, record, lane, m[entry + ROW], more, runs, ready, free
                )
                came += q.latency_ps
                take_mshr(m, p, k, lane, size, free, came)
                conflict, opening = (waited, 0) if closed else (0, min(waited, q.t_rcd_ps))
                note_fetch(m, p, now, free, came, conflict, 0, opening)
                accesses += count
                if opened:
                    misses += rows
                    conflicts += rows * closed
                    busy += beyond
        there = max(there, has_come(m, p, k, entry, came, now))
    channels = q.group_channels
    m[counters + counter.DRAM_READ_BYTES] += accesses * channels << q.access_shift
    m[counters + counter.ROW_HITS] += (accesses - misses) * channels
    m[counters + counter.ROW_MISSES] += (misses - conflicts) * channels
    m[counters + counter.ROW_CONFLICTS] += conflicts * channels
    m[counters + counter.DRAM_BUSY_PS] += (accesses * q.burst_ps + busy) * channels
    return there


@called
def ask_groups(m: Int64Array, p: Parameters, k: int, now: int) -> None:
    """Ask for the whole groups that are pending, at `now`; have the scalar WHOLE_READY say when they are there (ps)."""
    first = p.at.asks
    end = first + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] = 0
    ready = ask_steadily(m, p, k, first, end, now) if p.dram.steady else ask(m, p, k, first, end, now)
    m[scalar.WHOLE_READY] = max(m[scalar.WHOLE_READY], ready)


@small_function
def new_ask(m: Int64Array, p: Parameters, k: int, since: int, now: int) -> int:
    """Return the place of a new entry, all but empty, for a group."""
    if m[scalar.ASKS] == ASK_ROOM:
        ask_groups(m, p, k, now)
    entry = p.at.asks + m[scalar.ASKS] * ASK_WORDS
    m[scalar.ASKS] += 1
    m[entry + SINCE] = since
    m[entry + BYTES] = 0
    if p.partitions > 1:
        m[entry + CROSSING] = 0
    return entry
