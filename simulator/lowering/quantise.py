"""Casting the activations of an fp8 product, which come in 16 bits, as each framework does before the product.

- vLLM, static scale (csrc/quantization/w8a8/fp8/common.cu, scaled_fp8_quant_kernel_strided): a CTA per row.  Its rows
  on H100 take one CTA's life more for every 132 rows, whatever their length: an SM holds one at a time, as it does of
  1024 threads with more than 32 registers each.  The source names 256 threads, which would not do so.
- SGLang, a scale per row (sgl-kernel/csrc/gemm/per_token_quant_fp8.cu): 256 threads per row, or per eight rows from 16
  rows per SM on, read the row for its maximum and once more to cast it.
- TensorRT-LLM without a stored scale (cpp/tensorrt_llm/common/cudaFp8Utils.cu, invokeComputeScalesAndQuantizeMatrix):
  the scale is cleared, 1024 CTAs of 1024 threads take the maximum, two bytes at a time, each by a block reduction and a
  compare-and-swap, 256 threads per 2048 elements cast, and the scale is copied as fp32 (tensorrt_llm/_torch/modules/
  linear.py, FP8QDQLinearMethod.apply).
- generic: activations are stored in fp8 already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.hardware import Hardware
from simulator.lowering.elementwise import REGISTERS, pieces
from simulator.lowering.implementation import Framework, Implementation
from simulator.lowering.layout import SECTOR_BYTES, Runs
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, shares, traced_whole
from simulator.trace.record import Op, TracedKernel
from simulator.units import PS_PER_S

WIDE_BYTES = 2  # of an element before the cast; one after it
STAGES = 16
ROWS_PER_CTA = 8  # SGLang's kernel for many rows
MAXIMUM_CTAS = 1024  # TensorRT-LLM's kernel that looks for the largest element, and its threads
MAXIMUM_STAGES = 1  # four loads of two bytes a thread, as the compiler unrolls the loop: a piece of 8 KiB a CTA
ALONE = (1024, 64, 1)
"""Threads and registers of each, so that one CTA runs on an SM, and stages: 32 bytes of each of 256 threads at a time,
by which long rows go."""

CAST_ELEMENTS = 2048  # of a CTA of TensorRT-LLM's cast: 256 threads x 8
CAST_CTAS = 65536


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


def lower_quantise(
    cast: Cast, framework: Framework, hardware: Hardware, scalars: Implementation
) -> Iterator[TracedKernel]:
    """Yield the kernels that cast the activations of a product to fp8, in launch order, numbered from 0 on.

    A CTA that reads rows takes `scalars.cast_cycles` of the SM besides its loads and stores.
    """
    prologue_ps = scalars.cast_cycles * PS_PER_S // hardware.sm.clock_hz
    if framework is Framework.VLLM:
        yield _cast_kernel(cast, cast.rows, 0, prologue_ps, alone=True)
    elif framework is Framework.SGLANG:
        many = cast.rows >= hardware.sm.count * 2 * ROWS_PER_CTA
        yield _cast_kernel(cast, -(-cast.rows // ROWS_PER_CTA) if many else cast.rows, 0, prologue_ps, twice=True)
    elif framework is Framework.TRTLLM:
        yield _clear_kernel(cast, 0)
        yield _maximum_kernel(cast, 1, prologue_ps)
        yield _cast_kernel(cast, max(1, min(CAST_CTAS, -(-cast.elements // CAST_ELEMENTS))), 2, prologue_ps)
        yield _copy_kernel(cast, 3)


def _cast_kernel(
    cast: Cast, ctas: int, kernel: int, prologue_ps: int, twice: bool = False, alone: bool = False
) -> TracedKernel:
    """Return the kernel whose CTAs each read their share, after looking it over first where that is `twice`, and
    write it cast; the only one of their SM where they are `alone`."""
    program = ProgramBuilder(kernel)
    cta = np.arange(ctas)[:, None]
    source = _share(cast.source, cast.elements * WIDE_BYTES, ctas)
    program.add(cta, Op.READ, source)
    if twice:
        program.add(cta, Op.READ, source, barrier=True)
    else:
        program.add(cta, Op.READ, contiguous(np.full((ctas, 1), cast.scale), SECTOR_BYTES))
    program.add(cta, Op.WRITE, _share(cast.output, cast.elements, ctas), barrier=True)
    threads, registers, stages = ALONE if alone else (256, REGISTERS, STAGES)
    return _traced("quantise", kernel, program, threads, registers, stages, prologue_ps)


def _clear_kernel(cast: Cast, kernel: int) -> TracedKernel:
    program = ProgramBuilder(kernel)
    program.add(np.zeros((1, 1), np.int64), Op.WRITE, contiguous(np.full((1, 1), cast.scale), SECTOR_BYTES))
    return _traced("clear scale", kernel, program, threads=32)


def _copy_kernel(cast: Cast, kernel: int) -> TracedKernel:
    program = ProgramBuilder(kernel)
    one = np.zeros((1, 1), np.int64)
    program.add(one, Op.READ, contiguous(np.full((1, 1), cast.scale), SECTOR_BYTES))
    program.add(one, Op.WRITE, contiguous(np.full((1, 1), cast.scale), SECTOR_BYTES), barrier=True)
    return _traced("copy scale", kernel, program, threads=128)


def _maximum_kernel(cast: Cast, kernel: int, prologue_ps: int) -> TracedKernel:
    """Return the kernel that takes the maximum: a CTA reduces its share, if it has any, reads the scale so far, for
    which all stand in line, and swaps its own in."""
    program = ProgramBuilder(kernel)
    busy = min(MAXIMUM_CTAS, -(-cast.elements // MAXIMUM_CTAS))
    program.add(np.arange(busy)[:, None], Op.READ, _share(cast.source, cast.elements * WIDE_BYTES, busy))
    every = np.arange(MAXIMUM_CTAS)[:, None]
    scale = contiguous(np.full((MAXIMUM_CTAS, 1), cast.scale), SECTOR_BYTES)
    program.add(every, Op.READ, scale, barrier=True)
    program.add(every, Op.REDUCE, scale, barrier=True)
    return _traced("maximum", kernel, program, 1024, stages=MAXIMUM_STAGES, prologue_ps=prologue_ps)


def _share(base: int, size: int, ctas: int) -> Runs:
    return pieces(*shares(base, size, ctas))


def _traced(
    name: str,
    kernel: int,
    program: ProgramBuilder,
    threads: int,
    registers: int = REGISTERS,
    stages: int = STAGES,
    prologue_ps: int = 0,
) -> TracedKernel:
    launch = Launch(threads=threads, registers=registers, shared_bytes=0, stages=stages, prologue_ps=prologue_ps)
    return traced_whole(name, "quantise", None, 0, launch, 0, program.records())
