"""Attention of a prompt: tiles of query rows walk the keys they see.

Which kernel runs and how it cuts its work is in `prefill_plan`.  K and V of a page are stored head by head.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Hardware
from simulator.lowering.attention import PARTIAL_BYTES, softmax_cycles
from simulator.lowering.decode_tile import group_of
from simulator.lowering.elementwise import lower_copy
from simulator.lowering.implementation import Backend, Framework, Implementation
from simulator.lowering.key_tiles import Operands, add_block_table, add_keys, kv_layout
from simulator.lowering.layout import Matrix, Runs
from simulator.lowering.prefill_chain import chained_cycles
from simulator.lowering.prefill_plan import PrefillPlan, prefill_plan, product_dtype, query_tiles_of, shared_bytes
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, traced_parts, traced_whole
from simulator.lowering.reshape_and_cache import heads_apart
from simulator.lowering.tiling import SHARED_BYTES_PER_CLOCK, SHARPNESS
from simulator.trace.record import Op, Records, TracedKernel
from simulator.units import PS_PER_S
from simulator.workload.operators import AttentionShape

REGISTERS = 65536
WARP_GROUP_ROWS = 64  # of a tile that one warp group multiplies
COMBINED_ROWS = 8
LENGTH_BYTES = 4  # of a sequence
IntArray = NDArray[np.int64]


def lower_prefill(
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
    """Yield the kernels of a prompt's attention: a CTA per tile of query rows, or CTAs that each take several, and the
    sum of the parts where the keys of tiles are split."""
    plan = prefill_plan(shape, hardware, framework, backend)
    tiles = _Tiles(shape, plan)
    prologue_ps = scalars.prologue_at(hardware.sm.clock_hz)
    items = tiles.items()
    ctas = len(items)
    if plan.persistent:
        ctas = min(ctas, hardware.sm.count)
        worker = np.arange(len(items)) % ctas if plan.in_turn else deal(tiles.steps(items), ctas)
        items, worker = items[np.argsort(worker, kind="stable")], np.sort(worker)
    size = operands.query.rows * operands.query.row_bytes
    if plan.swaps:
        yield lower_copy(operands.query.address, operands.workspace, size, kernel, layer, step, prologue_ps)
        kernel += 1
    if plan.prepares:
        lengths = shape.batch * LENGTH_BYTES
        yield lower_copy(operands.workspace, operands.workspace, lengths, kernel, layer, step, prologue_ps=0)
        kernel += 1
    cycles, turnover = _cycles(shape, plan, ctas, hardware, scalars)
    pieces = _Pieces(tiles, operands, kernel, cycles, turnover, mask_cycles(plan, scalars))

    def make(cta: IntArray) -> Records:
        if not plan.persistent:
            return pieces.records(items[cta], cta)
        first, last = np.searchsorted(worker, [cta[0], cta[-1] + 1])
        records = pieces.records(items[first:last], np.arange(first, last))
        return replace(records, requester=worker[records.requester].astype(np.int32))

    per_item = 6 * -(-shape.kv_len // plan.keys) + 9
    yield traced_parts(
        f"prefill attention{plan.name} {plan.queries}x{plan.keys}" + (f" split-KV {plan.splits}" * (plan.splits > 1)),
        "prefill_attention",
        layer,
        step,
        _launch(shape, plan, hardware, scalars, framework),
        shape.flops,
        ctas,
        per_item * -(-len(items) // ctas),
        make,
    )
    if plan.splits > 1:
        yield _combination(tiles, items, operands, prologue_ps, kernel + 1, layer, step)
    if plan.swaps:
        yield lower_copy(operands.workspace, operands.output.address, size, kernel + 1, layer, step, prologue_ps)


@dataclass(frozen=True)
class _Pieces:
    """The pieces of work of a kernel: a tile of query rows with the keys that it sees, or with a split of them."""

    tiles: _Tiles
    operands: Operands
    kernel: int
    cycles: int  # SM cycles of a product of a whole tile, with half of its softmax
    turnover: int  # before the first access, where a CTA takes several
    masked: int  # in which a tile of keys outside the window is passed over

    def records(self, item: IntArray, place: IntArray) -> Records:
        """Return what pieces `item` access, as requesters `place`."""
        tiles, operands = self.tiles, self.operands
        shape, plan = tiles.shape, tiles.plan
        program = ProgramBuilder(self.kernel)
        sequence, head, row, rows = tiles.where(item // plan.splits)
        begin, end = tiles.keys_seen(item)
        add_block_table(program, shape, operands, place, sequence, begin, end)
        before = self.turnover + (begin // plan.keys * self.masked if plan.masks_window else 0)
        self._add_queries(program, place, tiles.rows_of(operands.query, sequence, head, row, rows), before)
        kv_head = head if plan.packed else head // group_of(shape)
        whole = begin + -(-(end - begin) // plan.keys) * plan.keys  # the mask hides keys that have been copied
        loaded = np.minimum(whole, shape.kv_len)
        add_keys(program, shape, operands, place, sequence, kv_head, begin, loaded, plan.keys, self.cycles)
        if plan.splits > 1:
            part = operands.workspace + item * plan.queries * tiles.part_bytes
            program.add(place, Op.WRITE, contiguous(part, rows * tiles.part_bytes), barrier=True)
        else:
            for runs in tiles.rows_of(operands.output, sequence, head, row, rows):
                program.add(place, Op.WRITE, runs, barrier=True)
        return program.records()

    def _add_queries(
        self, program: ProgramBuilder, place: IntArray, touched: Iterator[Runs], before: int | IntArray
    ) -> None:
        """Add the reads of query rows; only the first of a piece waits for the piece before, `before` cycles."""
        begun = np.zeros(len(place), np.bool_)
        for runs in touched:
            there = (runs.rows > 0) & (runs.row_bytes > 0)
            for first in (True, False):
                mine = there & (begun != first)
                program.add(place, Op.READ, runs, before if first else 0, barrier=first, keep=mine)
            begun |= there


def _combination(
    tiles: _Tiles,
    items: IntArray,
    operands: Operands,
    prologue_ps: int,
    kernel: int,
    layer: int | None,
    step: int,
) -> TracedKernel:
    """Return the kernel that rescales and adds the partial outputs of the splits, COMBINED_ROWS rows a CTA."""
    plan = tiles.plan
    tile = items // plan.splits
    _, _, _, rows = tiles.where(tile)
    per_tile = -(-plan.queries // COMBINED_ROWS)
    part = np.arange(per_tile) * COMBINED_ROWS
    cta = tile[:, None] * per_tile + part // COMBINED_ROWS
    count = np.clip(rows[:, None] - part, 0, COMBINED_ROWS)
    program = ProgramBuilder(kernel)
    place = operands.workspace + (items[:, None] * plan.queries + part) * tiles.part_bytes
    program.add(cta, Op.READ, contiguous(place, count * tiles.part_bytes))
    whole = np.unique(tile)
    sequence, head, row, rows = tiles.where(whole)
    for lane in range(per_tile):
        first = lane * COMBINED_ROWS
        left = np.clip(rows - first, 0, COMBINED_ROWS)
        for runs in tiles.rows_of(operands.output, sequence, head, row + first, left):
            program.add(whole * per_tile + lane, Op.WRITE, runs, barrier=True)
    records = program.records()
    records = replace(records, requester=np.unique(records.requester, return_inverse=True)[1].astype(np.int32))
    launch = Launch(256, 64, COMBINED_ROWS * tiles.part_bytes, 16, prologue_ps)
    return traced_whole("prefill attention combine", "prefill_attention", layer, step, launch, 0, records)


class _Tiles:
    """The tiles of a kernel in launch order (`PrefillPlan.order`)."""

    def __init__(self, shape: AttentionShape, plan: PrefillPlan) -> None:
        self.shape, self.plan = shape, plan
        self.group = group_of(shape) if plan.packed else 1  # rows of a token
        self.per_head = query_tiles_of(shape, plan)
        self.heads = shape.heads // self.group
        self.count = shape.batch * self.heads * self.per_head
        self.past = shape.kv_len - shape.query_len
        self.part_bytes = (shape.head_dim + 1) * PARTIAL_BYTES  # of a row of a split

    def where(self, tile: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Return the sequence, head, first row and rows of tiles."""
        counts = {"tile": self.per_head, "head": self.heads, "sequence": self.shape.batch}
        place = {}
        for axis in self.plan.order.split():
            tile, place[axis] = np.divmod(tile, counts[axis])
        sequence, head, row = place["sequence"], place["head"], place["tile"] * self.plan.queries
        return sequence, head, row, np.minimum(self.shape.query_len * self.group - row, self.plan.queries)

    def items(self) -> IntArray:
        """Return the splits of tiles that have keys, splits innermost; where CTAs take one after the other, those at
        the end of each sequence come first."""
        item = np.arange(self.count * self.plan.splits)
        if self.plan.splits > 1:
            item = item[self.steps(item) > 0]
        if self.plan.persistent and not self.plan.in_turn:
            item = item[np.argsort(-self.where(item // self.plan.splits)[2], kind="stable")]
        return item

    def keys_seen(self, item: IntArray) -> tuple[IntArray, IntArray]:
        """Return the first key, on a tile's boundary, and the end of those that the rows of a split of a tile see."""
        plan, keys = self.plan, self.plan.keys
        tile, split = np.divmod(item, plan.splits)
        _, _, row, rows = self.where(tile)
        first, last = row // self.group, (row + rows - 1) // self.group
        end = self.past + last + 1 if self.shape.causal else np.full(len(row), self.shape.kv_len)
        begin = np.zeros(len(row), np.int64)
        if self.shape.window is not None:
            begin = np.maximum(0, self.past + first - self.shape.window + 1) // keys * keys
        if plan.chunk:
            return np.maximum(begin, split * plan.chunk), np.minimum(end, (split + 1) * plan.chunk)
        if plan.splits > 1:
            share = (-(-(end - begin) // keys) + plan.splits - 1) // plan.splits * keys
            begin = begin + split * share
            end = np.minimum(end, begin + share)
        return begin, end

    def steps(self, item: IntArray) -> IntArray:
        """Return the key tiles that splits of tiles walk; 0 or less where there are no keys."""
        begin, end = self.keys_seen(item)
        steps: IntArray = -(-(end - begin) // self.plan.keys)
        return steps

    def rows_of(
        self, matrix: Matrix, sequence: IntArray, head: IntArray, row: IntArray, rows: IntArray
    ) -> Iterator[Runs]:
        """Yield what tiles touch of q or of the output.

        Rows of one head are a tile of the matrix.  Packed ones, the heads of a group token by token, would look
        scattered as short runs of many panels: their bytes are taken as if each group were a panel.  Of some of the
        rows of a buffer they are whole tokens' heads and parts of the first and the last token.
        """
        width = matrix.row_bytes // self.shape.heads
        first = sequence * self.shape.query_len + row // self.group
        if self.group == 1:
            yield matrix.tile(first, rows, head * width, width)
            return
        if matrix.row_step == 1:  # heads of a group one token after the other: the rows of a tile are one run
            place = head * matrix.rows * self.group + sequence * self.shape.query_len * self.group + row
            yield contiguous(matrix.address + place * width, rows * width)
            return
        before = np.minimum(-row % self.group, rows)  # rows of a token begun by the tile before
        whole = (rows - before) // self.group
        after = rows - before - whole * self.group
        first_whole = first + (row % self.group > 0)
        for token, tokens, lane, lanes in (
            (first, np.minimum(before, 1), row % self.group, before),
            (first_whole, whole, np.zeros_like(row), np.full_like(row, self.group)),
            (first_whole + whole, np.minimum(after, 1), np.zeros_like(row), after),
        ):
            stored = token * matrix.row_step + matrix.row_offset
            start = matrix.address + stored * matrix.row_bytes + (head * self.group + lane) * width
            step = np.full_like(row, matrix.row_step * matrix.row_bytes)
            yield Runs(start, tokens, lanes * width, step)


def deal(work: IntArray, hands: int) -> IntArray:
    """Return which of `hands` takes each piece of work when the first to be idle takes the next."""
    if len(work) <= hands or (work == work[0]).all():
        return np.arange(len(work)) % hands
    idle = [(0, hand) for hand in range(hands)]
    taken = np.empty(len(work), np.int64)
    for piece, size in enumerate(work.tolist()):
        busy, hand = idle[0]
        taken[piece] = hand
        heapq.heapreplace(idle, (busy + size, hand))
    return taken


def _cycles(
    shape: AttentionShape, plan: PrefillPlan, ctas: int, hardware: Hardware, scalars: Implementation
) -> tuple[int, int]:
    """Return the SM cycles of a product with half of its softmax, and those that a tile takes besides where a CTA takes
    several, whose first softmax is alone."""
    if plan.overlaps:
        step, longer = chained_cycles(shape, plan, ctas, hardware)
        return math.ceil(step / 2), math.ceil(longer)
    turnover = 0
    if plan.persistent:
        alone = 2 * (1 - scalars.softmax_exposed) * half_softmax_cycles(plan, hardware)
        turnover = scalars.prologue_at(hardware.sm.clock_hz) * hardware.sm.clock_hz // PS_PER_S + math.ceil(alone)
        turnover += scalars.item_cycles if plan.transposes and plan.queries == 2 * WARP_GROUP_ROWS else 0
    return step_cycles(shape, plan, hardware, scalars), turnover


def step_cycles(shape: AttentionShape, plan: PrefillPlan, hardware: Hardware, scalars: Implementation) -> int:
    """Return the SM cycles of one product (Q K^T or P V) of a whole tile with half of its softmax, padding included.

    A warp loads the keys of its products from shared memory itself, where copies put them; those of warp groups and
    later ones are read by the matrix units.  Softmax hides behind products but for a share.
    """
    sm = hardware.sm
    dtype = product_dtype(shape, plan)
    scores = plan.queries * plan.keys
    head = (shape.head_dim + (plan.padded_head or shape.head_dim)) / 2
    rate = float(getattr(sm.tensor_flops_per_clock, dtype.value))
    product = 2 * scores * head / (rate * scalars.matrix_efficiency)
    if plan.warp_rows:
        loads = scores * head * dtype.bytes / SHARED_BYTES_PER_CLOCK * (1 / plan.warp_rows + 1 / plan.queries)
        if plan.spills:
            loads *= scalars.spilled_passes
        product = (product**SHARPNESS + loads**SHARPNESS) ** (1 / SHARPNESS)
    if plan.masks_window:
        product += mask_cycles(plan, scalars) / 2
    softmax = half_softmax_cycles(plan, hardware)
    product += plan.keys * shape.head_dim * plan.conversion_cycles
    if plan.transposes:
        product += plan.keys * shape.head_dim / scalars.transposed_per_clock / 2
    return math.ceil(product + softmax * (1 if plan.serial else scalars.softmax_exposed))


def half_softmax_cycles(plan: PrefillPlan, hardware: Hardware) -> float:
    """Return the SM cycles of half of the softmax of a whole tile."""
    return sum(softmax_cycles(plan.queries * plan.keys, hardware)) / 2


def mask_cycles(plan: PrefillPlan, scalars: Implementation) -> int:
    """Return the SM cycles in which a whole tile is found to be masked, or not."""
    return math.ceil(plan.queries * plan.keys * scalars.mask_cycles)


def _launch(
    shape: AttentionShape, plan: PrefillPlan, hardware: Hardware, scalars: Implementation, framework: Framework
) -> Launch:
    layout = kv_layout(shape)
    run = layout.row_bytes  # pages hold [token][head][dim]: the row of one head stands alone
    if shape.kv_heads == 1 or heads_apart(shape, hardware, framework):
        run *= layout.page_tokens
    registers = min(255, REGISTERS // plan.threads // 8 * 8)
    if plan.threads < 3 * 128 and not plan.warp_rows:
        registers = 168
    shared = shared_bytes(shape, plan, hardware)
    prologue_ps = scalars.prologue_at(hardware.sm.clock_hz)
    warmup_ps = scalars.warmup_cycles * PS_PER_S // hardware.sm.clock_hz if plan.warms_up else 0
    return Launch(plan.threads, registers, shared, plan.stages, prologue_ps, warmup_ps, run)
