"""What would help: a run replayed with each resource made ideal in turn, and with each 10 % larger.

The kernels stay those of the run: what is asked is what the resource costs them, not what another kernel would be.
Whether a pass to warm up comes first stays as in the run, too, so that an endless L2 begins with what its L2 did.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from simulator.hardware import Hardware
from simulator.run.changes import changed, computing, no_launch, no_limits, scaled, starting
from simulator.run.execute import Prepared
from simulator.run.generate import Trace
from simulator.run.pool import spawned
from simulator.run.simulate import simulate, warms_up
from simulator.trace.record import TracedKernel
from simulator.units import PS_PER_S

Json = dict[str, Any]

MORE = 1.1
"""How much larger, or faster, a resource is made in the second question."""

FAST = 10_000
"""How much faster a server is made that is ideal: no queue is left that could be told from none."""


ENDLESS_BYTES = 32 << 30
"""As large as an endless L2 is made at most: its tags then take some 0.3 GB.  What a pass touches twice, it touches
within fewer bytes."""

ROOM = 8
"""How much larger than all tensors an endless L2 is: two partitions may keep a line each, and hashing fills sets
unevenly; at a quarter full one set in a million overflows."""

IN_FLIGHT = 4
"""How many kernels of a pass may run at once where none waits for those before: enough to fill a tail."""

WORTH_PROCESSES_S = 4.0
"""How long the replays left have to take for processes to be started: each takes over a second to begin."""


def _same(hardware: Hardware) -> Hardware:
    return hardware


@dataclass(frozen=True)
class Change:
    """What is changed: the device, each kernel, whether the kernels of a pass wait for each other, and whether copies
    are changed."""

    device: Callable[[Hardware], Hardware] = _same
    kernel: Callable[[TracedKernel], TracedKernel] | None = None
    flowing: bool = False
    copying: bool = False  # copies are changed, and what bandwidth they take from kernels

    @property
    def stands_in(self) -> bool:
        """Whether layers that agree may stand for others in a run that copies: not where kernels overlap, or lose
        another bandwidth to copies in each layer."""
        return not (self.flowing or self.copying)


@dataclass(frozen=True)
class Resource:
    """A resource of a run: what is asked of it, and how it is made ideal and 10 % larger (None: there is no such)."""

    name: str
    question: str
    ideal: Change
    more: Change | None = None


DRAM_RATE = ("t_rrd_s_ps", "t_rrd_l_ps", "t_faw_ps", "t_pre_ps", "t_act_ps")
"""What bounds the rate of DRAM commands, beside the data rate."""
DRAM_ROWS = ("t_rcd_ps", "t_rcd_wr_ps")
COPY_RATES = {
    "link": ("lane_rate_bits_per_s",),
    "host": ("bandwidth_bytes_per_s", "memcpy_bytes_per_s"),
    "ssd": ("read_bandwidth_bytes_per_s", "write_bandwidth_bytes_per_s"),
}


def _dram_bandwidth(hardware: Hardware, factor: float) -> Hardware:
    return scaled(scaled(hardware, "hbm", factor, "data_rate_bits_per_s"), "hbm", 1 / factor, *DRAM_RATE)


def _endless_dram(hardware: Hardware) -> Hardware:
    return changed(_dram_bandwidth(hardware, FAST), "hbm", t_rfc_ps=0, t_rtw_ps=0, t_wtr_ps=0, turn="overlapped")


def _instant_dram(hardware: Hardware) -> Hardware:
    return changed(hardware, "hbm", latency_ps=0, **dict.fromkeys(DRAM_ROWS, 0))


def _endless_l2(hardware: Hardware, touched: int) -> Hardware:
    """L2 keeps every line of the `touched` bytes from when it was first fetched."""
    size = hardware.l2.size_bytes
    return changed(hardware, "l2", size_bytes=max(1, -(-min(ROOM * touched, ENDLESS_BYTES) // size)) * size)


def _all_in_l2(hardware: Hardware) -> Hardware:
    """Everything is found in L2, compulsory misses too: DRAM and MSHRs take no time."""
    held = changed(_instant_dram(_endless_dram(hardware)), "l2", mshrs=no_limits(hardware).l2.mshrs)
    return changed(held, "hbm", t_rp_ps=0, t_ras_ps=0, t_rtp_ps=0, t_wr_ps=0)


def _larger_l2(hardware: Hardware) -> Hardware:
    """As many more sets as keep whole line groups, at most 10 %."""
    l2 = hardware.l2
    unit = l2.partitions * l2.line_bytes * l2.ways * 32
    unit = unit if l2.size_bytes % unit == 0 else unit // 32
    return changed(hardware, "l2", size_bytes=max(l2.size_bytes, int(l2.size_bytes * MORE) // unit * unit))


def _l2_bandwidth(hardware: Hardware, factor: float) -> Hardware:
    """The clock of L2 is that of its slices and of the link between its partitions; the port of an SM goes with it."""
    return scaled(scaled(hardware, "l2", factor, "clock_hz"), "sm", factor, "port_bytes_per_clock")


def _more_in_flight(hardware: Hardware) -> Hardware:
    return scaled(scaled(hardware, "sm", MORE, "outstanding_bytes"), "l2", MORE, "mshrs")


def _copies(hardware: Hardware, factor: float) -> Hardware:
    for part, keys in COPY_RATES.items():
        if getattr(hardware, part) is not None:
            hardware = scaled(hardware, part, factor, *keys)
    return hardware


def _instant_copies(hardware: Hardware) -> Hardware:
    fast = changed(_copies(hardware, FAST), "link", latency_ps=0)
    fast = changed(fast, "host", latency_ps=0, setup_pinned_ps=0, setup_pageable_ps=0)
    return fast if fast.ssd is None else changed(fast, "ssd", latency_ps=0, write_latency_ps=0)


RESOURCES = (
    Resource(
        "l2 hits",
        "all is found in L2, first touches too",
        Change(_all_in_l2),
    ),
    Resource(
        "dram latency",
        "DRAM answers at once",
        Change(_instant_dram),
        Change(lambda hardware: scaled(hardware, "hbm", 1 / MORE, "latency_ps", *DRAM_ROWS)),
    ),
    Resource(
        "dram bandwidth",
        "DRAM moves any number of bytes",
        Change(_endless_dram),
        Change(lambda hardware: _dram_bandwidth(hardware, MORE)),
    ),
    Resource(
        "l2 latency",
        "L2 answers at once",
        Change(lambda hardware: changed(hardware, "l2", hit_latency_ps=0, cross_latency_ps=0)),
        Change(
            lambda hardware: changed(
                scaled(hardware, "l2", 1 / MORE, "hit_latency_ps"),
                "l2",
                cross_latency_ps=round((hardware.l2.cross_latency_ps or 0) / MORE),
            )
        ),
    ),
    Resource(
        "l2 bandwidth",
        "slices, link, SM ports: any rate",
        Change(lambda hardware: _l2_bandwidth(hardware, FAST)),
        Change(lambda hardware: _l2_bandwidth(hardware, MORE)),
    ),
    Resource(
        "bytes in flight",
        "no limit per SM, MSHRs for all misses",
        Change(no_limits),
        Change(_more_in_flight),
    ),
    Resource(
        "launch",
        "kernels follow each other at once",
        Change(no_launch),
        Change(lambda hardware: scaled(hardware, "launch", 1 / MORE, "graph_ps", "stream_ps")),
    ),
    Resource(
        "cta start",
        "CTAs have no prologue",
        Change(lambda hardware: changed(hardware, "launch", cta_start_ps=0), lambda kernel: starting(kernel, 0)),
        Change(
            lambda hardware: scaled(hardware, "launch", 1 / MORE, "cta_start_ps"),
            lambda kernel: starting(kernel, 1 / MORE),
        ),
    ),
    Resource(
        "compute",
        "computing takes no time",
        Change(kernel=lambda kernel: computing(kernel, 0.0)),
        Change(kernel=lambda kernel: computing(kernel, 1 / MORE)),
    ),
    Resource(
        "balance",
        "SMs go on with the next kernel: no tail",
        Change(flowing=True),
    ),
)
"""Every resource of a run that does not copy between tiers."""

COPIES = Resource(
    "copies",
    "link, host DRAM and SSD take no time",
    Change(_instant_copies, copying=True),
    Change(lambda hardware: _copies(hardware, MORE), copying=True),
)
"""Of a run that does."""


def resources(prepared: Prepared) -> list[Resource]:
    """Return the resources that a run can be asked about."""
    touched = sum(tensor.bytes for tensor in prepared.trace.header.tensors)
    endless = Change(partial(_endless_l2, touched=touched))
    size = Resource("l2 size", "L2 is endless: only first touches miss", endless, Change(_larger_l2))
    return [*RESOURCES, size, *([COPIES] if prepared.trace.streaming is not None else [])]


def replays(prepared: Prepared) -> int:
    """Return how many replays `what_if` takes."""
    return len(_variants(resources(prepared)))


def what_if(prepared: Prepared, time_s: float, progress: Callable[[], None] = lambda: None, workers: int = 1) -> Json:
    """Return what each resource is worth to a run that took `time_s`, the one that would help most first.

    `progress` is called after each replay.  Replays that would take long are shared among `workers` processes.
    """
    found = dict(_replayed(prepared, workers, progress))
    standing = prepared.trace.streaming is not None and not prepared.exact
    unchanged_s = replay_s(prepared, Change()) if standing and time_s else time_s
    rows = []
    for place, resource in enumerate(resources(prepared)):
        row: Json = {"resource": resource.name, "question": resource.question}
        for key in KEYS:
            after_s, cost_s = found.get((place, key), (None, None))
            if after_s is not None and getattr(resource, key).stands_in and time_s:
                after_s *= time_s / unchanged_s  # against a run in which layers stand for others, too
            row[f"{key}_time_s"] = after_s
            row[f"{key}_saving"] = None if after_s is None else (1 - after_s / time_s if time_s else 0.0)
            row[f"{key}_replay_s"] = cost_s
        rows.append(row)
    return {
        "time_s": time_s,
        "more_factor": MORE,
        "resources": sorted(rows, key=lambda row: -row["ideal_saving"]),
    }


KEYS = ("ideal", "more")
Variant = tuple[int, str]
"""The place of a resource among those of the run, and which of its changes."""


def _variants(asked: list[Resource]) -> list[Variant]:
    return [(place, key) for place, each in enumerate(asked) for key in KEYS if getattr(each, key) is not None]


def _replayed(
    prepared: Prepared, workers: int, progress: Callable[[], None]
) -> Iterator[tuple[Variant, tuple[float, float]]]:
    """Yield what each variant takes on the device, and here (s), as they come: the first tells what the others cost."""
    waiting = _variants(resources(prepared))
    while waiting:
        variant = waiting.pop(0)
        outcome = _replay(prepared, variant)
        progress()
        yield variant, outcome
        if prepared.again is not None and workers > 1 and outcome[1] * len(waiting) > WORTH_PROCESSES_S:
            break
    if waiting:
        for variant, outcome in spawned(partial(_replay_again, pickle.dumps(prepared.again)), waiting, workers):
            progress()
            yield variant, outcome


def _replay_again(recipe: bytes, variant: Variant) -> tuple[float, float]:
    """In a process of its own: replay one variant of the run that a pickled call prepares."""
    return _replay(_prepared(recipe), variant)


@cache
def _prepared(recipe: bytes) -> Prepared:
    prepared: Prepared = pickle.loads(recipe)()
    return prepared


def _replay(prepared: Prepared, variant: Variant) -> tuple[float, float]:
    began_s = time.perf_counter()
    place, key = variant
    change: Change = getattr(resources(prepared)[place], key)
    found_s = replay_s(prepared, change)
    return found_s, time.perf_counter() - began_s


def replay_s(prepared: Prepared, change: Change) -> float:
    """Return how long a run takes with something changed."""
    warm = warms_up(prepared.trace, prepared.hardware.spec, prepared.protocol)
    outcome = simulate(
        _changed(prepared.trace, change),
        change.device(prepared.hardware.spec),
        prepared.protocol,
        prepared.exact,
        prepared.seed,
        overlapping=change.flowing,
        warm=warm,
        stand_ins=change.stands_in,
    )
    return int(outcome.step_ps.sum()) / PS_PER_S


def _changed(trace: Trace, change: Change) -> Trace:
    def kernels(only: frozenset[int] | None) -> Iterator[TracedKernel]:
        stream = trace.kernels(only)
        if change.flowing:
            stream = _flowing(stream)
        return map(change.kernel, stream) if change.kernel else stream

    return replace(trace, kernels=kernels)


def _flowing(kernels: Iterator[TracedKernel]) -> Iterator[TracedKernel]:
    """Yield the kernels, each free to start while `IN_FLIGHT` before it in its pass still run."""
    passed: tuple[int, ...] = ()  # kernels of the pass before, which have to end
    own: list[int] = []
    step = None
    for place, kernel in enumerate(kernels):
        if kernel.header.step != step:
            step, passed, own = kernel.header.step, tuple(own), []
        index = place if kernel.index is None else kernel.index
        after = (*passed, own[-IN_FLIGHT]) if len(own) >= IN_FLIGHT else passed
        own.append(index)
        yield replace(kernel, header=replace(kernel.header, after=after))
