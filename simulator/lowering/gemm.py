"""Matrix products: which tiles a library cuts them into, and what each CTA then reads and writes.

The weight is the tall operand: a CTA computes `tile_n` outputs (rows of the weight) for `tile_m` inputs over a share
of k, through a pipeline of `stages` buffers of 64 columns.  Candidates and shared-memory use follow the kernel names
that profilers show for cuBLAS: nvjet_*_{n}x{m}_64x{stages} with stages = min(16, shared memory / 128 (n + m)) on
devices with asynchronous bulk copies, ampere_*_{n}x{m}_..stages_64x{3..6} before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.errors import ConfigError
from simulator.hardware import Hardware
from simulator.lowering.implementation import Implementation
from simulator.lowering.layout import Matrix
from simulator.lowering.program import CHUNK_RECORDS, Launch, ProgramBuilder, contiguous, shares, traced, traced_whole
from simulator.trace.record import Op, Records, TracedKernel
from simulator.units import PS_PER_S
from simulator.workload.operators import GemmShape

SHARPNESS = 4  # how closely an estimate follows its slowest part alone
K_BYTES = 128
"""Bytes of a row of either operand in one stage: 64 columns of 16 bits (TK = 64 in the kernel names)."""

RECORD_BYTES = 16384
"""Stages are joined into records of about this size: 16 KiB are in flight for 5 ns of an H100's bandwidth."""

RESERVED_SHARED_BYTES = 16756  # barriers and the epilogue's staging in the kernels' launch configurations
STORED, BULK_STORED = 10, 64
"""Outputs that a CTA ends with per cycle.  Before bulk copies accumulators of 4 bytes go into shared memory and out of
it at 128 bytes a cycle, then to L2 at 64: 1 / (8 / 128 + 2 / 64).  With them 16-bit outputs go in, and leave on their own.
"""
PROLOGUE_CLOCK_HZ = 2_000_000_000  # at which a scalar's prologue is stated
GROUPED_ROWS = 8  # tiles of m that advance together through n, as in the Triton matmul tutorial
IntArray = NDArray[np.int64]
PARTIAL_BYTES = 4  # split-K partial sums are fp32
REDUCED_PER_CTA = 2048  # outputs: 512 threads x 4

BULK_TILES_N = (64, 128, 192, 256, 320)
BULK_TILES_M = (64, 128, 192, 256)  # and those between, in steps of 8, that waste the fewest rows
BULK_PARTS = 6
BULK_TILE_OUTPUTS = 320 * 128  # the largest seen: more accumulators do not fit the registers
BULK_STAGES = 16
TILE_STAGES = {
    (64, 64): 6,
    (128, 64): 3,
    (64, 128): 3,
    (128, 128): 3,
    (256, 64): 3,
    (64, 256): 3,
    (256, 128): 3,
    (128, 256): 3,
}
"""Stages of 64 columns by tile (n, m) of the kernels before bulk copies: ampere_bf16_s16816gemm_bf16_64x64_sliced1x2_
.._64x6, _128x64_.._64x3 (or 32x6), _128x128_.._64x3, _256x128_.._64x3 and their mirror images in profiles."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut: tile, ways k is split, stages, CTAs that share a weight tile by multicast."""

    tile_m: int
    tile_n: int
    split: int
    stages: int
    cluster: int
    threads: int


@dataclass(frozen=True, slots=True)
class Bias:
    """A vector of n elements added to every row of the output."""

    address: int
    element_bytes: int


@dataclass(frozen=True, slots=True)
class Operands:
    """Where the operands of a product lie."""

    source: Matrix  # [m][k]
    weight: Matrix  # [n][k]
    output: Matrix  # [m][n]
    bias: Bias | None
    workspace: int  # address of the split-K partial sums


def bulk_copies(hardware: Hardware) -> bool:
    """Return whether the device has the large shared memory that goes with asynchronous bulk copies (Hopper on)."""
    return hardware.sm.shared_memory_bytes >= 200 * 1024


