"""The public microbenchmarks on the model: each gives a curve, measured as its program measures it.

A real launch is long (a million hops, 26 GB), so that what the simulation does not repeat is known exactly: of two
launches of the same work, one longer than the other, the difference is the steady rate, and the rest is what starting
cold costs (kernel start, empty L1).  `_whole_launch` puts the two together to the length of the real launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.errors import CapacityError, ConfigError
from simulator.hardware import Hardware
from simulator.lowering import microbenchmark as kernels
from simulator.memory import Device
from simulator.run.copies import Direction, both_ways_bandwidth, copy_bandwidth
from simulator.system import run_stream
from simulator.system.stream import KernelRun
from simulator.trace.record import TracedKernel
from simulator.units import BYTES, PS_PER_S, format_bytes, parse_quantity
from simulator.workload.protocol import LaunchMode

KIB = 1024
SEED = 0

LAUNCH_HOPS = 1_000_000
"""Hops of one launch of the pointer chase, or one lap where that is more."""

LEAST_HOPS, MOST_LAP_HOPS = 4096, 16384
"""The shorter of two simulated chases has whole laps up to the latter: the difference of the two, 2 x 16384 hops of
which part hit, then has a standard error under 0.6 %."""

CHUNK_HOPS = 1 << 18
WARM_CAPACITIES = 4
"""A warm-up reads at most this many times the L2 size: then nothing of before is left in it under any replacement."""

WARM_LAPS = 3

LEAST_STEPS = 1024
SAME_BUFFER_ELEMENTS = 10**9
SHARED_TOTAL_CTAS = 100_000
STREAM_BYTES = 1 << 30
SHORT_WAVES, LONG_WAVES = 8, 40
WRITING_WAVES = 40, 120
"""Waves of the shorter and the longer launch; more of a kernel that only writes, and so outruns device memory until all
MSHRs hold write-backs (5 MB on a GH200)."""


SAME_PAIR = 0.005
MOST_PAIRS = 12
SMALL_BLOCKS = (64, 128, 256, 512, 1024)
BIG_BLOCKS = (256, 512, 1024)
"""Threads per CTA tried by the small-kernel benchmark, the best of which counts; few threads only pay where the grid
does not fill the device."""


class Point(NamedTuple):
    """One point of a curve: x and the predicted value, in the units of its variant."""

    x: float
    value: float


Curve = Iterator[Point]
Measure = Callable[[Hardware, Iterable[float]], Curve]


@dataclass(frozen=True)
class Variant:
    """One way to run a benchmark, which gives a curve: `measure` yields the points at the x values it is given."""

    name: str
    description: str
    measure: Measure


@dataclass(frozen=True)
class Benchmark:
    """A microbenchmark: what its curves are over, in which units, and the x values it has on a device by default."""

    name: str
    title: str
    x_name: str
    x_unit: str
    unit: str
    variants: tuple[Variant, ...]
    default_x: Callable[[Hardware, int], list[float]]

    def variant(self, name: str) -> Variant:
        """Return the variant called `name`; raises ConfigError."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        allowed = ", ".join(variant.name for variant in self.variants)
        raise ConfigError(f"benchmark {self.name}: unknown variant {name!r}; allowed: {allowed}")


def parse_x(benchmark: Benchmark, text: str) -> float:
    """Return the x written in `text`, such as "64 KiB" or "256"; raises ConfigError."""
    try:
        return parse_quantity(text, BYTES) / KIB if benchmark.x_unit == "KiB" else float(int(text))
    except ValueError as error:
        kind = "a size such as 64KiB" if benchmark.x_unit == "KiB" else "a number of threads"
        raise ConfigError(f"benchmark {benchmark.name}: cannot read {text!r}: write {kind}") from error


