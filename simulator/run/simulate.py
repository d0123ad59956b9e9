"""Replaying a trace on a device: warm-up, layers and steps, and what came of each kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.memory import Device
from simulator.run.generate import Trace
from simulator.run.sampling import LayerSampler, sampled_steps
from simulator.system import KernelRun, run_stream
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


@dataclass(frozen=True)
class Outcome:
    """What a replay came to: per step the time (ps) and counters of all its kernels, interpolated steps included."""

    kernels: tuple[KernelOutcome, ...]
    step_ps: NDArray[np.int64]
    step_counters: NDArray[np.int64]  # (steps, counter.COUNT)
    replayed_steps: int

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
) -> Outcome:
    """Return what replaying a trace comes to, under the rules of `simulator.run.sampling` unless `exact`."""
    device = Device(hardware, seed)
    steps = frozenset(range(trace.steps)) if exact else sampled_steps(trace.steps)
    clock = 0
    if _warm_up(trace, hardware, protocol):
        clock = run_stream(device, trace.kernels(None), protocol.launch)[-1].end_ps
    sampler = LayerSampler()

    def observe(run: KernelRun) -> None:
        if not exact:
            sampler.observe(run)
        if progress:
            progress(run.header)

    kernels = trace.kernels(steps)
    runs = run_stream(device, kernels if exact else sampler.filter(kernels), protocol.launch, clock, observe)
    outcomes = [_outcome(run.header, run, run.start_ps - clock) for run in runs]
    outcomes += [_outcome(header, twin, None) for header, twin in sampler.skipped]
    return _total(outcomes, trace.steps, sorted(steps))


def _warm_up(trace: Trace, hardware: Hardware, protocol: Protocol) -> bool:
    """Return whether one untimed pass comes first: where what it leaves in L2 can matter and its work repeats."""
    touched = sum(tensor.bytes for tensor in trace.header.tensors)
    small = 0 < touched <= WARM_UP_FOOTPRINT * hardware.l2.size_bytes
    return protocol.cache is CacheState.WARM and trace.steps == 1 and small


def _outcome(header: KernelHeader, run: KernelRun, start_ps: int | None) -> KernelOutcome:
    return KernelOutcome(header, start_ps, run.end_ps - run.start_ps, run.start_ps - run.ready_ps, run.counters)


def _total(kernels: list[KernelOutcome], steps: int, replayed: list[int]) -> Outcome:
    """Return the outcome with per-step totals; steps between replayed ones are interpolated linearly."""
    time = np.zeros(steps, np.int64)
    counters = np.zeros((steps, counter.COUNT), np.int64)
    ordered: list[KernelOutcome] = []
    for step in replayed:
        members = _in_order([k for k in kernels if k.header.step == step])
        ordered += members
        starts = [k.start_ps - k.launch_ps for k in members if k.start_ps is not None]
        ends = [k.start_ps + k.time_ps for k in members if k.start_ps is not None]
        skipped = sum(k.time_ps + k.launch_ps for k in members if k.start_ps is None)
        time[step] = max(ends, default=0) - min(starts, default=0) + skipped
        counters[step] = counter.combine(k.counters for k in members)
    if len(replayed) < steps:
        every = np.arange(1, steps)
        known = [step for step in replayed if step > 0]
        time[1:] = np.interp(every, known, time[known]).round()
        for column in range(counter.COUNT):
            counters[1:, column] = np.interp(every, known, counters[known, column]).round()
    return Outcome(tuple(ordered), time, counters, len(replayed))


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
