"""A run as a timeline in the trace-event format of Chrome, which Perfetto reads too (JSON object format).

Tracks: kernels and their launches, waves of CTAs, copies by path; counters: bandwidth, hit rate and bytes in flight.
Slices of one track never overlap: those that would stand on further tracks of the same kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.memory.copies import Path
from simulator.run.simulate import KernelOutcome, Outcome
from simulator.system import CopyRun
from simulator.units import PS_PER_S

MOST_SLICES = 20_000
"""More kernels than this are shown layer by layer, more layers step by step; more waves are not shown."""

SUM_UNIT = 1024
"""Integrals of bytes over time are kept in 1024 ps."""

DEVICE, COPIES = 1, 2  # processes of the format
STREAMS, WAVES = 1, 1000  # first threads of the device

Event = dict[str, Any]


@dataclass(frozen=True)
class Slice:
    """Something that took place from `start_ps` to `end_ps`."""

    name: str
    category: str
    start_ps: int
    end_ps: int
    args: dict[str, Any]


def to_json(outcome: Outcome, title: str) -> str:
    """Return the timeline of what was replayed: kernels that a twin stands for, and interpolated steps, have no place
    in it."""
    kernels = sorted((k for k in outcome.kernels if k.start_ps is not None), key=lambda k: k.start_ps or 0)
    slices = _merged([_kernel(kernel) for kernel in kernels], kernels)
    detailed = len(slices) == len(kernels)
    launches = [_launch(kernel) for kernel in kernels if kernel.launch_ps] if detailed else []
    waves = [wave for kernel in kernels for wave in _waves(kernel)]
    events = [_meta("process_name", DEVICE, 0, title)]
    events += _tracks(DEVICE, STREAMS, "stream", sorted([*slices, *launches], key=_begin))
    if len(waves) <= MOST_SLICES:
        events += _tracks(DEVICE, WAVES, "SM waves", sorted(waves, key=_begin))
    if outcome.copies is not None:
        events.append(_meta("process_name", COPIES, 0, "copy engines"))
        for path in Path:
            copies = sorted((_copy(run) for run in outcome.copies.runs if run.path is path), key=_begin)
            events += _tracks(COPIES, 100 * (1 + path), path.name.lower().replace("_", " "), copies)
    if outcome.samples is not None:
        events += _counters(*outcome.samples)
    other = {
        "generator": "tierscope",
        "exact": outcome.exact,
        "kernels": len(outcome.kernels),
        "kernels_shown": len(kernels),
        "note": "kernels that were extrapolated are not shown; --exact replays all" if not outcome.exact else "",
    }
    tree = {"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}
    return json.dumps(tree, separators=(",", ":"), allow_nan=False) + "\n"


def _begin(piece: Slice) -> tuple[int, int]:
    return piece.start_ps, piece.end_ps


def _kernel(kernel: KernelOutcome) -> Slice:
    header, start_ps = kernel.header, kernel.start_ps or 0
    args = {
        "layer": header.layer if header.layer >= 0 else None,
        "step": header.step,
        "CTAs": header.requesters,
        "flops": header.flops,
        "DRAM bytes": int(kernel.counters[counter.DRAM_READ_BYTES] + kernel.counters[counter.DRAM_WRITE_BYTES]),
    }
    return Slice(header.name, header.operator or "kernel", start_ps, start_ps + kernel.time_ps, args)


def _launch(kernel: KernelOutcome) -> Slice:
    start_ps = kernel.start_ps or 0
    return Slice("launch", "launch", start_ps - kernel.launch_ps, start_ps, {"of": kernel.header.name})


def _waves(kernel: KernelOutcome) -> list[Slice]:
    name = kernel.header.name
    return [
        Slice(f"{name}: wave {number + 1}", "wave", begin, end, {"of": len(kernel.waves)})
        for number, (begin, end) in enumerate(kernel.waves)
    ]


def _copy(run: CopyRun) -> Slice:
    seconds = (run.end_ps - run.start_ps) / PS_PER_S
    args = {"bytes": run.bytes, "step": run.step, "GB/s": run.bytes / seconds / 1e9 if seconds else None}
    return Slice(f"place {run.place}", "copy", run.start_ps, run.end_ps, args)


def _merged(slices: list[Slice], kernels: list[KernelOutcome]) -> list[Slice]:
    """Return one slice a layer, or a step, where there are too many kernels."""
    keys: tuple[Callable[[KernelOutcome], tuple[int, ...]], ...] = (
        lambda kernel: (kernel.header.step, kernel.header.layer),
        lambda kernel: (kernel.header.step,),
    )
    for key, words in zip(keys, ("step {}, layer {}", "step {}"), strict=True):
        if len(slices) <= MOST_SLICES:
            break
        slices = []
        for place, group in groupby(kernels, key):
            members = [_kernel(kernel) for kernel in group]
            end_ps = max(each.end_ps for each in members)
            args = {"kernels": len(members)}
            slices.append(Slice(words.format(*place), "kernels", members[0].start_ps, end_ps, args))
    return slices


def _tracks(process: int, first: int, name: str, slices: Iterable[Slice]) -> Iterator[Event]:
    """Yield slices, given by start, each on the first track that is free."""
    free: list[int] = []
    for each in slices:
        track = next((i for i, free_ps in enumerate(free) if free_ps <= each.start_ps), len(free))
        if track == len(free):
            free.append(0)
            yield _meta("thread_name", process, first + track, name if track == 0 else f"{name} {track + 1}")
        free[track] = each.end_ps
        yield {
            "name": each.name,
            "cat": each.category,
            "ph": "X",
            "pid": process,
            "tid": first + track,
            "ts": each.start_ps / 1e6,
            "dur": (each.end_ps - each.start_ps) / 1e6,
            "args": each.args,
        }


def _meta(kind: str, process: int, thread: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _counters(times: list[int], counters: list[NDArray[np.int64]]) -> Iterator[Event]:
    """Yield what passed between two samples as means, at the first of them; at the last there is nothing any more."""
    for (begin, before), (end, after) in pairwise(zip(times, counters, strict=True)):
        yield from _between(begin, end - begin, after - before)
    for end in times[-1:]:
        yield from _between(end, PS_PER_S, np.zeros(counter.COUNT, np.int64))


def _between(at_ps: int, time_ps: int, passed: NDArray[np.int64]) -> Iterator[Event]:
    """Yield the counters of a time from `at_ps` on in which so much was counted."""
    per_s = PS_PER_S / time_ps

    def rate(index: int) -> float:
        return int(passed[index]) * per_s / 1e9

    def held(queue: int) -> float:
        return int(passed[queue + counter.HELD]) * SUM_UNIT / time_ps

    hits, misses = int(passed[counter.READ_SECTOR_HITS]), int(passed[counter.READ_SECTOR_MISSES])
    dram = {"read": rate(counter.DRAM_READ_BYTES), "write": rate(counter.DRAM_WRITE_BYTES)}
    yield _count("DRAM bandwidth (GB/s)", at_ps, dram)
    yield _count("L2 bandwidth (GB/s)", at_ps, {"read": rate(counter.L2_READ_BYTES)})
    if hits + misses:
        yield _count("L2 read hits (%)", at_ps, {"hits": 100 * hits / (hits + misses)})
    in_flight = {"to the SMs": held(counter.SM_QUEUE), "from and to DRAM": held(counter.MISS_QUEUE)}
    yield _count("bytes in flight", at_ps, in_flight)


def _count(name: str, at_ps: int, values: dict[str, float]) -> Event:
    """Return the values of a counter from a time on."""
    return {"name": name, "ph": "C", "pid": DEVICE, "tid": 0, "ts": at_ps / 1e6, "args": values}
