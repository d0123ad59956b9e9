"""The event loop of one device: CTAs pull their records through SM ports, L1, L2 and DRAM.

An event is a CTA that may issue its next record, with those joined to it.  Issuing reserves every server on the
records' path and yields the time their bytes arrive; the CTA may issue again once a buffer is free, that is when the
record `stages` before has been computed on.  All times are integer picoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.core import counter, scalar
from simulator.core.compiled import called, compiled, small_function
from simulator.core.deliver import deliver
from simulator.core.dram_state import NEVER
from simulator.core.heap import push, sift_down
from simulator.core.in_flight import (
    BYTES,
    REQUESTS_SHIFT,
    bytes_held,
    drop_arrived,
    drop_oldest,
    enter,
    is_crowded,
    oldest,
)
from simulator.core.l2 import READ
from simulator.core.layout import (
    CONTEXT_ASKED,
    CONTEXT_BITS,
    CONTEXT_BUFFER,
    CONTEXT_DONE,
    CONTEXT_END,
    CONTEXT_KERNEL,
    CONTEXT_NEXT,
    CONTEXT_RING,
    CONTEXT_SM,
    KERNEL_STAGES,
    MAX_CONTEXTS,
    SM_COMPUTE_FREE,
    SM_QUEUE,
    TICKS_PER_PS,
    Int64Array,
)
from simulator.core.ledger import (
    FOR_EARLIER,
    FOR_RECORD,
    FOR_ROOM,
    account,
    begin_ledger,
    begin_step,
    keep_why,
    pass_on,
    settle_ledger,
    waits,
)
from simulator.core.line_ahead import (
    NOTHING,
    foresee,
    list_and_locate,
    may_be_lines,
    prepare_next,
    prepared_step,
    step_of,
    take_prepared,
)
from simulator.core.line_groups import range_access
from simulator.core.line_reads import load_lines, read_lines
from simulator.core.line_single import is_part_of_line, read_single
from simulator.core.places import context_at, counters_at, kernel_at, queue_entries, sm_at
from simulator.core.plain_reads import look_ahead
from simulator.core.prefetch import prefetch_early
from simulator.core.program import (
    ADDRESS,
    BARRIER,
    EXTENT,
    GATHER,
    RECORD_WORDS,
    REST,
    STRIDE,
    THROUGH_L1,
    follows,
    high,
    hint_of,
    low,
    op_of,
    size_of,
)
from simulator.core.schedule import ended, is_over, leave, place, place_all, starved
from simulator.core.state import RING, Parameters
from simulator.core.waiting import ASLEEP, begin_waiting, wake_next

REACHED, COMPLETED, STARVED, LOGGED = 0, 1, 2, 3
"""Why `advance` returned: the time limit, a kernel that ended, a kernel that wants its next chunk of CTAs, a log that
is half full."""


@small_function
def wait_for_room(m: Int64Array, p: Parameters, k: int, sm: int, size: int, now: int) -> int:
    """Return when an SM may have `size` more bytes in flight: now, or the arrival that may make room.

    A record's requests leave one by one as others return; on average half of it is out, so half has to fit.
    """
    queue, entries = sm_at(p, sm) + SM_QUEUE, queue_entries(p, sm)
    counters = counters_at(p, k)
    until = oldest(m, queue, entries, NEVER)
    while until <= now:
        drop_oldest(m, queue, entries, counters + counter.SM_QUEUE)
        until = oldest(m, queue, entries, NEVER)
    full = bytes_held(m, queue) + size // 2 > p.sm_outstanding_bytes
    return until if until < NEVER and (full or is_crowded(m, queue, RING)) else now


@small_function
def wake_another(m: Int64Array, p: Parameters, k: int, sm: int, number: int, found: bool, now: int) -> int:
    """Return the event of the CTA that is woken up in an SM after that of a number has asked for room, and found it or
    not; or ASLEEP."""
    queue, entries = sm_at(p, sm) + SM_QUEUE, queue_entries(p, sm)
    until = oldest(m, queue, entries, NEVER)
    room = NEVER  # as `wait_for_room` has it
    if until < NEVER:
        room = 0 if is_crowded(m, queue, RING) else 2 * (p.sm_outstanding_bytes - bytes_held(m, queue) + 1)
    return wake_next(m, p, k, sm, number, found, room, now, until)


@called
def issue(m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, now: int) -> tuple[int, int]:
    """Issue a record of a CTA; return when the bytes have arrived, and what of it is on its way to the SM (`entry_of`).

    Reads are counted as in flight, writes and reductions are posted, nobody waits for a prefetch.
    """
    word = record * RECORD_WORDS
    start = program[word + ADDRESS]
    stride = program[word + STRIDE]
    rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
    rest = program[word + REST]
    kind, hint = op_of(rest), hint_of(rest)
    through_l1 = kind == READ and rest & THROUGH_L1 != 0
    m[scalar.MOVED] = 0  # between L2 and SM
    m[scalar.COALESCED] = 0
    m[scalar.LOADED] = now
    done = now
    for _ in range(rows):
        done = max(done, range_access(m, p, k, sm, start, row_bytes, now, kind, hint, through_l1))
        start += stride
    return deliver(m, p, program, k, sm, record, done, now)


@called
def issue_all(
    m: Int64Array, p: Parameters, program: Int64Array, k: int, sm: int, record: int, last: int, now: int
) -> tuple[int, int]:
    """Issue the records `record` to `last` (not included) of a CTA; return as `issue`, of all of them."""
    for each in range(record + 1, last):
        if not follows(program, each):
            look_ahead(m, p, program, sm, each)
    arrival = now
    entry = 0
    for each in range(record, last):
        done, part = issue(m, p, program, k, sm, each, now)
        arrival = max(arrival, done)
        entry += part
    return arrival, entry


@small_function
def compute(m: Int64Array, p: Parameters, k: int, sm: int, cycles: int, arrival: int, before: int, now: int) -> int:
    """Return when a CTA has computed on a record that arrived at `arrival`, its earlier ones being done `before`."""
    done = max(arrival, before)
    if cycles:
        work = cycles * p.sm_cycle_ticks
        free = sm_at(p, sm) + SM_COMPUTE_FREE
        compute_free = max(m[free], now * TICKS_PER_PS) + work
        m[free] = compute_free
        m[counters_at(p, k) + counter.COMPUTE_CYCLES] += cycles
        done = max(done + work // TICKS_PER_PS, compute_free // TICKS_PER_PS)
    return done


@small_function
def issue_lines(
    m: Int64Array,
    p: Parameters,
    program: Int64Array,
    context: int,
    k: int,
    sm: int,
    record: int,
    last: int,
    reads: int,
    size: int,
    soon: bool,
    now: int,
) -> tuple[int, int]:
    """Issue the records `record` to `last` (not included) of a CTA, `size` bytes, whose `reads` lines have been listed
    and located, once what will probably be issued next has been, by the same CTA if it has a buffer for it `soon`;
    return as `issue`, of all of them."""
    through_l1 = program[record * RECORD_WORDS + REST] & THROUGH_L1 != 0
    fits = bytes_held(m, sm_at(p, sm) + SM_QUEUE) + size + size // 2 <= p.sm_outstanding_bytes
    prepare_next(m, p, program, context, last, soon and fits, sm, 2 if through_l1 else size)
    if through_l1:
        return load_lines(m, p, program, k, sm, record, last, reads, now)
    return read_lines(m, p, program, k, sm, record, last, reads, now)


@small_function
def note_in_flight(m: Int64Array, p: Parameters, k: int, sm: int, entry: int, once: int, now: int) -> int:
    """Put what was issued at `now` among what is in flight to an SM; return when all of it is there (ps), the first
    round trip taking until `once`.

    The rest of a record larger than what may be in flight comes in further ones.
    """
    arrival = once
    beyond = (entry & BYTES) - p.sm_outstanding_bytes
    if beyond > 0:
        longer = (once - now) * beyond // p.sm_outstanding_bytes
        arrival += longer
        m[counters_at(p, k) + counter.REQUEST_OUTSTANDING] += ((entry >> REQUESTS_SHIFT) * longer) >> 10
        entry -= beyond  # an SM is as full with what it may have in flight as with the whole record
    held = counters_at(p, k) + counter.SM_QUEUE
    enter(m, sm_at(p, sm) + SM_QUEUE, queue_entries(p, sm), held, RING, entry, now, arrival)
    return arrival


@called
def step(m: Int64Array, p: Parameters, program: Int64Array, number: int, t: int) -> int:
    """Let a CTA issue its next record, with those joined to it, at `t`; return its next event, ASLEEP where others that
    wait for room in its SM have theirs before (core/waiting.py)."""
    context = context_at(p, number)
    sm = m[context + CONTEXT_SM]
    k = m[context + CONTEXT_KERNEL]
    asked = m[context + CONTEXT_ASKED]
    if asked:
        room_at = wait_for_room(m, p, k, sm, asked, t)
        if room_at > t:
            return wake_another(m, p, k, sm, number, False, t)
        m[context + CONTEXT_ASKED] = 0
    record = m[context + CONTEXT_NEXT]
    end = m[context + CONTEXT_END]
    rest = program[record * RECORD_WORDS + REST]
    before = m[context + CONTEXT_DONE]
    buffer = m[context + CONTEXT_BUFFER]
    stages = m[kernel_at(p, k) + KERNEL_STAGES]
    newest = buffer - 1 if buffer > 0 else stages - 1
    following = buffer + 1 if buffer + 1 < stages else 0
    if rest & BARRIER and before > t:
        waits(m, context, newest, FOR_EARLIER)
        return before << CONTEXT_BITS | number
    prepared = record == m[scalar.PREPARED]
    reads = 0
    if prepared:
        last, size, cycles, reads = prepared_step(m)
    else:
        last, size, cycles = step_of(program, record, end)
    if op_of(rest) == READ and asked == 0:
        # how much of a read misses L1 is not known before it is issued: it only waits while the SM is full
        asked = 2 if rest & THROUGH_L1 else size
        room_at = wait_for_room(m, p, k, sm, asked, t)
        if room_at > t:
            m[context + CONTEXT_ASKED] = asked
            waits(m, context, newest, FOR_ROOM)
            return begin_waiting(m, p, k, sm, number, asked, t, room_at)
    begin_step(m, t)
    single = last == record + 1 and is_part_of_line(p, program, record)
    if prepared:
        take_prepared(m, p)
    elif may_be_lines(p, size) and not single:
        reads = list_and_locate(m, p, program, sm, record, last, size)
    if single:
        once, entry = read_single(m, p, program, k, sm, record, t)
    elif reads == 0:
        once, entry = issue_all(m, p, program, k, sm, record, last, t)
    else:
        soon = last < end and following != buffer and m[context + CONTEXT_RING + following] <= t
        once, entry = issue_lines(m, p, program, context, k, sm, record, last, reads, size, soon, t)
    m[scalar.STEP_RECORDS] = min(last - record, 64)
    arrival, from_l2 = once, entry & BYTES
    if from_l2 > 0:
        arrival = note_in_flight(m, p, k, sm, entry, once, t)
    if arrival > before or before <= t:
        keep_why(m, p, number, buffer, t, once, from_l2)
    else:
        pass_on(m, p, number, newest, buffer)
    done = compute(m, p, k, sm, cycles, arrival, before, t)
    m[context + CONTEXT_DONE] = done
    m[context + CONTEXT_NEXT] = last
    m[context + CONTEXT_RING + buffer] = done
    m[context + CONTEXT_BUFFER] = following
    if last == end:
        waits(m, context, buffer, FOR_RECORD)
        return done << CONTEXT_BITS | number
    if program[last * RECORD_WORDS + REST] & GATHER == 0 and size_of(program, last) < 1 << p.group_shift:
        look_ahead(m, p, program, sm, last)
    for each in range(2 * last - record, min(end, 3 * last - 2 * record), 2):
        prefetch_early(program, each * RECORD_WORDS)
    waits(m, context, following, FOR_RECORD)
    return max(t, m[context + CONTEXT_RING + following]) << CONTEXT_BITS | number


@called
def settle(m: Int64Array, p: Parameters, k: int, now: int) -> None:
    """Count what has been in flight up to the end of a kernel."""
    counters = counters_at(p, k)
    for sm in range(p.sms):
        drop_arrived(m, sm_at(p, sm) + SM_QUEUE, queue_entries(p, sm), counters + counter.SM_QUEUE, now)
    drop_arrived(m, scalar.MSHR_QUEUE, p.at.mshrs, counters + counter.MISS_QUEUE, now)
    settle_ledger(m, p, k, now)


@small_function
def drop_last(m: Int64Array, p: Parameters) -> int:
    """Take the last event off the heap, to take the place of the first; return it."""
    m[scalar.HEAP] -= 1
    return m[p.at.heap + m[scalar.HEAP]]


@compiled
def advance(
    m: Int64Array, parameters: Sequence[Parameters], program: Int64Array, first: Int64Array, now: int, until: int
) -> tuple[int, int]:
    """Run the device from `now` to the first of: a kernel's end, a want of CTAs, a half-full log, `until` (ps).

    CTA c owns the records first[c] to first[c + 1] of `program` (see core/program.py).  Returns
    (REACHED | COMPLETED | STARVED | LOGGED, time); the kernel slot concerned is in scalars[scalar.REPORTED].
    """
    p = parameters[0]
    m[scalar.PREPARED] = NOTHING
    if m[scalar.WAS_IDLE]:
        begin_ledger(m, p, now)
    place_all(m, p, first, now)
    k = starved(m, p)
    if k >= 0:
        m[scalar.REPORTED] = k
        return STARVED, now
    k = ended(m, p)
    if k >= 0:
        settle(m, p, k, now)
        m[scalar.REPORTED] = k
        return COMPLETED, now
    while m[scalar.HEAP] > 0:
        key = m[p.at.heap]
        t = key >> CONTEXT_BITS
        if t > until:
            return REACHED, until
        number = key & (MAX_CONTEXTS - 1)
        context = context_at(p, number)
        if m[scalar.HEAP] > 2:
            foresee(m, p, program)
        account(m, p, number, context, t)
        if m[context + CONTEXT_NEXT] < m[context + CONTEXT_END]:
            if p.log_words and m[scalar.LOGGED] > p.log_words // 2:
                return LOGGED, t
            waited = m[context + CONTEXT_ASKED]
            again = step(m, p, program, number, t)
            if waited and m[context + CONTEXT_ASKED] == 0:
                following = wake_another(m, p, m[context + CONTEXT_KERNEL], m[context + CONTEXT_SM], number, True, t)
                if following != ASLEEP:
                    push(m, p.at.heap, m[scalar.HEAP], following)
                    m[scalar.HEAP] += 1
            while again == key and m[context + CONTEXT_NEXT] < m[context + CONTEXT_END] and p.log_words == 0:
                again = step(m, p, program, number, t)  # its next event is the first one again
            if again == ASLEEP:
                again = drop_last(m, p)
            sift_down(m, p.at.heap, m[scalar.HEAP], again)
            continue
        sm = m[context + CONTEXT_SM]
        k = m[context + CONTEXT_KERNEL]
        leave(m, p, number, t)
        while place(m, p, first, sm, t):
            pass
        wanting = starved(m, p)
        if wanting >= 0:
            m[scalar.REPORTED] = wanting
            return STARVED, t
        if is_over(m, p, k):
            settle(m, p, k, t)
            m[scalar.REPORTED] = k
            return COMPLETED, t
    return REACHED, until
