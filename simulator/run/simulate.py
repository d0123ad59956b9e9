"""Replaying a trace on a device: warm-up, layers and steps, and what came of each kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.memory import Device
from simulator.memory.copies import Path
from simulator.memory.observer import AccessObserver
from simulator.run.generate import Trace
from simulator.run.ledger import BETWEEN, NO_GAP, Gap, gaps
from simulator.run.sampling import LayerSampler, sampled_steps
from simulator.system import CopyRun, KernelRun, Samples, Streamed, run_stream
from simulator.trace.record import KernelHeader
from simulator.workload.protocol import CacheState, Protocol

WARM_UP_FOOTPRINT = 8
"""A pass over more than this many times the L2 size leaves nothing in it that the next one finds (a pass over 8 times
the capacity re-reads at most 1/8 from it): it is not run twice."""

Progress = Callable[[KernelHeader], None]


@dataclass(frozen=True)
class KernelOutcome:
    """What a kernel did; `start_ps` is None where a twin in another layer stands for it."""

    header: KernelHeader
    start_ps: int | None
    time_ps: int
    launch_ps: int
    counters: NDArray[np.int64]
    waited_ps: int = 0  # for copies, before the launch
    gap: Gap = NO_GAP  # of it and the launch, while no other kernel ran
    waves: tuple[tuple[int, int], ...] = ()  # beginning and end of each (ps), on the clock of `start_ps`


@dataclass(frozen=True)
class CopyTotals:
    """What was copied between tiers, per step, interpolated steps included."""

    moved_bytes: NDArray[np.int64]  # (steps, len(Path))
    exposed_ps: NDArray[np.int64]  # (steps): how long nothing could run because of copies
    runs: tuple[CopyRun, ...] = ()  # of the replayed steps


@dataclass(frozen=True)
class Outcome:
    """What a replay came to: per step the time (ps) and counters of all its kernels, interpolated steps included."""

    kernels: tuple[KernelOutcome, ...]
    step_ps: NDArray[np.int64]
    step_counters: NDArray[np.int64]  # (steps, counter.COUNT)
    step_between_ps: NDArray[np.int64]  # (steps, 2): while no kernel ran, as in `ledger.BETWEEN`
    replayed_steps: int
    copies: CopyTotals | None = None  # None where everything rests in device memory
    samples: tuple[list[int], list[NDArray[np.int64]]] | None = None  # times (ps) and counters, where asked for

    @property
    def exact(self) -> bool:
        """Whether every kernel of every step was replayed."""
        return self.replayed_steps == len(self.step_ps) and all(k.start_ps is not None for k in self.kernels)


def simulate(
    trace: Trace,
    hardware: Hardware,
    protocol: Protocol,
    exact: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    observer: AccessObserver | None = None,
    samples: Samples | None = None,
    overlapping: bool = False,
    warm: bool | None = None,
    stand_ins: bool = False,
) -> Outcome:
    """Return what replaying a trace comes to, under the rules of `simulator.run.sampling` unless `exact`.

    Where tensors are copied in, every layer of a replayed step is replayed: how long one waits for its copies depends
    on those before it; likewise where an `observer` is to see what was evicted by whom.  `samples` are taken after the
    warm-up.  Where kernels are `overlapping`, a layer takes from the end of the one before to its own, which is what
    one that is not replayed adds.  `warm` says whether a warm-up comes first (None: as `warms_up` has it).  With
    `stand_ins` copies and waits of every layer are replayed, its kernels unless they have agreed as in other runs.
    """
    device = Device(hardware, seed, observer=observer)
    steps = frozenset(range(trace.steps)) if exact else sampled_steps(trace.steps)
    warmed = warms_up(trace, hardware, protocol) if warm is None else warm
    clock = _warm_up(device, trace, protocol) if warmed else 0
    if observer is not None:
        observer.started()
    standing_in = stand_ins and trace.streaming is not None
    every_layer = exact or (trace.streaming is not None and not standing_in) or observer is not None
    sampler = LayerSampler(standing_in)
    ended_ps = clock

    def observe(run: KernelRun) -> None:
        nonlocal ended_ps
        if not every_layer:
            alone = standing_in or not overlapping
            sampler.observe(run if alone else replace(run, ready_ps=ended_ps, start_ps=ended_ps))
        ended_ps = run.end_ps
        if progress:
            progress(run.header)

    kernels = trace.kernels(steps)
    streamed = _streamed(trace, steps)
    chosen = kernels if every_layer else sampler.filter(kernels)
    runs = run_stream(device, chosen, protocol.launch, clock, observe, streamed, samples)
    gap_of = dict(zip(map(id, runs), gaps(runs, clock), strict=True))
    outcomes = [_outcome(run.header, run, gap_of[id(run)], clock) for run in runs]
    outcomes += [_outcome(header, twin, gap_of.get(id(twin), NO_GAP), None) for header, twin in sampler.skipped]
    drained_ps = streamed.end_ps - clock if streamed else 0
    outcome = _total(outcomes, trace.steps, sorted(steps), drained_ps)
    if samples is not None:
        outcome = replace(outcome, samples=([time - clock for time in samples.times], samples.counters))
    return (
        replace(outcome, copies=_copies(streamed, outcomes, sorted(steps), trace.steps, clock)) if streamed else outcome
    )


def _warm_up(device: Device, trace: Trace, protocol: Protocol) -> int:
    """Run a trace once; return when it and its copies end, in ps."""
    streamed = _streamed(trace, None)
    runs = run_stream(device, trace.kernels(None), protocol.launch, streamed=streamed)
    return max(runs[-1].end_ps, streamed.end_ps if streamed else 0)


def _streamed(trace: Trace, steps: frozenset[int] | None) -> Streamed | None:
    streaming = trace.streaming
    return Streamed(streaming.units(steps), streaming.placement) if streaming else None


def _copies(
    streamed: Streamed, kernels: list[KernelOutcome], replayed: list[int], steps: int, clock: int
) -> CopyTotals:
    """Return what was copied per step; the wait for the last copies out belongs to the last step."""
    moved = np.zeros((steps, len(Path)), np.int64)
    exposed = np.zeros((steps, 1), np.int64)
    for run in streamed.runs:
        moved[run.step, run.path] += run.bytes
    for step, waited_ps in streamed.waited_ps.items():
        exposed[step] = waited_ps
    last_end = max((k.start_ps + k.time_ps for k in kernels if k.start_ps is not None), default=0)
    exposed[replayed[-1]] += max(0, streamed.end_ps - clock - last_end)
    _interpolate(moved, replayed)
    _interpolate(exposed, replayed)
    runs = (
        replace(r, ready_ps=r.ready_ps - clock, start_ps=r.start_ps - clock, end_ps=r.end_ps - clock)
        for r in streamed.runs
    )
    return CopyTotals(moved, exposed[:, 0], tuple(runs))


def warms_up(trace: Trace, hardware: Hardware, protocol: Protocol) -> bool:
    """Return whether one untimed pass comes first: where what it leaves in L2 can matter and its work repeats."""
    touched = sum(tensor.bytes for tensor in trace.header.tensors)
    small = 0 < touched <= WARM_UP_FOOTPRINT * hardware.l2.size_bytes
    return protocol.cache is CacheState.WARM and trace.steps == 1 and small


def _outcome(header: KernelHeader, run: KernelRun, gap: Gap, clock: int | None) -> KernelOutcome:
    """Return what a kernel did on a clock that began at `clock`, None for one that a twin stands for."""
    launch_ps = run.start_ps - run.ready_ps
    start_ps = None if clock is None else run.start_ps - clock
    waves = () if clock is None else tuple((begin - clock, end - clock) for begin, end in run.waves)
    time_ps = run.end_ps - run.start_ps
    return KernelOutcome(header, start_ps, time_ps, launch_ps, run.counters, run.waited_ps, gap, waves)


def _total(kernels: list[KernelOutcome], steps: int, replayed: list[int], drained_ps: int) -> Outcome:
    """Return the outcome with per-step totals; steps between replayed ones are interpolated linearly.

    The last step lasts until its copies out are done, at `drained_ps`.
    """
    time = np.zeros((steps, 1), np.int64)
    between = np.zeros((steps, len(BETWEEN)), np.int64)
    counters = np.zeros((steps, counter.COUNT), np.int64)
    ordered: list[KernelOutcome] = []
    for step in replayed:
        members = _in_order([k for k in kernels if k.header.step == step])
        ordered += members
        starts = [k.start_ps - k.launch_ps - k.waited_ps for k in members if k.start_ps is not None]
        ends = [k.start_ps + k.time_ps for k in members if k.start_ps is not None]
        between[step] = [sum(k.gap.launch_ps for k in members), sum(k.gap.copies_ps for k in members)]
        if step == replayed[-1] and drained_ps:
            between[step, 1] += max(0, drained_ps - max(ends, default=0))
            ends.append(drained_ps)
        skipped = sum(k.time_ps + k.launch_ps for k in members if k.start_ps is None)
        time[step] = max(ends, default=0) - min(starts, default=0) + skipped
        counters[step] = counter.combine(k.counters for k in members)
    _interpolate(time, replayed)
    _interpolate(counters, replayed)
    _interpolate(between, replayed)
    return Outcome(tuple(ordered), time[:, 0], counters, between, len(replayed))


def _interpolate(values: NDArray[np.int64], replayed: list[int]) -> None:
    """Fill in the rows of the decode steps that were not replayed, linearly between those that were."""
    if len(replayed) == len(values):
        return
    every = np.arange(1, len(values))
    known = [step for step in replayed if step > 0]
    for column in range(values.shape[1]):
        values[1:, column] = np.interp(every, known, values[known, column]).round()


def _in_order(kernels: list[KernelOutcome]) -> list[KernelOutcome]:
    """Return the kernels of a step in launch order: before the layers, layer by layer, after them."""
    layered = [k.start_ps for k in kernels if k.header.layer >= 0 and k.start_ps is not None]
    first = min(layered, default=None)

    def place(kernel: KernelOutcome) -> float:
        if kernel.header.layer >= 0:
            return kernel.header.layer
        before = first is None or kernel.start_ps is None or kernel.start_ps < first
        return -1 if before else float("inf")

    return sorted(kernels, key=place)
