"""Predicting one kernel under a measurement protocol: replays of a graph, warm caches, weights used in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.core.state import MOST_GROUP_LINES
from simulator.errors import CapacityError
from simulator.hardware import Hardware
from simulator.lowering.implementation import Implementation, implementations
from simulator.lowering.layout import GROUP_ROWS
from simulator.memory import Device
from simulator.memory.groups import whole_group_lines
from simulator.run.calls import attention_call, gemm_calls, touched_bytes
from simulator.run.cases import GemmCase, KernelCase
from simulator.run.limits import limiter
from simulator.run.saved import saving
from simulator.system import KernelRun, run_stream
from simulator.trace.record import TracedKernel
from simulator.units import PS_PER_S, format_bytes
from simulator.workload.protocol import CacheState, LaunchMode

FRESH_FOOTPRINT = {"lru": 3}
FRESH_OTHERWISE = 4
"""Above this many times the L2 size, by replacement, what one call leaves in L2 is gone when its operands come round
again, and one call before it brings L2 into its steady state: at 3 times L2 a loop over keys that has just begun takes
0.3 % less than one that goes on, at 2 times 13 % (RTX 5060 Ti)."""

RESIDENT_FOOTPRINT = 0.25
"""Up to this share of L2 all operands stay there, even where two partitions keep each line twice and sets fill
unevenly, so that any copy of a weight stands for all."""

ALIKE = 0.005
"""Within this share two replays, or two calls in a row, are taken to be alike."""

_rooms: list[NDArray[np.int64]] = []
"""Memory of the last prediction's device, for the next one."""


@dataclass(frozen=True)
class Prediction:
    """What one call comes to, its share of the graph's launch included; bytes are per call."""

    time_s: float
    l2_hit_rate: float | None
    l2_read_hit_rate: float | None
    dram_read_bytes: float
    dram_write_bytes: float
    limiter: str


@dataclass(frozen=True)
class _Calls:
    """The calls of one replay: how many, the kernels of each, made when first wanted, and the bytes all touch."""

    count: int
    kernels: Callable[[int], list[TracedKernel]]
    touched_bytes: int


