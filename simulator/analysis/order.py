"""In which order a trace is taken to access memory when no clock says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core.interleave import (
    DONE,
    END,
    FULL,
    INTERLEAVE_SCALARS,
    NEXT,
    PENDING,
    SLOT_WORDS,
    interleave,
)
from simulator.core.program import RECORD_WORDS, pack
from simulator.core.visits import RUN_WORDS
from simulator.hardware import Hardware
from simulator.memory.occupancy import ctas_per_sm
from simulator.trace.metadata import MAX_KERNELS
from simulator.trace.record import COLUMNS, Records, TracedKernel

BUFFER_RUNS = 1 << 15
"""Runs handed over at a time: 768 KiB, which stay in the cache of the core that reads them again."""


PACKED = [name for name in COLUMNS if name not in ("kernel", "requester")]


@dataclass(frozen=True)
class Order:
    """Kernels one after the other; within one, CTAs one after the other (`device` None) or, with a device, those
    resident at one time in turn, a record each, dealt to its SMs as its scheduler does."""

    device: Hardware | None = None

    @property
    def sms(self) -> int:
        """SMs that CTAs are dealt to."""
        return self.device.sm.count if self.device else 1

    def resident(self, kernel: TracedKernel) -> int:
        """Return how many CTAs of a kernel take turns."""
        if self.device is None:
            return 1
        return max(1, min(self.sms * ctas_per_sm(self.device.sm, kernel.header), kernel.header.requesters))

    def __str__(self) -> str:
        if self.device is None:
            return "program order: kernel after kernel, CTA after CTA"
        return f"kernel after kernel; CTAs resident on the {self.sms} SMs of {self.device.name} in turn, a record each"


@dataclass(frozen=True, slots=True)
class Ctas:
    """The CTAs of a chunk: CTA c has the records starts[c] to starts[c + 1]."""

    starts: NDArray[np.int64]
    requesters: NDArray[np.int64]

    @classmethod
    def of(cls, chunk: Records) -> Ctas:
        """Return those of a chunk of whole CTAs."""
        bounds = np.flatnonzero(chunk.requester[1:] != chunk.requester[:-1]) + 1
        starts = np.concatenate(([0], bounds, [len(chunk)])).astype(np.int64)
        return cls(starts, chunk.requester[starts[:-1]].astype(np.int64))

    def one_in(self, chunk: Records, count: int, before: int) -> tuple[Records, Ctas] | None:
        """Return one in `count` of them, `before` having come before, and their records; None where there is none."""
        chosen = np.arange(-before % count, len(self.requesters), count)
        if not len(chosen):
            return None
        sizes = self.starts[chosen + 1] - self.starts[chosen]
        its = np.concatenate([np.arange(self.starts[cta], self.starts[cta + 1]) for cta in chosen])
        return chunk[its], Ctas(np.cumsum([0, *sizes], dtype=np.int64), self.requesters[chosen])


@dataclass(frozen=True, slots=True)
class Program:
    """Records of some CTAs as the core reads them."""

    words: NDArray[np.int64]
    ctas: Ctas

    @classmethod
    def of(cls, chunk: Records, ctas: Ctas) -> Program:
        """Return a chunk of whole CTAs."""
        return cls(pack(**{name: getattr(chunk, name) for name in PACKED}).reshape(-1), ctas)


def interleaved(
    kernel: TracedKernel, launch: int, order: Order, programs: Iterator[Program]
) -> Iterator[NDArray[np.int64]]:
    """Yield the runs of bytes (RUN_WORDS each, flat; lent until the next) that a kernel accesses, in order.

    `programs` are its chunks; they are taken as their CTAs are wanted, so that two of them and the resident CTAs are
    held at a time.
    """
    slots = np.zeros((order.resident(kernel), SLOT_WORDS), np.int64)
    scalars = np.zeros(INTERLEAVE_SCALARS, np.int64)
    runs = np.empty(BUFFER_RUNS * RUN_WORDS, np.int64)
    held = Program(np.zeros(0, np.int64), Ctas(np.zeros(1, np.int64), np.zeros(0, np.int64)))
    more = True
    while True:
        reason, count = interleave(
            held.words,
            held.ctas.starts,
            held.ctas.requesters,
            slots.reshape(-1),
            scalars,
            order.sms,
            launch % MAX_KERNELS,
            more,
            runs,
        )
        if count:
            yield runs[: count * RUN_WORDS]
        if reason == DONE:
            return
        if reason != FULL:
            free = int(np.count_nonzero(slots[:, NEXT] == slots[:, END]))
            following = list(_enough(programs, free))
            more = bool(following)
            if more:
                held = _appended(held, following, slots, scalars)


def _enough(programs: Iterator[Program], ctas: int) -> Iterator[Program]:
    """Yield programs until they hold as many CTAs, so that what is held is not copied for each of many small ones."""
    while ctas > 0 and (program := next(programs, None)) is not None:
        ctas -= len(program.ctas.requesters)
        yield program


def _appended(
    held: Program, following: Sequence[Program], slots: NDArray[np.int64], scalars: NDArray[np.int64]
) -> Program:
    """Return what is left of `held`, all of whose CTAs have been placed, with more CTAs behind it."""
    live = slots[:, NEXT] < slots[:, END]
    records = len(held.words) // RECORD_WORDS
    done = int(slots[live, NEXT].min(initial=records))
    slots[:, [NEXT, END]] -= done
    slots[~live, NEXT] = slots[~live, END] = 0
    scalars[PENDING] = 0
    words = [held.words[done * RECORD_WORDS :]]
    starts = [np.zeros(1, np.int64) + (records - done)]
    for program in following:
        words.append(program.words)
        starts.append(program.ctas.starts[1:] + starts[-1][-1])
    requesters = np.concatenate([program.ctas.requesters for program in following])
    return Program(np.concatenate(words), Ctas(np.concatenate(starts), requesters))
