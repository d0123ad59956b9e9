"""A stream of kernels on one device, in SimPy time (integer picoseconds).

The stream launches each kernel once what it waits for has ended; the device process hands the clock to the compiled
core up to the next event of anybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from simulator.core.layout import KERNEL_SLOTS
from simulator.errors import ConfigError, DeadlockError
from simulator.memory import Device
from simulator.memory.device import FOREVER
from simulator.system.copy_engine import CopyEngines, CopyRun, Place, Places, Staging
from simulator.system.sampling import Samples
from simulator.trace.record import KernelHeader, TracedKernel
from simulator.workload import Placement, Unit
from simulator.workload.protocol import LaunchMode

Events = Generator[simpy.Event, Any, None]

SLICE_PS = 10_000_000
"""Copies take device memory bandwidth from kernels in slices of 10 us: short beside a layer, and 1 to 2 % of the
channel time each at PCIe rates, so that what a kernel loses is what was copied while it ran."""

LONGEST_PS = 1 << 49
"""An event of the core is one integer of time and context (see `core.state`)."""


@dataclass(frozen=True)
class KernelRun:
    """A kernel that has run: `ready_ps` when its dependencies had ended, `start_ps` its launch, `end_ps` its end."""

    header: KernelHeader
    ready_ps: int
    start_ps: int
    end_ps: int
    counters: NDArray[np.int64]
    waited_ps: int = 0  # for copies, before `ready_ps`
    waves: tuple[tuple[int, int], ...] = ()  # beginning and end of each wave of CTAs (ps)


@dataclass(frozen=True)
class StandIn:
    """A kernel that takes as long, and counts as much, as its twin in another layer did."""

    header: KernelHeader
    twin: KernelRun
    index: int | None = None


@dataclass
class Streamed:
    """Copies to make around the kernels of a run, and what came of them."""

    units: Sequence[tuple[int, Unit]]
    placement: Placement
    runs: list[CopyRun] = field(default_factory=list)
    waited_ps: dict[int, int] = field(default_factory=dict)  # by step: how long kernels waited for copies
    end_ps: int = 0  # of the last copy out


def run_stream(
    device: Device,
    kernels: Iterable[TracedKernel | StandIn],
    mode: LaunchMode = LaunchMode.GRAPH,
    start_ps: int = 0,
    observe: Callable[[KernelRun], None] | None = None,
    streamed: Streamed | None = None,
    samples: Samples | None = None,
) -> list[KernelRun]:
    """Run `kernels`, each after those it depends on, and return them in the order in which they ended.

    `observe` is called as each ends.  With `streamed`, copy engines bring in what each layer needs before its first
    kernel starts; `samples` are taken on the way.  Raises DeadlockError when work is left and nothing can move.
    """
    stream = _Stream(device, mode, start_ps, observe, streamed, samples)
    stream.environment.process(stream.drive())
    launching = stream.environment.process(stream.launch_all(kernels))
    try:
        stream.environment.run(until=launching)
    except RuntimeError as error:
        if isinstance(error, DeadlockError) or launching.triggered or stream.environment.peek() != float("inf"):
            raise
        raise DeadlockError(stream.waiting()) from error  # SimPy ran out of events
    return stream.runs


class _Stream:
    def __init__(
        self,
        device: Device,
        mode: LaunchMode,
        start_ps: int,
        observe: Callable[[KernelRun], None] | None,
        streamed: Streamed | None,
        samples: Samples | None,
    ) -> None:
        self.environment = simpy.Environment(initial_time=start_ps)
        self.runs: list[KernelRun] = []
        self._device = device
        self._mode = mode
        self._observe = observe
        self._in_flight: dict[int, simpy.Process] = {}  # kernel's index in the run -> its life
        self._slots: dict[int, simpy.Event] = {}  # device slot -> its end
        self._work = self.environment.event()
        self._engines: CopyEngines | None = None
        self._staging: Staging | None = None
        self._streamed = streamed
        self._samples = samples
        if streamed is not None:
            self._engines = CopyEngines(self.environment, device.hardware, self._wake)
            self._staging = Staging(self.environment, self._engines, streamed.units, streamed.placement)
            self.environment.process(self._staging.prefetch())

    def launch_all(self, kernels: Iterable[TracedKernel | StandIn]) -> Events:
        """Launch each kernel once what it waits for has ended; end when all have."""
        environment = self.environment
        before: simpy.Process | None = None
        places = Places()
        for place, kernel in enumerate(kernels):
            index = place if kernel.index is None else kernel.index
            after = kernel.header.after
            named = [self._in_flight[other] for other in after or () if other in self._in_flight]
            for awaited in [before] if after is None and before else named:
                if not awaited.processed:
                    yield awaited
            while len(self._in_flight) >= KERNEL_SLOTS:  # those still to be launched among them
                yield environment.any_of(self._in_flight.values())
            waited_ps = environment.now
            if self._staging is not None:
                yield from self._enter(self._staging, places.of(kernel.header.step, kernel.header.layer))
            waited_ps = environment.now - waited_ps
            before = environment.process(self._run(index, kernel, waited_ps))
            self._in_flight[index] = before
        if self._in_flight:
            yield environment.all_of(self._in_flight.values())
        if self._staging is not None:
            yield from self._finish(self._staging)

    def waiting(self) -> str:
        """Return what has not ended, for when nothing moves any more."""
        waiting = [f"kernel {index} for its end" for index in self._in_flight]
        if self._staging is not None:
            waiting += self._staging.waiting()
        return "nothing will happen, but work is left: " + ("; ".join(waiting) or "a kernel for its launch")

    def _enter(self, staging: Staging, place: Place) -> Events:
        """Let the kernels of a layer end before those of the next wait for its tensors."""
        if staging.is_new(place) and self._in_flight:
            yield self.environment.all_of(self._in_flight.values())
        yield from staging.enter(place)

    def _finish(self, staging: Staging) -> Events:
        assert self._streamed is not None and self._engines is not None
        staging.leave()
        yield from staging.drain()
        self._streamed.runs = self._engines.runs
        self._streamed.waited_ps = dict(staging.waited_ps)
        self._streamed.end_ps = self.environment.now

    def _run(self, index: int, kernel: TracedKernel | StandIn, waited_ps: int) -> Events:
        """Live the life of one kernel: launched by the host or the graph, placed, ended."""
        environment = self.environment
        ready_ps = environment.now
        launch = self._device.hardware.launch
        yield environment.timeout(launch.graph_ps if self._mode is LaunchMode.GRAPH else launch.stream_ps)
        start_ps = environment.now
        waves: tuple[tuple[int, int], ...] = ()
        if isinstance(kernel, StandIn):
            yield environment.timeout(kernel.twin.end_ps - kernel.twin.start_ps)
            counters = kernel.twin.counters
        else:
            slot = self._device.launch(kernel)
            ended = self._slots[slot] = environment.event()
            self._wake()
            yield ended
            waves = self._device.waves(slot)
            counters = self._device.retire(slot)
        run = KernelRun(kernel.header, ready_ps, start_ps, environment.now, counters, waited_ps, waves)
        del self._in_flight[index]
        self.runs.append(run)
        if self._observe:
            self._observe(run)

    def _wake(self) -> None:
        """Tell `drive` that there is work."""
        if not self._work.triggered:
            self._work.succeed()

    def drive(self) -> Events:
        """Give the clock to the device and the copies up to the next event of anybody else."""
        environment = self.environment
        while True:
            if not self._device.busy and not self._copying:
                self._work = environment.event()
                yield self._work
            until = self._limit()
            running = self._device.busy
            time, slot = self._advance(environment.now, until) if running else (until, None)
            if time > LONGEST_PS:
                raise ConfigError("the run takes over 560 s of device time; lower batch, context, prompt or tokens")
            if time > environment.now:
                yield environment.timeout(time - environment.now)
            elif slot is None:
                yield environment.timeout(0)
            if self._engines is not None:
                self._engines.advance(environment.now)
                self._post(self._engines, running)
            if slot is not None:
                self._slots.pop(slot).succeed()
                yield environment.timeout(0)

    def _advance(self, now: int, until: int) -> tuple[int, int | None]:
        """Advance the device, taking samples that are due on the way."""
        samples = self._samples
        while samples is not None and samples.next_ps < until:
            now, slot = self._device.advance(now, max(now, samples.next_ps))
            if slot is not None:
                return now, slot
            samples.take(self._device, now)
        return self._device.advance(now, until)

    @property
    def _copying(self) -> bool:
        return self._engines is not None and self._engines.busy

    def _limit(self) -> int:
        """Return how far device and copies may run without looking at each other or at anybody else (ps)."""
        upcoming = self.environment.peek()
        until = FOREVER if upcoming == float("inf") else int(upcoming)
        if self._engines is not None and self._engines.busy:
            until = min(until, self._engines.copies.next_ps)
            if self._device.busy:
                until = min(until, self.environment.now + SLICE_PS)
        return until

    def _post(self, engines: CopyEngines, running: bool) -> None:
        """Let what was copied in the last slice, if kernels were `running`, take its share of device memory from them
        in the next."""
        for inward, moved in engines.take_moved().items():
            if moved and running:
                self._device.post_transfer(moved, inward, self.environment.now)
