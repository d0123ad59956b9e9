"""Which kernel attends a prompt, and how it cuts its work: by framework, compute capability and shape.

- FlashAttention-2 (vLLM up to sm_89 and on sm_120): a paged cache is read by the split kernel whatever its splits
  (csrc/flash_attn/flash_api.cpp, mha_varlen_fwd; flash_fwd_launch_template.h, run_mha_fwd_splitkv_dispatch).
- FlashAttention-3 (sm_90; under SGLang also sm_80): hopper/tile_size.h; heuristics.h (use_one_mma_wg); flash_api.cpp
  (get_pack_gqa: pages of fewer tokens than a tile are not loaded in bulk, and the heads of a group are then packed);
  flash_fwd_launch_template.h (persistent on sm_90).
- FlashInfer (SGLang on sm_89 and sm_120): utils.cuh (FA2DetermineCtaTileQ), attention/prefill.cuh
  (BatchPrefillWithRaggedKVCacheDispatched: keys of a tile).
- Triton (SGLang, head sizes and windows that the others do not have):
  srt/layers/attention/triton_ops/extend_attention.py (_get_block_sizes_for_extend_attention).
- TensorRT-LLM: contextFusedMultiHeadAttention/fmhaRunner.cpp (setupLaunchParams), cpp/kernels/fmha_v2/setup.py
  (enumerate_hmma_flash_kernels_base, enumerate_hgmma_flash_warpspec_kernels, enumerate_hgmma_ldgsts_kernels).
- Data-centre Blackwell: the generated kernels of TensorRT-LLM, for all three frameworks.  Their names say 128 query
  rows by 128 keys, persistent; two such tiles a CTA (mStepQ).
Which of them ran for which head size and window is said by the measured tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.hardware import Hardware
from simulator.lowering.decode_plan import (
    ADA,
    BLACKWELL,
    CONSUMER_BLACKWELL,
    FLASHINFER_HEADS,
    HOPPER,
    group_of,
)
from simulator.lowering.implementation import Framework
from simulator.lowering.tiling import bulk_copies
from simulator.workload.operators import AttentionShape

WARP_GROUP = 128  # threads that share the work of one asynchronous product


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """A prefill kernel: its tile, what a CTA needs for it, and the order of its work."""

    name: str
    queries: int  # rows of a tile
    keys: int
    threads: int
    stages: int  # K and V tiles in flight
    packed: bool = False  # rows are the query heads of a KV head, token by token; otherwise tokens of one head
    persistent: bool = False  # as many CTAs as run at once; each takes tile after tile, the heaviest first
    warp_rows: int = 0  # rows a warp multiplies with the keys it loads from shared memory; 0: products of warp groups
    overlaps: bool = False  # softmax on warps of its own, beside the products of another tile
    serial: bool = False  # products and softmax of a warp group take turns
    padded_head: int = 0  # head size of the values as computed; 0: as it is


def prefill_plan(shape: AttentionShape, hardware: Hardware, framework: Framework) -> PrefillPlan:
    """Return the kernel that a framework prefills with on a device."""
    capability = hardware.compute_capability
    if framework is Framework.SGLANG and _runs_triton(shape, capability):
        return _triton(shape, capability)
    if BLACKWELL <= capability < CONSUMER_BLACKWELL and framework is not Framework.GENERIC:
        return _generated(shape)
    if framework is Framework.TRTLLM:
        return _fmha_v2(shape, capability)
    if bulk_copies(hardware):
        return _flash_attention_3(shape)
    if framework is Framework.SGLANG:
        return _flash_attention_3_ampere(shape) if capability < ADA else _flashinfer(shape, hardware)
    return _flash_attention_2(shape)


def query_tiles_of(shape: AttentionShape, plan: PrefillPlan) -> int:
    """Return the tiles along the queries of one sequence and head (KV head where heads are packed)."""
    rows = shape.query_len * (group_of(shape) if plan.packed else 1)
    return -(-rows // plan.queries)


def shared_bytes(shape: AttentionShape, plan: PrefillPlan, hardware: Hardware) -> int:
    """Return the shared memory of a CTA, what it streams in parts cut to what there is."""
    keys = plan.stages * plan.keys * shape.kv_dtype.bytes
    wanted = shape.head_dim * (plan.queries * shape.activation_dtype.bytes + keys)
    return min(wanted, hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes)


def _windowed(shape: AttentionShape) -> bool:
    return shape.window is not None and shape.window < shape.kv_len


def _flash_attention_2(shape: AttentionShape) -> PrefillPlan:
    d = shape.head_dim
    if shape.page_tokens is None:
        queries, keys = (128, 128) if d <= 64 else (128, 64)
        threads = 128 if d <= 128 else 256
        return PrefillPlan(" fa2", queries, keys, threads, 2, warp_rows=queries * 32 // threads)
    keys = 256 if d <= 80 else 128 if d <= 128 else 64
    swapped = shape.query_len == 1 and shape.window is None  # one query: its heads take the place of queries
    return PrefillPlan(" fa2 split", 64, keys, 128, 2, packed=swapped and group_of(shape) > 1, warp_rows=16)


def _flash_attention_3(shape: AttentionShape) -> PrefillPlan:
    d, local = shape.head_dim, _windowed(shape)
    packed = group_of(shape) > 1
    if d > 256:
        queries, keys = 64, 64
    elif d <= 64:
        queries, keys = 192, 160 if local else 128
    else:
        queries = 128
        keys = 128 if d <= 128 else 96 if d <= 192 else 64 if local else 80
    threads = queries // 64 * WARP_GROUP + WARP_GROUP
    return PrefillPlan(" fa3", queries, keys, threads, 4, packed, persistent=True, serial=local and d <= 64)


def _flash_attention_3_ampere(shape: AttentionShape) -> PrefillPlan:
    d, local = shape.head_dim, _windowed(shape)
    if d <= 128:
        keys = (96 if local else 112) if d <= 64 else 48 if local else 64
        threads = 128
    else:
        keys, threads = 64 if d <= 192 or local else 96, 256
    return PrefillPlan(" fa3", 128, keys, threads, 2, packed=group_of(shape) > 1, warp_rows=128 * 32 // threads)


def _flashinfer(shape: AttentionShape, hardware: Hardware) -> PrefillPlan:
    """Two CTAs share an SM where one step of 16 keys lets them; the keys of a tile are what then fits."""
    d, rows = shape.head_dim, shape.query_len * group_of(shape)
    queries = 128 if rows > 64 and d < 256 else 64 if rows > 16 else 16
    step = 64 if queries == 16 else 16  # keys that the warps advance by together
    query_bytes, step_bytes = queries * d * 2, 2 * d * step * shape.kv_dtype.bytes
    room = hardware.sm.shared_memory_bytes
    room //= 2 if room >= 2 * (query_bytes + step_bytes) else 1
    steps = max(1, min((room - query_bytes) // step_bytes, 4 if queries == 128 else 8))
    warp_rows = 64 if queries == 16 else queries // 4
    return PrefillPlan(" flashinfer", queries, steps * step, 128, 2, packed=group_of(shape) > 1, warp_rows=warp_rows)


def _runs_triton(shape: AttentionShape, capability: int) -> bool:
    if capability == HOPPER:
        return shape.head_dim > 256 or (shape.head_dim == 256 and shape.window is not None)
    if BLACKWELL <= capability < CONSUMER_BLACKWELL:
        return shape.head_dim == 192
    if capability < ADA:
        return False
    windowed = capability >= CONSUMER_BLACKWELL and shape.window is not None
    return shape.head_dim not in FLASHINFER_HEADS or shape.head_dim > 256 or windowed


def _triton(shape: AttentionShape, capability: int) -> PrefillPlan:
    d, small = shape.head_dim, capability in (86, ADA) or capability >= CONSUMER_BLACKWELL
    if small:
        queries, keys = (64, 128) if d <= 128 else (64, 64) if d <= 256 else (32, 32)
    else:
        queries, keys = (128, 64) if d <= 256 else (32, 64)
    warps = 4 if d <= 64 else 8
    padded = 1 << (d - 1).bit_length()
    groups = not small and queries >= 64
    rows = 0 if groups else max(16, queries // warps)
    return PrefillPlan(" triton", queries, keys, warps * 32, 1, warp_rows=rows, padded_head=padded)


def _generated(shape: AttentionShape) -> PrefillPlan:
    if shape.query_len == 1:
        return PrefillPlan(" trtllm-gen", 16, 128, 256, 4, packed=True, overlaps=True)
    queries = 256 if shape.head_dim <= 128 else 128
    return PrefillPlan(" trtllm-gen", queries, 128, 512, 4, persistent=True, overlaps=True)


def _fmha_v2(shape: AttentionShape, capability: int) -> PrefillPlan:
    d = shape.head_dim
    if capability == HOPPER:
        keys = 256 if d <= 64 else 128 if d <= 128 else 64
        padded = 1 << (d - 1).bit_length()
        return PrefillPlan(" fmha", 128, keys, 3 * WARP_GROUP, 4, padded_head=padded)  # one buffer of queries
    if shape.kv_len > 64 and (capability < 86 or d >= 256):
        return PrefillPlan(" fmha", 128 if d <= 64 else 64, 128, 128, 2, warp_rows=32 if d <= 64 else 16)
    return PrefillPlan(" fmha", 64, 32 if d <= 128 else 16, 128, 2, warp_rows=16)
