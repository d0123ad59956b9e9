"""Which kernel attends a prompt, and how it cuts its work: by framework, compute capability and shape.

- FlashAttention-2 (vLLM up to sm_89 and on sm_120): a paged cache is read by the split kernel whatever its splits
  (csrc/flash_attn/flash_api.cpp, mha_varlen_fwd; flash_fwd_launch_template.h, run_mha_fwd_splitkv_dispatch).
- FlashAttention-3 (sm_90; under SGLang also sm_80): hopper/tile_size.h; heuristics.h (use_one_mma_wg); flash_api.cpp
  (get_pack_gqa: pages of fewer tokens than a tile are not loaded in bulk, and the heads of a group are then packed);
  flash_fwd_launch_template.h (persistent on sm_90).
- FlashInfer (SGLang on sm_89 and sm_120): utils.cuh (FA2DetermineCtaTileQ), attention/prefill.cuh
  (BatchPrefillWithRaggedKVCacheDispatched: keys of a tile).
- Triton (SGLang, head sizes and windows that the others do not have):
  srt/layers/attention/triton_ops/extend_attention.py (_get_block_sizes_for_extend_attention).  vLLM has one of its own
  for head size 192 with an fp8 cache, but for sm_90: v1/attention/ops/triton_unified_attention.py (BLOCK_M, TILE_SIZE).
- CUTLASS (SGLang on data-centre Blackwell with an fp8 cache, which its other kernels would multiply in fp8):
  flashinfer_backend.py (fmha_backend); 256 queries by 128 keys of the new K and V, in bf16.  FlashInfer deals its tiles
  before it runs, each to the CTA with the least work so far, for which all tiles of a sequence count the same, head by
  head (attention/blackwell/plan.cuh, cost_function).
- TensorRT-LLM: contextFusedMultiHeadAttention/fmhaRunner.cpp (setupLaunchParams), cpp/kernels/fmha_v2/setup.py
  (enumerate_hmma_flash_kernels_base, enumerate_hgmma_flash_warpspec_kernels, enumerate_hgmma_ldgsts_kernels).  sm_120,
  head sizes 128 and 256: skip_softmax_sm120/fused_multihead_flash_attention_ws_sm120.cu, also without skipping; what
  it does not overlap: fmha_v2/src/fmha/warpspec_sm120/README.md.
- Data-centre Blackwell: the generated kernels of TensorRT-LLM, for all three frameworks.  Their names say 128 query
  rows by 128 keys, persistent; two such tiles a CTA (mStepQ).  One token is a prompt too (fmhaDispatcher.cpp and
  flashinfer's trtllm_fmha_kernel_launcher.cu, FmhaKernelType::Context), but for vLLM, whose tables say trtllmdecode.
Grids: FlashAttention-2 num_m_block, b, h; FlashInfer tiles of all requests, KV heads; Triton batch, heads, tiles;
fmha_v2 steps, h, b (fused_multihead_attention_v2.cpp).
Which of them ran for which head size and window is said by the measured tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_flash import EFFICIENCY_KEPT
from simulator.lowering.decode_flashinfer import (
    CONVERSION,
    FLASHINFER_CHUNK,
    STEP_KEYS,
    WARPS,
    shares_keys,
    tile_rows,
)
from simulator.lowering.decode_plan import ADA, FLASHINFER_HEADS
from simulator.lowering.decode_tile import (
    BLACKWELL,
    CONSUMER_BLACKWELL,
    HOPPER,
    PAIR_CONVERSIONS,
    conversion_cycles,
    group_of,
)
from simulator.lowering.implementation import Backend, Framework
from simulator.lowering.tiling import bulk_copies
from simulator.workload.operators import AttentionShape

SPILLED_FROM = 224  # words of a thread's 255, less addresses and masks
UNEQUAL_HEAD, UNEQUAL_VALUES = 192, 128
"""SGLang's rows of head size 192 are MiMo's, whose values are narrower: longer ones take as long as that would."""

ALONG_HEAD, ALONG_SEQUENCES, ALONG_QUERIES = "tile head sequence", "tile sequence head", "sequence head tile"
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
    swaps: bool = (
        False  # q is copied first so that the heads of its one token take the place of tokens, the result after
    )
    prepares: bool = (
        False  # a kernel counts tiles first (prepare_varlen_num_blocks); on sm_90 the main one need not wait
    )
    persistent: bool = False  # as many CTAs as run at once; each takes tile after tile, the heaviest first
    in_turn: bool = False  # tiles are dealt to them beforehand, one after the other, whatever keys they see
    warp_rows: int = 0  # rows a warp multiplies with the keys it loads from shared memory; 0: products of warp groups
    masks_window: bool = False  # visits the tiles before the window too, to find them masked
    spills: bool = False  # holds more than its registers
    overlaps: bool = False  # softmax on warps of its own, beside the products of another tile
    serial: bool = False  # products and softmax of a warp group take turns
    multiplies_cache: bool = False  # in the type of the cache; otherwise it is converted to that of the queries
    transposes: bool = False  # V of 8 bits, which warp groups multiply keys first
    conversion_cycles: float = 0.0  # of the SM, for a number of an fp8 cache that is multiplied in 16 bits
    padded_head: int = 0  # head size of the values as computed; 0: as it is
    splits: int = 1  # CTAs that share the keys of a tile
    chunk: int = 0  # keys of a split, from the first key on; 0: an even share of the keys that the tile sees
    order: str = ALONG_HEAD  # of its tiles: what changes from one CTA to the next, then what, then what
    warms_up: bool = False  # a CTA that is the first at its place takes `warmup_cycles` besides its set-up


def prefill_plan(
    shape: AttentionShape, hardware: Hardware, framework: Framework, backend: Backend = Backend.AUTO
) -> PrefillPlan:
    """Return the kernel that a framework prefills with on a device."""
    capability = hardware.compute_capability
    narrow = shape.kv_dtype is Dtype.FP8
    if framework is Framework.SGLANG:
        return _sglang(shape, hardware, backend)
    if framework is Framework.VLLM and narrow and shape.head_dim == UNEQUAL_HEAD and capability != HOPPER:
        return _unified_triton(shape, hardware)
    if _has_generated(capability) and framework is not Framework.GENERIC:
        return _generated(shape, framework)
    if framework is Framework.TRTLLM:
        return _fmha_v2(shape, capability)
    if bulk_copies(hardware):
        return _flash_attention_3(shape, hardware)
    if framework is Framework.VLLM and narrow:  # which FlashAttention-2 cannot read
        plan = _flashinfer(shape, hardware)  # whose warps of other rows convert the same keys
        return replace(plan, conversion_cycles=CONVERSION * (1 if shares_keys(plan.queries) else WARPS))
    return _flash_attention_2(shape)


def _sglang(shape: AttentionShape, hardware: Hardware, backend: Backend) -> PrefillPlan:
    capability, d = hardware.compute_capability, shape.head_dim
    if backend is Backend.TRITON or (backend is Backend.AUTO and _runs_triton(shape, capability)):
        return _triton(shape, capability)
    if _has_generated(capability):
        narrow = shape.kv_dtype is Dtype.FP8 and d == 128
        return _cutlass() if narrow or backend is Backend.FLASHINFER else _generated(shape, Framework.SGLANG)
    if bulk_copies(hardware) and backend is Backend.AUTO:
        plan = _flash_attention_3(shape, hardware)
        return replace(plan, padded_head=UNEQUAL_VALUES) if d == UNEQUAL_HEAD else plan
    ampere = capability < ADA and backend is Backend.AUTO
    return _flash_attention_3_ampere(shape) if ampere else _flashinfer(shape, hardware)


def _has_generated(capability: int) -> bool:
    return BLACKWELL <= capability < CONSUMER_BLACKWELL


def query_tiles_of(shape: AttentionShape, plan: PrefillPlan) -> int:
    """Return the tiles along the queries of one sequence and head (KV head where heads are packed)."""
    rows = shape.query_len * (group_of(shape) if plan.packed else 1)
    return -(-rows // plan.queries)


def product_dtype(shape: AttentionShape, plan: PrefillPlan) -> Dtype:
    """Return the type in which a kernel multiplies."""
    return shape.kv_dtype if plan.multiplies_cache else shape.activation_dtype


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
        rows = queries * 32 // threads
        return PrefillPlan(" fa2", queries, keys, threads, 2, warp_rows=rows, order=ALONG_SEQUENCES)
    keys = 256 if d <= 80 else 128 if d <= 128 else 64
    swapped = shape.query_len == 1 and shape.window is None and group_of(shape) > 1
    copied = swapped and shape.batch > 1 and shape.kv_heads > 1  # otherwise the order is the same
    plan = PrefillPlan(" fa2 split", 64, keys, 128, 2, packed=swapped, swaps=copied, warp_rows=16)
    return replace(plan, order=ALONG_SEQUENCES)


def _flash_attention_3(shape: AttentionShape, hardware: Hardware) -> PrefillPlan:
    d, local, narrow = shape.head_dim, _windowed(shape), shape.kv_dtype is Dtype.FP8
    alone = d == 128 and shape.query_len * group_of(shape) <= 64  # rows of one warp group
    queries = 64 if d > 256 or alone else 192 if d <= 64 else 128
    if d > 256:
        keys = 64
    elif narrow:
        keys = 160 if d <= 128 else (128 if local else 160) if d <= 192 else 64 if local else 128
    elif d <= 64:
        keys = 160 if local else 128
    else:
        keys = 128 if d <= 128 else 96 if d <= 192 else 64 if local else 80
    plan = PrefillPlan(
        " fa3",
        queries,
        keys,
        threads=(queries // 64 + 1) * WARP_GROUP,
        stages=4,
        packed=group_of(shape) > 1,
        persistent=True,
        serial=d > 192 if narrow else local and d <= 64,
        multiplies_cache=narrow,
        transposes=narrow,
    )
    return replace(plan, splits=_fa3_splits(shape, plan, hardware.sm.count))


def _fa3_splits(shape: AttentionShape, plan: PrefillPlan, sms: int) -> int:
    """Return the fewest splits within 15 % of the best wave of one sequence (num_splits_heuristic), as far as the whole
    batch leaves SMs idle (prepare_varlen_num_blocks)."""
    heads, tiles = shape.kv_heads if plan.packed else shape.heads, query_tiles_of(shape, plan)
    seen = min(shape.kv_len, shape.window + plan.queries) if shape.window is not None else shape.kv_len
    if heads * tiles >= 0.8 * sms or -(-seen // plan.keys) <= 4:
        return 1
    waves = [heads * tiles * splits / sms for splits in range(1, min(sms, -(-seen // plan.keys)) + 1)]
    efficiency = [each / ceil(each) for each in waves]
    fewest = next(i for i, each in enumerate(efficiency) if each >= EFFICIENCY_KEPT * max(efficiency)) + 1
    key_tiles = -(-shape.kv_len // plan.keys)
    per_sm = ceil(shape.batch * tiles * key_tiles * 1.1 * heads / sms)
    return min(fewest, -(-key_tiles // per_sm))


def _flash_attention_3_ampere(shape: AttentionShape) -> PrefillPlan:
    d, local = shape.head_dim, _windowed(shape)
    if d <= 128:
        keys = (96 if local else 112) if d <= 64 else 48 if local else 64
        threads = 128
    else:
        keys, threads = 64 if d <= 192 or local else 96, 256
    packed, rows = group_of(shape) > 1, 128 * 32 // threads
    return PrefillPlan(" fa3", 128, keys, threads, 4, packed, prepares=True, warp_rows=rows)


def _flashinfer(shape: AttentionShape, hardware: Hardware) -> PrefillPlan:
    """Two CTAs share an SM where one step of 16 keys lets them; the keys of a tile are what then fits."""
    d, rows = shape.head_dim, shape.query_len * group_of(shape)
    queries = tile_rows(rows, d)
    shared = shares_keys(queries)
    step = STEP_KEYS * (WARPS if shared else 1)  # keys that the warps advance by together
    query_bytes, step_bytes = queries * d * 2, 2 * d * step * shape.kv_dtype.bytes
    room = hardware.sm.shared_memory_bytes
    room //= 2 if room >= 2 * (query_bytes + step_bytes) else 1
    steps = max(1, min((room - query_bytes) // step_bytes, 4 if queries == 128 else 8))
    warp_rows = 64 if shared else queries // WARPS
    plan = PrefillPlan(" flashinfer", queries, steps * step, 128, 2, packed=group_of(shape) > 1, warp_rows=warp_rows)
    chunk = _flashinfer_chunk(shape, query_tiles_of(shape, plan), 2 * hardware.sm.count)
    return replace(plan, splits=-(-shape.kv_len // chunk), chunk=chunk, order=ALONG_SEQUENCES)


def _flashinfer_chunk(shape: AttentionShape, tiles: int, places: int) -> int:
    """Return the fewest keys of a split, 128 at least, with which all splits run at once (PrefillSplitQOKVIndptr)."""
    low, high = min(FLASHINFER_CHUNK, shape.kv_len), shape.kv_len
    while low < high:
        middle = (low + high) // 2
        if shape.batch * tiles * -(-shape.kv_len // middle) > places // shape.kv_heads:
            low = middle + 1
        else:
            high = middle
    return low


def _runs_triton(shape: AttentionShape, capability: int) -> bool:
    if capability == HOPPER:
        return shape.head_dim > 256 or (shape.head_dim == 256 and shape.window is not None)
    if _has_generated(capability):
        return shape.head_dim == 192 or (shape.head_dim == 256 and shape.kv_dtype is Dtype.FP8)
    if capability < ADA:
        return False
    windowed = capability >= CONSUMER_BLACKWELL and shape.window is not None
    return shape.head_dim not in FLASHINFER_HEADS or shape.head_dim > 256 or windowed


def _triton(shape: AttentionShape, capability: int) -> PrefillPlan:
    d = shape.head_dim
    if capability in (86, ADA) or capability >= CONSUMER_BLACKWELL:
        queries, keys = (64, 128) if d <= 128 else (64, 64) if d <= 256 else (32, 32)
    elif capability >= BLACKWELL:
        queries, keys = (64, 64) if d <= 256 else (16, 64)
    else:
        queries, keys = (128, 64) if d <= 128 else (64, 64) if d <= 256 else (32, 64)
    threads = 128 if d <= 64 else 256
    padded = UNEQUAL_VALUES if d == UNEQUAL_HEAD else _power_of_two(d)
    plan = PrefillPlan(" triton", queries, keys, threads, 1, warp_rows=16, padded_head=padded, order=ALONG_QUERIES)
    windowed = shape.window is not None
    held = queries * padded + 3 * queries * keys // 2 + (queries + keys) * d // 2  # output, scores, q, K or V
    if windowed:  # a branch around the tile keeps the output before beside the output after, and the mask
        held += queries * (padded + keys)
    if shape.kv_dtype is Dtype.FP8:
        held += (queries + keys) * d // 2  # q and K of the cache's type, for the keys of a prefix
    in_registers = not _has_generated(capability)  # otherwise outputs are in tensor memory
    return replace(plan, spills=in_registers and held > SPILLED_FROM * threads, masks_window=windowed)


def _unified_triton(shape: AttentionShape, hardware: Hardware) -> PrefillPlan:
    """Whole groups of heads fill 16 rows, or more where a group is larger; a number of the cache is converted once."""
    group = group_of(shape)
    rows = max(16, _power_of_two(group))
    plan = PrefillPlan(" triton unified", rows // group * group, 32, 128, 1, packed=True, warp_rows=16)
    converted = conversion_cycles(hardware, PAIR_CONVERSIONS)
    return replace(plan, padded_head=_power_of_two(shape.head_dim), conversion_cycles=converted)


def _cutlass() -> PrefillPlan:
    plan = PrefillPlan(" cutlass", 256, 128, 512, 4, persistent=True, in_turn=True, overlaps=True)
    return replace(plan, order=ALONG_SEQUENCES)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _generated(shape: AttentionShape, framework: Framework) -> PrefillPlan:
    if shape.query_len == 1 and framework is Framework.VLLM:  # which calls that decoding
        return PrefillPlan(" trtllm-gen", 16, 128, 256, 4, packed=True, overlaps=True, multiplies_cache=True)
    queries = 256 if shape.head_dim <= 128 else 128
    return PrefillPlan(" trtllm-gen", queries, 128, 512, 4, persistent=True, overlaps=True, multiplies_cache=True)


def _fmha_v2(shape: AttentionShape, capability: int) -> PrefillPlan:
    d = shape.head_dim
    if capability == HOPPER:
        keys = 256 if d <= 64 else 128 if d <= 128 else 64
        padded = _power_of_two(d)
        narrow = shape.kv_dtype is Dtype.FP8
        keys *= 2 if narrow and d > 64 else 1
        plan = PrefillPlan(" fmha", 128, keys, 3 * WARP_GROUP, 4, padded_head=padded)  # one buffer of queries
        return replace(plan, multiplies_cache=narrow, transposes=narrow, warms_up=d != 128 or narrow)  # DEVIATIONS 30
    if capability >= CONSUMER_BLACKWELL and d in (128, 256) and shape.causal and not _windowed(shape):
        # a warp of its own loads, those that multiply have an SM to themselves: nothing hides their softmax
        return PrefillPlan(" fmha ws", 64, 128, 160, 2, warp_rows=16, serial=True)
    if shape.kv_len > 64 and (capability < 86 or d >= 256):
        return PrefillPlan(" fmha", 128 if d <= 64 else 64, 128, 128, 2, warp_rows=32 if d <= 64 else 16)
    return PrefillPlan(" fmha", 64, 32 if d <= 128 else 16, 128, 2, warp_rows=16)
