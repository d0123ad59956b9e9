"""What the next event will probably read: its lines are listed and located while those of this one are worked on.

What L2 and DRAM know of a line lies anywhere in some MB, and fetching that takes the processor longer than all that is
done with it: it is asked for an event ahead.  Which event is next is not known, but that of the CTA which is first in
the heap after this one mostly is; where it is not, its records stay prepared until they are read, or others are.
"""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import called, small_function
from simulator.core.dram_state import NEVER
from simulator.core.in_flight import bytes_held, oldest, oldest_bytes
from simulator.core.l2 import NORMAL, READ
from simulator.core.layout import (
    CONTEXT_BITS,
    CONTEXT_END,
    CONTEXT_NEXT,
    CONTEXT_RING,
    CONTEXT_SM,
    CONTEXT_WAITS,
    MAX_CONTEXTS,
    SM_QUEUE,
    WHY_TOTAL,
    Int64Array,
)
from simulator.core.ledger import FOR_ROOM, why_at
from simulator.core.line_single import is_part_of_line
from simulator.core.line_table import ALIKE, list_records, locate, locate_in_l1
from simulator.core.places import context_at, near_partition, queue_entries, sm_at
from simulator.core.plain_reads import is_plain
from simulator.core.prefetch import prefetch, prefetch_early
from simulator.core.program import (
    ADDRESS,
    EXTENT,
    GATHER,
    JOINED,
    RECORD_WORDS,
    REST,
    STRIDE,
    THROUGH_L1,
    gather_records,
    high,
    lanes_of,
    low,
    size_of,
)
from simulator.core.state import COLUMN_WORDS, READ_ROOM, TABLE_COLUMNS, Parameters

KIND = 15 | THROUGH_L1
"""Operation, hint and way of a record."""


