"""The kernels of one measured call of a case, the buffers they use, and the bytes that all calls touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from simulator.hardware import Dtype, Hardware
from simulator.lowering import attention, gemm, prefill
from simulator.lowering.cutlass import cutlass_kernel
from simulator.lowering.decode_call import Buffers, cache_casts, kernels_around, lower_small
from simulator.lowering.elementwise import KvWrite, KvWriteKernel, lower_index_put, lower_kv_write
from simulator.lowering.implementation import Framework, Implementation
from simulator.lowering.key_tiles import Operands, kv_layout
from simulator.lowering.layout import SECTOR_BYTES, AddressMap, Matrix, allocate, panel_bytes_of, pitch_of
from simulator.lowering.lower import WORKSPACE
from simulator.lowering.moved import kept, moved
from simulator.lowering.prefill_call import lower_cache_write
from simulator.lowering.quantise import WIDE_BYTES, Cast, lower_quantise
from simulator.lowering.reshape_and_cache import reshape_and_cache
from simulator.lowering.tiling import CHOSEN, Pinned
from simulator.run.cases import DecodeAttentionCase, GemmCase, KernelCase, PrefillAttentionCase
from simulator.trace.record import TracedKernel
from simulator.workload import Tensor, TensorClass
from simulator.workload.operators import AttentionShape, GemmShape

PAGE_ID_BYTES = 4
SCALE_BYTES = 4


def gemm_calls(case: GemmCase, hardware: Hardware, scalars: Implementation) -> Callable[[int], list[TracedKernel]]:
    """Return what makes the kernels of each call: an fp8 product with the cast of its input, where the framework casts
    it.  Calls are the first one on other copies of the weight, and of the input."""
    shape = case.shape()
    source_bytes = pitch_of(shape.m) * _whole_sectors(shape.k * shape.activation_dtype.bytes)
    weight_bytes = pitch_of(shape.n) * _whole_sectors(shape.k * shape.weight_dtype.bytes)
    inputs = range(case.weight_copies if _own_inputs(case) else 1)
    cast = inputs if _is_cast(case) else range(0)
    weights = [Tensor(f"w{i}", weight_bytes, TensorClass.WEIGHTS) for i in range(case.weight_copies)]
    sources = [_activation(f"x{i}", source_bytes) for i in inputs]
    wide = [_activation(f"wide{i}", shape.m * shape.k * WIDE_BYTES) for i in cast]
    output = _activation("y", pitch_of(shape.m) * _whole_sectors(shape.n * shape.output_dtype.bytes))
    scale = _activation("scale", shape.m * SCALE_BYTES)
    addresses = allocate([sources[0], output, WORKSPACE, *weights, *sources[1:], *wide, scale], guard_bytes=0)
    pinned = Pinned(case.tile_m, case.tile_n)
    if cast and pinned == CHOSEN:
        pinned = cutlass_kernel(case.framework, hardware.compute_capability, case.m, case.n)

    @cache
    def first() -> list[TracedKernel]:
        kernels: list[TracedKernel] = []
        if cast:
            places = (addresses[name] for name in ("wide0", "x0", "scale"))
            kernels.extend(lower_quantise(Cast(shape.m, shape.k, *places), case.framework, hardware, scalars))
        operands = _gemm_operands(shape, addresses, "x0", "w0")
        rows = case.raster_rows
        products = gemm.lower(shape, operands, hardware, scalars, len(kernels), pinned=pinned, raster_rows=rows)
        return [kept(kernel) for kernel in (*kernels, *products)]

    def call(copy: int) -> list[TracedKernel]:
        source = copy % len(inputs)
        names = {"w0": f"w{copy}", "x0": f"x{source}"} | ({"wide0": f"wide{source}"} if cast else {})
        moves = [(addresses.ranges[old], addresses[new]) for old, new in names.items() if old != new]
        return [moved(kernel, moves) for kernel in first()] if moves else first()

    return call


def _is_cast(case: GemmCase) -> bool:
    """Return whether the call casts its input to fp8 first."""
    return case.dtype is Dtype.FP8 and case.framework is not Framework.GENERIC


def _own_inputs(case: GemmCase) -> bool:
    """Return whether each copy of the weight is used with an input of its own, as SGLang's are measured."""
    return case.framework is Framework.SGLANG


def _gemm_operands(shape: GemmShape, addresses: AddressMap, source: str, weight: str) -> gemm.Operands:
    def matrix(name: str, rows: int, row_bytes: int) -> Matrix:
        return Matrix(addresses[name], rows, row_bytes, panel_bytes_of(row_bytes), pitch_rows=pitch_of(rows))

    return gemm.Operands(
        source=matrix(source, shape.m, shape.k * shape.activation_dtype.bytes),
        weight=matrix(weight, shape.n, shape.k * shape.weight_dtype.bytes),
        output=matrix("y", shape.m, shape.n * shape.output_dtype.bytes),
        bias=None,
        workspace=addresses[WORKSPACE.name],
    )


