"""Attention of a prompt: tiles of query rows walk the keys they see.

Which kernel runs and how it cuts its work is in `prefill_plan`.  K and V of a page are stored head by head.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Hardware
from simulator.lowering.attention import Operands, add_block_table, add_keys, kv_layout
from simulator.lowering.decode_plan import group_of
from simulator.lowering.elementwise import KvWrite, KvWriteKernel, RotaryKernel, lower_kv_write, lower_rotary
from simulator.lowering.implementation import Framework, Implementation
from simulator.lowering.layout import Matrix, Runs
from simulator.lowering.prefill_plan import PrefillPlan, prefill_plan, query_tiles_of, shared_bytes
from simulator.lowering.program import Launch, ProgramBuilder, traced_parts
from simulator.trace.record import Op, Records, TracedKernel
from simulator.units import PS_PER_S
from simulator.workload.operators import AttentionShape

SHARED_BYTES_PER_CLOCK = 128
"""What an SM reads of its shared memory a clock: 32 banks of 4 bytes (CUDA programming guide)."""

SHARPNESS = 4
"""How sharply the slower of products and loads from shared memory bounds their step: both nearly busy, they wait for
each other.  From FlashAttention on A100, whose kernels with 16 rows a warp take 1.15 times as long as those with 32."""

VECTOR_STEPS = 4
"""Instructions of an fp32 lane per score beside the exponential: scaled difference, maximum, sum, conversion."""

REGISTERS = 65536
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
) -> TracedKernel:
    """Return the prefill kernel: a CTA per tile of query rows, or CTAs that each take several."""
    plan = prefill_plan(shape, hardware, framework)
    tiles = _Tiles(shape, plan)
    cycles = step_cycles(shape, plan, hardware, scalars)
    turnover = 0
    if plan.persistent:  # the next tile's queries come when the last one's are done with; its first softmax is alone
        alone = 2 * (1 - scalars.softmax_exposed) * softmax_cycles(plan, hardware)
        turnover = scalars.prologue_ps * hardware.sm.clock_hz // PS_PER_S + math.ceil(0 if plan.overlaps else alone)

    def make_tiles(tile: IntArray, place: IntArray) -> Records:
        program = ProgramBuilder(kernel)
        sequence, head, row, rows = tiles.where(tile)
        begin, end = tiles.keys_seen(row, rows)
        add_block_table(program, shape, operands, place, sequence, begin, end)
        for runs in tiles.rows_of(operands.query, sequence, head, row, rows):
            program.add(place, Op.READ, runs, compute_cycles=turnover, barrier=True)
        kv_head = head if plan.packed else head // group_of(shape)
        add_keys(program, shape, operands, place, sequence, kv_head, begin, end, plan.keys, cycles)
        for runs in tiles.rows_of(operands.output, sequence, head, row, rows):
            program.add(place, Op.WRITE, runs, barrier=True)
        return program.records()

    ctas = tiles.count
    if plan.persistent:
        ctas = min(tiles.count, hardware.sm.count)
        order = tiles.heaviest_first()
        worker = deal(tiles.steps(order), ctas)
        order, worker = order[np.argsort(worker, kind="stable")], np.sort(worker)

    def make(cta: IntArray) -> Records:
        if not plan.persistent:
            return make_tiles(cta, cta)
        first, last = np.searchsorted(worker, [cta[0], cta[-1] + 1])
        records = make_tiles(order[first:last], np.arange(first, last))
        return replace(records, requester=worker[records.requester].astype(np.int32))

    per_tile = 6 * -(-shape.kv_len // plan.keys) + 9
    return traced_parts(
        f"prefill attention{plan.name} {plan.queries}x{plan.keys}",
        "prefill_attention",
        layer,
        step,
        _launch(shape, plan, hardware, scalars),
        shape.flops,
        ctas,
        per_tile * -(-tiles.count // ctas),
        make,
    )


def lower_cache_write(
    shape: AttentionShape, write: KvWrite, kernel: int, framework: Framework, scalars: Implementation
) -> TracedKernel:
    """Return the kernel with which a framework writes the new K and V of a prompt into their pages.

    vLLM (csrc/cache_kernels.cu, reshape_and_cache_flash_kernel): a CTA a token, which waits for the slot, copies K,
    then V.  SGLang (jit_kernel, store_cache): a warp a token.  TensorRT-LLM (unfusedAttentionKernels_2_template.h,
    applyBiasRopeUpdateKVCacheV2): turns q and K in place in the same kernel, 16 bytes of q a thread; a warp a token
    and head where heads are small.
    """
    layout = kv_layout(shape)
    if framework is Framework.VLLM:
        threads = min(512, shape.kv_heads * shape.head_dim)
        how = KvWriteKernel("reshape_and_cache", 1, threads, 40, scalars.prologue_ps, in_turn=True)
        return lower_kv_write(write, layout, kernel, None, 0, how)
    if framework is Framework.TRTLLM:
        row = shape.batch * shape.query_len * shape.head_dim * shape.activation_dtype.bytes
        cta_bytes = 8 * 128 if shape.head_dim <= 64 else 256 * 16
        kv_bytes = row * shape.kv_heads * shape.kv_dtype.bytes // shape.activation_dtype.bytes
        rotary = RotaryKernel(cta_bytes, 256, 64, scalars.prologue_ps)
        return lower_rotary(write, row * (shape.heads + shape.kv_heads), kv_bytes, kernel, rotary)
    how = KvWriteKernel("store_cache", 8, 256, prologue_ps=scalars.prologue_ps)
    return lower_kv_write(write, layout, kernel, None, 0, how)


class _Tiles:
    """The tiles of a kernel in launch order: along the queries, then the heads, then the sequences."""

    def __init__(self, shape: AttentionShape, plan: PrefillPlan) -> None:
        self.shape, self.plan = shape, plan
        self.group = group_of(shape) if plan.packed else 1  # rows of a token
        self.per_head = query_tiles_of(shape, plan)
        self.heads = shape.heads // self.group
        self.count = shape.batch * self.heads * self.per_head
        self.past = shape.kv_len - shape.query_len

    def where(self, tile: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Return the sequence, head, first row and rows of tiles."""
        rest, along = np.divmod(tile, self.per_head)
        sequence, head = np.divmod(rest, self.heads)
        row = along * self.plan.queries
        return sequence, head, row, np.minimum(self.shape.query_len * self.group - row, self.plan.queries)

    def keys_seen(self, row: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return the first key, on a tile's boundary, and the end of those that rows see."""
        first, last = row // self.group, (row + rows - 1) // self.group
        end = self.past + last + 1 if self.shape.causal else np.full(len(row), self.shape.kv_len)
        begin = np.zeros(len(row), np.int64)
        if self.shape.window is not None:
            begin = np.maximum(0, self.past + first - self.shape.window + 1) // self.plan.keys * self.plan.keys
        return begin, end

    def steps(self, tile: IntArray) -> IntArray:
        """Return the key tiles that tiles walk."""
        _, _, row, rows = self.where(tile)
        begin, end = self.keys_seen(row, rows)
        steps: IntArray = -(-(end - begin) // self.plan.keys)
        return steps

    def heaviest_first(self) -> IntArray:
        """Return all tiles, those at the end of each sequence before those at its beginning."""
        tile = np.arange(self.count)
        order: IntArray = np.argsort(-(tile % self.per_head), kind="stable")
        return order

    def rows_of(
        self, matrix: Matrix, sequence: IntArray, head: IntArray, row: IntArray, rows: IntArray
    ) -> Iterator[Runs]:
        """Yield what tiles touch of q or of the output.

        Rows of one head are a tile of the matrix.  Packed ones are whole tokens' heads and parts of the first and the
        last token: as short runs of many panels they would look scattered, so the same bytes are taken token by token.
        """
        width = matrix.row_bytes // self.shape.heads
        first = sequence * self.shape.query_len + row // self.group
        if self.group == 1:
            yield matrix.tile(first, rows, head * width, width)
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


def step_cycles(shape: AttentionShape, plan: PrefillPlan, hardware: Hardware, scalars: Implementation) -> int:
    """Return the SM cycles of one product (Q K^T or P V) of a whole tile with half of its softmax, padding included.

    A warp loads the keys of its products from shared memory itself, where copies put them; those of warp groups and
    later ones are read by the matrix units.  Softmax hides behind products but for a share, and wholly where it has
    warps of its own.
    """
    sm = hardware.sm
    dtype = shape.activation_dtype
    scores = plan.queries * plan.keys
    head = (shape.head_dim + (plan.padded_head or shape.head_dim)) / 2
    rate = float(getattr(sm.tensor_flops_per_clock, dtype.value))
    product = 2 * scores * head / (rate * scalars.matrix_efficiency)
    if plan.warp_rows:
        loads = scores * head * dtype.bytes / SHARED_BYTES_PER_CLOCK * (1 / plan.warp_rows + 1 / plan.queries)
        product = (product**SHARPNESS + loads**SHARPNESS) ** (1 / SHARPNESS)
    softmax = softmax_cycles(plan, hardware)
    if plan.overlaps:
        return math.ceil(max(product, softmax))
    return math.ceil(product + softmax * (1 if plan.serial else scalars.softmax_exposed))


def softmax_cycles(plan: PrefillPlan, hardware: Hardware) -> float:
    """Return the SM cycles of half of the softmax of a whole tile."""
    sm = hardware.sm
    lanes = sm.vector_flops_per_clock / 2
    return plan.queries * plan.keys * (1 / sm.exponentials_per_clock + VECTOR_STEPS / lanes) / 2


def _launch(shape: AttentionShape, plan: PrefillPlan, hardware: Hardware, scalars: Implementation) -> Launch:
    run = shape.head_dim * shape.kv_dtype.bytes  # pages hold [token][head][dim]: the row of one head stands alone
    registers = min(255, REGISTERS // plan.threads // 8 * 8)
    if plan.threads < 3 * 128 and not plan.warp_rows:
        registers = 168
    shared = shared_bytes(shape, plan, hardware)
    return Launch(plan.threads, registers, shared, plan.stages, scalars.prologue_ps, run)
