"""Which kernel decodes attention, and how it cuts its work: by framework, compute capability and shape.

Which kernel ran for which shape is said by the measured tables; the cuts are the kernels' own.

- `decode_flash`: FlashAttention-3 (sm_90; under SGLang also sm_80 to sm_87) and FlashAttention-2 (vLLM).
- `decode_trtllm`: XQA, masked attention, and the generated kernels that all frameworks call on data-centre Blackwell.
- `decode_flashinfer`, under SGLang on sm_89 and sm_120, and under vLLM for an fp8 cache, which FlashAttention-2 cannot
  read.
- Triton (sglang/srt/layers/attention/triton_ops/decode_attention.py, get_num_kv_splits_triton) for head sizes and
  windows that the others do not have.
"""

from __future__ import annotations

from dataclasses import replace
from math import log2

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_flash import fa3_ampere_plan, flash_plan
from simulator.lowering.decode_flashinfer import flashinfer_plan, vector_plan
from simulator.lowering.decode_tile import (
    BLACKWELL,
    CONSUMER_BLACKWELL,
    EXCHANGE_CYCLES,
    HOPPER,
    PRODUCT_CYCLES,
    Plan,
    Tile,
    group_of,
    key_tiles_of,
    launched,
    warp_matrix_share,
)
from simulator.lowering.decode_trtllm import calls_flashinfer, generated_plan, trtllm_plan
from simulator.lowering.implementation import Backend, Framework
from simulator.workload.operators import AttentionShape

ADA = 89
FLASHINFER_HEADS = (128, 256, 512)
VLLM_GRAPH_BATCH = 512  # sequences up to which FlashInfer plans for a CUDA graph (decode_cudagraph_max_bs)
TRITON_WIDE = (192,)  # head sizes for which no kernel was generated
HYBRID_MODELS = ((256, 3), (256, 6))  # head size and group of models that SGLang decodes with Triton (Qwen3.5)
TRITON_HEADS, TRITON_SPLITS = 16, 8  # query heads of a CTA, most splits
TRITON_PASSES = 4  # of operands through shared memory: K and V go in and out, and each of four warps reads all of Q
TRITON_EXCHANGES = 5  # between warps in a step: K, V, maxima, sums and weights, each written, waited for and read
PRODUCT_COLUMNS = 16  # of an instruction that multiplies, each of which waits for the one before (warpsPerTileV2)
BLACKWELL_PRODUCT_CYCLES = 21  # for that, in place of PRODUCT_CYCLES, on data-centre Blackwell: B300 (QuickRunCUDA)
TRITON_GROUPS = (5,)  # groups of models with windowed layers, all of whose layers go to Triton on sm_120
UNEQUAL_HEAD, UNEQUAL_VALUES = 192, 128  # head sizes of the keys and of the values, under SGLang


def decode_plan(
    shape: AttentionShape, hardware: Hardware, framework: Framework, backend: Backend = Backend.AUTO
) -> Plan:
    """Return the kernel that a framework decodes with on a device; SGLang may have been told whose."""
    capability = hardware.compute_capability
    datacentre = BLACKWELL <= capability < CONSUMER_BLACKWELL
    if framework is Framework.TRTLLM:
        if calls_flashinfer(shape, hardware):
            return generated_plan(shape, hardware, head_major=True)
        return trtllm_plan(shape, hardware)
    if framework is Framework.SGLANG:
        plan = _sglang(shape, hardware, backend)
        return replace(plan, value_dim=UNEQUAL_VALUES) if shape.head_dim == UNEQUAL_HEAD else plan
    if framework is Framework.VLLM and shape.kv_dtype is Dtype.FP8 and capability != HOPPER:
        if shape.head_dim in TRITON_WIDE:
            return _triton(shape, hardware)
        if not datacentre:
            plan = flashinfer_plan(shape, hardware, head_major=True)
            return replace(plan, always_combined=shape.batch <= VLLM_GRAPH_BATCH)
    if datacentre and framework is not Framework.GENERIC:
        return generated_plan(shape, hardware, head_major=True)
    return flash_plan(shape, hardware, framework)


def _sglang(shape: AttentionShape, hardware: Hardware, backend: Backend) -> Plan:
    capability = hardware.compute_capability
    if backend is Backend.TRITON:
        return _triton(shape, hardware)
    if backend is Backend.FLASHINFER:
        return vector_plan(shape, hardware)
    if BLACKWELL <= capability < CONSUMER_BLACKWELL:
        hybrid = (shape.head_dim, group_of(shape)) in HYBRID_MODELS and shape.window is None
        if hybrid or shape.head_dim in TRITON_WIDE:
            return _triton(shape, hardware)
        return generated_plan(shape, hardware, head_major=False)
    if capability == HOPPER:
        wide = shape.head_dim > 256 or (shape.head_dim == 256 and shape.window is not None)
        return _triton(shape, hardware) if wide else flash_plan(shape, hardware, Framework.SGLANG)
    if capability < ADA:
        return fa3_ampere_plan(shape, hardware)
    windowed = shape.window is not None or group_of(shape) in TRITON_GROUPS or shape.head_dim > 256
    if shape.head_dim in FLASHINFER_HEADS and not (windowed and capability >= CONSUMER_BLACKWELL):
        return vector_plan(shape, hardware)
    return _triton(shape, hardware)


def _triton(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Loads that wait for the places of their tokens are not issued ahead in a loop of two stages.

    Its four warps share the keys of a step, so that each waits for its own products of 16 columns, one after the other
    (Triton's AccelerateMatmul.cpp), and for the others when a row is added up.  Heads are padded to a power of two.
    """
    grouped = group_of(shape) > 1
    rows = min(TRITON_HEADS, group_of(shape))
    tile = Tile(rows, 32 if grouped else 64, 128, 1, 128, matrix=grouped, warp_rows=16, passes=TRITON_PASSES)
    tile = replace(tile, matrix_share=warp_matrix_share(hardware))
    if grouped:
        padded = 1 << (shape.head_dim - 1).bit_length()
        datacentre = BLACKWELL <= hardware.compute_capability < CONSUMER_BLACKWELL
        each = BLACKWELL_PRODUCT_CYCLES if datacentre else PRODUCT_CYCLES
        waiting = padded // PRODUCT_COLUMNS * each + TRITON_EXCHANGES * EXCHANGE_CYCLES
        tile = replace(tile, padded_head=padded, waiting_cycles=waiting // 2)
    keys = shape.kv_len - shape.first_key
    cores = hardware.sm.count * max(log2(max(1, keys) / 64), 1.0)
    grid = shape.batch * -(-shape.heads // rows)
    splits = min(-(-int(cores) // grid), TRITON_SPLITS)
    splits = launched(splits, key_tiles_of(shape, tile))
    return Plan(" triton", tile, splits, heads_outside=True, indexed=True, always_combined=True)
