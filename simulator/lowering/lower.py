"""Operators to kernels: the trace generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from simulator.hardware import Hardware
from simulator.lowering import attention as attention_kernels
from simulator.lowering import elementwise, gemm
from simulator.lowering.implementation import implementations
from simulator.lowering.key_tiles import Operands, kv_layout
from simulator.lowering.layout import AddressMap, Matrix, allocate, panel_bytes_of
from simulator.lowering.prefill import lower_prefill
from simulator.lowering.template import Template
from simulator.trace.record import TensorRange, TracedKernel
from simulator.workload import Tensor, TensorClass
from simulator.workload.operators import (
    AttentionShape,
    ElementwiseShape,
    GemmShape,
    Operator,
    OperatorKind,
    TensorRef,
)

WORKSPACE = Tensor("workspace", 64 << 20, TensorClass.ACTIVATIONS)
"""Partial sums of split kernels; libraries reserve 32 MiB and more."""

TEMPLATE_RECORDS = 1 << 18
"""Largest operator kept to be moved to other layers: 10 MB of records."""


class Lowering:
    """Lowers the operators of a workload onto one device; the kernels of all passes share one address map."""

    def __init__(self, hardware: Hardware, tensors: Iterable[Tensor], attention: AttentionShape, seed: int = 0) -> None:
        """Place `tensors`; any attention of the workload tells how heads and pages are stored.

        `seed` draws what the workload leaves open: which rows of the embedding table are read.
        """
        self.hardware = hardware
        self._seed = seed
        self._scalars = implementations()
        self._templates: dict[tuple[object, ...], list[Template]] = {}
        self.addresses: AddressMap = allocate([*tensors, WORKSPACE])
        self._heads = attention.heads
        self._head_bytes = attention.head_dim * attention.activation_dtype.bytes
        self._kv = kv_layout(attention)

    @property
    def ranges(self) -> tuple[TensorRange, ...]:
        """Every tensor with its address range."""
        return tuple(self.addresses.ranges.values())

    def lower(self, operators: Iterable[Operator], step: int = 0, first: int = 0) -> Iterator[TracedKernel]:
        """Yield the kernels of one pass in launch order, numbered from `first` on."""
        kernel = first
        for operator in operators:
            for traced in self._relocated(operator, kernel, step):
                yield replace(traced, index=kernel)
                kernel += 1

    def _relocated(self, operator: Operator, kernel: int, step: int) -> Iterator[TracedKernel]:
        """Yield the kernels of an operator, moved from those of the same operator in an earlier layer if there is one:
        making records takes ten times as long as adding to their addresses."""
        if operator.layer is None:
            yield from self._kernels(operator, kernel, step)
            return
        refs = (*operator.inputs, *operator.outputs)
        places = tuple((ref.bytes, ref.offset_bytes, ref.row_bytes, ref.stride_bytes) for ref in refs)
        key = (operator.name.rpartition(".")[2], operator.kind, operator.shape, places)
        bases = np.array([self.addresses[ref.name] for ref in refs] + [self.addresses[WORKSPACE.name]])
        if key not in self._templates:
            made = list(self._kernels(operator, kernel, step))
            if sum(traced.header.records for traced in made) > TEMPLATE_RECORDS:
                yield from made
                return
            self._templates[key] = [Template.of(traced, bases) for traced in made]
        for number, template in enumerate(self._templates[key]):
            yield template.at(bases, kernel + number, operator.layer, step)

    def _kernels(self, operator: Operator, kernel: int, step: int) -> Iterator[TracedKernel]:
        shape = operator.shape
        if isinstance(shape, GemmShape):
            name = operator.name.rpartition(".")[2]
            yield from gemm.lower(
                shape,
                self._gemm_operands(operator, shape),
                self.hardware,
                self._scalars.gemm,
                kernel,
                operator.layer,
                step,
                name,
            )
        elif isinstance(shape, AttentionShape):
            operands = self._attention_operands(operator, shape)
            if operator.kind is OperatorKind.DECODE_ATTENTION:
                yield from attention_kernels.lower_decode(
                    shape, operands, self.hardware, self._scalars.decode_attention, kernel, operator.layer, step
                )
            else:
                yield from lower_prefill(
                    shape, operands, self.hardware, self._scalars.prefill_attention, kernel, operator.layer, step
                )
        elif operator.kind is OperatorKind.KV_WRITE:
            yield self._kv_write(operator, kernel, step)
        else:
            assert isinstance(shape, ElementwiseShape)
            yield elementwise.lower(operator, shape, self.addresses, self.hardware, kernel, step, self._seed)

    def _kv_write(self, operator: Operator, kernel: int, step: int) -> TracedKernel:
        source, slots = operator.inputs
        key, value = operator.outputs
        token_bytes = self._kv.heads * self._kv.row_bytes
        first, count = key.offset_bytes // token_bytes, key.row_bytes // token_bytes
        write = elementwise.KvWrite(
            sequences=source.rows // count,
            first=first,
            count=count,
            source=self.addresses[source.name] + source.offset_bytes % source.stride_bytes * source.rows,
            source_bytes=source.bytes,
            slots=self.addresses[slots.name],
            key=self.addresses[key.name],
            value=self.addresses[value.name],
        )
        return elementwise.lower_kv_write(write, self._kv, kernel, operator.layer, step)

    def _gemm_operands(self, operator: Operator, shape: GemmShape) -> gemm.Operands:
        source, weight, *bias = operator.inputs
        output = operator.outputs[0]
        return gemm.Operands(
            source=self._activation(source, shape.m, shape.k * shape.activation_dtype.bytes),
            weight=self._matrix(weight.name, shape.n, shape.k * shape.weight_dtype.bytes),
            output=self._activation(output, shape.m, shape.n * shape.output_dtype.bytes),
            bias=gemm.Bias(self.addresses[bias[0].name], bias[0].bytes // shape.n) if bias else None,
            workspace=self.addresses[WORKSPACE.name],
        )

    def _attention_operands(self, operator: Operator, shape: AttentionShape) -> Operands:
        query, key, value, *table = operator.inputs
        tokens = shape.batch * shape.query_len
        row_bytes = shape.heads * shape.head_dim * shape.activation_dtype.bytes
        return Operands(
            query=self._activation(query, tokens, row_bytes),
            output=self._activation(operator.outputs[0], tokens, operator.outputs[0].bytes // tokens),
            key=self.addresses[key.name],
            value=self.addresses[value.name],
            block_table=self.addresses[table[0].name] if table else None,
            workspace=self.addresses[WORKSPACE.name],
        )

    def _matrix(self, name: str, rows: int, row_bytes: int) -> Matrix:
        return Matrix(self.addresses[name], rows, row_bytes, panel_bytes_of(row_bytes))

    def _activation(self, ref: TensorRef, rows: int, row_bytes: int) -> Matrix:
        """Return the stored matrix behind an activation: some columns, or some rows, of a buffer."""
        panel = panel_bytes_of(row_bytes)
        if ref.name == "qkv":
            panel = panel_bytes_of(self._head_bytes)
        elif ref.name == "attention_out":  # in the type of the output projection's input
            panel = panel_bytes_of(row_bytes // self._heads)
        address = self.addresses[ref.name]
        if ref.stride_bytes > ref.row_bytes and ref.row_bytes == row_bytes and ref.stride_bytes % row_bytes == 0:
            step, offset = ref.stride_bytes // row_bytes, ref.offset_bytes // row_bytes
            if rows > 1 or offset:
                return Matrix(address, rows, row_bytes, panel, step, offset)
        columns_before = ref.offset_bytes % ref.stride_bytes if ref.stride_bytes else 0
        return Matrix(address + columns_before * rows, rows, row_bytes, panel)
