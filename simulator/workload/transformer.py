"""One pass of a dense decoder as a graph of operators, fused the way vLLM and TensorRT-LLM fuse them.

One GEMM for q, k and v, one for gate and up, the residual add inside the norm that follows it, one kernel for
activation and product, rotary embedding in place, biases inside their GEMM.  Weights keep their names across passes;
activations live in a few buffers that every layer reuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from simulator.errors import ConfigError
from simulator.hardware.spec import Dtype
from simulator.models.architecture import Activation, Architecture, Norm, Positions
from simulator.workload.operator_graph import OperatorGraph
from simulator.workload.operators import (
    AttentionShape,
    ElementwiseShape,
    GemmShape,
    Operator,
    OperatorKind,
    Tensor,
    TensorClass,
    TensorRef,
    whole_pages,
)
from simulator.workload.spec import Workload

TOKEN_ID_BYTES = 4
POSITION_BYTES = 8
SLOT_BYTES = 8
PAGE_ID_BYTES = 4

# FLOPs per element.  Norm: square, sum, two scalings; a layer norm also sums and subtracts the mean.
_NORM_FLOPS = {Norm.RMSNORM: 4, Norm.LAYERNORM: 6}
_ROPE_FLOPS = 3  # two multiplications and one addition
_ACTIVATION_FLOPS = {
    Activation.RELU: 1,
    Activation.SILU: 4,  # negate, exp, add, divide
    Activation.GELU: 5,  # scale, erf, add, two multiplications
    Activation.GELU_NEW: 9,  # cube (2), scale, add, scale, tanh, add, two multiplications
    Activation.GELU_TANH: 9,
}


@dataclass(frozen=True)
class Footprint:
    """Bytes that a workload needs allocated, by class."""

    weight_bytes: int
    kv_bytes: int
    activation_bytes: int
    metadata_bytes: int

    @property
    def total_bytes(self) -> int:
        """All classes together."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes + self.metadata_bytes


def build(architecture: Architecture, workload: Workload, query_len: int, kv_len: int) -> OperatorGraph:
    """Return the operators of one pass: `query_len` new tokens per sequence, `kv_len` attended over with them.

    A prefill has `query_len` = `kv_len` = prompt; a decode step `query_len` 1.  The output head sees only the last
    token of each sequence.  Raises ConfigError when the lengths cannot be (see `check`).
    """
    check(architecture, workload, query_len, kv_len)
    return OperatorGraph(tuple(_Builder(architecture, workload, query_len, kv_len).operators()))


def check(architecture: Architecture, workload: Workload, query_len: int, kv_len: int) -> None:
    """Raise ConfigError unless one pass of these lengths fits the workload and a learned position table."""
    if not 0 < query_len <= kv_len:
        raise ConfigError(f"query_len {query_len} must be between 1 and kv_len {kv_len}")
    if kv_len > workload.kv_len or query_len > workload.query_len:
        most = f"{workload.query_len} over {workload.kv_len}"
        raise ConfigError(f"a pass of {query_len} tokens over {kv_len} exceeds the workload's {most}")
    if architecture.positions is Positions.LEARNED and kv_len > architecture.max_positions:
        raise ConfigError(
            f"model {architecture.name} has {architecture.max_positions} learned positions, {kv_len} are asked for; "
            "shorten context or prompt and tokens"
        )


def tensors(architecture: Architecture, workload: Workload) -> dict[str, Tensor]:
    """Return every tensor that the passes of the workload touch, by name, at its allocated size.

    Weights are whole, K and V hold batch x `workload.kv_len` tokens in whole pages, activation buffers and metadata
    have the size of their widest use.
    """
    check(architecture, workload, workload.query_len, workload.kv_len)
    builder = _Builder(architecture, workload, workload.query_len, workload.kv_len)
    return {tensor.name: tensor for tensor in builder.allocations()}