@small_function
def line_reads_of(m: Int64Array, p: Parameters, program: Int64Array, record: int, last: int, size: int) -> int:
    """Return how many parts of lines the records `record` to `last` (not included), `size` bytes, read, if it is for
    `read_lines` or `load_lines` to read them, else 0; note whether they are ALIKE."""
    rest = program[record * RECORD_WORDS + REST]
    if rest & GATHER:
        m[m[scalar.TABLE] + ALIKE] = 1
        return lanes_of(rest)
    line_bytes, row_bytes = 1 << p.line_shift, low(program[record * RECORD_WORDS + EXTENT])
    if not is_plain(p, READ, NORMAL) or p.group_lines == 1 or row_bytes > line_bytes:
        return 0
    kind = READ | (rest & THROUGH_L1)
    one = row_bytes | 1 << 32
    reads = other = beyond = unlike = 0
    for word in range(record * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        extent, address = program[word + EXTENT], program[word + ADDRESS]
        rows = high(extent)
        reads += rows
        unlike |= extent ^ one
        beyond |= line_bytes - low(extent) - (address & (line_bytes - 1))  # negative where it reads two lines
        other |= (program[word + REST] ^ kind) & KIND
        other |= (program[word + STRIDE] & (line_bytes - 1)) * (rows - 1)
    m[m[scalar.TABLE] + ALIKE] = unlike == 0
    return reads if (beyond >= 0) & (other == 0) & (reads <= READ_ROOM) else 0


@small_function
def step_of(program: Int64Array, record: int, end: int) -> tuple[int, int, int]:
    """Return the end of the records that are issued together from `record` on, their bytes and compute cycles."""
    rest = program[record * RECORD_WORDS + REST]
    last = record + 1
    size, cycles = size_of(program, record), high(rest)
    if rest & GATHER:
        return record + gather_records(lanes_of(rest)), size * lanes_of(rest), cycles
    if last == end or program[last * RECORD_WORDS + REST] & JOINED == 0:
        return last, size, cycles
    while last < end and program[last * RECORD_WORDS + REST] & JOINED:
        last += 1
    for word in range((record + 1) * RECORD_WORDS, last * RECORD_WORDS, RECORD_WORDS):
        extent = program[word + EXTENT]
        size += high(extent) * low(extent)
        cycles += high(program[word + REST])
    return last, size, cycles


@small_function
def may_be_lines(p: Parameters, size: int) -> bool:
    """Return whether records of so many bytes may be `line_reads_of` some lines."""
    return size <= READ_ROOM << p.line_shift


@called
def list_and_locate(
    m: Int64Array, p: Parameters, program: Int64Array, sm: int, record: int, last: int, size: int
) -> int:
    """List and locate the lines that the records `record` to `last` (not included) read; return their number, as
    `line_reads_of`."""
    reads = line_reads_of(m, p, program, record, last, size)
    if reads > 0:
        list_records(m, p, program, record, last, reads)
        if program[record * RECORD_WORDS + REST] & THROUGH_L1:
            locate_in_l1(m, p, sm, reads)
        locate(m, p, near_partition(p, sm), reads)
    return reads


@small_function
def other_table(m: Int64Array, p: Parameters) -> int:
    """Return the place of the table that is not in use."""
    return 2 * p.at.reads + TABLE_COLUMNS * COLUMN_WORDS - m[scalar.TABLE]


@called
def prepare(m: Int64Array, p: Parameters, program: Int64Array, context: int, record: int) -> None:
    """Prepare what the CTA at `context` reads from `record` on."""
    end = m[context + CONTEXT_END]
    if record >= end or record == m[scalar.PREPARED]:
        return
    last, size, cycles = step_of(program, record, end)
    if not may_be_lines(p, size) or (last == record + 1 and is_part_of_line(p, program, record)):
        return
    m[scalar.TABLE] = other_table(m, p)
    reads = list_and_locate(m, p, program, m[context + CONTEXT_SM], record, last, size)
    m[scalar.TABLE] = other_table(m, p)
    m[scalar.PREPARED] = record if reads > 0 else NOTHING
    m[scalar.PREPARED_LAST], m[scalar.PREPARED_SIZE], m[scalar.PREPARED_CYCLES] = last, size, cycles
    m[scalar.PREPARED_READS] = reads


@small_function
def will_wait(m: Int64Array, p: Parameters, event: int, sm: int, asked: int) -> bool:
    """Return whether the CTA of an event will probably not find room for `asked` bytes in its SM, as many more being on
    their way to `sm` then."""
    there = m[context_at(p, event & (MAX_CONTEXTS - 1)) + CONTEXT_SM]
    queue, entries = sm_at(p, there) + SM_QUEUE, queue_entries(p, there)
    held = bytes_held(m, queue) + (asked if there == sm else 0)
    if oldest(m, queue, entries, NEVER) <= event >> CONTEXT_BITS:
        held -= oldest_bytes(m, queue, entries)
    return held + asked // 2 > p.sm_outstanding_bytes


@small_function
def likely_next(m: Int64Array, p: Parameters, sm: int, asked: int) -> int:
    """Return the CTA that will probably issue after this one, of `sm`, which has `asked` for some bytes: that whose
    event comes next, or where it will wait, the one after.

    An arrival lets the CTA it is for go on and wakes another one up, which both ask for the room that it leaves.
    """
    heap = p.at.heap
    first = 2 if m[heap + 2] < m[heap + 1] else 1
    event = m[heap + first]
    if m[scalar.HEAP] > 6 and will_wait(m, p, event, sm, asked):
        event = min(m[heap + 3 - first], min(m[heap + 2 * first + 1], m[heap + 2 * first + 2]))
    return context_at(p, event & (MAX_CONTEXTS - 1))


@small_function
def prepare_next(
    m: Int64Array,
    p: Parameters,
    program: Int64Array,
    context: int,
    last: int,
    again: bool,
    sm: int,
    asked: int,
) -> None:
    """Prepare what will probably be read next: where the CTA at `context`, of `sm`, which has `asked` for some bytes,
    issues `again` at once, what it has from `last` on, else what `likely_next` has."""
    if again:
        prepare(m, p, program, context, last)
    elif m[scalar.HEAP] > 2:
        following = likely_next(m, p, sm, asked)
        prepare(m, p, program, following, m[following + CONTEXT_NEXT])


NOTHING = -1
"""In place of the record that is prepared."""


@small_function
def prepared_step(m: Int64Array) -> tuple[int, int, int, int]:
    """Return of what is prepared what `step_of` does, and the number of its lines."""
    return m[scalar.PREPARED_LAST], m[scalar.PREPARED_SIZE], m[scalar.PREPARED_CYCLES], m[scalar.PREPARED_READS]


@small_function
def take_prepared(m: Int64Array, p: Parameters) -> None:
    """Turn to the table that has been prepared."""
    m[scalar.TABLE] = other_table(m, p)
    m[scalar.PREPARED] = NOTHING


MANY = 512
"""CTAs with an event, of which those about to come are not in the processor's cache any more."""


@small_function
def foresee(m: Int64Array, p: Parameters, program: Int64Array) -> None:
    """Have what the event after the first will probably need brought near: its CTA and records, and of those that may
    follow it the CTA.

    Which event that is, is only known once the first has been dealt with, unless the first comes again before it.
    """
    heap = p.at.heap
    if m[scalar.HEAP] > MANY:
        for child in range(heap + 3, heap + 7):
            context = context_at(p, m[child] & (MAX_CONTEXTS - 1))
            prefetch(m, context)
            prefetch(m, context + CONTEXT_RING)
    number = min(m[heap + 1], m[heap + 2]) & (MAX_CONTEXTS - 1)
    context = context_at(p, number)
    record = m[context + CONTEXT_NEXT] * RECORD_WORDS
    there = sm_at(p, m[context + CONTEXT_SM])
    why = why_at(p, number, m[context + CONTEXT_WAITS] & (FOR_ROOM - 1))
    prefetch(m, there)
    prefetch(m, there + SM_QUEUE)
    prefetch(m, why)
    prefetch(m, why + WHY_TOTAL)
    for ahead in range(4):
        prefetch_early(program, record + 8 * ahead)
    for ahead in range(32, 2 * RECORD_WORDS * m[scalar.STEP_RECORDS], 8):
        prefetch_early(program, record + ahead)
