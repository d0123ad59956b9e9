"""How a record, once its lines are in L2 or L1, comes through the bandwidth of both and the port of its SM."""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.compiled import small_function
from simulator.core.in_flight import entry_of
from simulator.core.l2 import PREFETCH, READ
from simulator.core.layout import SM_L1_FREE, SM_PORT_FREE, Int64Array
from simulator.core.ledger import LINES, note_server
from simulator.core.places import counters_at, sm_at
from simulator.core.program import EXTENT, RECORD_WORDS, REST, THROUGH_L1, high, lanes_of, low, op_of
from simulator.core.server import book
from simulator.core.state import Parameters


@small_function
def deliver(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, done: int, now: int
) -> tuple[int, int]:
    """Bring a record whose lines are in L2 at `done` to or from its SM; return when it is there (ps), and what of it is
    on its way to the SM (`entry_of`).

    The scalars MOVED, COALESCED and LOADED say what L2 moves of it, what of that another SM has asked for, and when
    what L1 has is there.
    """
    counters = counters_at(p, k)
    there = sm_at(p, sm)
    word = record * RECORD_WORDS
    rest = program[word + REST]
    kind = op_of(rest)
    through_l1 = kind == READ and rest & THROUGH_L1 != 0
    size = high(program[word + EXTENT]) * low(program[word + EXTENT])
    note_server(m, LINES, done)
    moved = m[scalar.MOVED]
    if not through_l1:
        moved = size
    if moved > 0:
        asked = moved - m[scalar.COALESCED]
        served = book(m, scalar.L2_FREE, p.l2_ticks_per_kib, asked, now, counters + counter.L2_BUSY_TICKS)
        note_server(m, counter.L2_BANDWIDTH, served)
        if kind != PREFETCH:
            busy = counters + counter.PORT_BUSY_TICKS
            through = book(m, there + SM_PORT_FREE, p.port_ticks_per_kib, moved, now, busy)
            note_server(m, counter.SM_PORT, through)
            served = max(served, through)
        done = max(done, served + 1)
        if kind == READ:
            done += p.l2_hit_ps
    if through_l1:
        busy = counters + counter.L1_BUSY_TICKS
        l1_done = book(m, there + SM_L1_FREE, p.l1_ticks_per_kib, size, now, busy)
        note_server(m, counter.SM_PORT, l1_done)
        done = max(done, max(m[scalar.LOADED], l1_done + p.l1_hit_ps))
    lanes = lanes_of(rest)
    m[counters + counter.RECORDS] += lanes
    if kind == READ:
        m[counters + counter.SM_READ_BYTES] += size
        m[counters + counter.OUTSTANDING] += (moved * (done - now)) >> 10
        m[counters + counter.REQUEST_OUTSTANDING] += (done - now) * lanes >> 10
        m[counters + counter.READ_RECORDS] += lanes
        m[counters + counter.L2_READ_BYTES] += moved
        return done, entry_of(moved, lanes if moved > 0 else 0)
    if kind == PREFETCH:
        return now, 0
    m[counters + counter.SM_WRITE_BYTES] += size
    return done + p.l1_hit_ps, 0  # a store passes the pipeline of L1 before its CTA can end
