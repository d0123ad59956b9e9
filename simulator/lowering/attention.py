"""Attention kernels: decode with the KV split over CTAs, and prefill with K/V tiles re-read per query tile.

Tiles, stages and split rules follow FlashAttention-2 (csrc/flash_attn: flash_api.cpp, flash_fwd_launch_template.h)
and, on devices with asynchronous bulk copies, FlashAttention-3 (hopper: heuristics.h, tile_size.h), the kernels vLLM
runs.  The query heads of a KV head share its tiles (packed GQA).  K and V of a page are stored head by head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Hardware
from simulator.lowering.gemm import bulk_copies
from simulator.lowering.implementation import Implementation
from simulator.lowering.layout import SECTOR_BYTES, KvLayout, Matrix, Runs
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, traced_parts, traced_whole
from simulator.trace.record import Op, Records, TracedKernel
from simulator.workload.operators import AttentionShape

PARTIAL_BYTES = 4  # partial outputs and log-sum-exps are fp32
PAGE_ID_BYTES = 4
MAX_SPLITS = 128
EFFICIENCY_KEPT = 0.85  # FlashAttention takes the fewest splits within 15 % of the best wave efficiency
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tile:
    """Query rows and keys of one step, and what a CTA needs for it."""

    queries: int
    keys: int
    threads: int
    stages: int  # K and V tiles in flight
    registers: int


@dataclass(frozen=True, slots=True)
class Operands:
    """Where the operands lie: q and output as [tokens][heads x head_dim], K and V as addresses of paged storage."""

    query: Matrix
    output: Matrix
    key: int
    value: int
    block_table: int | None
    workspace: int


def decode_tile(shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile of a decode kernel by head size."""
    d = shape.head_dim
    if bulk_copies(hardware):
        keys = 192 if d <= 64 else 128 if d <= 128 else 96 if d <= 192 else 80
        queries = 64 if d <= 128 and _group(shape) <= 64 else 128
        return _fitting(Tile(queries, keys, 256 if queries == 64 else 384, 4, 168), shape, hardware)
    keys = 256 if d <= 64 else 128 if d <= 128 else 64
    return _fitting(Tile(64, keys, 128, 2, 255), shape, hardware)


