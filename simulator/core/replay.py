"""The event loop of one device: CTAs pull their records through SM ports, L1, L2 and DRAM.

An event is a CTA that may issue its next record, with those joined to it.  Issuing reserves every server on the
records' path and yields the time their bytes arrive; the CTA may issue again once a buffer is free, that is when the
record `stages` before has been computed on.  All times are integer picoseconds.
"""

from __future__ import annotations

import numpy as np

from simulator.core import counter, scalar
from simulator.core.compiled import compiled, inlined
from simulator.core.heap import sift_down
from simulator.core.l2 import PREFETCH, READ, range_access
from simulator.core.outstanding import note_outstanding
from simulator.core.schedule import ended, place, place_all, starved
from simulator.core.server import book
from simulator.core.state import (
    CONTEXT_BITS,
    MAX_CONTEXTS,
    MAX_STAGES,
    RING,
    TICKS_PER_PS,
    Parameters,
    Program,
    State,
)

REACHED, COMPLETED, STARVED = 0, 1, 2
"""Why `advance` returned: the time limit, a kernel that ended, a kernel that wants its next chunk of CTAs."""


@inlined
def wait_for_room(s: State, p: Parameters, k: int, sm: int, size: int, now: int) -> int:
    """Return when an SM may have `size` more bytes in flight: now, or the arrival that makes room.

    A record's requests leave one by one as others return; on average half of it is out, so half has to fit.
    """
    ring = sm * RING
    while s.in_flight_head[sm] < s.in_flight_tail[sm]:
        slot = ring + (s.in_flight_head[sm] & (RING - 1))
        full = s.in_flight_bytes[sm] + size // 2 > p.sm_outstanding_bytes
        full = full or s.in_flight_tail[sm] - s.in_flight_head[sm] >= RING
        if s.in_flight_time[slot] > now:
            if not full:
                return now
            s.counters[k, counter.ROOM_WAIT_PS] += s.in_flight_time[slot] - now
            return s.in_flight_time[slot]
        s.in_flight_bytes[sm] -= s.in_flight_size[slot]
        s.in_flight_head[sm] += 1
    return now


@inlined
def enter_flight(s: State, k: int, sm: int, size: int, arrival: int) -> None:
    """Note `size` bytes on their way to an SM until `arrival`."""
    slot = sm * RING + (s.in_flight_tail[sm] & (RING - 1))
    s.in_flight_time[slot] = arrival
    s.in_flight_size[slot] = size
    s.in_flight_tail[sm] += 1
    s.in_flight_bytes[sm] += size
    note_outstanding(s, k, counter.SM_HISTOGRAM, counter.SM_PEAK_BYTES, s.in_flight_bytes[sm])