def attention_call(
    case: DecodeAttentionCase | PrefillAttentionCase, hardware: Hardware, scalars: Implementation
) -> list[TracedKernel]:
    """Return the kernels of one call of an engine's attention layer: those that attend and those around them."""
    shape = case.shape()
    tokens = shape.batch * shape.query_len
    width = shape.head_dim * shape.activation_dtype.bytes
    new_bytes = tokens * 2 * shape.kv_heads * width
    if isinstance(case, PrefillAttentionCase) and case.framework is Framework.TRTLLM:  # one buffer holds q, K and V
        new_bytes += tokens * shape.heads * width
    kv_bytes = shape.batch // shape.kv_sharers * shape.kv_stride_tokens * shape.kv_token_bytes
    pages = shape.batch * shape.kv_stride_tokens // case.page_tokens
    tensors = [
        _activation("q", tokens * shape.heads * width),
        _activation("new", new_bytes),
        _activation("out", tokens * shape.heads * width),
        Tensor("k", kv_bytes, TensorClass.KV),
        Tensor("v", kv_bytes, TensorClass.KV),
        Tensor("block_table", pages * PAGE_ID_BYTES, TensorClass.METADATA),
        Tensor("slots", tokens * 8, TensorClass.METADATA),
        _activation("scratch", tokens * shape.heads * width),
        WORKSPACE,
    ]
    addresses = allocate(tensors)
    value = "k" if isinstance(case, DecodeAttentionCase) and case.value_is_key else "v"
    operands = _attention_operands(shape, addresses, value, tokens, width)
    write = KvWrite(
        shape.batch // shape.kv_sharers,
        shape.kv_len - shape.query_len,
        shape.query_len,
        addresses["new"],
        new_bytes,
        addresses["slots"],
        operands.key,
        operands.value,
    )
    buffers = Buffers(addresses["q"], addresses["out"], addresses["new"], addresses["scratch"])
    if isinstance(case, PrefillAttentionCase):
        return _prefill_kernels(case, operands, write, buffers, hardware, scalars)
    return _decode_kernels(case, operands, write, buffers, hardware, scalars)


def _prefill_kernels(
    case: PrefillAttentionCase,
    operands: Operands,
    write: KvWrite,
    buffers: Buffers,
    hardware: Hardware,
    scalars: Implementation,
) -> list[TracedKernel]:
    shape, framework = case.shape(), case.framework
    kernels: list[TracedKernel] = []
    if case.kv_write and framework is not Framework.GENERIC:
        if framework is Framework.SGLANG:
            for small in cache_casts(shape, buffers):
                kernels.append(lower_small(small, len(kernels), None, 0, case.kernel))
        kernels.extend(lower_cache_write(shape, write, len(kernels), framework, hardware, scalars))
    first, backend = len(kernels), case.backend
    attending = prefill.lower_prefill(shape, operands, hardware, scalars, first, framework=framework, backend=backend)
    return [*kernels, *attending]


def _decode_kernels(
    case: DecodeAttentionCase,
    operands: Operands,
    write: KvWrite,
    buffers: Buffers,
    hardware: Hardware,
    scalars: Implementation,
) -> list[TracedKernel]:
    shape, framework = case.shape(), case.framework
    around = kernels_around(shape, buffers, hardware, framework, case.backend)
    set_up_ps = attention.prologue_ps(scalars, hardware)
    kernels: list[TracedKernel] = []
    if case.kv_write:
        for small in around.first:
            kernels.append(lower_small(small, len(kernels), None, 0))
        if around.stores == 1:
            if framework is Framework.VLLM:
                how = reshape_and_cache(shape, hardware)
            else:
                how = KvWriteKernel(query=operands.query.address, query_bytes=around.query_bytes)
            how = replace(how, warmup_ps=set_up_ps)
            kernels.append(lower_kv_write(write, kv_layout(shape), len(kernels), None, 0, how))
        elif around.stores:
            elements = write.source_bytes // 2 // shape.activation_dtype.bytes
            for number, base in enumerate((write.key, write.value)):
                kernels.append(lower_index_put(write, number, base, elements, len(kernels), set_up_ps))
    for small in around.before:
        kernels.append(lower_small(small, len(kernels), None, 0, set_up_ps=set_up_ps))
    first, backend = len(kernels), case.backend
    kernels += attention.lower_decode(shape, operands, hardware, scalars, first, framework=framework, backend=backend)
    for small in around.after:
        kernels.append(lower_small(small, len(kernels), None, 0, set_up_ps=set_up_ps))
    return kernels


def touched_bytes(case: KernelCase) -> int:
    """Return the bytes of all operands of one replay."""
    shape = case.shape()
    if isinstance(case, GemmCase):
        assert isinstance(shape, GemmShape)
        weight = shape.n * _whole_sectors(shape.k * shape.weight_dtype.bytes) * case.weight_copies
        source = shape.m * _whole_sectors(shape.k * shape.activation_dtype.bytes)
        if _is_cast(case):
            source += shape.m * shape.k * WIDE_BYTES
        if _own_inputs(case):
            source *= case.weight_copies
        return weight + source + shape.m * _whole_sectors(shape.n * shape.output_dtype.bytes)
    assert not isinstance(shape, GemmShape)
    activations = 2 * shape.batch * shape.query_len * shape.heads * shape.head_dim * shape.activation_dtype.bytes
    tensors = 1 if isinstance(case, DecodeAttentionCase) and case.value_is_key else 2
    keys = shape.batch // shape.kv_sharers * (shape.kv_len - shape.first_key)
    return activations + tensors * keys * shape.kv_token_bytes


def _attention_operands(shape: AttentionShape, addresses: AddressMap, value: str, tokens: int, width: int) -> Operands:
    panel = panel_bytes_of(width)
    return Operands(
        query=Matrix(addresses["q"], tokens, shape.heads * width, panel),
        output=Matrix(addresses["out"], tokens, shape.heads * width, panel),
        key=addresses["k"],
        value=addresses[value],
        block_table=addresses["block_table"],
        workspace=addresses[WORKSPACE.name],
    )


def _activation(name: str, size: int) -> Tensor:
    return Tensor(name, size, TensorClass.ACTIVATIONS)


def _whole_sectors(row_bytes: int) -> int:
    return -(-row_bytes // SECTOR_BYTES) * SECTOR_BYTES
