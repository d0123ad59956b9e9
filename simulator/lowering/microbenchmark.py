"""The kernels of the public GPU microbenchmarks, load by load as their sources issue them.

Pointer chase (gpu-latency), every SM over the same buffer (gpu-cache), all SMs over one buffer (gpu-l2-cache), stream
kernels at a set occupancy (gpu-stream), a scale kernel over and over (gpu-small-kernels); te42kyfo/gpu-benches, and
RRZE-HPC/gpu-benches for the pointer chase.  All of them load through L1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Hardware
from simulator.lowering.layout import FIRST_ADDRESS
from simulator.lowering.program import Launch, traced
from simulator.trace.record import Op, Records, TracedKernel

POINTER_BYTES = 8
DOUBLE_BYTES = 8
CHUNK_RECORDS = 1 << 17

FP64_CYCLES = 8
"""Issue of an operation on doubles to that of one that needs its result (Jia et al. 2018, "Dissecting the NVIDIA Volta
GPU architecture via microbenchmarking", table 4.1: DFMA)."""

MOST_BUFFERS = 16
"""Record buffers of a CTA (core.state.MAX_STAGES); where 32 loads are in flight, they are joined in pairs."""

ARRAY_SPACING = 8 << 30
"""Distance of the arrays of a stream kernel, which are 1 GiB each."""


@dataclass(frozen=True)
class LoopShape:
    """How a bandwidth loop is written for a vendor: threads, bytes per load, loads per thread."""

    threads: int
    load_bytes: int
    loads: int

    @property
    def step_bytes(self) -> int:
        """Bytes a CTA asks for with one load instruction of all its threads."""
        return self.threads * self.load_bytes


AMD = "AMD"


def same_buffer_shape(hardware: Hardware) -> LoopShape:
    """Return the loop of gpu-cache: 256 threads that load 4 B (AMD: 16 B).

    Unrolled to 32 independent loads, whose sums follow one another.  How many the compiler has in flight is read off
    the plateau beyond L2 of the H100 PCIe: 3.69 TB/s times 372 ns of DRAM latency are 12 KiB an SM, 12 loads a thread.
    """
    return LoopShape(256, 16 if hardware.vendor == AMD else 4, 12)


def shared_total_shape(hardware: Hardware) -> LoopShape:
    """Return the loop of gpu-l2-cache: 1024 threads with 32 independent loads of 8 B (AMD: 24 of 16 B)."""
    return LoopShape(1024, 16, 24) if hardware.vendor == AMD else LoopShape(1024, 8, 32)


SHARED_TOTAL_BUFFERS = 8
"""Loads in flight per thread of gpu-l2-cache.  Two CTAs of 1024 threads leave 65536 / 2048 = 32 registers a thread,
about half of them addresses and sums: 8 doubles (CUDA programming guide, occupancy)."""


def chase_path(nodes: int, hops: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the first `hops` nodes visited on one random cycle through all of `nodes`, beginning anew after each lap.

    A path shorter than the cycle is drawn without the rest of it.
    """
    if hops < nodes:
        return rng.choice(nodes, hops, replace=False)
    return np.resize(rng.permutation(nodes), hops)


def pointer_chase(path: NDArray[np.int64], node_bytes: int, threads: int) -> TracedKernel:
    """Return one CTA that loads a pointer from each node of `path`, each once the one before has arrived.

    All threads load the same pointer, which is one request.
    """
    records = Records.of(
        len(path),
        address=FIRST_ADDRESS + path * node_bytes,
        row_bytes=np.full(len(path), POINTER_BYTES),
        through_l1=np.ones(len(path)),
        barrier=np.ones(len(path)),
    )
    launch = Launch(threads=threads, registers=32, shared_bytes=0, stages=1)
    size = len(path) * POINTER_BYTES
    return traced("pointer chase", "latency", None, 0, launch, 0, (records,), 1, len(path), size, 0)


def same_buffer(hardware: Hardware, buffer_bytes: int, first: int, count: int) -> TracedKernel:
    """Return one CTA per SM, all reading steps `first` to `first + count` of endless passes over the same buffer.

    A step is one load of every thread; `buffer_bytes` is a multiple of it.  The loops over the buffer and over the
    passes are unrolled together, so that `shape.loads` steps are in flight however short the buffer is.
    """
    shape = same_buffer_shape(hardware)
    steps = buffer_bytes // shape.step_bytes
    offset = (first + np.arange(count)) % steps * shape.step_bytes

    def make(ctas: NDArray[np.int64]) -> Records:
        total = len(ctas) * count
        return Records.of(
            total,
            requester=np.repeat(ctas, count),
            address=np.tile(FIRST_ADDRESS + offset, len(ctas)),
            row_bytes=np.full(total, shape.step_bytes),
            through_l1=np.ones(total),
            joined=np.tile(np.arange(count) % 2, len(ctas)),
        )

    launch = Launch(shape.threads, 64, 0, shape.loads // 2)
    return _kernel("same buffer", launch, make, hardware.sm.count, count, hardware.sm.count * count * shape.step_bytes)


def warm_buffer(hardware: Hardware, buffer_bytes: int, passes: int) -> TracedKernel:
    """Return one CTA per SM that reads the whole buffer `passes` times in large pieces past L1: what L2 holds after
    many passes of `same_buffer`."""
    piece = 16 << 10
    offset = np.tile(np.arange(0, buffer_bytes, piece), passes)
    size = np.minimum(piece, buffer_bytes - offset)

    def make(ctas: NDArray[np.int64]) -> Records:
        return Records.of(
            len(ctas) * len(offset),
            requester=np.repeat(ctas, len(offset)),
            address=np.tile(FIRST_ADDRESS + offset, len(ctas)),
            row_bytes=np.tile(size, len(ctas)),
        )

    total = hardware.sm.count * buffer_bytes * passes
    return _kernel("warm-up", Launch(256, 64, 0, 4), make, hardware.sm.count, len(offset), total)


def shared_total(hardware: Hardware, regions: int, first: int, count: int) -> TracedKernel:
    """Return CTAs `first` to `first + count`: CTA b reads the pieces of region b mod `regions`, step i the piece
    i x regions + region of the buffer."""
    shape = shared_total_shape(hardware)
    step = np.arange(shape.loads) * regions
    cycles = -(-shape.threads // hardware.sm.fp64_per_clock) if shape.load_bytes == DOUBLE_BYTES else 0

    def make(ctas: NDArray[np.int64]) -> Records:
        region = (first + ctas) % regions
        total = len(ctas) * shape.loads
        return Records.of(
            total,
            requester=np.repeat(ctas, shape.loads),
            address=FIRST_ADDRESS + (step + region[:, None]).ravel() * shape.step_bytes,
            row_bytes=np.full(total, shape.step_bytes),
            through_l1=np.ones(total),
            compute_cycles=np.full(total, cycles),
        )

    launch = Launch(shape.threads, 32, 0, SHARED_TOTAL_BUFFERS)
    return _kernel("shared total", launch, make, count, shape.loads, count * shape.loads * shape.step_bytes)


@dataclass(frozen=True)
class StreamKernel:
    """A kernel with one element per thread: the arrays (0 is the target) and element offsets it loads, and whether
    it stores.  `streams` is how many arrays its bandwidth counts, `chain` how many operations on doubles follow one
    another."""

    loads: tuple[tuple[int, int], ...]
    stores: bool
    streams: int
    chain: int


STREAM_KERNELS = {
    "init": StreamKernel((), True, 1, 0),
    "read": StreamKernel(((1, 0),), False, 1, 0),
    "scale": StreamKernel(((1, 0),), True, 2, 1),
    "triad": StreamKernel(((1, 0), (2, 0)), True, 3, 1),
    "3pt": StreamKernel(((1, -1), (1, 0), (1, 1)), True, 2, 3),
    "5pt": StreamKernel(((1, -2), (1, -1), (1, 0), (1, 1), (1, 2)), True, 2, 5),
}
"""The kernels of gpu-stream: A = c, read B, A = c B, A = c B + C, and stencils of B with 3 and 5 points."""


def stream(hardware: Hardware, kind: str, threads: int, first: int, count: int) -> TracedKernel:
    """Return CTAs `first` to `first + count` of a stream kernel, of which shared memory admits two to an SM."""
    shared = hardware.sm.shared_memory_bytes // 2 - hardware.sm.cta_reserved_bytes
    bases = [FIRST_ADDRESS + array * ARRAY_SPACING for array in range(3)]
    launch = Launch(threads, 32, shared, MOST_BUFFERS)
    return _elements(hardware, STREAM_KERNELS[kind], kind, bases, launch, first, count, None)


def scale(hardware: Hardware, elements: int, threads: int, source: int, target: int) -> TracedKernel:
    """Return the kernel target = c source over `elements` doubles, one per thread, source and target being array
    numbers; as many CTAs as fit are resident."""
    bases = [FIRST_ADDRESS + array * -(-elements * DOUBLE_BYTES // (2 << 20)) * (2 << 20) for array in (target, source)]
    ctas = -(-elements // threads)
    launch = Launch(threads, 16, 0, MOST_BUFFERS)
    return _elements(hardware, STREAM_KERNELS["scale"], "scale", bases, launch, 0, ctas, elements)


def arithmetic_cycles(hardware: Hardware, threads: int, chain: int) -> int:
    """Return what `chain` operations on doubles, each on the result of the one before, take the threads of a CTA."""
    return chain * max(FP64_CYCLES, -(-threads // hardware.sm.fp64_per_clock))


def _elements(
    hardware: Hardware,
    kind: StreamKernel,
    name: str,
    bases: list[int],
    launch: Launch,
    first: int,
    count: int,
    elements: int | None,
) -> TracedKernel:
    """Return CTAs of one element per thread: all loads at once, then the store; `elements` cuts the last CTA short."""
    width = launch.threads * DOUBLE_BYTES
    records = len(kind.loads) + kind.stores
    cycles = np.zeros(records, np.int64)
    cycles[0] = arithmetic_cycles(hardware, launch.threads, kind.chain)

    def make(ctas: NDArray[np.int64]) -> Records:
        start = (first + ctas) * width
        size = np.full(len(ctas), width) if elements is None else np.minimum(width, elements * DOUBLE_BYTES - start)
        table = [(bases[array] + offset * DOUBLE_BYTES, Op.READ) for array, offset in kind.loads]
        table += [(bases[0], Op.WRITE)] * kind.stores
        reading = np.array([op == Op.READ for _, op in table])
        joined = np.array([i > 0 and op == Op.READ for i, (_, op) in enumerate(table)])
        return Records.of(
            len(ctas) * records,
            requester=np.repeat(ctas, records),
            op=np.tile([int(op) for _, op in table], len(ctas)),
            address=(start[:, None] + [address for address, _ in table]).ravel(),
            row_bytes=np.repeat(size, records),
            barrier=np.tile(~reading & bool(kind.loads), len(ctas)),
            through_l1=np.tile(reading, len(ctas)),
            joined=np.tile(joined, len(ctas)),
            compute_cycles=np.tile(cycles, len(ctas)),
        )

    moved = (elements or count * launch.threads) * DOUBLE_BYTES
    return _kernel(name, launch, make, count, records, moved * len(kind.loads), moved * kind.stores)


def _kernel(
    name: str,
    launch: Launch,
    make: Callable[[NDArray[np.int64]], Records],
    ctas: int,
    cta_records: int,
    read_bytes: int,
    write_bytes: int = 0,
) -> TracedKernel:
    """Return a kernel of `ctas` CTAs of `cta_records` records each, made some CTAs at a time."""
    at_once = max(1, CHUNK_RECORDS // cta_records)

    def chunks() -> Iterator[Records]:
        for first in range(0, ctas, at_once):
            yield make(np.arange(first, min(first + at_once, ctas)))

    records = ctas * cta_records
    return traced(name, "microbenchmark", None, 0, launch, 0, chunks(), ctas, records, read_bytes, write_bytes)
