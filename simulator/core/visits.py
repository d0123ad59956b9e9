"""Cutting runs of bytes at the ends of pages: each part is one visit to a page."""

from __future__ import annotations

from simulator.core.compiled import compiled
from simulator.core.layout import Int64Array
from simulator.core.reuse_count import VISIT_ADDRESS, VISIT_NOW, VISIT_OWNER, VISIT_UNITS, VISIT_WORDS
from simulator.core.reuse_stack import is_sampled

RUN_ADDRESS, RUN_BYTES, RUN_OWNER, RUN_WORDS = 0, 1, 2, 3
"""A run of bytes that somebody accesses."""

RUN, PAGE, ACCESSES, CUT_SCALARS = 0, 1, 2, 3
"""Run and page to go on with, accesses so far."""


@compiled
def cut(runs: Int64Array, scalars: Int64Array, unit_shift: int, page_shift: int, shift: int, visits: Int64Array) -> int:
    """Fill `visits` (VISIT_WORDS each) with those to sampled pages that `runs` (RUN_WORDS each) make; return how many
    there are.  RUN says how many runs are done: until all are, there is more to come."""
    unit_bits = page_shift - unit_shift
    room = len(visits) // VISIT_WORDS
    accesses = scalars[ACCESSES]
    count = 0
    for run in range(scalars[RUN], len(runs) // RUN_WORDS):
        address, owner = runs[run * RUN_WORDS + RUN_ADDRESS], runs[run * RUN_WORDS + RUN_OWNER]
        first = address >> unit_shift
        last = (address + runs[run * RUN_WORDS + RUN_BYTES] - 1) >> unit_shift
        for page in range(max(first >> unit_bits, scalars[PAGE]), (last >> unit_bits) + 1):
            low = max(first, page << unit_bits)
            units = min(last + 1, (page + 1) << unit_bits) - low
            if shift == 0 or is_sampled(page, shift):
                if count == room:
                    scalars[RUN], scalars[PAGE], scalars[ACCESSES] = run, page, accesses
                    return count
                word = count * VISIT_WORDS
                visits[word + VISIT_ADDRESS] = max(address, page << page_shift)
                visits[word + VISIT_UNITS] = units
                visits[word + VISIT_NOW] = accesses
                visits[word + VISIT_OWNER] = owner
                count += 1
            accesses += units
        scalars[PAGE] = 0
    scalars[RUN], scalars[ACCESSES] = len(runs) // RUN_WORDS, accesses
    return count
