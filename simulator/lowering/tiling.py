"""Which tiles a library cuts a matrix product into.

Candidates and shared-memory use follow the kernel names that profilers show for cuBLAS: nvjet_*_{n}x{m}_64x{stages}
with stages = min(16, shared memory / 128 (n + m)) on devices with asynchronous bulk copies,
ampere_*_{n}x{m}_..stages_64x{3..6} before.  Of them the one with the least estimated time is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simulator.errors import ConfigError
from simulator.hardware import Dtype, Hardware
from simulator.lowering.implementation import Implementation
from simulator.units import PS_PER_S
from simulator.workload.operators import GemmShape

K_BYTES = 128
"""Bytes of a row of either operand in one stage: 64 columns of 16 bits (TK = 64 in the kernel names)."""

SHARPNESS = 4
"""How closely a time follows the slowest of several parts alone, which wait for each other where they are nearly as
slow: between their sum (1) and that one (endless).  Assumed, the same for products and attention."""

RESERVED_SHARED_BYTES = 16756  # barriers and the epilogue's staging in the kernels' launch configurations
STAGED, STORED, BULK_STORED = 16, 32, 64
"""Outputs a cycle with which a CTA ends.  Before bulk copies accumulators of 4 bytes go into shared memory and out at
128 bytes a cycle, all of a tile, then those of the rows there are to L2, 2 bytes each at 64 a cycle.  With them 16-bit
outputs go in, and leave on their own."""

SHARED_BYTES_PER_CLOCK = 128
"""What an SM reads or writes of its shared memory a clock: 32 banks of 4 bytes (CUDA programming guide)."""

PARTIAL_BYTES = 4  # split-K partial sums are fp32

BULK_TILES_N = (64, 128, 192, 256, 320)
BULK_TILES_M = (64, 128, 192, 256)  # and those between, in steps of 8, that waste the fewest rows
BULK_PARTS = 6
BULK_TILE_OUTPUTS = 320 * 128  # the largest seen: more accumulators do not fit the registers
TENSOR_MEMORY_OUTPUTS = 256 * 256
"""Where accumulators have a memory of their own (data-centre Blackwell: 128 lanes of 512 words), the largest seen:
nvjet_tst_256x256_64x4_2x2_2cta."""

BULK_STAGES = 16
TILE_STAGES = {
    (64, 64): 6,
    (128, 64): 3,
    (64, 128): 3,
    (128, 128): 3,
    (256, 64): 3,
    (64, 256): 3,
    (256, 128): 3,
    (128, 256): 3,
}
"""Stages of 64 columns by tile (n, m) of the kernels before bulk copies: ampere_bf16_s16816gemm_bf16_64x64_sliced1x2_
.._64x6, _128x64_.._64x3 (or 32x6), _128x128_.._64x3, _256x128_.._64x3 and their mirror images in profiles."""


SPLITS = (2, 3, 4, 5, 6, 8, 12, 16, 32)
"""Ways of k that a search over the algorithms of cuBLASLt tries (splitKSequenceA of NVIDIA's samples,
as in TensorRT's fcPlugin.cpp)."""

LEAST_STEPS, BULK_LEAST_STEPS = 2, 8
"""Of a share of k, before bulk copies and with them, as CUTLASS has it for stream-K (kMinItersPerSkBlock of
threadblock_swizzle_streamk.h, min_iters_per_sk_unit_ of sm90's tile_scheduler_params.h)."""

LOADED = 1.5  # latency of DRAM while it streams, to that of a lone access (as sm.outstanding is derived)

RASTER_ROWS = 8
"""Tiles of m that advance together through n, as GROUP_SIZE_M in the Triton matmul tutorial."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut: tile, ways k is split, stages, CTAs that share a weight tile by multicast, rows of tiles
    that advance together (1: row after row), whether its products use half of the matrix unit (`Pinned`)."""

    tile_m: int
    tile_n: int
    split: int
    stages: int
    cluster: int
    threads: int
    raster_rows: int = RASTER_ROWS
    half_path: bool = False


def bulk_copies(hardware: Hardware) -> bool:
    """Return whether the device has the large shared memory that goes with asynchronous bulk copies (Hopper on)."""
    return hardware.sm.shared_memory_bytes >= 200 * 1024


def overhead_ps(m: int, tiling: Tiling, hardware: Hardware, scalars: Implementation) -> int:
    """Return what a CTA of a product of `m` rows takes besides its main loop: set-up and end, instructions whose time
    goes with the clock."""
    outputs = tiling.tile_m * tiling.tile_n
    if bulk_copies(hardware):
        cycles = outputs / BULK_STORED
    else:
        cycles = outputs / STAGED + min(m, tiling.tile_m) * tiling.tile_n / STORED
    return scalars.prologue_at(hardware.sm.clock_hz) + int(cycles * PS_PER_S / hardware.sm.clock_hz)


def warmup_ps(hardware: Hardware, scalars: Implementation) -> int:
    """Return what the first CTA of each place takes on top: its instructions and parameters are not cached yet."""
    return scalars.warmup_cycles * PS_PER_S // hardware.sm.clock_hz


class Pinned(NamedTuple):
    """Sides of the tile where the kernel is known, which then does not split k; 0: the library chooses.  So with its
    stages of 128 bytes, fewer if they do not fit, and CTAs along m that share a weight tile by multicast.  Whether each
    tile has a CTA of its own, which sets itself up, and not those that stay and take one tile after the other; whether
    products are of 64 rows by one SM with tensor memory, which use half of its lanes and of the matrix unit's data path
    (PTX ISA, tcgen05 data path layout F; two SMs with 128 rows, layout B, use all)."""

    tile_m: int = 0
    tile_n: int = 0
    stages: int = 0
    cluster: int = 0
    sets_up_each: bool = False
    half_path: bool = False


CHOSEN = Pinned()


def choose(shape: GemmShape, hardware: Hardware, scalars: Implementation, pinned: Pinned = CHOSEN) -> Tiling:
    """Return the tiling with the least estimated time, as a library's heuristic ranks its kernels; before bulk copies k
    is split only where that makes what is slowest faster, which it does not where whole CTAs keep up with DRAM.

    Raises ConfigError when not even the smallest tile fits.
    """
    candidates = list(_candidates(shape, hardware, pinned))
    if not candidates:
        raise ConfigError(f"{hardware.name}: sm.shared_memory: too small for any GEMM tile; raise it with --set")

    def ranked(tilings: Iterable[Tiling]) -> Tiling:
        return min(tilings, key=lambda tiling: (_estimate(shape, tiling, hardware, scalars), tiling.split))

    best = ranked(candidates)
    if best.split == 1 or bulk_copies(hardware):
        return best
    whole = ranked(tiling for tiling in candidates if tiling.split == 1)
    return min(whole, best, key=lambda tiling: _estimate(shape, tiling, hardware, scalars, slowest_alone=True))


def _candidates(shape: GemmShape, hardware: Hardware, pinned: Pinned) -> Iterator[Tiling]:
    bulk = bulk_copies(hardware)
    k_steps = -(-shape.k * shape.weight_dtype.bytes // K_BYTES)
    room = hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes - (RESERVED_SHARED_BYTES if bulk else 0)
    outputs = TENSOR_MEMORY_OUTPUTS if hardware.compute_capability // 10 == 10 else BULK_TILE_OUTPUTS
    for tile_n, tile_m, most_stages in _tiles(shape.m, bulk, pinned, outputs):
        stages = min(pinned.stages or most_stages, room // (K_BYTES * (tile_n + tile_m)))
        if stages < 2:
            continue
        tiles = -(-shape.m // tile_m) * -(-shape.n // tile_n)
        cluster = pinned.cluster or (2 if bulk and tile_m >= 128 else 1)
        cluster = math.gcd(cluster, -(-shape.m // tile_m))
        threads = 384 if bulk else (128 if tile_m * tile_n <= 128 * 64 else 256)
        least = BULK_LEAST_STEPS if bulk else LEAST_STEPS
        limit = 1 if pinned.tile_m or tiles >= hardware.sm.count else min(k_steps // least, hardware.sm.count // tiles)
        for split in (1, *(ways for ways in SPLITS if ways <= limit)):
            yield Tiling(tile_m, tile_n, split, stages, cluster, threads, half_path=pinned.half_path)


def _tiles(m: int, bulk: bool, pinned: Pinned, outputs: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tiles (n, m) that a library has kernels for, of `outputs` at most, with their stages; of those with
    room for more than `m` inputs the narrowest alone."""
    fewest = -(-m // BULK_TILES_M[-1])
    parts = {-(-m // (8 * (fewest + more))) * 8 for more in range(BULK_PARTS)}  # the narrowest for so many tiles
    pairs = [(n, m) for n in BULK_TILES_N for m in sorted({*parts, *BULK_TILES_M})] if bulk else list(TILE_STAGES)
    if pinned.tile_n or pinned.tile_m:
        pairs = [(pinned.tile_n or n, pinned.tile_m or m) for n, m in pairs]
    covering = min((tile_m for _, tile_m in pairs if tile_m >= m), default=m)
    for tile_n, tile_m in dict.fromkeys(pairs):
        if tile_m > covering or (bulk and tile_m * tile_n > outputs):
            continue
        yield tile_n, tile_m, BULK_STAGES if bulk else TILE_STAGES.get((tile_n, tile_m), 3)


def _estimate(
    shape: GemmShape, tiling: Tiling, hardware: Hardware, scalars: Implementation, slowest_alone: bool = False
) -> float:
    """Return a closed-form estimate of the time (s): the slowest of the matrix units, the bytes in flight and the port
    of the SM with the most CTAs, L2 and DRAM, for which the others wait where they are nearly as slow, unless it counts
    alone; the start of each wave; and the reduction of a split."""
    sm = hardware.sm
    k_steps = -(-shape.k * shape.weight_dtype.bytes // K_BYTES)
    ctas = -(-shape.m // tiling.tile_m) * -(-shape.n // tiling.tile_n) * tiling.split
    steps = -(-k_steps // tiling.split)
    occupancy = max(1, min(sm.threads // tiling.threads, _resident(tiling, hardware)))
    busiest = -(-ctas // sm.count)  # CTAs of one SM
    weight_bytes = K_BYTES * tiling.tile_n / tiling.cluster  # of a step
    step_bytes = K_BYTES * min(tiling.tile_m, shape.m) + weight_bytes
    distinct = shape.k * (shape.n * shape.weight_dtype.bytes + shape.m * shape.activation_dtype.bytes)
    partial = shape.m * shape.n * PARTIAL_BYTES * tiling.split if tiling.split > 1 else 0
    hit = (hardware.l2.hit_latency_ps + (hardware.l2.cross_latency_ps or 0)) * 1e-12
    miss = hardware.hbm.latency_ps * 1e-12
    room = min(sm.outstanding_bytes * 3 // 4, min(occupancy, busiest) * tiling.stages * step_bytes)
    most = busiest * steps
    limits: tuple[float, ...] = (
        most * step_cycles(shape, tiling, hardware, scalars) / sm.clock_hz,
        most * ((step_bytes - weight_bytes) * hit + weight_bytes * (hit + miss) * LOADED) / room,
        most * step_bytes / (sm.port_bytes_per_clock * sm.clock_hz),
        ctas * steps * step_bytes / hardware.l2.bandwidth_bytes_per_s,
        (distinct + partial) / hardware.hbm.peak_bytes_per_s,  # operands push partial sums out of L2
    )
    time: float = max(limits) if slowest_alone else sum(limit**SHARPNESS for limit in limits) ** (1 / SHARPNESS)
    start = (hardware.launch.cta_start_ps + overhead_ps(shape.m, tiling, hardware, scalars)) * 1e-12
    time += -(-ctas // (sm.count * occupancy)) * (start + 2 * (hit + miss)) + warmup_ps(hardware, scalars) * 1e-12
    if tiling.split > 1:
        reduction = hardware.launch.graph_ps + hardware.launch.cta_start_ps + scalars.prologue_at(sm.clock_hz)
        time += reduction * 1e-12 + 2 * hit
        time += 2 * partial / hardware.l2.bandwidth_bytes_per_s  # written as CTAs end, and read again
    return time


def _resident(tiling: Tiling, hardware: Hardware) -> int:
    used = K_BYTES * (tiling.tile_m + tiling.tile_n) * tiling.stages + hardware.sm.cta_reserved_bytes
    return hardware.sm.shared_memory_bytes // used


def step_cycles(shape: GemmShape, tiling: Tiling, hardware: Hardware, scalars: Implementation) -> int:
    """Return the matrix-unit cycles of one stage of a whole tile, its padding included."""
    wider = max(shape.weight_dtype, shape.activation_dtype, key=lambda dtype: dtype.bytes)
    ctas = -(-shape.m // tiling.tile_m) * -(-shape.n // tiling.tile_n) * tiling.split
    peak: float = getattr(hardware.sm.tensor_flops_per_clock, wider.value)
    rate = min(peak * scalars.matrix_efficiency, powered_rate(wider, ctas, hardware))
    columns = K_BYTES // shape.weight_dtype.bytes
    product = 2 * tiling.tile_m * tiling.tile_n * columns / rate
    if tiling.half_path:  # both operands come from shared memory, 128 bytes of a row a stage and a clock
        loads = K_BYTES * (tiling.tile_m + tiling.tile_n) / SHARED_BYTES_PER_CLOCK
        product = ((2 * product) ** SHARPNESS + loads**SHARPNESS) ** (1 / SHARPNESS)
    if not bulk_copies(hardware):
        product = (product**SHARPNESS + _shared_cycles(tiling) ** SHARPNESS) ** (1 / SHARPNESS)
    return math.ceil(product)


def powered_rate(dtype: Dtype, ctas: int, hardware: Hardware) -> float:
    """Return the FLOPs per clock of an SM that power allows, which limits what all SMs do together: where waves of CTAs
    leave some idle, the others may do more."""
    sustained = hardware.sm.sustained_tensor_flops_per_clock
    if sustained is None:
        return math.inf
    busy = ctas / (-(-ctas // hardware.sm.count) * hardware.sm.count)
    rate: float = getattr(sustained, dtype.value)
    return rate / busy


def _shared_cycles(tiling: Tiling) -> float:
    """Return the cycles of shared memory in one stage where warps load their operands from it: copies put the tiles
    there, and each warp, of 64x64 outputs or half of that in small tiles, reads its rows of both."""
    outputs = tiling.tile_m * tiling.tile_n
    warp_n = min(64, tiling.tile_n)
    warp_m = min(64 if outputs >= 128 * 128 else 32, tiling.tile_m)
    read = outputs / warp_m + outputs / warp_n
    return K_BYTES * (read + tiling.tile_m + tiling.tile_n) / SHARED_BYTES_PER_CLOCK
