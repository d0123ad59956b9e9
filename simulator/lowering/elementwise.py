"""Kernels that stream rows: norms, activations, rotary embedding, residual, embedding gather, KV write.

Each runs one CTA per row (vLLM csrc: layernorm_kernels.cu, activation_kernels.cu, pos_encoding_kernels.cu,
cache_kernels.cu).  Rows being stored in panels, CTA i of n works on the i-th n-th part of every operand, which has
the bytes, the order and the concurrency of a row per CTA.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.hardware import Hardware
from simulator.lowering.layout import SECTOR_BYTES, AddressMap, KvLayout, Matrix, Runs, panel_bytes_of
from simulator.lowering.program import Launch, ProgramBuilder, contiguous, shares, traced_whole
from simulator.trace.record import Op, TracedKernel
from simulator.workload.operators import ElementwiseShape, Operator, OperatorKind, TensorClass, TensorRef

PIECE_BYTES = 8192
"""Bytes a CTA asks for at once: 512 threads x 16-byte vector loads."""

REGISTERS = 32
SLOT_BYTES = 8


def lower(
    operator: Operator,
    shape: ElementwiseShape,
    addresses: AddressMap,
    hardware: Hardware,
    kernel: int,
    step: int,
    seed: int,
) -> TracedKernel:
    """Return the kernel of a streaming operator: reads in order, then the arithmetic, then writes."""
    ctas = shape.rows
    if operator.kind is OperatorKind.NORM and shape.columns < 512:
        ctas = -(-shape.rows * shape.columns // 4096)  # head-wise norms share a CTA
    program = ProgramBuilder(kernel)
    cta = np.arange(ctas)[:, None]
    largest = max(operator.inputs, key=lambda ref: ref.bytes)
    for ref in operator.inputs:
        runs = _operand(ref, addresses, ctas, seed)
        work = _cycles(operator.vector_flops, runs, hardware) if ref is largest else 0
        program.add(cta, Op.READ, runs, compute_cycles=work)
    for ref in operator.outputs:
        program.add(cta, Op.WRITE, _operand(ref, addresses, ctas, seed), barrier=True)
    threads = min(1024, max(32, -(-shape.columns // 32) * 32))
    launch = Launch(threads=threads, registers=REGISTERS, shared_bytes=0, stages=16)
    name = operator.name.rpartition(".")[2]
    return traced_whole(name, str(operator.kind), operator.layer, step, launch, operator.flops, program.records())


def _cycles(flops: int, runs: Runs, hardware: Hardware) -> np.ndarray:
    """Return the arithmetic of a kernel on the first piece of each CTA that has one, shape (CTAs, pieces)."""
    first = np.zeros(runs.row_bytes.shape, bool)
    first[:, 0] = runs.row_bytes[:, 0] > 0
    return np.where(first, -(-flops // (max(1, int(first.sum())) * hardware.sm.vector_flops_per_clock)), 0)


def _operand(ref: TensorRef, addresses: AddressMap, ctas: int, seed: int) -> Runs:
    """Return what each CTA touches of an operand, shape (CTAs, pieces)."""
    base = addresses[ref.name]
    if ref.row_bytes and not ref.stride_bytes:
        return _gather(ref, addresses, ctas, seed, panels="lm_head.weight" not in addresses.ranges)
    shared = ref.tensor_class is TensorClass.WEIGHTS and ref.name != "position_embedding.weight"
    if shared:  # norm weights: every CTA reads all
        return contiguous(np.full((ctas, 1), base), ref.bytes)
    if ref.tensor_class is TensorClass.ACTIVATIONS and ref.row_bytes and ref.stride_bytes:
        rows = ref.bytes // ref.row_bytes
        base += (ref.offset_bytes % ref.stride_bytes) * rows  # columns [offset, offset + row) of all rows, in panels
    else:
        base += ref.offset_bytes // SECTOR_BYTES * SECTOR_BYTES
    return pieces(*shares(base, ref.bytes, ctas))


def pieces(address: np.ndarray, size: np.ndarray) -> Runs:
    """Return runs cut into pieces of PIECE_BYTES, shape (runs, most pieces); absent pieces have no bytes."""
    count = max(1, -(-int(size.max()) // PIECE_BYTES))
    start = np.arange(count) * PIECE_BYTES
    left = np.clip(size[:, None] - start, 0, PIECE_BYTES)
    return contiguous(address[:, None] + start, left)


def _gather(ref: TensorRef, addresses: AddressMap, ctas: int, seed: int, panels: bool) -> Runs:
    """Return a table row per CTA, drawn pseudo-randomly: which tokens come is not known.

    A table that is a GEMM's weight too is stored in panels, any other row by row.
    """
    table = addresses.ranges[ref.name].bytes // ref.row_bytes
    rows = ref.bytes // ref.row_bytes
    drawn = np.random.default_rng(seed).choice(table, size=rows, replace=False)
    chosen = drawn[np.arange(ctas) % rows][:, None]
    if not panels:
        return contiguous(addresses[ref.name] + chosen * ref.row_bytes, ref.row_bytes)
    width = panel_bytes_of(ref.row_bytes)
    return Matrix(addresses[ref.name], table, ref.row_bytes, width).tile(chosen, 1, 0, ref.row_bytes)


@dataclass(frozen=True, slots=True)
class KvWrite:
    """New K and V of tokens `first` to `first + count` of each of `sequences`: where they are and where they go."""

    sequences: int
    first: int
    count: int
    source: int  # address of the new K and V, or of q, K and V
    source_bytes: int
    slots: int  # address of the slot mapping
    key: int
    value: int


@dataclass(frozen=True, slots=True)
class KvWriteKernel:
    """How a framework's kernel that writes K and V goes about it."""

    name: str = "kv_write"
    tokens: int = 1  # of a CTA
    threads: int = 512
    registers: int = REGISTERS
    prologue_ps: int = 0
    warmup_ps: int = 0
    in_turn: bool = False  # waits for the slot, then for K, then for V
    cycles: tuple[int, int, int] = (0, 0, 0)  # that what a CTA issues after the slot, K and V takes of its SM
    query: int = 0  # address of the queries, of which it turns so many bytes in place
    query_bytes: int = 0