def footprint(architecture: Architecture, workload: Workload) -> Footprint:
    """Return the bytes that the workload needs allocated."""
    totals = dict.fromkeys(TensorClass, 0)
    for tensor in tensors(architecture, workload).values():
        totals[tensor.tensor_class] += tensor.bytes
    return Footprint(
        totals[TensorClass.WEIGHTS],
        totals[TensorClass.KV],
        totals[TensorClass.ACTIVATIONS],
        totals[TensorClass.METADATA],
    )


class _Builder:
    """Sizes and shared tensor references of one pass, and the operators made of them."""

    def __init__(self, architecture: Architecture, workload: Workload, query_len: int, kv_len: int) -> None:
        self.architecture = architecture
        self.workload = workload
        self.query_len = query_len
        self.kv_len = kv_len
        self.tokens = workload.batch * query_len
        self.capacity = whole_pages(workload.kv_len, workload.page_tokens)
        self.wide = workload.stream_dtype
        self.narrow = workload.activation_dtype
        self.plain = workload.plain_weight_dtype
        self.windows = [architecture.window(layer) for layer in range(architecture.layers)]
        self.attention_shapes = {window: self._attention_shape(window) for window in set(self.windows)}

    def operators(self) -> Iterator[Operator]:
        """Yield the operators of the pass in order."""
        yield self._embedding()
        for layer in range(self.architecture.layers):
            yield from self._attention_block(layer)
            yield from self._mlp_block(layer)
        if self.architecture.final_norm:
            yield self._add_norm("final_norm", None, self.wide)
        else:
            yield self._residual()
        yield self._head()

    def allocations(self) -> Iterator[Tensor]:
        """Yield every tensor of the workload, this pass being its widest and longest."""
        whole: dict[str, Tensor] = {}
        for operator in self.operators():
            for ref in operator.inputs + operator.outputs:
                known = whole.get(ref.name)
                if known is None or ref.bytes > known.bytes:
                    whole[ref.name] = Tensor(ref.name, ref.bytes, ref.tensor_class)
        whole |= {tensor.name: tensor for tensor in self._partly_touched() if tensor.name in whole}
        yield from whole.values()

    def _partly_touched(self) -> Iterator[Tensor]:
        """Yield the tensors of which a pass may touch less than all."""
        model, workload = self.architecture, self.workload
        table = model.embedding_parameters * self.plain.bytes
        yield Tensor("embedding.weight", table, TensorClass.WEIGHTS)
        learned = model.position_rows * model.hidden * self.plain.bytes
        yield Tensor("position_embedding.weight", learned, TensorClass.WEIGHTS)
        rotary = max(model.max_positions, workload.kv_len) * model.head_dim * self.wide.bytes
        yield Tensor("rotary_table", rotary, TensorClass.METADATA)
        yield Tensor("qkv", self.tokens * model.qkv_dim * self.wide.bytes, TensorClass.ACTIVATIONS)
        yield Tensor("hidden", self.tokens * model.hidden * self.wide.bytes, TensorClass.ACTIVATIONS)
        pages = self.capacity // (workload.page_tokens or 1)
        yield Tensor("block_table", workload.batch * pages * PAGE_ID_BYTES, TensorClass.METADATA)
        kv_bytes = workload.batch * self.capacity * model.kv_dim * workload.kv_dtype.bytes
        for layer in range(model.layers):
            yield Tensor(f"layers.{layer}.k", kv_bytes, TensorClass.KV)
            yield Tensor(f"layers.{layer}.v", kv_bytes, TensorClass.KV)

    # Blocks

    def _attention_block(self, layer: int) -> Iterator[Operator]:
        model = self.architecture
        prefix = f"layers.{layer}."
        if layer == 0:
            yield self._norm(f"{prefix}input_norm", layer, (self._residual_stream,), (self._hidden_in,))
        else:
            yield self._add_norm(f"{prefix}input_norm", layer, self.narrow)
        yield self._linear(f"{prefix}qkv", layer, self._hidden_in, "qkv", model.qkv_dim, model.hidden, model.qkv_bias)
        if model.qk_norm:
            yield self._qk_norm(f"{prefix}qk_norm", layer)
        if model.positions is Positions.ROPE:
            yield self._rope(f"{prefix}rope", layer)
        yield self._kv_write(f"{prefix}kv_write", layer)
        yield self._attention(f"{prefix}attention", layer)
        yield self._linear(
            f"{prefix}output", layer, self._attention_out, "hidden", model.hidden, model.q_dim, model.output_bias
        )
        if model.norms_per_layer == 4:
            yield self._norm(f"{prefix}post_attention_norm", layer, (self._hidden_wide,), (self._hidden_wide,))

    def _mlp_block(self, layer: int) -> Iterator[Operator]:
        model = self.architecture
        prefix = f"layers.{layer}."
        up = "gate_up" if model.gated_mlp else "up"
        yield self._add_norm(f"{prefix}mlp_norm", layer, self.narrow)
        yield self._linear(
            f"{prefix}{up}", layer, self._hidden_in, "gate_up", model.up_dim, model.hidden, model.mlp_bias
        )
        yield self._activation(f"{prefix}activation", layer)
        yield self._linear(
            f"{prefix}down", layer, self._mlp_act, "hidden", model.hidden, model.intermediate, model.mlp_bias
        )
        if model.norms_per_layer == 4:
            yield self._norm(f"{prefix}post_mlp_norm", layer, (self._hidden_wide,), (self._hidden_wide,))

    # Tensors shared by all layers

    def _buffer(self, name: str, columns: int, dtype: Dtype) -> TensorRef:
        return TensorRef(name, self.tokens * columns * dtype.bytes, TensorClass.ACTIVATIONS)

    @cached_property
    def _hidden_in(self) -> TensorRef:
        return self._buffer("hidden", self.architecture.hidden, self.narrow)

    @cached_property
    def _hidden_wide(self) -> TensorRef:
        return self._buffer("hidden", self.architecture.hidden, self.wide)

    @cached_property
    def _residual_stream(self) -> TensorRef:
        return self._buffer("residual", self.architecture.hidden, self.wide)

    @cached_property
    def _attention_out(self) -> TensorRef:
        return self._buffer("attention_out", self.architecture.q_dim, self.narrow)

    @cached_property
    def _gate_up(self) -> TensorRef:
        return self._buffer("gate_up", self.architecture.up_dim, self.wide)

    @cached_property
    def _mlp_act(self) -> TensorRef:
        return self._buffer("mlp_act", self.architecture.intermediate, self.narrow)

    def _qkv_columns(self, first: int, columns: int) -> TensorRef:
        width = self.wide.bytes
        row = columns * width
        stride = self.architecture.qkv_dim * width
        return TensorRef("qkv", self.tokens * row, TensorClass.ACTIVATIONS, first * width, row, stride)

    @cached_property
    def _q_columns(self) -> TensorRef:
        return self._qkv_columns(0, self.architecture.q_dim)

    @cached_property
    def _qk_columns(self) -> TensorRef:
        return self._qkv_columns(0, self.architecture.q_dim + self.architecture.kv_dim)

    @cached_property
    def _kv_columns(self) -> TensorRef:
        return self._qkv_columns(self.architecture.q_dim, 2 * self.architecture.kv_dim)

    @cached_property
    def _positions(self) -> TensorRef:
        return TensorRef("positions", self.tokens * POSITION_BYTES, TensorClass.METADATA)

    @cached_property
    def _slot_mapping(self) -> TensorRef:
        return TensorRef("slot_mapping", self.tokens * SLOT_BYTES, TensorClass.METADATA)

    @cached_property
    def _rotary_rows(self) -> TensorRef:
        row = self.architecture.head_dim * self.wide.bytes
        first = self.kv_len - self.query_len
        return TensorRef("rotary_table", self.query_len * row, TensorClass.METADATA, first * row)

    def _kv_rows(self, name: str, first: int, tokens: int) -> TensorRef:
        """The K or V of `tokens` tokens of each sequence from token `first` on."""
        token = self.architecture.kv_dim * self.workload.kv_dtype.bytes
        total = self.workload.batch * tokens * token
        return TensorRef(name, total, TensorClass.KV, first * token, tokens * token, self.capacity * token)

    def _vector(self, name: str, elements: int) -> TensorRef:
        return TensorRef(name, elements * self.plain.bytes, TensorClass.WEIGHTS)

    # Operators

    def _embedding(self) -> Operator:
        model = self.architecture
        row = model.hidden * self.plain.bytes
        distinct = min(self.tokens, model.vocab)
        ids = TensorRef("token_ids", self.tokens * TOKEN_ID_BYTES, TensorClass.METADATA)
        table = TensorRef("embedding.weight", distinct * row, TensorClass.WEIGHTS, row_bytes=row)
        inputs: tuple[TensorRef, ...] = (ids, table)
        learned = model.positions is Positions.LEARNED
        if learned:
            first = self.kv_len - self.query_len + model.position_offset
            inputs += (TensorRef("position_embedding.weight", self.query_len * row, TensorClass.WEIGHTS, first * row),)
        shape = ElementwiseShape(self.tokens, model.hidden, 2 if learned else 1, 1, int(learned))
        return Operator("embedding", OperatorKind.EMBEDDING, None, shape, inputs, (self._residual_stream,))

    def _add_norm(self, name: str, layer: int | None, output_dtype: Dtype) -> Operator:
        """Add what the last block left in `hidden` to the residual stream, and normalise the sum into `hidden`."""
        sources = (self._hidden_wide, self._residual_stream)
        outputs = (self._buffer("hidden", self.architecture.hidden, output_dtype), self._residual_stream)
        return self._norm(name, layer, sources, outputs)

    def _norm(
        self, name: str, layer: int | None, sources: tuple[TensorRef, ...], outputs: tuple[TensorRef, ...]
    ) -> Operator:
        """Normalise the one source, or the sum of two."""
        model = self.architecture
        vectors: tuple[TensorRef, ...] = (self._vector(f"{name}.weight", model.hidden),)
        if model.norm_bias:
            vectors += (self._vector(f"{name}.bias", model.hidden),)
        flops = _NORM_FLOPS[model.norm] + model.norm_bias + len(sources) - 1
        shape = ElementwiseShape(self.tokens, model.hidden, len(sources), len(outputs), flops)
        return Operator(name, OperatorKind.NORM, layer, shape, sources + vectors, outputs)

    def _linear(
        self, name: str, layer: int, source: TensorRef, target: str, columns: int, depth: int, bias: bool
    ) -> Operator:
        weight_dtype = self.workload.weight_dtype
        shape = GemmShape(self.tokens, columns, depth, weight_dtype, self.narrow, self.wide, bias)
        weight = TensorRef(f"{name}.weight", columns * depth * weight_dtype.bytes, TensorClass.WEIGHTS)
        inputs = (source, weight, self._vector(f"{name}.bias", columns)) if bias else (source, weight)
        return Operator(name, OperatorKind.GEMM, layer, shape, inputs, (self._buffer(target, columns, self.wide),))

    def _qk_norm(self, name: str, layer: int) -> Operator:
        model = self.architecture
        rows = self.tokens * (model.heads + model.kv_heads)
        shape = ElementwiseShape(rows, model.head_dim, 1, 1, _NORM_FLOPS[Norm.RMSNORM])
        inputs = (self._qk_columns, self._vector(f"{name}.weight", 2 * model.head_dim))
        return Operator(name, OperatorKind.NORM, layer, shape, inputs, (self._qk_columns,))

    def _rope(self, name: str, layer: int) -> Operator:
        columns = self.architecture.q_dim + self.architecture.kv_dim
        shape = ElementwiseShape(self.tokens, columns, 1, 1, _ROPE_FLOPS)
        inputs = (self._qk_columns, self._positions, self._rotary_rows)
        return Operator(name, OperatorKind.ROPE, layer, shape, inputs, (self._qk_columns,))

    def _kv_write(self, name: str, layer: int) -> Operator:
        shape = ElementwiseShape(self.tokens, 2 * self.architecture.kv_dim, 1, 1)
        first = self.kv_len - self.query_len
        outputs = tuple(self._kv_rows(f"layers.{layer}.{part}", first, self.query_len) for part in "kv")
        return Operator(name, OperatorKind.KV_WRITE, layer, shape, (self._kv_columns, self._slot_mapping), outputs)

    def _attention_shape(self, window: int | None) -> AttentionShape:
        model, workload = self.architecture, self.workload
        return AttentionShape(
            batch=workload.batch,
            query_len=self.query_len,
            kv_len=self.kv_len,
            heads=model.heads,
            kv_heads=model.kv_heads,
            head_dim=model.head_dim,
            kv_dtype=workload.kv_dtype,
            activation_dtype=self.wide,
            causal=True,
            window=window,
            page_tokens=workload.page_tokens,
            capacity_tokens=self.capacity,
        )

    def _attention(self, name: str, layer: int) -> Operator:
        shape = self.attention_shapes[self.windows[layer]]
        kind = OperatorKind.DECODE_ATTENTION if self.query_len == 1 else OperatorKind.PREFILL_ATTENTION
        first, seen = shape.first_key, self.kv_len - shape.first_key
        cached = tuple(self._kv_rows(f"layers.{layer}.{part}", first, seen) for part in "kv")
        inputs = (self._q_columns, *cached, *self._block_table(first))
        return Operator(name, kind, layer, shape, inputs, (self._attention_out,))

    def _block_table(self, first: int) -> tuple[TensorRef, ...]:
        page = self.workload.page_tokens
        if page is None:
            return ()
        row = (-(-self.kv_len // page) - first // page) * PAGE_ID_BYTES
        stride = self.capacity // page * PAGE_ID_BYTES
        offset = first // page * PAGE_ID_BYTES
        total = self.workload.batch * row
        return (TensorRef("block_table", total, TensorClass.METADATA, offset, row, stride),)

    def _activation(self, name: str, layer: int) -> Operator:
        model = self.architecture
        flops = _ACTIVATION_FLOPS[model.activation] + model.gated_mlp
        shape = ElementwiseShape(self.tokens, model.intermediate, 2 if model.gated_mlp else 1, 1, flops)
        return Operator(name, OperatorKind.ACTIVATION, layer, shape, (self._gate_up,), (self._mlp_act,))

    def _residual(self) -> Operator:
        shape = ElementwiseShape(self.tokens, self.architecture.hidden, 2, 1, 1)
        inputs = (self._hidden_wide, self._residual_stream)
        return Operator("final_residual", OperatorKind.RESIDUAL, None, shape, inputs, (self._hidden_wide,))

    def _head(self) -> Operator:
        model, batch = self.architecture, self.workload.batch
        row = model.hidden * self.wide.bytes
        last = TensorRef(
            "hidden", batch * row, TensorClass.ACTIVATIONS, (self.query_len - 1) * row, row, self.query_len * row
        )
        table = "embedding.weight" if model.tied_embeddings else "lm_head.weight"
        weight = TensorRef(table, model.embedding_parameters * self.plain.bytes, TensorClass.WEIGHTS)
        logits = TensorRef("logits", batch * model.vocab * self.wide.bytes, TensorClass.ACTIVATIONS)
        shape = GemmShape(batch, model.vocab, model.hidden, self.plain, self.wide, self.wide)
        return Operator("lm_head", OperatorKind.GEMM, None, shape, (last, weight), (logits,))
