"""Matrix products: what each CTA of a tiled product reads and writes.

The weight is the tall operand: a CTA computes `tile_n` outputs (rows of the weight) for `tile_m` inputs over a share
of k, through a pipeline of `stages` buffers of 64 columns (`lowering/tiling.py` chooses them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Hardware
from simulator.lowering.implementation import Implementation
from simulator.lowering.layout import Matrix
from simulator.lowering.program import CHUNK_RECORDS, Launch, ProgramBuilder, contiguous, shares, traced, traced_whole
from simulator.lowering.tiling import (
    CHOSEN,
    K_BYTES,
    PARTIAL_BYTES,
    Pinned,
    Tiling,
    bulk_copies,
    choose,
    overhead_ps,
    step_cycles,
    warmup_ps,
)
from simulator.trace.record import Op, Records, TracedKernel
from simulator.workload.operators import GemmShape

RECORD_BYTES = 16384
"""Stages are joined into records of about this size: 16 KiB are in flight for 5 ns of an H100's bandwidth."""

REDUCED_PER_CTA = 2048  # outputs: 512 threads x 4
IntArray = NDArray[np.int64]


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
    raster_rows: int = 0,
) -> Iterator[TracedKernel]:
    """Yield the kernels of one product: the main one and, when k is split, the reduction of the partial sums.

    `raster_rows` rows of tiles advance together through n (0: the library's choice), as many more as make whole
    clusters of CTAs that share a weight tile, which are placed as one.
    """
    tiling = choose(shape, hardware, scalars, pinned)
    if raster_rows:
        tiling = replace(tiling, raster_rows=-(-raster_rows // tiling.cluster) * tiling.cluster)
    yield _main_kernel(shape, tiling, operands, hardware, scalars, kernel, layer, step, name, pinned.sets_up_each)
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
    sets_up_each: bool,
) -> TracedKernel:
    grid = _Grid(shape, tiling, operands)
    warmup = warmup_ps(hardware, scalars)
    label = f"{name} {tiling.tile_n}x{tiling.tile_m}x{tiling.stages}"
    if tiling.split > 1:
        label += f" split-K {tiling.split}"
    launch = Launch(
        threads=tiling.threads,
        registers=168 if bulk_copies(hardware) else 128,
        shared_bytes=K_BYTES * (tiling.tile_m + tiling.tile_n) * tiling.stages,
        stages=min(16, max(4, 2 * (tiling.stages // grid.joined))),
        prologue_ps=overhead_ps(shape.m, tiling, hardware, scalars) + warmup * sets_up_each,
        warmup_ps=warmup * (not sets_up_each),
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
        _Chunks(grid, kernel, step_cycles(shape, tiling, hardware, scalars)),
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

        CTAs of a split are neighbours.  Tiles go down some rows of m, then one column of n on, so that the
        CTAs resident at one time share both operands.
        """
        tile, share = np.divmod(cta, self.tiling.split)
        rows = self.tiling.raster_rows
        group, within = np.divmod(tile, rows * self.tiles_n)
        height = np.minimum(self.tiles_m - group * rows, rows)
        column, row = np.divmod(within, height)
        return group * rows + row, column, share

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
    """Return the kernel that adds the partial sums of a split product and writes the output, whose CTAs set up too."""
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
    launch = Launch(
        threads=512,
        registers=32,
        shared_bytes=0,
        stages=16,
        prologue_ps=scalars.prologue_at(hardware.sm.clock_hz),
    )
    return traced_whole(f"{name} split-K reduce", "gemm", layer, step, launch, 0, program.records())


def _padded(matrix: Matrix) -> int:
    """Bytes of a row with its last panel full."""
    return -(-matrix.row_bytes // matrix.panel_bytes) * matrix.panel_bytes
