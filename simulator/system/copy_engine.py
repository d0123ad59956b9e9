"""Copy engines in SimPy time: tensors that rest below device memory are copied in ahead of the kernels that need them.

A *place* of a pass is a layer, or what comes before or after the layers.  Each place that has copies takes one buffer
of the staging area, from the start of its copies in until its last kernel has ended and its copies out are done; there
are ``prefetch_layers + 1`` buffers, so that copies run at most that far ahead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import simpy

from simulator.hardware import Hardware
from simulator.memory.copies import HostCopies, Path
from simulator.workload import Movement, Placement, Tier, Unit
from simulator.workload.residency import AFTER, BEFORE

Events = Generator[simpy.Event, Any, None]
Place = tuple[int, int]  # step, place of the pass

_INWARD = {Tier.DRAM: Path.FROM_DRAM, Tier.SSD: Path.FROM_SSD}
_OUTWARD = {Tier.DRAM: Path.TO_DRAM, Tier.SSD: Path.TO_SSD}
_PAGEABLE = {Path.FROM_DRAM: Path.FROM_PAGEABLE, Path.TO_DRAM: Path.TO_PAGEABLE}


@dataclass(frozen=True)
class CopyRun:
    """A copy that has been made: asked for at `ready_ps`, on its way from `start_ps` to `end_ps`."""

    step: int
    place: int
    path: Path
    bytes: int
    ready_ps: int
    start_ps: int
    end_ps: int

    def earlier(self, by_ps: int) -> CopyRun:
        """Return the same copy on a clock that started `by_ps` later."""
        times = {key: getattr(self, key) - by_ps for key in ("ready_ps", "start_ps", "end_ps")}
        return replace(self, **times)


class CopyEngines:
    """The copy engines of a device: each serves one copy at a time, each path carries one at a time, in order."""

    def __init__(self, environment: simpy.Environment, hardware: Hardware, wake: Callable[[], None]) -> None:
        assert hardware.link is not None and hardware.host is not None
        self.copies = HostCopies(hardware)
        self.runs: list[CopyRun] = []
        self._environment = environment
        self._host = hardware.host
        self._engines = simpy.Resource(environment, hardware.link.copy_engines)
        self._turns = {path: simpy.Resource(environment, 1) for path in Path}
        self._ends: dict[Path, simpy.Event] = {}
        self._wake = wake
        self._posted = {True: 0, False: 0}

    @property
    def busy(self) -> bool:
        """Whether a copy is on its way."""
        return bool(self._ends)

    @property
    def on_their_way(self) -> list[Path]:
        """The paths that carry a copy."""
        return list(self._ends)

    def copy(self, place: Place, path: Path, movement: Movement) -> Events:
        """Make one copy, once the path and an engine are free."""
        environment = self._environment
        ready_ps = environment.now
        with self._turns[path].request() as turn, self._engines.request() as engine:
            yield turn
            yield engine
            pageable = path in _PAGEABLE.values()
            start_ps = environment.now
            yield environment.timeout(self._host.setup_pageable_ps if pageable else self._host.setup_pinned_ps)
            self.copies.start(path, movement.bytes, environment.now, movement.run_bytes)
            ended = self._ends[path] = environment.event()
            self._wake()
            yield ended
        self.runs.append(CopyRun(*place, path, movement.bytes, ready_ps, start_ps, environment.now))

    def advance(self, until: int) -> None:
        """Move the copies on to `until` (ps) and tell those that wait for one that has ended."""
        for path in self.copies.advance(until):
            self._ends.pop(path).succeed()

    def take_moved(self) -> dict[bool, int]:
        """Return the bytes moved since the last call: towards the device (True) and away from it."""
        total = {True: 0, False: 0}
        for path, moved in zip(Path, self.copies.moved_bytes, strict=True):
            total[path.to_device] += moved
        fresh = {inward: total[inward] - self._posted[inward] for inward in total}
        self._posted = total
        return fresh


class Staging:
    """Brings in what each place of a pass needs, and takes out what it leaves."""

    def __init__(
        self,
        environment: simpy.Environment,
        engines: CopyEngines,
        units: Sequence[tuple[int, Unit]],
        placement: Placement,
    ) -> None:
        self.waited_ps: dict[int, int] = defaultdict(int)  # by step: how long kernels waited for copies
        self._environment = environment
        self._engines = engines
        self._units: dict[Place, Unit] = {(step, unit.place): unit for step, unit in units}
        self._pageable = placement.host_memory == "pageable"
        self._buffers = simpy.Resource(environment, placement.prefetch_layers + 1)
        self._held: dict[Place, simpy.resources.resource.Request] = {}
        self._ready = {place: environment.event() for place in self._units}
        self._stores: dict[int, simpy.Process] = {}  # place of the pass -> its last copies out
        self._last_store: simpy.Process | None = None
        self._current: Place | None = None

    def prefetch(self) -> Events:
        """Copy in what each place needs, in the order of the places, as far ahead as there are buffers."""
        for place, unit in self._units.items():
            buffer = self._held[place] = self._buffers.request()
            yield buffer
            stored = self._stores.get(unit.place)  # this layer's KV entries of the pass before
            if stored is not None and not stored.processed:
                yield stored
            yield from self._copy_all(place, unit.fetch, _INWARD)
            self._ready[place].succeed()

    def is_new(self, place: Place) -> bool:
        """Return whether a place is not the one entered last."""
        return place != self._current

    def enter(self, place: Place) -> Events:
        """Wait, before the first kernel of a place, for what it needs; the place before has ended."""
        if not self.is_new(place):
            return
        self.leave()
        self._current = place
        unit = self._units.get(place)
        if unit is None:
            return
        began_ps = self._environment.now
        if not self._ready[place].processed:
            yield self._ready[place]
        if unit.late:
            if self._last_store is not None and not self._last_store.processed:
                yield self._last_store
            yield from self._copy_all(place, unit.late, _INWARD)
        self.waited_ps[place[0]] += self._environment.now - began_ps

    def waiting(self) -> list[str]:
        """Return what waits for copies, for when nothing moves any more."""
        place = self._current
        words = []
        if place is not None and place in self._units and not self._ready[place].triggered:
            sizes = [f"{movement.bytes} B from {movement.tier.value}" for movement in self._units[place].fetch]
            words.append(f"step {place[0]}, place {place[1]} for its copies in ({', '.join(sizes)})")
        return words + [f"copy {path.name} for its end" for path in self._engines.on_their_way]

    def leave(self) -> None:
        """End the place entered last: its copies out begin, then its buffer is free."""
        place, self._current = self._current, None
        if place is None or place not in self._units:
            return
        store = self._environment.process(self._leave(place))
        if self._units[place].store:
            self._stores[place[1]] = self._last_store = store

    def _leave(self, place: Place) -> Events:
        yield from self._copy_all(place, self._units[place].store, _OUTWARD)
        self._buffers.release(self._held.pop(place))

    def drain(self) -> Events:
        """Wait for the last copies out."""
        for store in self._stores.values():
            if not store.processed:
                yield store

    def _copy_all(self, place: Place, movements: Iterable[Movement], paths: dict[Tier, Path]) -> Events:
        started = [
            self._environment.process(self._engines.copy(place, self._path(paths[movement.tier]), movement))
            for movement in movements
        ]
        if started:
            yield self._environment.all_of(started)

    def _path(self, path: Path) -> Path:
        return _PAGEABLE.get(path, path) if self._pageable else path


class Places:
    """Tells the place of each kernel of a run, given in order."""

    def __init__(self) -> None:
        self._step = -1
        self._layered = False

    def of(self, step: int, layer: int) -> Place:
        """Return the place of a kernel by its pass and layer (-1 outside the layers)."""
        if step != self._step:
            self._step, self._layered = step, False
        self._layered = self._layered or layer >= 0
        return step, layer if layer >= 0 else AFTER if self._layered else BEFORE
