"""The kernels that a framework launches before a prompt's attention, in a call of its attention layer.

- vLLM: a CTA a token (`reshape_and_cache`).
- SGLang (jit_kernel, store_cache): a warp a token.  Where the heads of K and V differ, PyTorch's index_put for each,
  after it has turned their places into 64-bit numbers, as in decode attention (`decode_call`).
- TensorRT-LLM (attentionOp.cpp, enqueueContext): one kernel adds up the lengths and writes where each token's sequence
  begins, a CTA a sequence (gptKernels.cu, computeSeqAndPaddingOffsets).  It is launched for every prompt, since it
  clears the counter of tiles too (gptKernels.h, isBuildDecoderInfoKernelNeeded).  The next turns q and K in place
  and stores K and V (unfusedAttentionKernels_2_template.h, applyBiasRopeUpdateKVCacheV2): 16 bytes of q a thread, or a
  warp a token and head where heads are small.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.hardware import Hardware
from simulator.lowering.decode_call import LENGTH_BYTES, Small, lower_small
from simulator.lowering.elementwise import (
    SLOT_BYTES,
    KvWrite,
    KvWriteKernel,
    RotaryKernel,
    lower_index_put,
    lower_kv_write,
    lower_rotary,
)
from simulator.lowering.implementation import Framework, Implementation
from simulator.lowering.key_tiles import kv_layout
from simulator.lowering.prefill_plan import UNEQUAL_HEAD
from simulator.lowering.reshape_and_cache import reshape_and_cache
from simulator.trace.record import TracedKernel
from simulator.workload.operators import AttentionShape


def lower_cache_write(
    shape: AttentionShape,
    write: KvWrite,
    kernel: int,
    framework: Framework,
    hardware: Hardware,
    scalars: Implementation,
) -> Iterator[TracedKernel]:
    """Yield the kernels with which a framework writes the new K and V of a prompt into their pages."""
    layout = kv_layout(shape)
    prologue_ps = scalars.prologue_at(hardware.sm.clock_hz)
    tokens = shape.batch * shape.query_len
    if framework is Framework.VLLM:
        yield lower_kv_write(write, layout, kernel, None, 0, reshape_and_cache(shape, hardware))
        return
    if framework is Framework.TRTLLM:
        lengths, offsets = shape.batch * LENGTH_BYTES, tokens * LENGTH_BYTES
        offset = Small("sequence offsets", write.slots, lengths, write.slots, offsets, shape.batch)
        yield lower_small(offset, kernel, None, 0, "prefill_attention")
        row = tokens * shape.head_dim * shape.activation_dtype.bytes
        cta_bytes = 8 * 128 if shape.head_dim <= 64 else 256 * 16
        kv_bytes = row * shape.kv_heads * shape.kv_dtype.bytes // shape.activation_dtype.bytes
        rotary = RotaryKernel(cta_bytes, 256, 64, prologue_ps)
        yield lower_rotary(write, row * (shape.heads + shape.kv_heads), kv_bytes, kernel + 1, rotary)
        return
    if framework is Framework.SGLANG and shape.head_dim == UNEQUAL_HEAD:
        places = Small("copy", write.slots, tokens * LENGTH_BYTES, write.slots, tokens * SLOT_BYTES)
        for number in range(2):
            yield lower_small(places, kernel + number, None, 0, "prefill_attention")
        elements = write.source_bytes // 2 // shape.activation_dtype.bytes
        for number, base in enumerate((write.key, write.value)):
            yield lower_index_put(write, number, base, elements, kernel + 2 + number, prologue_ps)
        return
    how = KvWriteKernel("store_cache", 8, 256, prologue_ps=prologue_ps)
    yield lower_kv_write(write, layout, kernel, None, 0, how)