def overhead_ps(tiling: Tiling, hardware: Hardware, scalars: Implementation) -> int:
    """Return what a CTA takes besides its main loop: set-up and end are instructions, whose time goes with the clock."""
    stored = BULK_STORED if bulk_copies(hardware) else STORED
    end_ps = tiling.tile_m * tiling.tile_n * PS_PER_S // (stored * hardware.sm.clock_hz)
    return scalars.prologue_ps * PROLOGUE_CLOCK_HZ // hardware.sm.clock_hz + end_ps


class Pinned(NamedTuple):
    """Sides of the tile where the kernel is known; 0: the library chooses."""

    tile_m: int = 0
    tile_n: int = 0


CHOSEN = Pinned()


def choose(shape: GemmShape, hardware: Hardware, scalars: Implementation, pinned: Pinned = CHOSEN) -> Tiling:
    """Return the tiling with the least estimated time, as a library's heuristic ranks its kernels.

    Raises ConfigError when not even the smallest tile fits.
    """
    candidates = list(_candidates(shape, hardware, pinned))
    if not candidates:
        raise ConfigError(f"{hardware.name}: sm.shared_memory: too small for any GEMM tile; raise it with --set")
    return min(candidates, key=lambda tiling: (_estimate(shape, tiling, hardware, scalars), tiling.split))


