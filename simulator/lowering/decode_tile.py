"""What a decode kernel is to the trace generator: its tile, its splits, and the arithmetic that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.hardware import Dtype, Hardware
from simulator.workload.operators import AttentionShape

SM_REGISTERS = 65536
MOST_REGISTERS = 255  # of a thread
REGISTER_STEP = 8
VECTOR_BYTES = 16  # of a thread's load
HOPPER, BLACKWELL, CONSUMER_BLACKWELL = 90, 100, 120  # compute capabilities
HOPPER_MMA_SHARE = 0.63
PRODUCT_CYCLES = 33  # of an instruction that multiplies, to its result: A100 (Sun et al. 2022; sm_120: 35)
PRODUCT_ROWS = PRODUCT_DEPTH = 16  # of that instruction (m16n8k16), the least that a tile is cut to
PRODUCT_FLOPS = 2 * PRODUCT_ROWS * 8 * PRODUCT_DEPTH
SCHEDULERS = 4  # of an SM
SHARED_LOAD_CYCLES = 29  # from shared memory (QuickRunCUDA, B300)
EXCHANGE_CYCLES = 30 + SHARED_LOAD_CYCLES  # between warps: a barrier of four of them, and such a load (the same)
CONVERSIONS_BEFORE, CONVERSIONS = 16, 64  # of type, of an SM a clock: before Hopper and since
PAIR_CONVERSIONS = 2  # of type, for two fp8 numbers that become bf16
FP32_BYTES = 4
INSTRUCTIONS = 128  # of most kinds, of an SM a clock


@dataclass(frozen=True, slots=True)
class Tile:
    """Query rows and keys of one step, and what a CTA needs for it."""

    queries: int  # heads that share it
    keys: int
    threads: int
    stages: int  # K and V tiles in flight
    registers: int
    matrix: bool = True  # computes on the matrix units
    combines: bool = False  # the last split of a row adds up the others: no second kernel
    buffered: bool = True  # K and V tiles pass through shared memory
    multiplies_cache: bool = False  # in the type of the cache; otherwise it is converted to that of the queries
    warp_rows: int = 0  # query rows of a warp that loads its operands from shared memory; 0: the matrix unit does
    padded_rows: int = 0  # rows of its products, where these are more than its queries
    spills: bool = False  # its accumulators take more registers than there are
    window_keys: int = 0  # a window begins with a multiple of these; 0: of a step
    whole_keys: int = 0  # keys its products are rounded up to, where a tile is a part of what it multiplies at once
    whole_values: int = 0  # likewise of P V
    step_keys: int = 0  # keys that are loaded and multiplied together whether there are as many or not; 0: those there
    padded_head: int = 0  # head size its products are padded to
    passes: int = 1  # times that operands cross shared memory for a product
    vector_steps: int = 0  # instructions of a thread for each 16 bytes of K or V, where they count for more than flops
    turns_queries: bool = False  # rotates and casts its queries itself
    query_steps: int = 1  # reads in which it gets its queries, of two heads each but the first, one after the other
    accumulators: int = 0  # registers of a thread for its product, where no bound says how many it has in all
    waiting_cycles: int = 0  # of each product that a warp, alone on its scheduler, waits for its results and for others
    sets_up_longer: bool = False  # its CTAs take `longer_cycles` besides the prologue
    matrix_share: float = 1.0  # of the matrix units' peak that its instructions can reach
    merged_at_once: int = 0  # partial rows that the CTA which adds them up reads at a time; 0: all
    merging_cycles: int = 0  # of the SM, in which it adds one to the others
    maxima_at_once: int = 0  # of splits that it reads at a time before, where it does
    conversion_cycles: float = 0.0  # of the SM for an fp8 number multiplied in 16 bits; 0: two conversions a pair
    exchanged_rows: int = 0  # rows of partial outputs that warps of a CTA write and read in shared memory at its end
    exchanges: int = 0  # times that these cross shared memory


@dataclass(frozen=True, slots=True)
class Plan:
    """A decode kernel: its tile, and over how many CTAs the keys of a sequence and head are split."""

    name: str
    tile: Tile
    splits: int
    heads_outside: bool = False  # all sequences of a head come before the next head; otherwise all heads of a sequence
    persistent: bool = False  # a CTA takes one piece of work after the other, and sets up for the first alone
    dealt: bool = False  # a CTA an SM, each of which takes pieces of work in turn and loads the next in advance
    pays_items: bool = False  # each piece of work takes `item_cycles`, fitted on FlashAttention-3 alone
    head_major: bool = False  # pages hold all tokens of a head together; otherwise all heads of a token
    lookups: int = 0  # reads that a CTA makes one after the other to find its work
    scanned: int = 0  # sequences that a persistent CTA steps over at once, a read each, on the way to its next work
    keys_first: bool = False  # a CTA reads the first value when it has multiplied its last key
    indexed: bool = False  # each tile waits for the places of its tokens to be read
    always_combined: bool = False  # a second kernel is launched even where there is nothing to add up
    combined_rows: int = 8  # query rows of a CTA of that kernel, and partial rows of each that it has in flight
    combined_stages: int = 4
    combined_scanned: int = 0  # sequences that it steps over at once from the first one on, to find what it adds up
    value_dim: int = 0  # head size of the values, where it is not that of the keys


def conversion_cycles(hardware: Hardware, conversions: float) -> float:
    """Return the SM cycles for an fp8 number when a pair takes so many conversions of type, and two instructions
    besides; 64 conversions a clock from Hopper on, before that 16 (CUDA C++ Programming Guide, throughput of native
    arithmetic instructions, all other type conversions)."""
    rate = CONVERSIONS if hardware.compute_capability >= HOPPER else CONVERSIONS_BEFORE
    return (conversions / rate + 2 / INSTRUCTIONS) / 2


def warp_matrix_share(hardware: Hardware) -> float:
    """Return the share of the matrix units' peak that products of single warps (mma.sync) reach: on Hopper 0.63, all
    elsewhere (Luo et al. 2024, arXiv 2402.13499)."""
    return HOPPER_MMA_SHARE if hardware.compute_capability == HOPPER else 1.0


def lone_warp_share(hardware: Hardware, dtype: Dtype) -> float:
    """Return the share of the matrix units' peak where each scheduler has one warp that multiplies, an instruction
    after the other."""
    peak: float = getattr(hardware.sm.tensor_flops_per_clock, dtype.value)
    return min(warp_matrix_share(hardware), SCHEDULERS * PRODUCT_FLOPS / PRODUCT_CYCLES / peak)


def registers_for(threads: int, resident: int) -> int:
    """Return the registers a thread may have when a kernel is compiled for `resident` CTAs on an SM."""
    share = SM_REGISTERS // (threads * resident) // REGISTER_STEP * REGISTER_STEP
    return min(MOST_REGISTERS, share)


def fitting(tile: Tile, shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile cut down until it fits shared memory: fewer stages, then fewer keys, then fewer queries."""
    room = hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes
    while shared_bytes(shape, tile) > room:
        if tile.stages > 2:
            tile = replace(tile, stages=2)
        elif tile.keys > PRODUCT_DEPTH:
            tile = replace(tile, keys=tile.keys // 2)
        elif tile.queries > PRODUCT_ROWS:
            tile = replace(tile, queries=tile.queries // 2)
        else:
            break
    return tile


def one_wave(shape: AttentionShape, tile: Tile, slots: int, least_keys: int) -> int:
    """Return the most splits of at least `least_keys` keys that all run at once."""
    work = shape.batch * shape.kv_heads * query_tiles_of(shape, tile)
    keys = shape.kv_len - shape.first_key
    return launched(min(slots // work, -(-keys // least_keys)), key_tiles_of(shape, tile))


def launched(splits: int, key_tiles: int) -> int:
    """Return the splits that have work when each takes as many whole tiles as the largest."""
    splits = max(1, min(splits, key_tiles))
    return -(-key_tiles // -(-key_tiles // splits))


def windowed(shape: AttentionShape) -> bool:
    """Return whether a window leaves keys out; one that covers all of them is dropped (FlashAttention)."""
    return shape.window is not None and shape.kv_len > shape.window


def group_of(shape: AttentionShape) -> int:
    """Return the query heads per KV head."""
    return shape.heads // shape.kv_heads


def query_tiles_of(shape: AttentionShape, tile: Tile) -> int:
    """Return the tiles that the query heads of one KV head make."""
    return -(-group_of(shape) // tile.queries)


def step_of(tile: Tile) -> int:
    """Return the keys of a step."""
    return tile.step_keys or max(tile.keys, tile.whole_keys)


def first_loaded(shape: AttentionShape, tile: Tile) -> int:
    """Return the key that a decode pass begins with: steps start on step boundaries, window or not."""
    keys = tile.window_keys or step_of(tile)
    return shape.first_key // keys * keys


def steps_of(shape: AttentionShape, tile: Tile) -> int:
    """Return the steps of one sequence and head that a decode pass walks, of which splits are made."""
    return -(-(shape.kv_len - first_loaded(shape, tile)) // step_of(tile))


def key_tiles_of(shape: AttentionShape, tile: Tile) -> int:
    """Return the key tiles of one sequence and head that a decode pass walks."""
    return -(-shape.kv_len // tile.keys) - shape.first_key // tile.keys


def shared_bytes(shape: AttentionShape, tile: Tile) -> int:
    """Return the shared memory of a CTA: its queries and the K and V tiles in flight, and in their place at the end the
    partial outputs that its warps exchange."""
    keys = tile.stages * tile.keys * shape.kv_dtype.bytes if tile.buffered else 0
    rows = max(tile.queries, tile.padded_rows)
    head = tile.padded_head or shape.head_dim
    return head * max(rows * shape.activation_dtype.bytes + keys, tile.exchanged_rows * FP32_BYTES)
