"""FlashInfer's decode kernels: tiles and splits, one wave of CTAs, each of 128 keys at least.

- On the matrix units (its kernel for prompts): scheduler.cuh (PrefillPlan fills two CTAs an SM), utils.cuh
  (FA2DetermineCtaTileQ), prefill.cuh (BatchPrefillWithPagedKVCacheDispatched: keys of a tile;
  threadblock_sync_mdo_states: partial outputs in shared memory, in the place of queries, K and V), and for an fp8 cache
  frag_layout_swizzle.cuh (shuffles) and vec_dtypes.cuh (fast_dequant_f8f16x4), all of 0.6.12, which vLLM 0.24.0 and
  SGLang 0.5.14 require; pull request 3485 converts in shared memory later.  Under vLLM, whose plan
  is made for CUDA graphs up to 512 sequences, parts are added up by a second kernel even where there is one.
- On the vector units: decode.cuh and scheduler.cuh (BatchDecodeWithPagedKVCacheWorkEstimationDispatched), as many CTAs
  as fit.  SGLang (should_use_tensor_core) runs it for 16-bit caches and groups of fewer than four query heads.
"""

from __future__ import annotations

from dataclasses import replace

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_tile import PRODUCT_ROWS, Plan, Tile, fitting, group_of, one_wave, shared_bytes
from simulator.workload.operators import AttentionShape

FLASHINFER = " flashinfer"
FLASHINFER_CHUNK = 128  # keys a split takes at least
LOOKUPS = 2  # which request and chunk (request_indices), then where its pages are listed (indptr)
RESIDENT = 2  # CTAs an SM that the plan of the kernel on the matrix units counts on
WARPS, STEP_KEYS = 4, 16  # of that kernel's CTA; of a warp's step, which reads K and V
MOST_STEPS = 8  # of a warp in a tile, by registers; half as many where a warp has two steps of rows
SHUFFLES, OPERATIONS = 32, 64  # of a clock and SM: between lanes; of bits (CUDA C++ Programming Guide)
CONVERSION = ((2 / SHUFFLES + 12 / OPERATIONS) + (3 / SHUFFLES + 13 / OPERATIONS)) / 8  # cycles of a number of K or V
EXCHANGES = 2 * (1 + WARPS)  # of partial outputs: written once, read by each warp, 32 B apart, so that banks collide
MATRIX_GROUP = 4  # query heads per KV head from which that kernel takes a 16-bit cache
VECTOR_THREADS, VECTOR_BYTES = 128, 16  # of a CTA at least; of a thread's load, or a 32nd of a head if that is more
VECTOR_REGISTERS = 56  # of groups of two at head size 128, profiled (the RTX 5060 Ti of rows/hit_rates.csv)


def tile_rows(rows: int, head_dim: int) -> int:
    """Return the query rows of a tile on the matrix units, for as many as share keys (FA2DetermineCtaTileQ)."""
    return 128 if rows > 64 and head_dim < 256 else 64 if rows > PRODUCT_ROWS else PRODUCT_ROWS


def shares_keys(rows: int) -> bool:
    """Return whether the warps of a CTA share the keys of a tile of so many rows; otherwise they share its rows, and
    each reads all keys."""
    return rows == PRODUCT_ROWS


def flashinfer_plan(shape: AttentionShape, hardware: Hardware, head_major: bool) -> Plan:
    """Return the kernel on the matrix units: a tile has as many keys, a power of two of steps, as leave room for two
    CTAs in shared memory, or for one where two cannot have a step each."""
    group = group_of(shape)
    rows = tile_rows(group, shape.head_dim)
    shared = shares_keys(rows)
    step = STEP_KEYS * (WARPS if shared else 1)
    query = rows * shape.head_dim * shape.activation_dtype.bytes
    pair = 2 * step * shape.head_dim * shape.kv_dtype.bytes
    resident = RESIDENT if RESIDENT * (query + pair) <= hardware.sm.shared_memory_bytes else 1
    room = (hardware.sm.shared_memory_bytes // resident - query) // pair
    steps = 1 << (max(1, min(room, MOST_STEPS // (2 if rows > 64 else 1))).bit_length() - 1)
    conversion = CONVERSION * (1 if shared else WARPS)
    tile = Tile(rows, step * steps, 128, 2, 128, warp_rows=PRODUCT_ROWS, conversion_cycles=conversion)
    if shared:
        tile = replace(tile, exchanged_rows=WARPS * rows, exchanges=EXCHANGES)
    return _plan(shape, fitting(tile, shape, hardware), RESIDENT * hardware.sm.count, head_major)


def vector_plan(shape: AttentionShape, hardware: Hardware) -> Plan:
    """Return the kernel that a framework chooses by type and group: a thread row holds the query of a head, and several
    of them share the keys of a tile."""
    group = group_of(shape)
    if shape.kv_dtype is Dtype.FP8 or group >= MATRIX_GROUP:
        return flashinfer_plan(shape, hardware, head_major=False)
    row = shape.head_dim // max(VECTOR_BYTES // shape.kv_dtype.bytes, shape.head_dim // 32)
    deep = max(1, VECTOR_THREADS // (row * group))
    keys = (4 if group == 1 else 1) * group * deep
    tile = Tile(group, keys, row * group * deep, 4, VECTOR_REGISTERS, matrix=False)
    sm = hardware.sm
    resident = min(
        sm.threads // tile.threads,
        sm.registers // (VECTOR_REGISTERS * tile.threads),
        sm.shared_memory_bytes // (shared_bytes(shape, tile) + sm.cta_reserved_bytes),
    )
    return _plan(shape, tile, resident * sm.count, head_major=False)


def _plan(shape: AttentionShape, tile: Tile, slots: int, head_major: bool) -> Plan:
    splits = one_wave(shape, tile, slots, FLASHINFER_CHUNK)
    return Plan(FLASHINFER, tile, splits, heads_outside=True, head_major=head_major, lookups=LOOKUPS)
