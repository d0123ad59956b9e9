"""The sampled part of a kernel: its visits to sampled pages, put in the order in which its CTAs take turns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.analysis.order import Ctas
from simulator.analysis.reuse import ReuseCounter
from simulator.core.reuse_count import VISIT_NOW, VISIT_UNITS, VISIT_WORDS
from simulator.core.sample import SLOT_BITS, add_up, place, sample, survey
from simulator.trace.record import Records

Int64Array = NDArray[np.int64]

FIRST_VISITS = 1 << 14


class SampledKernel:
    """Takes the chunks of one kernel, of whose CTAs `resident` take turns, and hands what is sampled to a counter.

    Holds the sampled visits of rounds that CTAs to come may have a part in.
    """

    def __init__(self, counter: ReuseCounter, resident: int, sms: int, launch: int, kernel_class: int) -> None:
        self._counter = counter
        self._kernel = (launch, sms)
        self._kernel_class = kernel_class
        self._slots = np.arange(resident + 1)
        self._units, self._marks = np.empty(0, np.int64), np.empty(0, np.bool_)
        self._round = 0
        self._accesses = np.zeros(0, np.int64)  # by round, from `_round` on
        self._keys, self._visits = np.zeros(0, np.int64), np.zeros((0, VISIT_WORDS), np.int64)

    def add(self, chunk: Records, ctas: Ctas) -> None:
        """Take some CTAs."""
        turns = turns_of(chunk, ctas)
        each = np.diff(turns[ctas.starts[:-1]], append=turns[-1] + 1)
        begins = np.empty(len(each), np.int64)
        place(each, self._slots, begins)
        rounds = int(((begins >> SLOT_BITS) + each).max()) - self._round
        if rounds > len(self._accesses):
            self._accesses = np.concatenate((self._accesses, np.zeros(rounds - len(self._accesses), np.int64)))
        keys, visits = self._sample(chunk, ctas, turns, begins)
        self._keys, self._visits = np.concatenate((self._keys, keys)), np.concatenate((self._visits, visits))
        self._count(int(self._slots[0] >> SLOT_BITS) - self._round)

    def finish(self) -> None:
        """Count what is held."""
        self._count(len(self._accesses))

    def _sample(
        self, chunk: Records, ctas: Ctas, turns: Int64Array, begins: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """Return keys and visits of what is sampled, and add up the accesses of each round."""
        extents = (chunk.address, chunk.rows, chunk.row_bytes, chunk.row_stride)
        if len(chunk) > len(self._units):  # kept from chunk to chunk: new memory costs as much as all the rest
            self._units, self._marks = np.empty(len(chunk), np.int64), np.empty(len(chunk), np.bool_)
        units, marks = self._units[: len(chunk)], self._marks[: len(chunk)]
        survey(*extents, *self._counter.shifts, units, marks)
        marked = np.flatnonzero(marks)
        room = max(FIRST_VISITS, len(marked))
        while True:
            keys, visits = np.empty(room, np.int64), np.empty((room, VISIT_WORDS), np.int64)
            count = sample(
                *extents,
                chunk.joined,
                marked,
                units,
                turns,
                ctas.starts,
                ctas.requesters,
                begins,
                *self._kernel,
                *self._counter.shifts,
                keys,
                visits.reshape(-1),
            )
            if count <= room:
                break
            room = count
        add_up(units, turns, ctas.starts, begins, self._round, self._accesses)
        return keys[:count], visits[:count]

    def _count(self, rounds: int) -> None:
        """Count what is held of the next rounds, which are complete."""
        if not rounds:
            return
        here = self._keys < (self._round + rounds) << SLOT_BITS
        keys, visits = self._keys[here], self._visits[here]
        self._keys, self._visits = self._keys[~here], self._visits[~here]
        order = np.argsort(keys, kind="stable")
        keys, visits = keys[order], visits[order]
        ends = np.cumsum(self._accesses[:rounds]) + self._counter.accesses
        its = (keys >> SLOT_BITS) - self._round
        share = self._accesses[its] * (keys & ((1 << SLOT_BITS) - 1)) // (len(self._slots) - 1)
        visits[:, VISIT_NOW] += ends[its] - self._accesses[its] + share
        visits[:, VISIT_NOW] = _apart(visits[:, VISIT_NOW], visits[:, VISIT_UNITS], ends[its])
        self._counter.count(visits.reshape(-1), len(visits), self._kernel_class)
        self._counter.pass_over(int(ends[-1]))
        self._accesses = self._accesses[rounds:]
        self._round += rounds


def _apart(now: Int64Array, units: Int64Array, ends: Int64Array) -> Int64Array:
    """Return times at which visits begin, moved as little as it takes that each has ended when the next one begins, and
    when its round ends."""
    before = np.cumsum(units) - units
    latest = np.minimum.accumulate((ends - before - units)[::-1])[::-1]
    moved: Int64Array = np.minimum(np.maximum.accumulate(now - before), latest) + before
    return moved


def turns_of(chunk: Records, ctas: Ctas) -> Int64Array:
    """Return which of all turns of a chunk each record belongs to: one for each record, with those joined to it."""
    if not chunk.joined.any():
        return np.arange(len(chunk))
    begins = chunk.joined == 0
    begins[ctas.starts[:-1]] = True
    return np.cumsum(begins) - 1