def _candidates(shape: GemmShape, hardware: Hardware, pinned: Pinned) -> Iterator[Tiling]:
    bulk = bulk_copies(hardware)
    k_steps = -(-shape.k * shape.weight_dtype.bytes // K_BYTES)
    room = hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes - (RESERVED_SHARED_BYTES if bulk else 0)
    for tile_n, tile_m, most_stages in _tiles(shape.m, bulk, pinned):
        stages = min(most_stages, room // (K_BYTES * (tile_n + tile_m)))
        if stages < 2:
            continue
        tiles = -(-shape.m // tile_m) * -(-shape.n // tile_n)
        cluster = 2 if bulk and tile_m >= 128 and -(-shape.m // tile_m) % 2 == 0 else 1
        threads = 384 if bulk else (128 if tile_m * tile_n <= 128 * 64 else 256)
        limit = min(k_steps // 8, hardware.sm.count // tiles) if tiles < hardware.sm.count else 1
        for split in sorted({1, *(s for s in (2, 3, 4, 6, 8, 12, 16, 32) if s <= limit)}):
            yield Tiling(tile_m, tile_n, split, stages, cluster, threads)


def _tiles(m: int, bulk: bool, pinned: Pinned) -> Iterator[tuple[int, int, int]]:
    """Yield the tiles (n, m) that a library has kernels for, with their stages; of those with room for more than `m`
    inputs the narrowest alone."""
    fewest = -(-m // BULK_TILES_M[-1])
    parts = {-(-m // (8 * (fewest + more))) * 8 for more in range(BULK_PARTS)}  # the narrowest for so many tiles
    pairs = [(n, m) for n in BULK_TILES_N for m in sorted({*parts, *BULK_TILES_M})] if bulk else list(TILE_STAGES)
    if pinned.tile_n or pinned.tile_m:
        pairs = [(pinned.tile_n or n, pinned.tile_m or m) for n, m in pairs]
    covering = min((tile_m for _, tile_m in pairs if tile_m >= m), default=m)
    for tile_n, tile_m in dict.fromkeys(pairs):
        if tile_m > covering or (bulk and tile_m * tile_n > BULK_TILE_OUTPUTS):
            continue
        yield tile_n, tile_m, BULK_STAGES if bulk else TILE_STAGES.get((tile_n, tile_m), 3)


def _estimate(shape: GemmShape, tiling: Tiling, hardware: Hardware, scalars: Implementation) -> float:
    """Return a closed-form estimate of the time (s): the slowest of the matrix units, the bytes in flight and the port
    of the SM with the most CTAs, L2 and DRAM; the start of each wave; and the reduction of a split."""
    sm = hardware.sm
    k_steps = -(-shape.k * shape.weight_dtype.bytes // K_BYTES)
    ctas = -(-shape.m // tiling.tile_m) * -(-shape.n // tiling.tile_n) * tiling.split
    steps = -(-k_steps // tiling.split)
    occupancy = max(1, min(sm.threads // tiling.threads, _resident(tiling, hardware)))
    busiest = -(-ctas // sm.count)  # CTAs of one SM
    weight_bytes = K_BYTES * tiling.tile_n / tiling.cluster  # of a step
    step_bytes = K_BYTES * min(tiling.tile_m, shape.m) + weight_bytes
    distinct = shape.k * (shape.n * shape.weight_dtype.bytes + shape.m * shape.activation_dtype.bytes)
    hit = (hardware.l2.hit_latency_ps + (hardware.l2.cross_latency_ps or 0)) * 1e-12
    miss = hardware.hbm.latency_ps * 1e-12
    room = min(sm.outstanding_bytes - RECORD_BYTES // 2, min(occupancy, busiest) * tiling.stages * step_bytes)
    most = busiest * steps
    limits = (
        most * _step_cycles(shape, tiling, hardware, scalars) / sm.clock_hz,
        most * (step_bytes * hit + weight_bytes * miss) / room,
        most * step_bytes / (sm.port_bytes_per_clock * sm.clock_hz),
        ctas * steps * step_bytes / hardware.l2.bandwidth_bytes_per_s,
        distinct / hardware.hbm.peak_bytes_per_s,
    )
    time = sum(limit**SHARPNESS for limit in limits) ** (1 / SHARPNESS)
    start = (hardware.launch.cta_start_ps + overhead_ps(tiling, hardware, scalars)) * 1e-12
    time += -(-ctas // (sm.count * occupancy)) * (start + 2 * (hit + miss))
    if tiling.split > 1:
        moved = shape.m * shape.n * PARTIAL_BYTES * tiling.split * 2
        time += (hardware.launch.graph_ps + hardware.launch.cta_start_ps) * 1e-12 + 2 * hit
        time += moved / hardware.l2.bandwidth_bytes_per_s
    return time


def _resident(tiling: Tiling, hardware: Hardware) -> int:
    used = K_BYTES * (tiling.tile_m + tiling.tile_n) * tiling.stages + hardware.sm.cta_reserved_bytes
    return hardware.sm.shared_memory_bytes // used


def _step_cycles(shape: GemmShape, tiling: Tiling, hardware: Hardware, scalars: Implementation) -> int:
    """Return the matrix-unit cycles of one stage of a whole tile, its padding included."""
    wider = max(shape.weight_dtype, shape.activation_dtype, key=lambda dtype: dtype.bytes)
    rate: float = getattr(hardware.sm.tensor_flops_per_clock, wider.value) * scalars.matrix_efficiency
    sustained = hardware.sm.sustained_tensor_flops_per_clock
    if sustained is not None:  # power limits what all SMs do together: where some idle, the others may do more
        ctas = -(-shape.m // tiling.tile_m) * -(-shape.n // tiling.tile_n) * tiling.split
        busy = ctas / (-(-ctas // hardware.sm.count) * hardware.sm.count)
        rate = min(rate, getattr(sustained, wider.value) / busy)
    columns = K_BYTES // shape.weight_dtype.bytes
    return math.ceil(2 * tiling.tile_m * tiling.tile_n * columns / rate)


def lower(
    shape: GemmShape,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None = None,
    step: int = 0,
    name: str = "gemm",
    pinned: Pinned = CHOSEN,
) -> Iterator[TracedKernel]:
    """Yield the kernels of one product: the main one and, when k is split, the reduction of the partial sums."""
    tiling = choose(shape, hardware, scalars, pinned)
    yield _main_kernel(shape, tiling, operands, hardware, scalars, kernel, layer, step, name)
    if tiling.split > 1:
        yield _reduce_kernel(shape, tiling, operands, hardware, scalars, kernel + 1, layer, step, name)


def _main_kernel(
    shape: GemmShape,
    tiling: Tiling,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
    name: str,
) -> TracedKernel:
    grid = _Grid(shape, tiling, operands)
    label = f"{name} {tiling.tile_n}x{tiling.tile_m}x{tiling.stages}"
    if tiling.split > 1:
        label += f" split-K {tiling.split}"
    launch = Launch(
        threads=tiling.threads,
        registers=168 if bulk_copies(hardware) else 128,
        shared_bytes=K_BYTES * (tiling.tile_m + tiling.tile_n) * tiling.stages,
        stages=min(16, max(4, 2 * (tiling.stages // grid.joined))),
        prologue_ps=overhead_ps(tiling, hardware, scalars),
        run_bytes=K_BYTES,  # weights are stored row by row of k: a stage takes 64 columns of each row
        run_gap_ps=scalars.run_gap_ps,
    )
    return traced(
        label,
        "gemm",
        layer,
        step,
        launch,
        shape.flops,
        _Chunks(grid, kernel, _step_cycles(shape, tiling, hardware, scalars)),
        grid.ctas,
        grid.records,
        grid.read_bytes,
        grid.write_bytes,
    )


class _Grid:
    """The CTAs of a product: which tile and which share of k each has."""

    def __init__(self, shape: GemmShape, tiling: Tiling, operands: Operands) -> None:
        self.shape, self.tiling, self.operands = shape, tiling, operands
        self.weight_scale = shape.weight_dtype.bytes
        self.source_scale = shape.activation_dtype.bytes
        self.tiles_m = -(-shape.m // tiling.tile_m)
        self.tiles_n = -(-shape.n // tiling.tile_n)
        self.ctas = self.tiles_m * self.tiles_n * tiling.split
        strided = operands.source.row_step > 1
        least = max(1, self.weight_scale // self.source_scale)  # whole panels of the input too
        most = min(RECORD_BYTES // (K_BYTES * max(tiling.tile_n, tiling.tile_m)), tiling.stages // 2)
        self.joined = least if strided else max(least, most)
        self.record_bytes = self.joined * K_BYTES
        steps = -(-operands.weight.row_bytes // self.record_bytes)
        self.bounds = np.arange(tiling.split + 1, dtype=np.int64) * steps // tiling.split
        self.most_steps = int(np.diff(self.bounds).max())
        self.bias = operands.bias if tiling.split == 1 else None  # a split product adds it in the reduction
        idle = max(0, tiling.cluster - (shape.n - (self.tiles_n - 1) * tiling.tile_n))  # no weight row left for them
        self.records = self.tiles_m * self.tiles_n * (2 * steps + tiling.split * (1 + (self.bias is not None)))
        self.records -= self.tiles_m // tiling.cluster * idle * steps

    @property
    def read_bytes(self) -> int:
        """Bytes all CTAs ask of L2."""
        shape = self.shape
        weights = self.tiles_m // self.tiling.cluster * shape.n * _padded(self.operands.weight)
        total = weights + self.tiles_n * shape.m * _padded(self.operands.source)
        if self.bias:
            total += self.tiles_m * shape.n * self.bias.element_bytes
        return total

    @property
    def write_bytes(self) -> int:
        """Bytes all CTAs write."""
        if self.tiling.split > 1:
            return self.tiling.split * self.shape.m * self.shape.n * PARTIAL_BYTES
        return self.shape.m * _padded(self.operands.output)

    def place(self, cta: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return tile row, tile column and share of k of each CTA.

        CTAs of a split are neighbours.  Tiles go down GROUPED_ROWS rows of m, then one column of n on, so that the
        CTAs resident at one time share both operands.
        """
        tile, share = np.divmod(cta, self.tiling.split)
        group, within = np.divmod(tile, GROUPED_ROWS * self.tiles_n)
        height = np.minimum(self.tiles_m - group * GROUPED_ROWS, GROUPED_ROWS)
        column, row = np.divmod(within, height)
        return group * GROUPED_ROWS + row, column, share

    def chunk(self, kernel: int, first: int, last: int, step_cycles: int) -> Records:
        """Return the records of CTAs first <= c < last: per step the weight then the input, at last the output."""
        shape, tiling, operands = self.shape, self.tiling, self.operands
        cta = np.arange(first, last, dtype=np.int64)
        tile_row, tile_column, share = self.place(cta)
        row, column = tile_row * tiling.tile_m, tile_column * tiling.tile_n
        rows = np.minimum(shape.m - row, tiling.tile_m)
        columns = np.minimum(shape.n - column, tiling.tile_n)
        rank = tile_row % tiling.cluster  # the CTAs of a cluster fetch a part of the weight tile each, for all
        part_first = columns * rank // tiling.cluster
        part_last = columns * (rank + 1) // tiling.cluster
        step = self.bounds[share][:, None] + np.arange(self.most_steps)
        keep = step < self.bounds[share + 1][:, None]
        byte = np.where(keep, step * self.record_bytes, 0)
        weight_size = np.minimum(_padded(operands.weight) - byte, self.record_bytes)
        source_byte = byte * self.source_scale // self.weight_scale
        source_size = np.minimum(
            _padded(operands.source) - source_byte, self.record_bytes * self.source_scale // self.weight_scale
        )
        cycles = -(-weight_size // K_BYTES) * step_cycles
        program = ProgramBuilder(kernel)
        each = cta[:, None]
        weight = operands.weight.tile(
            (column + part_first)[:, None], (part_last - part_first)[:, None], byte, weight_size
        )
        source = operands.source.tile(row[:, None], rows[:, None], source_byte, source_size)
        program.add_interleaved(each, Op.READ, ((weight, 0), (source, cycles)), keep)
        if self.bias:
            width = self.bias.element_bytes
            program.add(cta, Op.READ, contiguous(self.bias.address + column * width, columns * width))
        if tiling.split > 1:
            size = columns * rows * PARTIAL_BYTES
            start = (share * shape.m * shape.n + row * shape.n + column * rows) * PARTIAL_BYTES
            program.add(cta, Op.WRITE, contiguous(operands.workspace + start, size), barrier=True)
        else:
            width = operands.output.row_bytes // shape.n
            panel = operands.output.panel_bytes
            size = np.minimum(_padded(operands.output) - column * width, -(-columns * width // panel) * panel)
            program.add(cta, Op.WRITE, operands.output.tile(row, rows, column * width, size), barrier=True)
        return program.records()


@dataclass(frozen=True)
class _Chunks:
    """The records of a product's main kernel, made some CTAs at a time."""

    grid: _Grid
    kernel: int
    step_cycles: int

    def __iter__(self) -> Iterator[Records]:
        ctas = max(1, CHUNK_RECORDS // (2 * self.grid.most_steps + 1))
        for first in range(0, self.grid.ctas, ctas):
            yield self.grid.chunk(self.kernel, first, min(first + ctas, self.grid.ctas), self.step_cycles)


def _reduce_kernel(
    shape: GemmShape,
    tiling: Tiling,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
    name: str,
) -> TracedKernel:
    """Return the kernel that adds the partial sums of a split product and writes the output."""
    ctas = min(-(-shape.m * shape.n // REDUCED_PER_CTA), 4 * hardware.sm.count)
    start, size = shares(operands.workspace, shape.m * shape.n * PARTIAL_BYTES, ctas)
    part = np.arange(tiling.split)
    program = ProgramBuilder(kernel)
    runs = contiguous(start[:, None] + part * shape.m * shape.n * PARTIAL_BYTES, size[:, None])
    cycles = -(-shape.m * shape.n // (ctas * hardware.sm.vector_flops_per_clock))
    program.add(np.arange(ctas)[:, None], Op.READ, runs, compute_cycles=cycles)
    if operands.bias:
        width = operands.bias.element_bytes
        start, size = shares(operands.bias.address, shape.n * width, min(ctas, -(-shape.n // REDUCED_PER_CTA)))
        program.add(np.arange(len(size)), Op.READ, contiguous(start, size))
    start, size = shares(operands.output.address, shape.m * _padded(operands.output), ctas)
    program.add(np.arange(ctas), Op.WRITE, contiguous(start, size), barrier=True)
    launch = Launch(threads=512, registers=32, shared_bytes=0, stages=16)
    return traced_whole(f"{name} split-K reduce", "gemm", layer, step, launch, 0, program.records())


def _padded(matrix: Matrix) -> int:
    """Bytes of a row with its last panel full."""
    return -(-matrix.row_bytes // matrix.panel_bytes) * matrix.panel_bytes