def check_x(benchmark: Benchmark, hardware: Hardware, x: float) -> None:
    """Raise ConfigError or CapacityError where the benchmark cannot be run at `x`."""
    if x <= 0:
        raise ConfigError(f"benchmark {benchmark.name}: {benchmark.x_name} must be positive (given {x:g})")
    if benchmark.x_unit == "KiB" and x * KIB > hardware.hbm.size_bytes // 2:
        memory = format_bytes(hardware.hbm.size_bytes)
        raise CapacityError(
            f"benchmark {benchmark.name}: {format_bytes(x * KIB)} is over half of the {memory} of memory"
        )
    most = min(1024, hardware.sm.threads // 2)
    if benchmark.x_unit == "threads" and x > most:
        raise ConfigError(
            f"benchmark {benchmark.name}: two CTAs of an SM have at most {most} threads each ({x:g} given)"
        )


class _Runs:
    """Kernels one after the other on one device."""

    def __init__(self, hardware: Hardware) -> None:
        self.device = Device(hardware)
        self.now_ps = 0

    def run(self, *work: TracedKernel) -> int:
        """Run kernels and return the time from the start to the end of the last one (ps)."""
        last = run_stream(self.device, work, start_ps=self.now_ps)[-1]
        self.now_ps = last.end_ps
        return last.end_ps - last.start_ps


def _whole_launch(short_ps: int, short: int, long_ps: int, long: int, whole: float) -> float:
    """Return the time of a launch of `whole` units of work, given the times of two others (ps)."""
    return short_ps + (long_ps - short_ps) / (long - short) * (whole - short)


def _latency(node_bytes: int, threads: int) -> Measure:
    def measure(hardware: Hardware, sizes: Iterable[float]) -> Curve:
        for size in sizes:
            yield Point(size, _chase_ps(hardware, int(size * KIB), node_bytes, threads) / 1000)

    return measure


def _chase_ps(hardware: Hardware, size: int, node_bytes: int, threads: int) -> float:
    """Return the time per hop through `size` bytes of nodes (ps)."""
    nodes = max(1, size // node_bytes)
    laps = WARM_LAPS if 2 * size > hardware.l2.size_bytes else 1
    warm = min(laps * nodes, WARM_CAPACITIES * hardware.l2.size_bytes // node_bytes)
    short = -(-LEAST_HOPS // nodes) * nodes if nodes <= MOST_LAP_HOPS else MOST_LAP_HOPS
    long = 3 * short
    rng = np.random.default_rng(SEED)
    lap = kernels.chase_path(nodes, min(nodes, warm + short + long), rng)
    place = 0

    def hops(count: int) -> TracedKernel:
        nonlocal place
        path = lap[(place + np.arange(count)) % len(lap)]
        place += count
        return kernels.pointer_chase(path, node_bytes, threads)

    runs = _Runs(hardware)
    for done in range(0, warm, CHUNK_HOPS):
        runs.run(hops(min(CHUNK_HOPS, warm - done)))
    short_ps, long_ps = runs.run(hops(short)), runs.run(hops(long))
    whole = max(nodes, LAUNCH_HOPS)
    return _whole_launch(short_ps, short, long_ps, long, whole) / whole


def _same_buffer(hardware: Hardware, sizes: Iterable[float]) -> Curve:
    step = kernels.same_buffer_shape(hardware).step_bytes
    for size in sizes:
        steps = max(1, -(-int(size * KIB) // step))
        buffer = steps * step
        runs = _Runs(hardware)
        passes = WARM_LAPS if 2 * buffer > hardware.l2.size_bytes else 1
        runs.run(kernels.warm_buffer(hardware, buffer, passes))
        short = max(2 * steps, LEAST_STEPS) if steps <= LEAST_STEPS else LEAST_STEPS
        long = 3 * short
        short_ps = runs.run(kernels.same_buffer(hardware, buffer, 0, short))
        long_ps = runs.run(kernels.same_buffer(hardware, buffer, short, long))
        elements = steps * kernels.same_buffer_shape(hardware).threads
        whole = (SAME_BUFFER_ELEMENTS // elements + 2) * steps
        time_ps = _whole_launch(short_ps, short, long_ps, long, whole)
        yield Point(size, _gb_per_s(hardware.sm.count * whole * step, time_ps))


def _shared_total(hardware: Hardware, sizes: Iterable[float]) -> Curve:
    shape = kernels.shared_total_shape(hardware)
    region = shape.loads * shape.step_bytes
    wave = hardware.sm.count * max(1, hardware.sm.threads // shape.threads)
    for size in sizes:
        regions = max(1, round(size * KIB / region))
        capacities = -(-WARM_CAPACITIES * hardware.l2.size_bytes // region)
        warm = min(WARM_LAPS * max(regions, wave), max(capacities, wave))
        short, long = 4 * wave, 16 * wave
        runs = _Runs(hardware)
        runs.run(kernels.shared_total(hardware, regions, 0, warm))
        short_ps = runs.run(kernels.shared_total(hardware, regions, warm, short))
        long_ps = runs.run(kernels.shared_total(hardware, regions, warm + short, long))
        time_ps = _whole_launch(short_ps, short, long_ps, long, SHARED_TOTAL_CTAS)
        yield Point(size, _gb_per_s(SHARED_TOTAL_CTAS * region, time_ps))


def _stream(kind: str) -> Measure:
    def measure(hardware: Hardware, blocks: Iterable[float]) -> Curve:
        runs = _Runs(hardware)
        widest = 1024 * kernels.DOUBLE_BYTES
        warm = WARM_CAPACITIES * hardware.l2.size_bytes // widest
        threads = min(1024, hardware.sm.threads // 2 // 32 * 32)
        runs.run(kernels.stream(hardware, kind, threads, 0, warm))
        place = warm * widest  # nothing is touched twice
        for block in blocks:
            threads = int(block)
            width = threads * kernels.DOUBLE_BYTES
            first = -(-place // width)
            wave = 2 * hardware.sm.count
            loads = bool(kernels.STREAM_KERNELS[kind].loads)
            short, long = (waves * wave for waves in ((SHORT_WAVES, LONG_WAVES) if loads else WRITING_WAVES))
            place = (first + short + long) * width
            short_ps = runs.run(kernels.stream(hardware, kind, threads, first, short))
            long_ps = runs.run(kernels.stream(hardware, kind, threads, first + short, long))
            whole = STREAM_BYTES / width
            time_ps = _whole_launch(short_ps, short, long_ps, long, whole) + hardware.launch.graph_ps
            yield Point(block, _gb_per_s(STREAM_BYTES * kernels.STREAM_KERNELS[kind].streams, time_ps))

    return measure


def _small_kernels(mode: LaunchMode) -> Measure:
    def measure(hardware: Hardware, sizes: Iterable[float]) -> Curve:
        for size in sizes:
            elements = max(1, int(size * KIB) // (2 * kernels.DOUBLE_BYTES))
            filled = elements >= 1024 * hardware.sm.threads
            blocks: tuple[int, ...] = BIG_BLOCKS if filled else SMALL_BLOCKS
            if size * KIB > WARM_CAPACITIES * hardware.l2.size_bytes:
                blocks = BIG_BLOCKS[-1:]
            time_ps = min(_repeated_ps(hardware, elements, block, mode) for block in blocks)
            yield Point(size, _gb_per_s(elements * 2 * kernels.DOUBLE_BYTES, time_ps))

    return measure


def _repeated_ps(hardware: Hardware, elements: int, threads: int, mode: LaunchMode) -> float:
    """Return the time per kernel of B = c A, A = c B, B = c A..., once two pairs in a row take the same time (ps)."""
    ended: list[KernelRun] = []

    def pairs() -> list[int]:
        ends = [run.end_ps for run in ended]
        return [ends[i] - ends[i - 2] for i in range(2, len(ends), 2)]

    def converged() -> bool:
        times = pairs()
        return len(times) > 1 and abs(times[-1] - times[-2]) <= SAME_PAIR * times[-1]

    def alternating() -> Iterator[TracedKernel]:
        for _ in range(MOST_PAIRS):
            yield kernels.scale(hardware, elements, threads, 0, 1)
            yield kernels.scale(hardware, elements, threads, 1, 0)
            if converged():
                return

    run_stream(Device(hardware), alternating(), mode, observe=ended.append)
    return pairs()[-1] / 2


def _gb_per_s(size: float, time_ps: float) -> float:
    return size / (time_ps / PS_PER_S) / 1e9


def _log_sizes(least_kib: float, capacities: float) -> Callable[[Hardware, int], list[float]]:
    """Return what gives sizes in KiB, equally spaced in their logarithm, from `least_kib` to multiples of L2."""

    def sizes(hardware: Hardware, points: int) -> list[float]:
        most = capacities * hardware.l2.size_bytes / KIB
        return [float(size) for size in dict.fromkeys(np.geomspace(least_kib, most, points).round().tolist())]

    return sizes


def _blocks(hardware: Hardware, points: int) -> list[float]:
    most = min(1024, hardware.sm.threads // 2)
    return [float(32 * round(x)) for x in dict.fromkeys(np.linspace(1, most // 32, points).round().tolist())]


def _copy(direction: Direction, pinned: bool) -> Measure:
    def measure(hardware: Hardware, sizes: Iterable[float]) -> Curve:
        for size in sizes:
            yield Point(size, copy_bandwidth(hardware, max(1, int(size * KIB)), direction, pinned) / 1e9)

    return measure


def _both_ways(hardware: Hardware, sizes: Iterable[float]) -> Curve:
    for size in sizes:
        yield Point(size, both_ways_bandwidth(hardware, max(1, int(size * KIB))) / 1e9)


def _copy_sizes(hardware: Hardware, points: int) -> list[float]:
    """Return sizes in KiB from 64 B to 1 GiB, or to half of the memory."""
    most = min(1 << 30, hardware.hbm.size_bytes // 2) // KIB
    return [round(size * KIB) / KIB for size in np.geomspace(1 / 16, most, points).tolist()]


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "latency",
            "Pointer chase",
            "working set",
            "KiB",
            "ns",
            (
                Variant("128 B nodes", "one thread", _latency(128, 1)),
                Variant("64 B nodes", "64 threads in step", _latency(64, 64)),
            ),
            _log_sizes(2, 8),
        ),
        Benchmark(
            "bandwidth",
            "Read bandwidth",
            "working set",
            "KiB",
            "GB/s",
            (
                Variant("per_sm_same_buffer", "every SM reads the same buffer", _same_buffer),
                Variant("shared_total", "all SMs share one buffer", _shared_total),
            ),
            _log_sizes(8, 4),
        ),
        Benchmark(
            "stream",
            "Stream kernels, two CTAs per SM",
            "threads per CTA",
            "threads",
            "GB/s",
            tuple(Variant(kind, f"{kind} kernel", _stream(kind)) for kind in kernels.STREAM_KERNELS),
            _blocks,
        ),
        Benchmark(
            "small-kernels",
            "Repeated small kernels",
            "volume of both arrays",
            "KiB",
            "GB/s",
            (
                Variant("stream", "launched one by one", _small_kernels(LaunchMode.STREAM)),
                Variant("graph", "in a CUDA graph", _small_kernels(LaunchMode.GRAPH)),
            ),
            _log_sizes(64, 8),
        ),
        Benchmark(
            "copy",
            "Copies between host and device",
            "size",
            "KiB",
            "GB/s",
            (
                *(
                    Variant(f"{way.value} {memory}", f"one blocking copy, {memory} memory", _copy(way, pinned))
                    for way in Direction
                    for memory, pinned in (("pinned", True), ("pageable", False))
                ),
                Variant("both ways pinned", "two copies at once, one each way, added up", _both_ways),
            ),
            _copy_sizes,
        ),
    )
}
