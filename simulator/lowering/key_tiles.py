"""What attention kernels read of the KV cache: the numbers of its pages, and tiles of keys and values.

K and V of a page are stored head by head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.lowering.decode_tile import Plan
from simulator.lowering.layout import SECTOR_BYTES, KvLayout, Matrix, Runs
from simulator.lowering.program import ProgramBuilder, Stream, contiguous
from simulator.trace.record import Op
from simulator.workload.operators import AttentionShape

PAGE_ID_BYTES = 4

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Operands:
    """Where the operands lie: q and output as [tokens][heads x head_dim], K and V as addresses of paged storage."""

    query: Matrix
    output: Matrix
    key: int
    value: int
    block_table: int | None
    workspace: int


def kv_layout(shape: AttentionShape) -> KvLayout:
    """Return how the KV cache that a kernel reads is stored."""
    capacity = shape.kv_stride_tokens
    return KvLayout(shape.kv_heads, shape.head_dim * shape.kv_dtype.bytes, shape.page_tokens or capacity, capacity)


def add_block_table(
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


def add_keys(
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
    plan: Plan | None = None,
) -> None:
    """Add the reads of keys first <= j < last and of their values, `keys` at a time.

    A tile is the rest of a page, whole pages, and the beginning of a page; the pages of one head are `kv_heads` pages
    apart.  A decode kernel, which has a `plan`, issues these together.
    """
    layout = kv_layout(shape)
    step = plan.tile.step_keys if plan is not None else 0
    loaded = first + -(-(last - first) // step) * step if step and shape.page_tokens else last
    last = np.minimum(loaded, layout.capacity)
    tiles = max(1, int((-(-(loaded - first) // keys)).max()))
    start = first[:, None] + np.arange(tiles) * keys
    stop = np.maximum(start, np.minimum(last[:, None], start + keys))
    beyond = np.minimum(loaded[:, None], start + keys) - np.maximum(stop, start)
    wholes = (plan.tile.whole_keys, plan.tile.whole_values) if plan is not None else (0, 0)
    streams: list[Stream] = []
    if plan is not None and plan.indexed:
        places = contiguous(np.full_like(start, operands.workspace), np.where(stop > start, keys * PAGE_ID_BYTES, 0))
        streams.append(Stream(places, 0, barrier=True))
    place = sequence[:, None] // shape.kv_sharers, head[:, None]
    for base, whole, values in zip((operands.key, operands.value), wholes, (False, True), strict=True):
        by_tile = _cycles_by_tile(cycles, per_cta=last - first, keys=keys, tiles=tiles, whole=whole)
        waits: bool | NDArray[np.bool_] = plan is not None and plan.indexed and not values
        if plan is not None and plan.keys_first and values:
            program.add_interleaved(cta[:, None], Op.READ, streams, True)
            streams, waits = [], np.arange(tiles) == 0
        if values and plan is not None and plan.value_dim:
            layout = replace(layout, row_bytes=plan.value_dim * shape.kv_dtype.bytes)
        padding = _padding(base, layout, head[:, None], beyond, keys) if step else None
        streams.extend(_tile_streams(base, layout, place, (start, stop), by_tile, waits, plan is not None, padding))
    program.add_interleaved(cta[:, None], Op.READ, streams, True)


def _tile_streams(
    base: int,
    layout: KvLayout,
    place: tuple[IntArray, IntArray],
    keys: tuple[IntArray, IntArray],
    cycles: IntArray,
    waits: bool | NDArray[np.bool_],
    together: bool,
    padding: Runs | None,
) -> list[Stream]:
    """Return the reads of a tile of K or of V, the last of which is computed on: what is left of a page, whole pages,
    the beginning of one, and what is loaded beyond the last key."""
    (start, stop), page, row = keys, layout.page_tokens, layout.row_bytes
    head_end = np.minimum(stop, -(-start // page) * page)
    tail_start = np.maximum(head_end, stop // page * page)
    whole = (tail_start - head_end) // page
    pages = Runs(
        layout.offset(*place, head_end) + base,
        whole,
        np.full_like(whole, page * row),
        np.full_like(whole, layout.page_stride),
    )
    parts = [
        contiguous(layout.offset(*place, start) + base, (head_end - start) * row),
        pages,
        contiguous(layout.offset(*place, tail_start) + base, (stop - tail_start) * row),
    ]
    there = [head_end > start, whole > 0, tail_start < stop]
    if padding is not None:
        parts.append(padding)
        there.append(np.asarray(padding.rows) > 0)
    streams = []
    for number, runs in enumerate(parts):
        before = np.logical_or.reduce([np.zeros_like(there[0]), *there[:number]])
        after = np.logical_or.reduce([np.zeros_like(there[0]), *there[number + 1 :]])
        streams.append(Stream(runs, np.where(after, 0, cycles), waits & ~before, before & together))
    return streams


def _padding(base: int, layout: KvLayout, head: IntArray, beyond: IntArray, keys: int) -> Runs:
    """Return what is loaded in place of `beyond` keys that a sequence has no pages for: the page that the rest of its
    row of the block table names, which is the first."""
    box = min(layout.page_tokens, keys)
    start = np.broadcast_to(base + head * layout.head_stride, beyond.shape)
    return Runs(start, beyond // box, np.full_like(beyond, box * layout.row_bytes), np.zeros_like(beyond))


def _cycles_by_tile(cycles: int, per_cta: IntArray, keys: int, tiles: int, whole: int) -> IntArray:
    """Return the cycles of a product of each tile, shape (CTAs, tiles) or (1, 1): where keys are multiplied in another
    number at once, the last tile takes what they are rounded up to."""
    if not whole:
        return np.full((1, 1), cycles)
    own = -(-per_cta[:, None] // keys)
    last = np.arange(tiles) == own - 1
    rest = -(-per_cta[:, None] // whole) * whole - (own - 1) * keys
    return np.where(last, cycles * rest // keys, cycles)