def predict(
    case: KernelCase,
    hardware: Hardware,
    scalars: Implementation | None = None,
    reshape: Callable[[TracedKernel], TracedKernel] | None = None,
) -> Prediction:
    """Return the predicted time of one call of `case`, with the framework's `scalars` unless others are given.

    Every kernel goes through `reshape` first, if given.  Raises CapacityError when the operands do not fit the device.
    """
    if scalars is None:
        scalars = getattr(implementations(case.framework), case.kernel)
    assert scalars is not None
    touched = touched_bytes(case)
    if touched > hardware.hbm.size_bytes:
        raise CapacityError(
            f"operands of {format_bytes(touched)} exceed the {format_bytes(hardware.hbm.size_bytes)} of {hardware.name}"
        )
    lower = (
        gemm_calls(case, hardware, scalars)
        if isinstance(case, GemmCase)
        else lambda _: attention_call(case, hardware, scalars)
    )

    @cache
    def kernels(call: int) -> list[TracedKernel]:
        return lower(call) if reshape is None else [reshape(kernel) for kernel in lower(call)]

    calls = _Calls(case.weight_copies if isinstance(case, GemmCase) else 1, kernels, touched)
    in_graph = (isinstance(case, GemmCase) and case.calls) or calls.count
    tiled = isinstance(case, GemmCase) and case.m >= 2 * GROUP_ROWS
    lines = whole_group_lines(kernels(0), hardware.l2.line_bytes) if tiled else MOST_GROUP_LINES
    device = Device(hardware, room=_spare_room(), most_group_lines=lines)
    runs, count = _replay(case, calls, device)
    _rooms.append(device.room)
    time_ps = runs[-1].end_ps - runs[0].ready_ps
    if case.launch is LaunchMode.GRAPH:
        time_ps = _replayed_ps(time_ps * in_graph // count, scalars, hardware) * count // in_graph
    return _prediction(runs, count, time_ps, hardware)


def _spare_room() -> NDArray[np.int64] | None:
    """Take the memory of a device no longer used, if there is any."""
    try:
        return _rooms.pop()
    except IndexError:
        return None


def _replayed_ps(graph_ps: int, scalars: Implementation, hardware: Hardware) -> int:
    """Return the time from the start of a graph to the start of its next replay, which waits for half a tick on
    average: where in a tick a graph ends is finer than is known."""
    return graph_ps + scalars.replay_ps + (hardware.launch.replay_tick_ps or 0) // 2


def _replay(case: KernelCase, calls: _Calls, device: Device) -> tuple[list[KernelRun], int]:
    """Return the kernels of the timed calls and how many calls they are.

    Cold: L2 is empty before each replay.  Warm: an untimed replay comes first, and where the call is profiled the save
    of its memory.  Where operands are some times the size
    of L2 one call stands for all; where they are a small part of it, one copy of the weight.  Otherwise calls go on, in
    turn as the graph has them, until two in a row agree: they are the same work on other copies, and found L2 in the
    same state but for which copy is which.  Where calls never agree, replays go on until two of them take the same
    time, `replays` at most.
    """
    if case.cache is CacheState.COLD:
        every = chain.from_iterable(map(calls.kernels, range(calls.count)))
        return run_stream(device, every, case.launch), calls.count
    if case.profiled:
        warm = [*calls.kernels(0), saving(calls.kernels(0))]
        return run_stream(device, calls.kernels(0), case.launch, run_stream(device, warm, case.launch)[-1].end_ps), 1
    l2 = device.hardware.l2
    if calls.touched_bytes > FRESH_FOOTPRINT.get(l2.replacement, FRESH_OTHERWISE) * l2.size_bytes:
        clock = run_stream(device, calls.kernels(calls.count - 1), case.launch)[-1].end_ps
        return run_stream(device, calls.kernels(0), case.launch, clock), 1
    copies = range(1 if calls.touched_bytes <= RESIDENT_FOOTPRINT * l2.size_bytes else calls.count)
    before, clock = [], 0
    for call in copies:
        before = run_stream(device, calls.kernels(call), case.launch, clock)
        clock = before[-1].end_ps
    timed: list[KernelRun] = []
    last_ps = count = 0
    for _ in range(case.replays):
        start_ps = clock
        for call in copies:
            runs = run_stream(device, calls.kernels(call), case.launch, clock)
            clock = runs[-1].end_ps
            if _agree(before, runs):
                return runs, 1
            timed += runs
            count += 1
            before = runs
        if abs((clock - start_ps) - last_ps) <= ALIKE * last_ps:
            break
        last_ps = clock - start_ps
    return timed, count


def _agree(before: list[KernelRun], after: list[KernelRun]) -> bool:
    """Return whether two calls took the same time and found the same share of what they read in L2."""
    times = [runs[-1].end_ps - runs[0].ready_ps for runs in (before, after)]
    misses = [sum(int(run.counters[counter.READ_SECTOR_MISSES]) for run in runs) for runs in (before, after)]
    read = misses[1] + sum(int(run.counters[counter.READ_SECTOR_HITS]) for run in after)
    return all(abs(b - a) <= ALIKE * whole for (a, b), whole in ((times, times[1]), (misses, read)))


def _prediction(runs: list[KernelRun], calls: int, time_ps: int, hardware: Hardware) -> Prediction:
    total = counter.combine(run.counters for run in runs)
    hits = int(total[counter.READ_SECTOR_HITS] + total[counter.WRITE_SECTOR_HITS])
    misses = int(total[counter.READ_SECTOR_MISSES] + total[counter.WRITE_SECTOR_MISSES])
    read_hits = int(total[counter.READ_SECTOR_HITS])
    reads = read_hits + int(total[counter.READ_SECTOR_MISSES])
    launch_ps = sum(run.start_ps - run.ready_ps for run in runs) + time_ps - (runs[-1].end_ps - runs[0].ready_ps)
    return Prediction(
        time_s=time_ps / calls / PS_PER_S,
        l2_hit_rate=hits / (hits + misses) if hits + misses else None,
        l2_read_hit_rate=read_hits / reads if reads else None,
        dram_read_bytes=int(total[counter.DRAM_READ_BYTES]) / calls,
        dram_write_bytes=int(total[counter.DRAM_WRITE_BYTES]) / calls,
        limiter=limiter(total, time_ps, launch_ps, hardware),
    )