def lower_kv_write(
    write: KvWrite, layout: KvLayout, kernel: int, layer: int | None, step: int, how: KvWriteKernel | None = None
) -> TracedKernel:
    """Return the kernel that scatters the new K and V of each token into its page, one CTA per token or as `how`
    says, and turns its queries."""
    how = how or KvWriteKernel()
    tokens = write.sequences * write.count
    token = np.arange(tokens)
    cta = token // how.tokens
    program = ProgramBuilder(kernel)
    slot = write.slots + token * SLOT_BYTES // SECTOR_BYTES * SECTOR_BYTES
    program.add(cta, Op.READ, contiguous(slot, SECTOR_BYTES), how.cycles[0])
    halves = 2 if how.in_turn else 1
    source = pieces(*shares(write.source, write.source_bytes // halves, tokens))
    for number, bases in enumerate(((write.key,), (write.value,)) if how.in_turn else ((write.key, write.value),)):
        start = source.address + number * (write.source_bytes // halves)
        runs = source._replace(address=start)
        program.add(cta[:, None], Op.READ, runs, _once(how.cycles[number + 1], runs), barrier=how.in_turn)
        for base in bases:
            for runs in _kv_runs(write, layout):
                program.add(cta[:, None], Op.WRITE, runs._replace(address=base + runs.address), barrier=True)
    if how.query_bytes:
        queries = pieces(*shares(how.query, how.query_bytes, tokens))
        program.add(cta[:, None], Op.READ, queries)
        program.add(cta[:, None], Op.WRITE, queries, barrier=True)
    launch = Launch(how.threads, how.registers, 0, stages=16, prologue_ps=how.prologue_ps, warmup_ps=how.warmup_ps)
    return traced_whole(how.name, "kv_write", layer, step, launch, 0, program.records())


def _once(cycles: int, runs: Runs) -> np.ndarray:
    """Return the cycles of a CTA on the first piece of its runs, shape (CTAs, pieces)."""
    first = np.arange(runs.row_bytes.shape[1]) == 0
    return np.where(first, cycles, 0)[None, :]


@dataclass(frozen=True, slots=True)
class RotaryKernel:
    """A kernel that turns q and K where they lie, in one buffer with V, and writes K and V into their pages."""

    cta_bytes: int  # of q that a CTA turns
    threads: int
    registers: int
    prologue_ps: int


def lower_rotary(write: KvWrite, rotated_bytes: int, kv_bytes: int, kernel: int, how: RotaryKernel) -> TracedKernel:
    """Return the kernel that reads q, K and V, writes `rotated_bytes` of them back, and `kv_bytes` of K and of V: where
    the tokens of a CTA go is read first."""
    ctas = max(1, -(-(rotated_bytes - kv_bytes) // how.cta_bytes))
    cta = np.arange(ctas)
    tokens = write.sequences * write.count
    program = ProgramBuilder(kernel)
    slot = write.slots + cta * tokens // ctas * SLOT_BYTES // SECTOR_BYTES * SECTOR_BYTES
    program.add(cta, Op.READ, contiguous(slot, SECTOR_BYTES))
    program.add(cta[:, None], Op.READ, pieces(*shares(write.source, write.source_bytes, ctas)), barrier=True)
    for base, size in ((write.source, rotated_bytes), (write.key, kv_bytes), (write.value, kv_bytes)):
        program.add(cta[:, None], Op.WRITE, pieces(*shares(base, size, ctas)), barrier=True)
    launch = Launch(how.threads, how.registers, shared_bytes=0, stages=16, prologue_ps=how.prologue_ps)
    return traced_whole("rope and kv_write", "kv_write", None, 0, launch, 0, program.records())


INDEXED = 512
"""Elements of a CTA of PyTorch's index_put: 128 threads, four each (IndexKernel.cu, launch_kernel)."""


def lower_copy(
    source: int, target: int, size: int, kernel: int, layer: int | None, step: int, prologue_ps: int
) -> TracedKernel:
    """Return the kernel that copies a tensor into another order, PIECE_BYTES a CTA."""
    ctas = -(-size // PIECE_BYTES)
    cta = np.arange(ctas)[:, None]
    program = ProgramBuilder(kernel)
    program.add(cta, Op.READ, pieces(*shares(source, size, ctas)))
    program.add(cta, Op.WRITE, pieces(*shares(target, size, ctas)), barrier=True)
    launch = Launch(512, REGISTERS, shared_bytes=0, stages=16, prologue_ps=prologue_ps)
    return traced_whole("copy", "copy", layer, step, launch, 0, program.records())


def lower_index_put(
    write: KvWrite, number: int, base: int, elements: int, kernel: int, prologue_ps: int
) -> TracedKernel:
    """Return the kernel that scatters K (0) or V (1) element by element to `base`."""
    ctas = -(-elements // INDEXED)
    cta = np.arange(ctas)
    half = write.source_bytes // 2
    program = ProgramBuilder(kernel)
    tokens = write.sequences * write.count
    slot = write.slots + cta * tokens // ctas * SLOT_BYTES // SECTOR_BYTES * SECTOR_BYTES
    program.add(cta, Op.READ, contiguous(slot, SECTOR_BYTES))
    program.add(cta[:, None], Op.READ, pieces(*shares(write.source + number * half, half, ctas)))
    program.add(cta[:, None], Op.WRITE, pieces(*shares(base, half, ctas)), barrier=True)
    launch = Launch(128, REGISTERS, shared_bytes=0, stages=16, prologue_ps=prologue_ps)
    return traced_whole("index_put", "kv_write", None, 0, launch, 0, program.records())


def _kv_runs(write: KvWrite, layout: KvLayout) -> Iterator[Runs]:
    """Yield where each CTA writes, from the start of K or V: its share of the whole pages, then, of a page begun or
    not filled, its token's row of every head; shape (tokens, pieces)."""
    sequence, position = np.divmod(np.arange(write.sequences * write.count), write.count)
    begin = -(-write.first // layout.page_tokens) * layout.page_tokens
    end = (write.first + write.count) // layout.page_tokens * layout.page_tokens
    if end > begin:
        start, size = shares(0, (end - begin) // layout.page_tokens * layout.page_stride, write.count, write.sequences)
        yield pieces(layout.offset(sequence, 0, begin) + start[position], size[position])
    token = write.first + position
    alone = (token < begin) | (token >= max(begin, end))
    rows = np.where(alone, layout.heads, 0)
    offset = layout.offset(sequence, 0, token)
    yield Runs(
        *(
            x[:, None]
            for x in (offset, rows, np.full_like(rows, layout.row_bytes), np.full_like(rows, layout.head_stride))
        )
    )
