"""Which kernel decodes attention, and how it cuts its work: by framework, compute capability and shape.

- FlashAttention-3 (sm_90; under SGLang also sm_80 to sm_87) and FlashAttention-2 (vLLM): flash_api.cpp,
  hopper/heuristics.h, tile_size.h.
- FlashInfer, under SGLang on sm_89 and sm_120, and under vLLM for an fp8 cache, which FlashAttention-2 cannot read:
  include/flashinfer/attention/scheduler.cuh (PrefillPlan and DecodePlan fill one wave).
- Triton (sglang/srt/layers/attention/triton_ops/decode_attention.py, get_num_kv_splits_triton) for head sizes and
  windows that the others do not have.  Which kernel ran for which shape is said by the measured tables.
- TensorRT-LLM: decoderXQARunner.cpp and decoderXQAImplCommon.h (when XQA runs, its block count), kernels/xqa/mha.cu
  (256 threads, two CTAs an SM), decoderMaskedMultiheadAttentionTemplate.h for what XQA leaves.
- Data-centre Blackwell: the TensorRT-LLM generated kernels of all three frameworks.  They ship as binaries; that they
  fill one wave of two CTAs an SM is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2

from simulator.hardware import Dtype, Hardware
from simulator.lowering.implementation import Framework
from simulator.lowering.tiling import bulk_copies
from simulator.workload.operators import AttentionShape

MAX_SPLITS = 128
EFFICIENCY_KEPT = 0.85  # FlashAttention takes the fewest splits within 15 % of the best wave efficiency
HOPPER, BLACKWELL, CONSUMER_BLACKWELL = 90, 100, 120
ADA = 89
XQA_MOST_GROUP = 32  # query heads per KV head (supportConfigQGMMA, supportConfigHMMA)
XQA_HISTORY = 128  # keys a block takes at least (kMinHistoryTokensPerBlock)
XQA_WAVES = 8  # kTargetWaveFactor
XQA_ENABLE = 4  # kEnableMinBlockFactor
FLASHINFER_CHUNK = 128  # keys a split takes at least
FLASHINFER_HEADS = (128, 256, 512)
TRITON_HEADS, TRITON_SPLITS = 16, 8  # query heads of a CTA, most splits


@dataclass(frozen=True, slots=True)
class Tile:
    """Query rows and keys of one step, and what a CTA needs for it."""

    queries: int
    keys: int
    threads: int
    stages: int  # K and V tiles in flight
    registers: int
    matrix: bool = True  # computes on the matrix units
    combines: bool = False  # the last split of a row adds up the others: no second kernel
    multiplies_cache: bool = False  # in the type of the cache; otherwise it is converted to that of the queries


@dataclass(frozen=True, slots=True)
class Plan:
    """A decode kernel: its tile, and over how many CTAs the keys of a sequence and head are split."""

    name: str
    tile: Tile
    splits: int
    heads_outside: bool = False  # all sequences of a head come before the next head; otherwise all heads of a sequence


def decode_plan(shape: AttentionShape, hardware: Hardware, framework: Framework) -> Plan:
    """Return the kernel that a framework decodes with on a device."""
    capability = hardware.compute_capability
    if BLACKWELL <= capability < CONSUMER_BLACKWELL and framework is not Framework.GENERIC:
        return _generated(shape, hardware)
    if framework is Framework.TRTLLM:
        return _xqa(shape, hardware) if _xqa_runs(shape, hardware) else _masked(shape, hardware)
    if framework is Framework.SGLANG:
        return _sglang(shape, hardware)
    if framework is Framework.VLLM and shape.kv_dtype is Dtype.FP8 and capability != HOPPER:
        return _flashinfer(shape, hardware)
    return _flash_attention(shape, hardware)


def _sglang(shape: AttentionShape, hardware: Hardware) -> Plan:
    capability = hardware.compute_capability
    if capability == HOPPER:
        wide = shape.head_dim > 256 or (shape.head_dim == 256 and shape.window is not None)
        return _triton(shape, hardware) if wide else _flash_attention(shape, hardware)
    if capability < ADA:
        return _flash_attention_3_ampere(shape, hardware)
    windowed = capability >= CONSUMER_BLACKWELL and shape.window is not None
    if shape.head_dim in FLASHINFER_HEADS and not windowed:
        return _flashinfer(shape, hardware)
    return _triton(shape, hardware)


def _flash_attention_3_ampere(shape: AttentionShape, hardware: Hardware) -> Plan:
    """FlashAttention-3's kernels without bulk copies: 128 query rows, one K and one V tile (tile_size_fwd_sm8x)."""
    d = shape.head_dim
    keys = 80 if d <= 64 else 112 if d <= 128 else 64
    tile = fitting(Tile(128, keys, 128 if d <= 64 else 256, 2, 255), shape, hardware)
    splits = fa3_splits(shape, hardware, query_tiles_of(shape, tile), key_tiles_of(shape, tile))
    return Plan(" fa3", tile, _launched(splits, key_tiles_of(shape, tile)))


