"""What one pass of a model computes and moves: operators, their shapes and the tensors they touch; no hardware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulator.hardware.spec import Dtype


class OperatorKind(StrEnum):
    """What an operator does, which decides the kernel that runs it; in brackets the shape it carries."""

    EMBEDDING = "embedding"  # [elementwise] gather of table rows
    NORM = "norm"  # [elementwise] with the residual add fused where there is one
    GEMM = "gemm"  # [gemm] every linear layer, the output head included
    ROPE = "rope"  # [elementwise] in place on the q and k columns of the qkv buffer
    KV_WRITE = "kv_write"  # [elementwise] k and v columns of the qkv buffer into the KV cache
    PREFILL_ATTENTION = "prefill_attention"  # [attention] more than one query per sequence
    DECODE_ATTENTION = "decode_attention"  # [attention] one query per sequence
    ACTIVATION = "activation"  # [elementwise] with the product by the up half fused in a gated MLP
    RESIDUAL = "residual"  # [elementwise] a residual add that no norm follows


class TensorClass(StrEnum):
    """What a tensor is for, by which traffic is attributed and capacity is reported."""

    WEIGHTS = "weights"
    KV = "kv"
    ACTIVATIONS = "activations"
    METADATA = "metadata"  # token ids, positions, slot mapping, block table, rotary table


@dataclass(frozen=True, slots=True)
class Tensor:
    """A whole tensor, as it is allocated."""

    name: str
    bytes: int
    tensor_class: TensorClass


@dataclass(frozen=True, slots=True)
class TensorRef:
    """The part of a tensor that an operator touches.

    `bytes` counts distinct bytes.  With `row_bytes` 0 they are one run that starts at `offset_bytes`; otherwise they
    are `rows` runs of `row_bytes` whose starts are `stride_bytes` apart.  `stride_bytes` 0 with `row_bytes` set means
    that the rows are gathered from anywhere in the tensor (embedding tables).
    """

    name: str
    bytes: int
    tensor_class: TensorClass
    offset_bytes: int = 0
    row_bytes: int = 0
    stride_bytes: int = 0

    @property
    def rows(self) -> int:
        """Number of runs."""
        return self.bytes // self.row_bytes if self.row_bytes else 1


@dataclass(frozen=True, slots=True)
class GemmShape:
    """``out[m, n] = in[m, k] @ weight[n, k]`` (+ bias[n]); the weight is stored row by row of n, k contiguous."""

    m: int
    n: int
    k: int
    weight_dtype: Dtype
    activation_dtype: Dtype  # of the input
    output_dtype: Dtype
    bias: bool = False

    @property
    def flops(self) -> int:
        """Matrix FLOPs."""
        return 2 * self.m * self.n * self.k

    @property
    def vector_flops(self) -> int:
        """FLOPs outside the matrix units: the bias add."""
        return self.m * self.n if self.bias else 0


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Attention of the last `query_len` positions of each sequence over its first `kv_len` cached tokens.

    The query of position p (``kv_len - query_len <= p < kv_len``) sees keys up to p when causal, all keys otherwise,
    and with a window none before ``p - window + 1``.  K and V of a layer are each stored as
    ``[sequence][token][kv_head][head_dim]`` with `kv_stride_tokens` tokens per sequence.
    """

    batch: int
    query_len: int
    kv_len: int
    heads: int
    kv_heads: int
    head_dim: int
    kv_dtype: Dtype
    activation_dtype: Dtype  # of the queries and of the arithmetic
    causal: bool = True
    window: int | None = None  # keys seen by one query, itself included
    page_tokens: int | None = None  # tokens per page of the KV cache; None: contiguous
    capacity_tokens: int | None = None  # tokens reserved per sequence; None: kv_len in whole pages
    kv_sharers: int = 1  # sequences in a row that read one KV cache, as with a common prefix

    @property
    def kv_stride_tokens(self) -> int:
        """Tokens from the start of one sequence in the KV cache to the start of the next."""
        return self.capacity_tokens or whole_pages(self.kv_len, self.page_tokens)

    @property
    def first_key(self) -> int:
        """The first key that any query of the pass sees."""
        return 0 if self.window is None else max(0, self.kv_len - self.query_len - self.window + 1)

    @property
    def kv_token_bytes(self) -> int:
        """Bytes of K (and as many of V) of one token in one layer."""
        return self.kv_heads * self.head_dim * self.kv_dtype.bytes

    @property
    def pairs(self) -> int:
        """Unmasked (query, key) pairs of one head of one sequence, exactly."""
        return attended_pairs(self.query_len, self.kv_len, self.causal, self.window)

    @property
    def flops(self) -> int:
        """Matrix FLOPs of Q K^T and P V over the unmasked pairs."""
        return 4 * self.batch * self.heads * self.head_dim * self.pairs

    @property
    def vector_flops(self) -> int:
        """Softmax FLOPs: scale, maximum, subtract, exp and sum per pair, one division per output element."""
        return self.batch * self.heads * (5 * self.pairs + self.query_len * self.head_dim)


