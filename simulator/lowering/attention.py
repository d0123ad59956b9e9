"""Decode attention with the KV split over CTAs, and what it shares with the attention of a prompt (`prefill`).

Which decode kernel runs, its tile and its splits are in `decode_plan`, what a CTA reads of the cache in `key_tiles`.
The query heads of a KV head share its tiles (packed GQA), but for masked multi-head attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_chain import ending_cycles, product_cycles
from simulator.lowering.decode_plan import decode_plan
from simulator.lowering.decode_tile import (
    PAIR_CONVERSIONS,
    VECTOR_BYTES,
    Plan,
    Tile,
    conversion_cycles,
    first_loaded,
    group_of,
    query_tiles_of,
    shared_bytes,
    step_of,
    steps_of,
)
from simulator.lowering.decode_trtllm import GENERATED
from simulator.lowering.implementation import Backend, Framework, Implementation
from simulator.lowering.key_tiles import Operands, add_block_table, add_keys, kv_layout
from simulator.lowering.layout import SECTOR_BYTES, Runs
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, traced_parts, traced_whole
from simulator.lowering.tiling import SHARED_BYTES_PER_CLOCK, SHARPNESS
from simulator.trace.record import Op, Records, TracedKernel
from simulator.units import PS_PER_S
from simulator.workload.operators import AttentionShape

STEP_HEADS = 2  # of the queries that are read one step after the other
PARTIAL_BYTES = 4  # partial outputs and log-sum-exps are fp32
SCAN_BYTES = 128  # four for each sequence that a warp looks at
COMBINED_COLUMNS = 128  # of a CTA of FlashAttention-3's combination
BESIDE_KEYS = 3  # records of a piece of work that take no buffer of K and V: page numbers, queries, result
SPILLED = 2  # assumed: times as long where accumulators go through memory

VECTOR_STEPS = 4
"""Instructions of an fp32 lane per score beside the exponential: scaled difference, maximum, sum, conversion."""

ONE_WARP_EACH = 128
"""Threads of a CTA that has one warp for each of the four schedulers of an SM."""

IntArray = NDArray[np.int64]


def lower_decode(
    shape: AttentionShape,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None = None,
    step: int = 0,
    framework: Framework = Framework.GENERIC,
    backend: Backend = Backend.AUTO,
) -> Iterator[TracedKernel]:
    """Yield the kernels of decode attention: the main one and, unless it adds them up itself, the combination of the
    parts the KV is split into."""
    plan = decode_plan(shape, hardware, framework, backend)
    yield _decode_kernel(shape, plan, operands, hardware, scalars, kernel, layer, step)
    if plan.always_combined or (plan.splits > 1 and not plan.tile.combines):
        yield _combine_kernel(shape, plan, operands, hardware, scalars, kernel + 1, layer, step)


def _decode_kernel(
    shape: AttentionShape,
    plan: Plan,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
) -> TracedKernel:
    tile, splits = plan.tile, plan.splits
    begin = first_loaded(shape, tile)
    own_keys = -(-steps_of(shape, tile) // splits) * step_of(tile)  # of a CTA
    per_sequence = shape.kv_heads * query_tiles_of(shape, tile) * splits
    scans = (hardware.sm.count // per_sequence + 1) // plan.scanned + 1 if plan.scanned else 0
    cycles = _pair_cycles(shape, tile, hardware, scalars)
    turning = round(scalars.query_cycles * tile.queries * shape.head_dim) if tile.turns_queries else 0
    exchanged = tile.exchanges * tile.exchanged_rows * shape.head_dim * PARTIAL_BYTES // SHARED_BYTES_PER_CLOCK
    ending = exchanged + (ending_cycles(tile, hardware) if plan.name == GENERATED else 0)
    query_width = shape.head_dim * shape.activation_dtype.bytes
    items = shape.batch * per_sequence
    hands = min(items, hardware.sm.count) if plan.dealt else items
    rounds = -(-items // hands)

    def make(hand: IntArray) -> Records:
        cta = np.repeat(hand * rounds, rounds) + np.tile(np.arange(rounds), len(hand))  # one for each item, in order
        item = cta // rounds + cta % rounds * hands
        cta, item = cta[item < items], item[item < items]
        sequence, head, query_tile, split = _places(shape, plan, item)
        first = np.minimum(begin + split * own_keys, shape.kv_len)
        last = np.minimum(first + own_keys, shape.kv_len)
        rows = np.minimum(group_of(shape) - query_tile * tile.queries, tile.queries)
        first_head = head * group_of(shape) + query_tile * tile.queries
        program = ProgramBuilder(kernel)
        before = np.maximum(item - hardware.sm.count, 0) // per_sequence  # where the CTA's last work was
        _add_lookups(program, plan, operands.workspace, cta, before, sequence)
        add_block_table(program, shape, operands, cta, sequence, first, last)
        later = STEP_HEADS * (tile.query_steps - 1)
        query = operands.query.tile(sequence, 1, first_head * query_width, (rows - later) * query_width)
        program.add(cta, Op.READ, query, turning, barrier=item < hands)  # later queries come in advance
        for step in range(tile.query_steps - 1):
            place = (first_head + rows - later + STEP_HEADS * step) * query_width
            query = operands.query.tile(sequence, 1, place, STEP_HEADS * query_width)
            program.add(cta, Op.READ, query, barrier=True)
        add_keys(program, shape, operands, cta, sequence, head, first, last, tile.keys, cycles, plan)
        written = _written(shape, operands, splits, split, sequence, first_head, rows)
        program.add(cta, Op.WRITE, written, ending, barrier=item + hands >= items)
        if splits > 1 and tile.combines:
            _add_combination(program, shape, operands, cta, split == splits - 1, sequence, first_head, rows, plan)
        records = program.records()
        return records if rounds == 1 else replace(records, requester=records.requester // rounds)

    return traced_parts(
        f"decode attention{plan.name} {tile.queries}x{tile.keys}" + (f" split-KV {splits}" if splits > 1 else ""),
        "decode_attention",
        layer,
        step,
        _launch(shape, tile, hardware, scalars, plan),
        shape.flops,
        hands,
        (9 * own_keys // tile.keys + 4 + tile.query_steps + plan.lookups + scans) * rounds,
        make,
    )


def _written(
    shape: AttentionShape,
    operands: Operands,
    splits: int,
    split: IntArray,
    sequence: IntArray,
    first_head: IntArray,
    rows: IntArray,
) -> Runs:
    """Return where CTAs write their result: to its place, or as a part of it to the workspace."""
    if splits > 1:
        place = (split * shape.batch + sequence) * shape.heads + first_head
        row = (shape.head_dim + 1) * PARTIAL_BYTES
        return contiguous(operands.workspace + place * row, rows * row)
    width = operands.output.row_bytes // shape.heads
    return operands.output.tile(sequence, 1, first_head * width, rows * width)


def _places(shape: AttentionShape, plan: Plan, item: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return sequence, KV head, query tile and split of pieces of work."""
    query_tiles = query_tiles_of(shape, plan.tile)
    rest, split = np.divmod(item, plan.splits)
    if plan.heads_outside:
        rest, sequence = np.divmod(rest, shape.batch)
        head, query_tile = np.divmod(rest, query_tiles)
    else:
        rest, query_tile = np.divmod(rest, query_tiles)
        sequence, head = np.divmod(rest, shape.kv_heads)
    return sequence, head, query_tile, split


