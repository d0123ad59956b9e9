"""FlashAttention's decode kernels: tiles and splits.

- FlashAttention-3 (sm_90): hopper/tile_size.h (paged keys that bulk copies cannot load, as pages of 64 keys are not),
  heuristics.h, flash_prepare_scheduler.cu.  Persistent: a CTA an SM, which takes one piece of work after the other and
  finds it by walking the batch, 31 sequences a step (tile_scheduler.hpp, VarlenDynamicPersistentTileScheduler).  vLLM's
  combination has as many CTAs as there may be tiles at most, and each walks the batch from its beginning on, 32
  sequences a step (flash_fwd_combine_kernel.h, LINEARIZE_M_AND_BATCH).
- The same for sm_80 to sm_87, as SGLang runs it: tile_size_fwd_sm8x, a CTA for each piece of work.
- FlashAttention-4 (vLLM, head size 512 on sm_90): as many splits as vLLM allows, with keys or without.
- FlashAttention-2: csrc/flash_attn: flash_api.cpp, flash_fwd_launch_template.h, flash_fwd_kernel.h
  (combine_attn_seqk_parallel loads the part of a split when it has added up the one before).
"""

from __future__ import annotations

from dataclasses import replace

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_tile import (
    Plan,
    Tile,
    fitting,
    group_of,
    key_tiles_of,
    launched,
    query_tiles_of,
    registers_for,
    windowed,
)
from simulator.lowering.implementation import Framework
from simulator.lowering.tiling import bulk_copies
from simulator.workload.operators import AttentionShape

MAX_SPLITS = 128
EFFICIENCY_KEPT = 0.85  # FlashAttention-2 takes the fewest splits within 15 % of the best wave efficiency
EFFICIENCY_KEPT_3 = 0.95  # and FlashAttention-3 within 5 %
FEW_KEY_TILES = 4  # a split of FlashAttention-3 should have no fewer
MOST_PLANNED = 992  # sequences up to which FlashAttention-3 plans the splits of each on the device
GRAPH_SPLITS = 32  # bound of vLLM for CUDA graphs (_DEFAULT_MAX_NUM_SPLITS_FOR_CUDA_GRAPH)
MOST_TWO_LEVEL_HEAD = 128  # vLLM's fork keeps fp8 accumulators twice: 2 x d / 2 registers, beside those of Q K^T
FA4_HEADS = 256  # largest head size that FlashAttention-3 has kernels for
SCANNED, COMBINE_SCANNED = 31, 32  # sequences whose work a warp adds up at once
ONE_WARPGROUP_ROWS = 64  # query rows up to which one warpgroup multiplies (use_one_mma_wg)


def flash_plan(shape: AttentionShape, hardware: Hardware, framework: Framework) -> Plan:
    """Return FlashAttention's kernel for a device: 3 where there are bulk copies, otherwise 2."""
    if bulk_copies(hardware) and shape.head_dim > FA4_HEADS:
        tile = fitting(Tile(128, 64, 384, 2, registers_for(384, 1), sets_up_longer=True), shape, hardware)
        splits = GRAPH_SPLITS if shape.batch <= MOST_PLANNED else 1
        return Plan(" fa4", tile, splits, lookups=2, always_combined=splits > 1)
    tile = flash_tile(shape, hardware)
    if framework is not Framework.SGLANG and shape.kv_dtype is Dtype.FP8 and bulk_copies(hardware):
        tile = replace(tile, spills=shape.head_dim > MOST_TWO_LEVEL_HEAD)
    key_tiles = key_tiles_of(shape, tile)
    if bulk_copies(hardware):
        most = _fa3_bound(shape, hardware, tile, framework)
        splits = launched(_fa3_splits(shape, hardware, tile, most), key_tiles)
        sglang = framework is Framework.SGLANG
        return Plan(
            " fa3",
            tile,
            splits,
            persistent=True,
            pays_items=True,
            lookups=1 if sglang else 2,
            scanned=SCANNED,
            always_combined=most > 1,
            combined_rows=_fa3_combined_rows(shape),
            combined_scanned=0 if sglang or _dense(shape) else COMBINE_SCANNED,
        )
    splits = 1
    if shape.window is not None:  # groups are packed and split without one only, dropped or not (mha_varlen_fwd)
        tile = replace(tile, queries=1, padded_rows=tile.queries)
    elif shape.heads > shape.kv_heads:
        work = shape.batch * shape.kv_heads * query_tiles_of(shape, tile)
        splits = launched(fa2_splits(work, 2 * hardware.sm.count, key_tiles), key_tiles)
    rows = 4 if shape.head_dim % 128 == 0 else 8 if shape.head_dim % 64 == 0 else 16
    return Plan("", tile, splits, heads_outside=splits == 1, combined_rows=rows, combined_stages=1)


