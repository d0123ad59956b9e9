"""The order of accesses of a kernel without a clock: resident CTAs take turns, a record (with those joined to it) each.

CTAs are dealt to the slots of the SMs in turn; one that has ended makes room for the next.  One slot is program order.
"""

from __future__ import annotations

from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.prefetch import prefetch
from simulator.core.program import ADDRESS, EXTENT, JOINED, RECORD_WORDS, REST, STRIDE, high, low
from simulator.core.reuse_count import REQUESTER_BITS
from simulator.core.visits import RUN_ADDRESS, RUN_BYTES, RUN_OWNER, RUN_WORDS

NEXT, END, ROW, REQUESTER, SLOT_WORDS = 0, 1, 2, 3, 4
"""A slot: its next record, the end of its records, rows of the next one already done, the CTA."""

TURN, PENDING, LIVE, INTERLEAVE_SCALARS = 0, 1, 2, 4
"""Slot whose turn it is, next CTA to be placed, slots taken."""

DONE, FULL, STARVED = 0, 1, 2


@small_function
def emit(runs: Int64Array, count: int, address: int, size: int, owner: int) -> None:
    """Write down a run."""
    runs[count * RUN_WORDS + RUN_ADDRESS] = address
    runs[count * RUN_WORDS + RUN_BYTES] = size
    runs[count * RUN_WORDS + RUN_OWNER] = owner


@compiled
def interleave(
    program: Int64Array,
    starts: Int64Array,
    requesters: Int64Array,
    slots: Int64Array,
    scalars: Int64Array,
    sms: int,
    launch: int,
    more: bool,
    runs: Int64Array,
) -> tuple[int, int]:
    """Fill `runs` with what CTAs access, in turn; return DONE, FULL or STARVED (CTAs are wanted, and `more` are to
    come), and the number of runs.

    CTA c of those given owns the records starts[c] to starts[c + 1] and is number requesters[c] of the kernel.
    """
    room = len(runs) // RUN_WORDS
    places = len(slots) // SLOT_WORDS
    ctas = len(requesters)
    count = 0
    while True:
        slot = scalars[TURN]
        place = slot * SLOT_WORDS
        if slots[place + NEXT] == slots[place + END]:
            if scalars[PENDING] < ctas:
                cta = scalars[PENDING]
                scalars[PENDING] = cta + 1
                scalars[LIVE] += 1
                slots[place + NEXT] = starts[cta]
                slots[place + END] = starts[cta + 1]
                slots[place + ROW] = 0
                slots[place + REQUESTER] = requesters[cta]
            elif more:
                return STARVED, count
            elif scalars[LIVE] == 0:
                return DONE, count
        if slots[place + NEXT] < slots[place + END]:
            owner = ((launch << 12 | slot % sms) << REQUESTER_BITS) | slots[place + REQUESTER]
            joined = True
            while joined:
                word = slots[place + NEXT] * RECORD_WORDS
                rows, row_bytes = high(program[word + EXTENT]), low(program[word + EXTENT])
                stride = program[word + STRIDE]
                if rows == 1 or stride == row_bytes:
                    if count == room:
                        return FULL, count
                    emit(runs, count, program[word + ADDRESS], rows * row_bytes, owner)
                    count += 1
                else:
                    for row in range(slots[place + ROW], rows):
                        if count == room:
                            slots[place + ROW] = row
                            return FULL, count
                        emit(runs, count, program[word + ADDRESS] + row * stride, row_bytes, owner)
                        count += 1
                    slots[place + ROW] = 0
                slots[place + NEXT] += 1
                joined = slots[place + NEXT] < slots[place + END]
                joined = joined and program[slots[place + NEXT] * RECORD_WORDS + REST] & JOINED != 0
            prefetch(program, (slots[place + NEXT] + 2) * RECORD_WORDS)  # each CTA's records lie apart
            if slots[place + NEXT] == slots[place + END]:
                scalars[LIVE] -= 1
        scalars[TURN] = slot + 1 if slot + 1 < places else 0