@dataclass(frozen=True, slots=True)
class ElementwiseShape:
    """`rows` independent rows of `columns` elements, each element touched a fixed number of times.

    `reads` and `writes` are elements of activation-sized tensors moved per element of the row (a fused residual add
    and norm reads 2 and writes 2); vectors shared by all rows, such as norm weights, are not counted in them.
    """

    rows: int
    columns: int
    reads: int
    writes: int
    flops_per_element: int = 0

    @property
    def flops(self) -> int:
        """Matrix FLOPs: none."""
        return 0

    @property
    def vector_flops(self) -> int:
        """FLOPs outside the matrix units; add, multiply, compare, exp, tanh and square root count one each."""
        return self.rows * self.columns * self.flops_per_element


Shape = GemmShape | AttentionShape | ElementwiseShape


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of one pass, fused as serving engines fuse it.

    The order of the tensors is fixed.  gemm: input, weight, bias if any -> output.  attention: q (columns of qkv), K,
    V, block table if paged -> output.  norm: input, residual if fused, weight, bias if any -> output, residual if
    fused.  embedding: token ids, table, positions table if learned -> output.  rope: q and k columns, positions,
    rotary table -> q and k columns.  kv_write: k and v columns, slot mapping -> K, V.  activation: input -> output.
    """

    name: str  # unique in the pass, such as layers.3.qkv
    kind: OperatorKind
    layer: int | None  # None before the first layer and after the last
    shape: Shape
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]

    @property
    def flops(self) -> int:
        """Matrix FLOPs; one multiply-add is two."""
        return self.shape.flops

    @property
    def vector_flops(self) -> int:
        """All other FLOPs."""
        return self.shape.vector_flops

    @property
    def read_bytes(self) -> int:
        """Distinct bytes read."""
        return sum(tensor.bytes for tensor in self.inputs)

    @property
    def write_bytes(self) -> int:
        """Distinct bytes written."""
        return sum(tensor.bytes for tensor in self.outputs)


def whole_pages(tokens: int, page_tokens: int | None) -> int:
    """Return `tokens` rounded up to whole pages; unchanged where the KV cache is contiguous."""
    return tokens if page_tokens is None else -(-tokens // page_tokens) * page_tokens


def attended_pairs(query_len: int, kv_len: int, causal: bool, window: int | None) -> int:
    """Return the unmasked (query, key) pairs of one head, the queries being the last `query_len` of `kv_len` positions.

    With v = p + 1 for the query of position p: causal sees min(v, window) keys, otherwise kv_len - max(0, v - window).
    """
    first, last = kv_len - query_len + 1, kv_len
    positions = _sum_range(first, last)
    if window is None:
        return positions if causal else query_len * kv_len
    below = _sum_range(first, min(last, window))
    seen = below + window * max(0, last - max(first, window + 1) + 1)
    return seen if causal else query_len * kv_len - (positions - seen)


def _sum_range(first: int, last: int) -> int:
    """Return first + ... + last, 0 when empty."""
    return (first + last) * (last - first + 1) // 2 if last >= first else 0
