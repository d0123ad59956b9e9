"""Casting the activations of an fp8 product, which come in 16 bits, as each framework does before the product.

- vLLM, static scale (csrc/quantization/w8a8/fp8/common.cu, scaled_fp8_quant_kernel_strided): 256 threads per row.
- SGLang, a scale per row (sgl-kernel/csrc/gemm/per_token_quant_fp8.cu): 256 threads per row, or per eight rows from 16
  rows per SM on, read the row for its maximum and once more to cast it.
- TensorRT-LLM without a stored scale (cpp/tensorrt_llm/common/cudaFp8Utils.cu, invokeComputeScalesAndQuantizeMatrix):
  the scale is cleared, 1024 CTAs of 1024 threads take the maximum, 256 threads per 2048 elements cast.
- generic: activations are stored in fp8 already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.hardware import Hardware
from simulator.lowering.elementwise import REGISTERS, pieces
from simulator.lowering.implementation import Framework
from simulator.lowering.layout import SECTOR_BYTES, Runs
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, shares, traced_whole
from simulator.trace.record import Op, TracedKernel

WIDE_BYTES = 2  # of an element before the cast; one after it
STAGES = 16
ROWS_PER_CTA = 8  # SGLang's kernel for many rows
MAXIMUM_CTAS = 1024  # TensorRT-LLM's kernel that looks for the largest element, and its threads
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


def lower_quantise(cast: Cast, framework: Framework, hardware: Hardware) -> Iterator[TracedKernel]:
    """Yield the kernels that cast the activations of a product to fp8, in launch order, numbered from 0 on."""
    if framework is Framework.VLLM:
        yield _cast_kernel(cast, cast.rows, 0)
    elif framework is Framework.SGLANG:
        many = cast.rows >= hardware.sm.count * 2 * ROWS_PER_CTA
        yield _cast_kernel(cast, -(-cast.rows // ROWS_PER_CTA) if many else cast.rows, 0, twice=True)
    elif framework is Framework.TRTLLM:
        yield _clear_kernel(cast, 0)
        yield _maximum_kernel(cast, 1)
        yield _cast_kernel(cast, max(1, min(CAST_CTAS, -(-cast.elements // CAST_ELEMENTS))), 2)


def _cast_kernel(cast: Cast, ctas: int, kernel: int, twice: bool = False) -> TracedKernel:
    """Return the kernel whose CTAs each read their share, after looking it over first where that is `twice`, and
    write it cast."""
    program = ProgramBuilder(kernel)
    cta = np.arange(ctas)[:, None]
    source = _share(cast.source, cast.elements * WIDE_BYTES, ctas)
    program.add(cta, Op.READ, source)
    if twice:
        program.add(cta, Op.READ, source, barrier=True)
    else:
        program.add(cta, Op.READ, contiguous(np.full((ctas, 1), cast.scale), SECTOR_BYTES))
    program.add(cta, Op.WRITE, _share(cast.output, cast.elements, ctas), barrier=True)
    return _traced("quantise", 256, kernel, program)


def _clear_kernel(cast: Cast, kernel: int) -> TracedKernel:
    program = ProgramBuilder(kernel)
    program.add(np.zeros((1, 1), np.int64), Op.WRITE, contiguous(np.full((1, 1), cast.scale), SECTOR_BYTES))
    return _traced("clear scale", 32, kernel, program)


def _maximum_kernel(cast: Cast, kernel: int) -> TracedKernel:
    """Return the kernel that takes the maximum: CTAs without elements only add theirs, zero, to the scale."""
    program = ProgramBuilder(kernel)
    busy = min(MAXIMUM_CTAS, -(-cast.elements // MAXIMUM_CTAS))
    program.add(np.arange(busy)[:, None], Op.READ, _share(cast.source, cast.elements * WIDE_BYTES, busy))
    every = np.arange(MAXIMUM_CTAS)[:, None]
    scale = contiguous(np.full((MAXIMUM_CTAS, 1), cast.scale), SECTOR_BYTES)
    program.add(every, Op.REDUCE, scale, barrier=True)
    return _traced("maximum", 1024, kernel, program)


def _share(base: int, size: int, ctas: int) -> Runs:
    return pieces(*shares(base, size, ctas))


def _traced(name: str, threads: int, kernel: int, program: ProgramBuilder) -> TracedKernel:
    launch = Launch(threads=threads, registers=REGISTERS, shared_bytes=0, stages=STAGES)
    return traced_whole(name, "quantise", None, 0, launch, 0, program.records())