def _triton(shape: AttentionShape, hardware: Hardware) -> Plan:
    grouped = group_of(shape) > 1
    rows = min(TRITON_HEADS, group_of(shape))
    tile = Tile(rows, 32 if grouped else 64, 128, 2, 128, matrix=grouped)
    keys = shape.kv_len - shape.first_key
    cores = hardware.sm.count * max(log2(max(1, keys) / 64), 1.0)
    grid = shape.batch * -(-shape.heads // rows)
    splits = min(-(-int(cores) // grid), TRITON_SPLITS)
    return Plan(" triton", tile, _launched(splits, key_tiles_of(shape, tile)), heads_outside=True)


def _flash_attention(shape: AttentionShape, hardware: Hardware) -> Plan:
    tile = decode_tile(shape, hardware)
    query_tiles, key_tiles = query_tiles_of(shape, tile), key_tiles_of(shape, tile)
    if bulk_copies(hardware):
        splits = fa3_splits(shape, hardware, query_tiles, key_tiles)
    elif shape.heads > shape.kv_heads and shape.window is None:
        splits = fa2_splits(shape.batch * shape.kv_heads * query_tiles, 2 * hardware.sm.count, key_tiles)
    else:
        splits = 1  # FlashAttention-2 splits packed GQA only
    splits = _launched(splits, key_tiles)
    return Plan("", tile, splits, heads_outside=splits == 1 and not bulk_copies(hardware))


def _flashinfer(shape: AttentionShape, hardware: Hardware) -> Plan:
    tile = fitting(Tile(16 * -(-min(64, group_of(shape)) // 16), 64, 128, 2, 128), shape, hardware)
    slots = _resident(shape, tile, hardware) * hardware.sm.count
    return Plan(" flashinfer", tile, _one_wave(shape, tile, slots, FLASHINFER_CHUNK), heads_outside=True)


def _generated(shape: AttentionShape, hardware: Hardware) -> Plan:
    tile = fitting(
        Tile(16 * -(-min(64, group_of(shape)) // 16), 128, 256, 2, 128, combines=True, multiplies_cache=True),
        shape,
        hardware,
    )
    return Plan(" trtllm-gen", tile, _one_wave(shape, tile, 2 * hardware.sm.count, tile.keys))


def _xqa_runs(shape: AttentionShape, hardware: Hardware) -> bool:
    """Return whether XQA takes a shape: grouped heads, and blocks enough for a quarter of the SMs (mayHavePerfGain)."""
    blocks = shape.kv_heads * shape.batch * max(1, shape.kv_len // XQA_HISTORY)
    return 1 < group_of(shape) <= XQA_MOST_GROUP and blocks * XQA_ENABLE >= hardware.sm.count


def _xqa(shape: AttentionShape, hardware: Hardware) -> Plan:
    rows, native = 16 * -(-group_of(shape) // 16), hardware.compute_capability == HOPPER
    tile = fitting(Tile(rows, 64, 256, 4, 128, combines=True, multiplies_cache=native), shape, hardware)
    blocks = shape.kv_len // XQA_HISTORY
    blocks = max(1, min(blocks, round((8 * blocks) ** 0.5)))
    waves = shape.batch * shape.kv_heads * blocks / hardware.sm.count / XQA_WAVES
    splits = max(1, int(blocks / waves)) if waves > 1 else blocks
    return Plan(" XQA", tile, _launched(splits, key_tiles_of(shape, tile)))


def _masked(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Masked multi-head attention: a CTA for each query head, which reads its KV head alone, on the vector units."""
    tile = Tile(1, 64, 256, 2, 64, matrix=False, combines=True)
    splits = -(-hardware.sm.count // (shape.batch * shape.heads))
    return Plan(" masked", tile, _launched(splits, key_tiles_of(shape, tile)))


def _one_wave(shape: AttentionShape, tile: Tile, slots: int, least_keys: int) -> int:
    """Return the most splits that all run at once."""
    work = shape.batch * shape.kv_heads * query_tiles_of(shape, tile)
    keys = shape.kv_len - shape.first_key
    return _launched(min(slots // work, -(-keys // least_keys)), key_tiles_of(shape, tile))


def _launched(splits: int, key_tiles: int) -> int:
    """Return the splits that have work when each takes as many whole tiles as the largest."""
    splits = max(1, min(splits, key_tiles))
    return -(-key_tiles // -(-key_tiles // splits))


def decode_tile(shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile of a FlashAttention decode kernel by head size."""
    d = shape.head_dim
    if bulk_copies(hardware):
        keys = 192 if d <= 64 else 128 if d <= 128 else 96 if d <= 192 else 80
        queries = 64 if d <= 128 and group_of(shape) <= 64 else 128
        threads = 256 if queries == 64 else 384
        return fitting(Tile(queries, keys, threads, 4, 168, multiplies_cache=True), shape, hardware)
    keys = 256 if d <= 64 else 128 if d <= 128 else 64
    return fitting(Tile(64, keys, 128, 2, 255), shape, hardware)


def fitting(tile: Tile, shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile cut down until it fits shared memory: fewer stages, then fewer keys, then fewer queries."""
    room = hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes
    while shared_bytes(shape, tile) > room:
        if tile.stages > 2:
            tile = replace(tile, stages=2)
        elif tile.keys > 16:
            tile = replace(tile, keys=tile.keys // 2)
        elif tile.queries > 16:
            tile = replace(tile, queries=tile.queries // 2)
        else:
            break
    return tile


def fa2_splits(work: int, slots: int, key_tiles: int) -> int:
    """Return FlashAttention-2's number of KV splits for `work` CTAs on `slots` CTA slots (num_splits_heuristic)."""
    if work >= 0.8 * slots:
        return 1
    most = min(MAX_SPLITS, slots, key_tiles)
    eligible = [s for s in range(1, most + 1) if s == 1 or -(-key_tiles // s) != -(-key_tiles // (s - 1))]
    efficiency = {s: (work * s / slots) / -(-work * s // slots) for s in eligible}
    best = max(efficiency.values())
    return next(s for s in eligible if efficiency[s] >= EFFICIENCY_KEPT * best)


def fa3_splits(shape: AttentionShape, hardware: Hardware, query_tiles: int, key_tiles: int) -> int:
    """Return FlashAttention-3's number of splits, balanced over the batch at run time (flash_prepare_scheduler.cu)
    under the bound of 32 that vLLM sets for CUDA graphs."""
    if shape.batch > 992:
        return 1
    total = shape.batch * query_tiles * key_tiles
    per_sm = -(-int(total * 1.1 * shape.kv_heads) // hardware.sm.count)
    return max(1, min(-(-key_tiles // max(1, per_sm)), 32))


def group_of(shape: AttentionShape) -> int:
    """Return the query heads per KV head."""
    return shape.heads // shape.kv_heads


def query_tiles_of(shape: AttentionShape, tile: Tile) -> int:
    """Return the tiles that the query heads of one KV head make."""
    return -(-group_of(shape) // tile.queries)


def key_tiles_of(shape: AttentionShape, tile: Tile) -> int:
    """Return the key tiles of one sequence and head that a decode pass walks."""
    return -(-shape.kv_len // tile.keys) - shape.first_key // tile.keys


def shared_bytes(shape: AttentionShape, tile: Tile) -> int:
    """Return the shared memory of a CTA: its queries and the K and V tiles in flight."""
    keys = tile.stages * tile.keys * shape.kv_dtype.bytes
    return shape.head_dim * (tile.queries * shape.activation_dtype.bytes + keys)


def _resident(shape: AttentionShape, tile: Tile, hardware: Hardware) -> int:
    """Return how many CTAs fit an SM."""
    used = shared_bytes(shape, tile) + hardware.sm.cta_reserved_bytes
    return max(1, min(hardware.sm.shared_memory_bytes // used, hardware.sm.threads // tile.threads))
