"""Casting the activations of an fp8 product, which come in 16 bits, as each framework does before the product.

- vLLM, a scale per row (the collector of 0.24 asks for dynamic activations): `QuantFP8.forward_native`, compiled alone
  (vllm/model_executor/custom_op.py, maybe_compile) since custom operators are off where Inductor compiles.  Inductor's
  reduction has a row per CTA of 16 warps, 2048 elements of it at a time (torch/_inductor/runtime/triton_heuristics.py),
  once for the maximum and once to cast: rows on H100 take as much longer for each 2048 columns begun.
- SGLang, a scale per row (sgl-kernel/csrc/gemm/per_token_quant_fp8.cu): 256 threads per row, or per eight rows from 16
  rows per SM on, read the row for its maximum and once more to cast it.
- TensorRT-LLM without a stored scale (cpp/tensorrt_llm/common/cudaFp8Utils.cu, invokeComputeScalesAndQuantizeMatrix):
  the scale is cleared, 1024 CTAs of 1024 threads take the maximum, each by a block reduction and a compare-and-swap,
  1024 CTAs of 256 threads cast, both an element a load since the scale is in 16 bits (thop/fp8Op.cpp), and the scale is
  copied as fp32 (tensorrt_llm/_torch/modules/linear.py, FP8QDQLinearMethod.apply).
- generic: activations are stored in fp8 already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.hardware import Hardware
from simulator.lowering.elementwise import REGISTERS
from simulator.lowering.implementation import Framework, Implementation
from simulator.lowering.layout import SECTOR_BYTES, Runs
from simulator.lowering.program import SHARE_BYTES, Launch, ProgramBuilder, contiguous, traced_whole
from simulator.trace.record import Op, TracedKernel
from simulator.units import PS_PER_S

WIDE_BYTES = 2  # of an element before the cast; one after it
ROUND = 2048  # elements of a row that vLLM's kernel works on at a time, and that `cast_cycles` are stated for
ROUND_THREADS = 512
SGLANG_THREADS, SGLANG_VECTOR = 256, 16  # elements that a thread loads at once
ROW_STAGES = 16  # pieces of a row under way, whose warps need not wait for one another
ROWS_PER_CTA = 8  # SGLang's kernel for many rows
GRID = 1024  # CTAs of TensorRT-LLM's kernels
MAXIMUM_THREADS, CAST_THREADS = 1024, 256
UNROLLED = 4  # loads of a thread in flight, as the compiler unrolls TensorRT-LLM's loops
MEMSET_PS = 3_200_000
"""What clearing a few bytes takes between two kernels of a graph, the gap after it included (TransformerEngine, pull
request 1716; five among ten nodes bring a B300's graph from 8.2 to 20.5 us: ademeure/QuickRunCUDA, b300_clean/
10_launch_overhead.md)."""


@dataclass(frozen=True, slots=True)
class Cast:
    """A matrix of `rows` x `columns` to be cast: addresses of what is read, of what is written and of the scales."""

    rows: int
    columns: int
    source: int
    output: int
    scale: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class _Grid:
    """How a kernel goes over a matrix: CTAs, their threads, elements a thread has in flight, and what a CTA takes
    besides its loads and stores: of the SM (cycles), and of itself (ps)."""

    ctas: int
    threads: int
    vector: int
    cycles: int = 0
    prologue_ps: int = 0


def lower_quantise(
    cast: Cast, framework: Framework, hardware: Hardware, scalars: Implementation
) -> Iterator[TracedKernel]:
    """Yield the kernels that cast the activations of a product to fp8, in launch order, numbered from 0 on.

    `scalars.cast_cycles` of the SM are what each round of a row and its reduction take (vLLM), or a pass over so many
    elements (TensorRT-LLM); with SGLang each CTA takes them, beside others.
    """
    unit = scalars.cast_cycles
    if framework is Framework.VLLM:
        cycles = (-(-cast.columns // ROUND) + 1) * unit
        yield _cast_kernel(cast, _Grid(cast.rows, ROUND_THREADS, ROUND // ROUND_THREADS, cycles), 0, twice=True)
    elif framework is Framework.SGLANG:
        many = cast.rows >= hardware.sm.count * 2 * ROWS_PER_CTA
        ctas = -(-cast.rows // ROWS_PER_CTA) if many else cast.rows
        prologue_ps = unit * PS_PER_S // hardware.sm.clock_hz
        grid = _Grid(ctas, SGLANG_THREADS, SGLANG_VECTOR, prologue_ps=prologue_ps)
        yield _cast_kernel(cast, grid, 0, twice=True)
    elif framework is Framework.TRTLLM:
        cycles = unit * cast.elements // (ROUND * GRID)
        yield _clear_kernel(cast, 0, hardware)
        yield _maximum_kernel(cast, _Grid(GRID, MAXIMUM_THREADS, UNROLLED, cycles), 1, hardware)
        yield _cast_kernel(cast, _Grid(GRID, CAST_THREADS, UNROLLED, cycles), 2)
        yield _copy_kernel(cast, 3)


def _cast_kernel(cast: Cast, grid: _Grid, kernel: int, twice: bool = False) -> TracedKernel:
    """Return the kernel whose CTAs each read their share, after looking it over first where that is `twice`, and
    write it cast."""
    program = ProgramBuilder(kernel)
    cta = np.arange(grid.ctas)[:, None]
    source = _share(cast.source, cast.elements, WIDE_BYTES, grid)
    if twice:
        program.add(cta, Op.READ, source)
    program.add(cta, Op.READ, _scale(cast, grid.ctas), compute_cycles=grid.cycles, barrier=True)
    program.add(cta, Op.READ, source)
    program.add(cta, Op.WRITE, _share(cast.output, cast.elements, 1, grid), barrier=True)
    return _traced("quantise", kernel, program, grid, ROW_STAGES if twice else 1)


def _clear_kernel(cast: Cast, kernel: int, hardware: Hardware) -> TracedKernel:
    """Return what clears the scale: no kernel, but a write that takes `MEMSET_PS` from the end of what was before."""
    program = ProgramBuilder(kernel)
    program.add(np.zeros((1, 1), np.int64), Op.WRITE, _scale(cast, 1))
    prologue_ps = max(0, MEMSET_PS - hardware.launch.graph_ps - hardware.launch.cta_start_ps)
    return _traced("clear scale", kernel, program, _Grid(1, 32, 1, prologue_ps=prologue_ps))


def _maximum_kernel(cast: Cast, grid: _Grid, kernel: int, hardware: Hardware) -> TracedKernel:
    """Return the kernel that takes the maximum: a CTA reduces its share, if it has any, and reads the scale so far, for
    which all stand in line; those of the first wave find it cleared and swap their own in."""
    program = ProgramBuilder(kernel)
    busy = min(grid.ctas, -(-cast.elements // grid.threads))
    source = _share(cast.source, cast.elements, WIDE_BYTES, _Grid(busy, grid.threads, grid.vector))
    program.add(np.arange(busy)[:, None], Op.READ, source)
    every = np.arange(grid.ctas)[:, None]
    program.add(every, Op.READ, _scale(cast, grid.ctas), compute_cycles=grid.cycles, barrier=True)
    first = every[: hardware.sm.count * (hardware.sm.threads // grid.threads)]
    program.add(first, Op.REDUCE, _scale(cast, len(first)), barrier=True)
    return _traced("maximum", kernel, program, grid)


def _copy_kernel(cast: Cast, kernel: int) -> TracedKernel:
    program = ProgramBuilder(kernel)
    one = np.zeros((1, 1), np.int64)
    program.add(one, Op.READ, _scale(cast, 1))
    program.add(one, Op.WRITE, _scale(cast, 1), barrier=True)
    return _traced("copy scale", kernel, program, _Grid(1, 128, 1))


def _scale(cast: Cast, ctas: int) -> Runs:
    return contiguous(np.full((ctas, 1), cast.scale), SECTOR_BYTES)


def _share(base: int, elements: int, width: int, grid: _Grid) -> Runs:
    """Return each CTA's share of a matrix of elements of `width` bytes, in pieces of what its threads have in flight;
    absent pieces have no bytes.  Shares and pieces of a large matrix are whole groups of lines, which are replayed as
    one, so that some CTAs of short rows have two and others none; those of a small one are as even as can be."""
    size = elements * width
    even = 1 << max(0, (size // grid.ctas).bit_length() - 1)
    unit = SHARE_BYTES if size >= GRID * SHARE_BYTES else min(SHARE_BYTES, max(SECTOR_BYTES, even))
    bounds = np.arange(grid.ctas + 1, dtype=np.int64) * size // (grid.ctas * unit) * unit
    bounds[-1] = size
    piece = max(SHARE_BYTES, grid.threads * grid.vector * width)
    start = np.arange(max(1, -(-int(np.diff(bounds).max()) // piece))) * piece
    return contiguous(base + bounds[:-1, None] + start, np.clip(np.diff(bounds)[:, None] - start, 0, piece))


def _traced(name: str, kernel: int, program: ProgramBuilder, grid: _Grid, stages: int = 1) -> TracedKernel:
    launch = Launch(
        threads=grid.threads, registers=REGISTERS, shared_bytes=0, stages=stages, prologue_ps=grid.prologue_ps
    )
    return traced_whole(name, "quantise", None, 0, launch, 0, program.records())
