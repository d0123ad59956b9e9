"""The small kernels that a serving engine launches around decode attention, in a call of its attention layer.

- vLLM (v1/attention/backends): the new K and V are stored, and cast on the way.  FlashAttention-2 swaps query groups
  and tokens (seqlenq_ngroups_swapped): the result is copied to its place, and where sequences and KV heads have to
  change places the queries are copied before, both between strides (mha_varlen_fwd of vLLM's fork).  FlashInfer's
  result is multiplied by the scale of V in place (flashinfer/decode.py, run).
- SGLang (srt/mem_cache/memory_pool.py, srt/layers/attention): K and V are cast to fp8 one by one and stored; so is the
  query where the kernel multiplies in fp8.  Before the generated kernels one kernel casts K and V and stores them
  (trtllm_fp8_kv_kernel.py), and the query is cast with a scale of its own (trtllm_mha_backend.py of 0.5.14,
  _maybe_quantize_q: pull request 28144): cleared, taken as the maximum, each CTA adding its own to it
  (per_tensor_quant_fp8.cuh), and multiplied by the scales of K, of the softmax and, by FlashInfer, by log2(e).  Where
  the heads of K and V differ, PyTorch's index_put stores each, after it has turned their places into 64-bit numbers.
  FlashAttention-3 plans its splits in a kernel of one CTA (prepare_varlen_num_blocks).
- TensorRT-LLM: rotary embedding, of q too, and the storing of K and V are one kernel (invokeQKVPreprocessing) before
  XQA and the generated kernels; here it turns q in place.  Masked attention, and XQA on Hopper with an fp8 cache, do
  all of that themselves, unless there are attention sinks, with which head size 64 is measured.  Where FlashInfer calls
  the generated kernels, K, V and the query are cast to fp8 one by one, and K and V stored (append_paged_kv_cache).

Kernels of the engine's own set up as attention itself does: those that store K and V, plan splits, add up parts, or
find a scale and cast with it; so do PyTorch's copies between strides (elementwise_kernel: 128 threads of four
elements).  Copies of whole tensors are the driver's, other casts and scalings PyTorch's vectorized kernels; these have
a launch and their loads and stores alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_flashinfer import FLASHINFER
from simulator.lowering.decode_plan import decode_plan
from simulator.lowering.decode_tile import Plan, group_of
from simulator.lowering.decode_trtllm import GENERATED, SINKS_HEAD, calls_flashinfer, on_hopper_tensor_cores
from simulator.lowering.elementwise import REGISTERS, pieces
from simulator.lowering.implementation import Backend, Framework
from simulator.lowering.layout import SECTOR_BYTES
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, shares, traced_whole
from simulator.trace.record import Op, TracedKernel
from simulator.workload.operators import AttentionShape

COPY_BYTES = 4096  # of a CTA: 256 threads x 16 bytes
STRIDED_BYTES = 1024  # of a CTA that copies between strides: 128 threads x four 16-bit numbers
LENGTH_BYTES = 4
SCALE_BYTES = 4
SCALED_THREADS, SCALED_CTAS = 256, 1024  # an element of the query each, as far as those CTAs go
SCALINGS = 3  # by the scale of K, of the softmax, and log2(e)


@dataclass(frozen=True, slots=True)
class Small:
    """A kernel that reads one run of bytes and writes another, each CTA its share or, where it reduces, all of it."""

    name: str
    source: int
    read_bytes: int
    output: int
    write_bytes: int
    ctas: int = 0  # where it is not one for every 4 KiB
    reduces: bool = False
    sets_up: bool = False  # its first CTAs take the set-up of attention's


@dataclass(frozen=True, slots=True)
class Buffers:
    """Addresses of the queries, the result, the new K and V, and room for what is cast or copied."""

    query: int
    output: int
    new: int
    scratch: int


@dataclass(frozen=True, slots=True)
class Around:
    """What is launched before K and V are stored, how many kernels store them (two: one each), and what follows before
    and after attention."""

    first: tuple[Small, ...]
    stores: int
    before: tuple[Small, ...]
    after: tuple[Small, ...]
    query_bytes: int = 0  # that the kernel which stores K and V turns on its way


def kernels_around(
    shape: AttentionShape,
    at: Buffers,
    hardware: Hardware,
    framework: Framework,
    backend: Backend = Backend.AUTO,
) -> Around:
    """Return what a framework launches around decode attention."""
    plan = decode_plan(shape, hardware, framework, backend)
    if framework is Framework.VLLM:
        return _vllm(shape, at, plan)
    if framework is Framework.SGLANG:
        return _sglang(shape, at, plan)
    if framework is Framework.TRTLLM:
        return _trtllm(shape, at, plan, hardware)
    return Around((), 0, (), ())


def lower_small(
    small: Small,
    kernel: int,
    layer: int | None,
    step: int,
    operator: str = "decode_attention",
    set_up_ps: int = 0,
) -> TracedKernel:
    """Return the kernel, of CTAs of 256 threads, the first of which take `set_up_ps` where the kernel `sets_up`."""
    ctas = small.ctas or max(1, -(-max(small.read_bytes, small.write_bytes) // COPY_BYTES))
    program = ProgramBuilder(kernel)
    cta = np.arange(ctas)[:, None]
    program.add(cta, Op.READ, pieces(*shares(small.source, _sectors(small.read_bytes), ctas)))
    if small.reduces:
        program.add(cta, Op.REDUCE, contiguous(np.full((ctas, 1), small.output), SECTOR_BYTES), barrier=True)
    else:
        program.add(cta, Op.WRITE, pieces(*shares(small.output, _sectors(small.write_bytes), ctas)), barrier=True)
    warmup_ps = set_up_ps if small.sets_up else 0
    launch = Launch(threads=256, registers=REGISTERS, shared_bytes=0, stages=16, warmup_ps=warmup_ps)
    return traced_whole(small.name, operator, layer, step, launch, 0, program.records())


def _vllm(shape: AttentionShape, at: Buffers, plan: Plan) -> Around:
    size = _query_bytes(shape)
    if plan.name == FLASHINFER:
        return Around((), 1, (), (Small("scale", at.output, size, at.output, size),))
    swapped = plan.name == "" and group_of(shape) > 1 and shape.window is None
    moved = swapped and shape.kv_heads > 1 and shape.batch > 1
    ctas = -(-size // STRIDED_BYTES) if moved else 0
    before = (Small("copy", at.query, size, at.scratch, size, ctas, sets_up=True),) if moved else ()
    after = (Small("copy", at.output, size, at.scratch, size, ctas, sets_up=moved),) if swapped else ()
    return Around((), 1, before, after)


def cache_casts(shape: AttentionShape, at: Buffers) -> tuple[Small, ...]:
    """Return what casts the new K, then V, to the type of the cache."""
    if shape.kv_dtype is not Dtype.FP8:
        return ()
    half = shape.batch * shape.query_len * shape.kv_heads * shape.head_dim * shape.activation_dtype.bytes
    return tuple(Small("cast", at.new + i * half, half, at.scratch + i * half // 2, half // 2) for i in range(2))


def _sglang(shape: AttentionShape, at: Buffers, plan: Plan) -> Around:
    first = () if plan.name == GENERATED else cache_casts(shape, at)
    before: tuple[Small, ...] = ()
    if shape.kv_dtype is Dtype.FP8 and plan.name == GENERATED:
        before = _scaled(shape, at)
    elif shape.kv_dtype is Dtype.FP8 and plan.tile.multiplies_cache:
        size = _query_bytes(shape)
        before = (Small("cast", at.query, size, at.scratch, size // 2),)
    if plan.name == " fa3":
        lengths = shape.batch * LENGTH_BYTES
        before += (Small("plan splits", at.scratch, lengths, at.scratch, lengths, ctas=1, sets_up=True),)
    if plan.value_dim:
        tokens = shape.batch
        places = Small("copy", at.scratch, tokens * LENGTH_BYTES, at.scratch, 2 * tokens * LENGTH_BYTES)
        return Around((*first, places, places), 2, before, ())
    return Around(first, 1, before, ())


def _scaled(shape: AttentionShape, at: Buffers) -> tuple[Small, ...]:
    """Return the kernels that cast the query with a scale of its own."""
    size = _query_bytes(shape)
    cast = size // shape.activation_dtype.bytes
    scale = at.scratch + _sectors(cast)
    ctas = min(-(-cast // SCALED_THREADS), SCALED_CTAS)
    return (
        Small("clear scale", scale, 0, scale, SCALE_BYTES),
        Small("maximum", at.query, size, scale, SCALE_BYTES, ctas, reduces=True, sets_up=True),
        Small("cast", at.query, size, at.scratch, cast, ctas, sets_up=True),
        *(Small("scale", scale, SCALE_BYTES, scale, SCALE_BYTES) for _ in range(SCALINGS)),
    )


def _trtllm(shape: AttentionShape, at: Buffers, plan: Plan, hardware: Hardware) -> Around:
    sinks = shape.head_dim == SINKS_HEAD
    if plan.name == " masked" or (plan.name == " XQA" and on_hopper_tensor_cores(shape, hardware) and not sinks):
        return Around((), 0, (), ())
    if calls_flashinfer(shape, hardware):
        narrow = shape.kv_dtype is Dtype.FP8
        size = _query_bytes(shape)
        query = (Small("cast", at.query, size, at.scratch, size // 2),) if narrow else ()
        return Around(cache_casts(shape, at), 1, query, ())
    return Around((), 1, (), (), _query_bytes(shape))


def _query_bytes(shape: AttentionShape) -> int:
    return shape.batch * shape.heads * shape.head_dim * shape.activation_dtype.bytes


def _sectors(size: int) -> int:
    return -(-size // SECTOR_BYTES) * SECTOR_BYTES