@inlined
def issue_joined(
    s: State, p: Parameters, program: Program, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Issue records `record` to `last` (not included) of one CTA at once; return when their bytes have arrived, and
    how many of them are on their way to the SM.

    Reads are counted as in flight, writes and reductions are posted, nobody waits for a prefetch.
    """
    arrival = now
    from_l2 = 0  # read
    for r in range(record, last):
        kind = program.op[r]
        through_l1 = kind == READ and program.through_l1[r] == 1
        row_bytes = np.int64(program.row_bytes[r])
        size = program.rows[r] * row_bytes
        start = program.address[r]
        moved = 0  # between L2 and SM
        done = now
        in_register = now
        for _ in range(program.rows[r]):
            ready, loaded, part = range_access(s, p, k, sm, start, row_bytes, now, kind, program.hint[r], through_l1)
            done = max(done, ready)
            in_register = max(in_register, loaded)
            moved += part
            start += program.row_stride[r]
        if not through_l1:
            moved = size
        if moved > 0:
            l2_done, busy = book(s.scalars, scalar.L2_FREE, p.l2_ticks_per_kib, moved, now)
            s.counters[k, counter.L2_BUSY_TICKS] += busy
            if kind != PREFETCH:
                port_done, busy = book(s.port_free, sm, p.port_ticks_per_kib, moved, now)
                s.counters[k, counter.PORT_BUSY_TICKS] += busy
                l2_done = max(l2_done, port_done)
            served = l2_done // TICKS_PER_PS + 1
            done = max(done, served)
            if kind == READ:
                done += p.l2_hit_ps
        if through_l1:
            l1_done, busy = book(s.l1_free, sm, p.l1_ticks_per_kib, size, now)
            s.counters[k, counter.L1_BUSY_TICKS] += busy
            done = max(done, max(in_register, l1_done // TICKS_PER_PS + p.l1_hit_ps))
        if kind == READ:
            from_l2 += moved
            s.counters[k, counter.SM_READ_BYTES] += size
            s.counters[k, counter.OUTSTANDING] += (moved * (done - now)) >> 10
            s.counters[k, counter.REQUEST_OUTSTANDING] += (done - now) >> 10
        elif kind != PREFETCH:
            s.counters[k, counter.SM_WRITE_BYTES] += size
        if kind != PREFETCH:
            arrival = max(arrival, done)
    s.counters[k, counter.RECORDS] += last - record
    return arrival, from_l2


@inlined
def compute(s: State, p: Parameters, k: int, sm: int, cycles: int, arrival: int, before: int, now: int) -> int:
    """Return when a CTA has computed on a record that arrived at `arrival`, its earlier ones being done `before`."""
    done = max(arrival, before)
    if cycles:
        work = cycles * p.sm_cycle_ticks
        compute_free = max(s.compute_free[sm], now * TICKS_PER_PS) + work
        s.compute_free[sm] = compute_free
        s.counters[k, counter.COMPUTE_CYCLES] += cycles
        done = max(done + work // TICKS_PER_PS, compute_free // TICKS_PER_PS)
    return done


@inlined
def leave(s: State, sm: int, k: int, context: int) -> None:
    """Take a CTA that has ended, whose event is the first, off its SM."""
    count = s.scalars[scalar.HEAP] - 1
    s.scalars[scalar.HEAP] = count
    sift_down(s.heap, count, s.heap[count])
    s.free_contexts[s.scalars[scalar.FREE]] = context
    s.scalars[scalar.FREE] += 1
    s.room[sm] += s.kernel_weight[k]
    s.residents[sm] -= 1
    s.kernel_live[k] -= 1


@compiled
def advance(s: State, p: Parameters, program: Program, now: int, until: int) -> tuple[int, int]:
    """Run the device from `now` to the first of: a kernel's end, a want of CTAs, the time `until` (ps).

    Returns (REACHED | COMPLETED | STARVED, time); the kernel slot concerned is in scalars[scalar.REPORTED].
    """
    place_all(s, p, program.first, now)
    k = starved(s, p)
    if k >= 0:
        s.scalars[scalar.REPORTED] = k
        return STARVED, now
    k = ended(s)
    if k >= 0:
        s.scalars[scalar.REPORTED] = k
        return COMPLETED, now
    while s.scalars[scalar.HEAP] > 0:
        key = s.heap[0]
        t = key >> CONTEXT_BITS
        if t > until:
            return REACHED, until
        context = key & (MAX_CONTEXTS - 1)
        sm = s.context_sm[context]
        k = s.context_kernel[context]
        record = s.context_next[context]
        end = s.context_end[context]
        if record == end:
            leave(s, sm, k, context)
            while place(s, p, program.first, sm, t):
                pass
            wanting = starved(s, p)
            if wanting >= 0:
                s.scalars[scalar.REPORTED] = wanting
                return STARVED, t
            if s.kernel_live[k] == 0 and s.kernel_pending[k] == s.kernel_last[k] and not s.kernel_more[k]:
                s.scalars[scalar.REPORTED] = k
                return COMPLETED, t
            continue
        if program.barrier[record] and s.context_done[context] > t:
            sift_down(s.heap, s.scalars[scalar.HEAP], s.context_done[context] << CONTEXT_BITS | context)
            continue
        last = record + 1
        asked = np.int64(program.rows[record]) * program.row_bytes[record]
        cycles = np.int64(program.compute_cycles[record])
        while last < end and program.joined[last]:
            asked += np.int64(program.rows[last]) * program.row_bytes[last]
            cycles += program.compute_cycles[last]
            last += 1
        if program.op[record] == READ:
            # how much of a read misses L1 is not known before it is issued: it only waits while the SM is full
            room_at = wait_for_room(s, p, k, sm, 2 if program.through_l1[record] else asked, t)
            if room_at > t:
                sift_down(s.heap, s.scalars[scalar.HEAP], room_at << CONTEXT_BITS | context)
                continue
        arrival, from_l2 = issue_joined(s, p, program, k, sm, record, last, t)
        if from_l2 > 0:
            beyond = from_l2 - p.sm_outstanding_bytes
            if beyond > 0:  # the rest of a record larger than what may be in flight comes in further round trips
                arrival += (arrival - t) * beyond // p.sm_outstanding_bytes
            enter_flight(s, k, sm, from_l2, arrival)
        done = compute(s, p, k, sm, cycles, arrival, s.context_done[context], t)
        s.context_done[context] = done
        s.context_next[context] = last
        ring = context * MAX_STAGES
        buffer = s.context_buffer[context]
        s.context_ring[ring + buffer] = done
        buffer += 1
        if buffer == s.kernel_stages[k]:
            buffer = 0
        s.context_buffer[context] = buffer
        again = done if last == end else max(t, s.context_ring[ring + buffer])
        sift_down(s.heap, s.scalars[scalar.HEAP], again << CONTEXT_BITS | context)
    return REACHED, until