def prefill_tile(shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile of a prefill kernel by head size."""
    d = shape.head_dim
    if bulk_copies(hardware):
        keys = 128 if d <= 128 else 96 if d <= 192 else 80
        return _fitting(Tile(192 if d <= 64 else 128, keys, 384, 4, 168), shape, hardware)
    if d <= 64:
        return _fitting(Tile(128, 128, 128, 2, 255), shape, hardware)
    return _fitting(Tile(64 if d <= 128 else 128, 64, 128 if d <= 128 else 256, 2, 255), shape, hardware)


def _fitting(tile: Tile, shape: AttentionShape, hardware: Hardware) -> Tile:
    """Return the tile cut down until it fits shared memory: fewer stages, then fewer keys, then fewer queries."""
    room = hardware.sm.shared_memory_bytes - hardware.sm.cta_reserved_bytes
    while _shared_bytes(shape, tile) > room:
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


def lower_decode(
    shape: AttentionShape,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None = None,
    step: int = 0,
) -> Iterator[TracedKernel]:
    """Yield the kernels of decode attention: the main one and, when the KV is split, the combination of the parts."""
    tile = decode_tile(shape, hardware)
    query_tiles = -(-_group(shape) // tile.queries)
    key_tiles = _key_tiles(shape, tile)
    if bulk_copies(hardware):
        splits = fa3_splits(shape, hardware, query_tiles, key_tiles)
    elif shape.heads > shape.kv_heads and shape.window is None:
        splits = fa2_splits(shape.batch * shape.kv_heads * query_tiles, 2 * hardware.sm.count, key_tiles)
    else:
        splits = 1  # FlashAttention-2 splits packed GQA only
    splits = -(-key_tiles // -(-key_tiles // splits))  # empty splits are not launched
    yield _decode_kernel(shape, tile, splits, query_tiles, operands, hardware, scalars, kernel, layer, step)
    if splits > 1:
        yield _combine_kernel(shape, splits, operands, hardware, scalars, kernel + 1, layer, step)


def _decode_kernel(
    shape: AttentionShape,
    tile: Tile,
    splits: int,
    query_tiles: int,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
) -> TracedKernel:
    begin = shape.first_key // tile.keys * tile.keys  # tiles start on tile boundaries, window or not
    per_split = -(-_key_tiles(shape, tile) // splits)
    cycles = _pair_cycles(shape, tile, hardware, scalars)
    group = _group(shape)
    query_width = shape.head_dim * shape.activation_dtype.bytes
    output_width = operands.output.row_bytes // shape.heads

    def make(cta: IntArray) -> Records:
        rest, split = np.divmod(cta, splits)
        rest, query_tile = np.divmod(rest, query_tiles)
        sequence, head = np.divmod(rest, shape.kv_heads)
        first = begin + split * per_split * tile.keys
        last = np.minimum(first + per_split * tile.keys, shape.kv_len)
        rows = np.minimum(group - query_tile * tile.queries, tile.queries)
        first_head = head * group + query_tile * tile.queries
        program = ProgramBuilder(kernel)
        _add_block_table(program, shape, operands, cta, sequence, first, last)
        query = operands.query.tile(sequence, 1, first_head * query_width, rows * query_width)
        program.add(cta, Op.READ, query, barrier=True)
        _add_keys(program, shape, operands, cta, sequence, head, first, last, tile.keys, cycles)
        if splits > 1:
            place = (split * shape.batch + sequence) * shape.heads + first_head
            row = (shape.head_dim + 1) * PARTIAL_BYTES
            written = contiguous(operands.workspace + place * row, rows * row)
        else:
            written = operands.output.tile(sequence, 1, first_head * output_width, rows * output_width)
        program.add(cta, Op.WRITE, written, barrier=True)
        return program.records()

    return traced_parts(
        f"decode attention {tile.queries}x{tile.keys}" + (f" split-KV {splits}" if splits > 1 else ""),
        "decode_attention",
        layer,
        step,
        _launch(shape, tile, scalars),
        shape.flops,
        shape.batch * shape.kv_heads * query_tiles * splits,
        6 * per_split + 3,
        make,
    )


def _combine_kernel(
    shape: AttentionShape,
    splits: int,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
) -> TracedKernel:
    """Return the kernel that rescales and adds the partial outputs of the splits, 8 heads a CTA."""
    rows = 8
    per_sequence = -(-shape.heads // rows)
    ctas = shape.batch * per_sequence
    sequence, part = np.divmod(np.arange(ctas), per_sequence)
    count = np.minimum(shape.heads - part * rows, rows)
    row = (shape.head_dim + 1) * PARTIAL_BYTES
    number = np.arange(splits)
    place = (number * shape.batch + sequence[:, None]) * shape.heads + (part * rows)[:, None]
    program = ProgramBuilder(kernel)
    cycles = -(-rows * shape.head_dim * 2 // hardware.sm.vector_flops_per_clock)
    runs = contiguous(operands.workspace + place * row, (count * row)[:, None])
    program.add(np.arange(ctas)[:, None], Op.READ, runs, compute_cycles=cycles)
    width = operands.output.row_bytes // shape.heads
    written = operands.output.tile(sequence, 1, part * rows * width, count * width)
    program.add(np.arange(ctas), Op.WRITE, written, barrier=True)
    launch = Launch(256, 64, rows * row, 16, scalars.prologue_ps)
    return traced_whole("decode attention combine", "decode_attention", layer, step, launch, 0, program.records())


def lower_prefill(
    shape: AttentionShape,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None = None,
    step: int = 0,
) -> TracedKernel:
    """Return the prefill kernel: a CTA per query tile, head and sequence, walking the keys its rows see."""
    tile = prefill_tile(shape, hardware)
    query_tiles = -(-shape.query_len // tile.queries)
    past = shape.kv_len - shape.query_len
    cycles = _pair_cycles(shape, tile, hardware, scalars)
    query_width = shape.head_dim * shape.activation_dtype.bytes
    output_width = operands.output.row_bytes // shape.heads

    def make(cta: IntArray) -> Records:
        rest, backwards = np.divmod(cta, query_tiles)
        query_tile = query_tiles - 1 - backwards  # the longest rows first
        sequence, head = np.divmod(rest, shape.heads)
        row = query_tile * tile.queries
        rows = np.minimum(shape.query_len - row, tile.queries)
        end = past + row + rows if shape.causal else np.full(len(cta), shape.kv_len)
        begin = np.zeros(len(cta), np.int64)
        if shape.window is not None:
            begin = np.maximum(0, past + row - shape.window + 1) // tile.keys * tile.keys
        token = sequence * shape.query_len + row
        program = ProgramBuilder(kernel)
        _add_block_table(program, shape, operands, cta, sequence, begin, end)
        query = operands.query.tile(token, rows, head * query_width, query_width)
        program.add(cta, Op.READ, query, barrier=True)
        _add_keys(program, shape, operands, cta, sequence, head // _group(shape), begin, end, tile.keys, cycles)
        written = operands.output.tile(token, rows, head * output_width, output_width)
        program.add(cta, Op.WRITE, written, barrier=True)
        return program.records()

    return traced_parts(
        f"prefill attention {tile.queries}x{tile.keys}",
        "prefill_attention",
        layer,
        step,
        _launch(shape, tile, scalars),
        shape.flops,
        shape.batch * shape.heads * query_tiles,
        6 * -(-shape.kv_len // tile.keys) + 3,
        make,
    )


def kv_layout(shape: AttentionShape) -> KvLayout:
    """Return how the KV cache that a kernel reads is stored."""
    capacity = shape.kv_stride_tokens
    return KvLayout(shape.kv_heads, shape.head_dim * shape.kv_dtype.bytes, shape.page_tokens or capacity, capacity)


def _group(shape: AttentionShape) -> int:
    """Query heads per KV head."""
    return shape.heads // shape.kv_heads


def _key_tiles(shape: AttentionShape, tile: Tile) -> int:
    """Key tiles of one sequence and head that a decode pass walks."""
    return -(-shape.kv_len // tile.keys) - shape.first_key // tile.keys


def _shared_bytes(shape: AttentionShape, tile: Tile) -> int:
    """Shared memory of a CTA: its queries and the K and V tiles in flight."""
    keys = tile.stages * tile.keys * shape.kv_dtype.bytes
    return shape.head_dim * (tile.queries * shape.activation_dtype.bytes + keys)


def _launch(shape: AttentionShape, tile: Tile, scalars: Implementation) -> Launch:
    run = shape.head_dim * shape.kv_dtype.bytes  # pages hold [token][head][dim]: the row of one head stands alone
    return Launch(tile.threads, tile.registers, _shared_bytes(shape, tile), tile.stages, scalars.prologue_ps, run)


def _pair_cycles(shape: AttentionShape, tile: Tile, hardware: Hardware, scalars: Implementation) -> int:
    """Return the SM cycles of one product (Q K^T or P V) of a whole tile with half of its softmax, padding included."""
    rate: int = getattr(hardware.sm.tensor_flops_per_clock, shape.activation_dtype.value)
    product = math.ceil(2 * tile.queries * tile.keys * shape.head_dim / (rate * scalars.matrix_efficiency))
    softmax = -(-5 * tile.queries * tile.keys // hardware.sm.vector_flops_per_clock)
    return product + softmax // 2


def _add_block_table(
    program: ProgramBuilder,
    shape: AttentionShape,
    operands: Operands,
    cta: IntArray,
    sequence: IntArray,
    first: IntArray,
    last: IntArray,
) -> None:
    """Add the read of the page numbers a CTA needs, for which the query read then waits."""
    if shape.page_tokens is None or operands.block_table is None:
        return
    pages = shape.kv_stride_tokens // shape.page_tokens
    begin = (sequence * pages + first // shape.page_tokens) * PAGE_ID_BYTES // SECTOR_BYTES * SECTOR_BYTES
    end = (sequence * pages + -(-last // shape.page_tokens)) * PAGE_ID_BYTES
    program.add(cta, Op.READ, contiguous(operands.block_table + begin, end - begin))


def _add_keys(
    program: ProgramBuilder,
    shape: AttentionShape,
    operands: Operands,
    cta: IntArray,
    sequence: IntArray,
    head: IntArray,
    first: IntArray,
    last: IntArray,
    keys: int,
    cycles: int,
) -> None:
    """Add the reads of keys first <= j < last and of their values, `keys` at a time.

    A tile is the rest of a page, whole pages, and the beginning of a page; the pages of one head are `kv_heads` pages
    apart.
    """
    layout = kv_layout(shape)
    row, page, stride = layout.row_bytes, layout.page_tokens, layout.page_stride
    tiles = max(1, int((-(-(last - first) // keys)).max()))
    start = first[:, None] + np.arange(tiles) * keys
    stop = np.maximum(start, np.minimum(last[:, None], start + keys))
    head_end = np.minimum(stop, -(-start // page) * page)
    tail_start = np.maximum(head_end, stop // page * page)
    streams: list[tuple[Runs, IntArray]] = []
    for base in (operands.key, operands.value):

        def at(token: IntArray, base: int = base) -> IntArray:
            return base + layout.offset(sequence[:, None] // shape.kv_sharers, head[:, None], token)

        whole = (tail_start - head_end) // page
        middle = Runs(at(head_end), whole, np.full_like(whole, page * row), np.full_like(whole, stride))
        in_tail, in_middle = tail_start < stop, whole > 0
        streams.append((contiguous(at(start), (head_end - start) * row), np.where(in_tail | in_middle, 0, cycles)))
        streams.append((middle, np.where(in_tail, 0, cycles)))
        streams.append((contiguous(at(tail_start), (stop - tail_start) * row), np.full_like(whole, cycles)))
    program.add_interleaved(cta[:, None], Op.READ, streams, True)