def _add_lookups(
    program: ProgramBuilder, plan: Plan, base: int, cta: IntArray, before: IntArray, sequence: IntArray
) -> None:
    """Add the reads by which a CTA finds its work, that of `sequence` after one of the sequence `before`."""
    for _ in range(plan.lookups):
        program.add(cta, Op.READ, contiguous(base, SECTOR_BYTES), barrier=True)
    if plan.scanned:
        _add_scan(program, base, cta, before // plan.scanned, sequence // plan.scanned)


def _add_scan(program: ProgramBuilder, base: int, cta: IntArray, first: IntArray, last: IntArray) -> None:
    """Add the reads of what a warp adds up on its way from one group of sequences to another, one after the other."""
    steps = last - first
    for step in range(int(steps.max())):
        places = base + (first + step + 1) * SCAN_BYTES
        program.add(cta, Op.READ, contiguous(places, SCAN_BYTES), barrier=True, keep=step < steps)


def _add_combination(
    program: ProgramBuilder,
    shape: AttentionShape,
    operands: Operands,
    cta: IntArray,
    last: NDArray[np.bool_],
    sequence: IntArray,
    first_head: IntArray,
    rows: IntArray,
    plan: Plan,
) -> None:
    """Add what the CTA that ends last does, here that of the last split: read all partial outputs, write the sum.

    Where it reads them some at a time, each CTA asks first whether it is the last, and that may read their maxima.
    """
    splits, at_once = plan.splits, plan.tile.merged_at_once
    row = (shape.head_dim + 1) * PARTIAL_BYTES
    if at_once:
        asked = contiguous(operands.workspace + splits * shape.batch * shape.heads * row, SECTOR_BYTES)
        maxima = plan.tile.maxima_at_once
        for step in range(1 + (-(-splits // maxima) if maxima else 0)):
            program.add(cta, Op.READ, asked, barrier=True, keep=last | (step == 0))
    place = (np.arange(splits) * shape.batch + sequence[:, None]) * shape.heads + first_head[:, None]
    parts = contiguous(operands.workspace + place * row, (rows * row)[:, None])
    waits = np.arange(splits) % (at_once or splits) == 0
    adding = plan.tile.merging_cycles
    program.add(cta[:, None], Op.READ, parts, compute_cycles=adding, barrier=waits, keep=last[:, None])
    width = operands.output.row_bytes // shape.heads
    written = operands.output.tile(sequence, 1, first_head * width, rows * width)
    program.add(cta, Op.WRITE, written, barrier=True, keep=last)


def _combine_kernel(
    shape: AttentionShape,
    plan: Plan,
    operands: Operands,
    hardware: Hardware,
    scalars: Implementation,
    kernel: int,
    layer: int | None,
    step: int,
) -> TracedKernel:
    """Return the kernel that rescales and adds the partial outputs of the splits; of one split there is nothing
    to add, and each CTA only reads that.  Where CTAs walk the batch to find their tile, there are some more, which find
    none."""
    rows, splits = plan.combined_rows, plan.splits
    per_sequence = -(-shape.heads // rows)
    ctas = shape.batch * per_sequence
    sequence, part = np.divmod(np.arange(ctas), per_sequence)
    count = np.minimum(shape.heads - part * rows, rows)
    row = (shape.head_dim + 1) * PARTIAL_BYTES
    number = np.arange(splits)
    place = (number * shape.batch + sequence[:, None]) * shape.heads + (part * rows)[:, None]
    program = ProgramBuilder(kernel)
    launch = Launch(256, 64, rows * row, plan.combined_stages, warmup_ps=prologue_ps(scalars, hardware))
    name = "decode attention combine"
    if plan.combined_scanned:
        most = -(-shape.batch * shape.heads // rows) + shape.batch * -(-shape.head_dim // COMBINED_COLUMNS)
        every = np.arange(max(ctas, most))
        found = np.minimum(every // per_sequence, shape.batch - 1)
        lengths = operands.workspace + -(-splits * shape.batch * shape.heads * row // SCAN_BYTES) * SCAN_BYTES
        _add_scan(program, lengths, every, np.full_like(every, -1), found // plan.combined_scanned)
    if splits == 1:
        program.add(np.arange(ctas), Op.READ, contiguous(np.full(ctas, operands.workspace), SECTOR_BYTES), barrier=True)
        return traced_whole(name, "decode_attention", layer, step, launch, 0, program.records())
    cycles = -(-rows * shape.head_dim * 2 // hardware.sm.vector_flops_per_clock)
    runs = contiguous(operands.workspace + place * row, (count * row)[:, None])
    program.add(np.arange(ctas)[:, None], Op.READ, runs, compute_cycles=cycles, barrier=number == 0)
    width = operands.output.row_bytes // shape.heads
    written = operands.output.tile(sequence, 1, part * rows * width, count * width)
    program.add(np.arange(ctas), Op.WRITE, written, barrier=True)
    return traced_whole(name, "decode_attention", layer, step, launch, 0, program.records())


def prologue_ps(scalars: Implementation, hardware: Hardware) -> int:
    """Return what a CTA of decode attention, or of the kernel that stores K and V for it, takes to set itself up."""
    return scalars.prologue_ps + round(scalars.prologue_cycles * PS_PER_S / hardware.sm.clock_hz)


def _launch(shape: AttentionShape, tile: Tile, hardware: Hardware, scalars: Implementation, plan: Plan) -> Launch:
    layout = kv_layout(shape)
    run = layout.row_bytes  # pages hold [token][head][dim]: the row of one head stands alone
    if plan.head_major or shape.kv_heads == 1:
        run *= layout.page_tokens
    shared = shared_bytes(shape, tile)
    cycle_ps = PS_PER_S / hardware.sm.clock_hz
    set_up_ps = prologue_ps(scalars, hardware)
    set_up_ps += round(scalars.longer_cycles * cycle_ps) if tile.sets_up_longer else 0
    warmup_ps = round(scalars.warmup_cycles * cycle_ps)
    if plan.persistent:
        item_ps = round(scalars.item_cycles * cycle_ps) if plan.pays_items else 0
        set_up_ps, warmup_ps = item_ps, set_up_ps + warmup_ps
    stages = tile.stages + (BESIDE_KEYS if plan.dealt else 0)
    registers = tile.accumulators + scalars.other_registers if tile.accumulators else tile.registers
    return Launch(tile.threads, registers, shared, stages, set_up_ps, warmup_ps, run)


def _pair_cycles(shape: AttentionShape, tile: Tile, hardware: Hardware, scalars: Implementation) -> int:
    """Return the SM cycles of one product (Q K^T or P V) of a whole tile with half of its softmax, padding included.

    Several warps share the units, so that the slowest of them bounds a step.  Where a thread does all itself, or each
    of the SM's four schedulers has one warp of the CTA, which waits for its loads, conversions, products and
    exponentials in turn, they add up.
    """
    dtype = shape.kv_dtype if tile.multiplies_cache else shape.activation_dtype
    rows = max(tile.queries, tile.padded_rows)
    head = tile.padded_head or shape.head_dim
    flops = 2 * rows * tile.keys * head
    rest = [part / 2 for part in softmax_cycles(rows * tile.keys, hardware)]
    if shape.kv_dtype is Dtype.FP8 and not tile.multiplies_cache:
        converted = tile.conversion_cycles or conversion_cycles(hardware, PAIR_CONVERSIONS)
        rest.append(tile.keys * head * converted)
    if tile.step_keys:  # the generated kernels
        bounds = [product_cycles(shape, tile) * tile.keys / step_of(tile) / 2, *rest]
        product = math.ceil(float(np.linalg.norm(bounds, SHARPNESS)))
    elif tile.matrix:
        matrix: float = tile.matrix_share * getattr(hardware.sm.tensor_flops_per_clock, dtype.value)
        loaded = tile.passes * -(-rows // tile.warp_rows) * tile.keys * head * dtype.bytes if tile.warp_rows else 0
        products = [flops / matrix, loaded / SHARED_BYTES_PER_CLOCK]
        if tile.warp_rows and tile.threads <= ONE_WARP_EACH:
            product = math.ceil(sum(products) + sum(rest)) + tile.waiting_cycles
        else:
            fp8 = shape.kv_dtype is Dtype.FP8 and tile.multiplies_cache
            efficiency = (fp8 and scalars.fp8_efficiency) or scalars.matrix_efficiency
            bounds = [part / efficiency for part in products] + rest
            product = math.ceil(float(np.linalg.norm(bounds, SHARPNESS)))
    else:
        vectors = tile.keys * head * shape.activation_dtype.bytes // VECTOR_BYTES
        steps = max(flops, 2 * tile.vector_steps * vectors)
        product = math.ceil(steps / hardware.sm.vector_flops_per_clock + sum(rest))
    return product * (SPILLED if tile.spills else 1)


def softmax_cycles(scores: int, hardware: Hardware) -> tuple[float, float]:
    """Return the SM cycles of the exponentials of so many scores, and of the other steps of their softmax."""
    lanes = hardware.sm.vector_flops_per_clock / 2
    return scores / hardware.sm.exponentials_per_clock, scores * VECTOR_STEPS / lanes