def fa3_ampere_plan(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Return FlashAttention-3's kernel without bulk copies: 128 query rows, one K and one V tile; of four warps where
    it does not split."""
    d, local = shape.head_dim, windowed(shape)
    keys = 80 if d <= 64 else (96 if local else 112) if d <= 128 else 64
    tile = fitting(Tile(128, keys, 128 if d <= 64 else 256, 2, 255, warp_rows=32 if d <= 64 else 16), shape, hardware)
    most = _fa3_bound(shape, hardware, tile, Framework.SGLANG)
    if most == 1 and d <= 128:
        keys = (96 if local else 112) if d <= 64 else 48 if local else 64
        return Plan(" fa3", fitting(Tile(128, keys, 128, 2, 255, warp_rows=32), shape, hardware), 1)
    splits = launched(_fa3_splits(shape, hardware, tile, most), key_tiles_of(shape, tile))
    return Plan(" fa3", tile, splits, always_combined=most > 1, combined_rows=_fa3_combined_rows(shape))


def flash_tile(shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile of a FlashAttention decode kernel by head size, type of the cache and window."""
    d = shape.head_dim
    if not bulk_copies(hardware):
        keys = 256 if d <= 64 else 128 if d <= 128 else 64
        return fitting(Tile(64, keys, 128, 2, 255, warp_rows=16), shape, hardware)
    local = windowed(shape)
    if shape.kv_dtype is Dtype.FP8:
        rows = 192 if d <= 64 else 128
        keys = 160 if d <= 128 else (128 if local else 160) if d <= 192 else 64 if local else 128
    elif d <= 128 and group_of(shape) <= ONE_WARPGROUP_ROWS and not local:
        rows, keys = 64, 192 if d <= 64 else 128
    elif d <= 128:
        rows, keys = (192, 160) if d <= 64 else (128, 128)
    else:
        rows, keys = 128, 96 if d <= 192 else 64 if local else 80
    threads = 128 * (1 + rows // 64)  # one warpgroup loads
    registers = registers_for(threads, 1)  # a CTA an SM
    return fitting(Tile(rows, keys, threads, 4, registers, multiplies_cache=True), shape, hardware)


def fa2_splits(work: int, slots: int, key_tiles: int) -> int:
    """Return FlashAttention-2's number of KV splits for `work` CTAs on `slots` CTA slots (num_splits_heuristic)."""
    if work >= 0.8 * slots:
        return 1
    most = min(MAX_SPLITS, slots, key_tiles)
    eligible = [s for s in range(1, most + 1) if s == 1 or -(-key_tiles // s) != -(-key_tiles // (s - 1))]
    efficiency = {s: (work * s / slots) / -(-work * s // slots) for s in eligible}
    best = max(efficiency.values())
    return next(s for s in eligible if efficiency[s] >= EFFICIENCY_KEPT * best)


def fa3_most_splits(work: int, sms: int, key_tiles: int) -> int:
    """Return the most splits that FlashAttention-3 makes of `work` row blocks (num_splits_heuristic)."""
    if work >= 0.8 * sms or key_tiles <= FEW_KEY_TILES or (key_tiles <= 8 and work >= 32):
        return 1
    efficiency = []
    for splits in range(1, min(MAX_SPLITS, sms, key_tiles) + 1):
        waves = work * splits / sms
        short = key_tiles // splits < FEW_KEY_TILES
        efficiency.append(waves / -(-work * splits // sms) * (EFFICIENCY_KEPT if short else 1))
    best = max(efficiency)
    return next(i + 1 for i, each in enumerate(efficiency) if each >= EFFICIENCY_KEPT_3 * best)


def _fa3_combined_rows(shape: AttentionShape) -> int:
    """Return the query rows of a CTA of FlashAttention-3's combination; beyond head size 128 it has 128 columns of
    eight (run_mha_fwd_combine), here all columns of four."""
    return 16 if shape.head_dim <= 64 else 8 if shape.head_dim <= 128 else 4


def _dense(shape: AttentionShape) -> bool:
    """Return whether vLLM's combination has a CTA for each tile of each sequence instead of walking the batch
    (choose_scheduling_algo, which compares sequences and tiles of tokens)."""
    return 2 * -(-shape.batch // (16 if shape.head_dim <= 64 else 8)) >= shape.batch


def _fa3_bound(shape: AttentionShape, hardware: Hardware, tile: Tile, framework: Framework) -> int:
    """Return the bound on splits that the caller sets: vLLM's for CUDA graphs, or the heuristic, which does not know
    the batch where the splits are planned on the device."""
    planned = shape.batch <= MOST_PLANNED
    if planned and framework is not Framework.SGLANG:
        return GRAPH_SPLITS
    keys = shape.kv_len if shape.window is None else min(shape.kv_len, shape.window + tile.queries)
    work = shape.kv_heads * query_tiles_of(shape, tile) * (1 if planned else shape.batch)
    return fa3_most_splits(work, hardware.sm.count, -(-keys // tile.keys))


def _fa3_splits(shape: AttentionShape, hardware: Hardware, tile: Tile, most: int) -> int:
    """Return FlashAttention-3's number of splits, balanced over the batch on the device, windows disregarded."""
    if shape.batch > MOST_PLANNED:
        return most
    key_tiles = -(-shape.kv_len // tile.keys)
    total = shape.batch * query_tiles_of(shape, tile) * key_tiles
    per_sm = -(-int(total * 1.1 * shape.kv_heads) // hardware.sm.count)
    return max(1, min(-(-key_tiles // max(1, per_sm)), most))
