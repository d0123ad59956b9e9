"""One kernel a row: the cases of ``tierscope predict`` and how their values are read from CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from simulator import config
from simulator.config import Spec
from simulator.errors import ConfigError
from simulator.hardware import Dtype
from simulator.lowering.implementation import Backend, Framework
from simulator.workload.operators import AttentionShape, GemmShape
from simulator.workload.protocol import CacheState, LaunchMode

Count = Annotated[int, Field(gt=0, le=1 << 31)]
MAX_FIELD_CHARACTERS = 1 << 16


class Case(Spec):
    """What every case says of its measurement."""

    id: str = ""
    framework: Framework = Framework.GENERIC
    cache: CacheState = CacheState.WARM
    launch: LaunchMode = LaunchMode.GRAPH
    replays: Count = 6
    profiled: bool = False  # by Nsight Compute without a flush: its save of memory comes before (see run/saved.py)


class GemmCase(Case):
    """``y[m, n] = x[m, k] w[n, k]^T``, with `weight_copies` weights used in turn, all in one graph."""

    kernel: ClassVar[str] = "gemm"
    m: Count
    n: Count
    k: Count
    dtype: Dtype = Dtype.BF16
    weight_copies: Count = 1
    calls: Annotated[int, Field(ge=0, le=1 << 16)] = 0  # of a graph, copies in turn; 0: one with each copy
    tile_m: Annotated[int, Field(ge=0, le=1024)] = 0  # rows of x and of w that a CTA takes; 0: the library's choice
    tile_n: Annotated[int, Field(ge=0, le=1024)] = 0
    raster_rows: Annotated[int, Field(ge=0, le=1 << 16)] = 0  # of tiles that advance together; 1: row-major; 0: usual

    @property
    def weight_bytes(self) -> int:
        """Bytes of one copy of the weight."""
        return self.n * self.k * self.dtype.bytes

    def shape(self) -> GemmShape:
        """Return the product."""
        output = Dtype.BF16 if self.dtype is Dtype.FP8 else self.dtype
        return GemmShape(self.m, self.n, self.k, self.dtype, self.dtype, output)


class _AttentionCase(Case):
    batch: Count
    heads: Count
    kv_heads: Count
    head_dim: Annotated[int, Field(gt=0, le=1024, multiple_of=8)]
    page_tokens: Count = 64
    window: Annotated[int, Field(ge=0)] = 0  # keys a query sees; 0: all
    kv_write: bool = True  # a framework's call stores its new K and V first
    backend: Backend = Backend.AUTO  # whose kernels SGLang was told to run

    @model_validator(mode="after")
    def _groups(self) -> _AttentionCase:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @model_validator(mode="after")
    def _told(self) -> _AttentionCase:
        if self.backend is not Backend.AUTO and self.framework is not Framework.SGLANG:
            raise ValueError(f"backend ({self.backend}) is SGLang's choice alone; leave it out")
        return self


class DecodeAttentionCase(_AttentionCase):
    """Attention of one new token per sequence over `kv_len` cached ones (the new one included)."""

    kernel: ClassVar[str] = "decode_attention"
    kv_len: Count
    kv_dtype: Dtype = Dtype.BF16
    kv_sharers: Count = 1  # sequences in a row that read one KV cache
    value_is_key: bool = False  # the cache holds keys alone, which are written and read as values too

    @model_validator(mode="after")
    def _sharers(self) -> DecodeAttentionCase:
        if self.batch % self.kv_sharers:
            raise ValueError(f"batch ({self.batch}) must be a multiple of kv_sharers ({self.kv_sharers})")
        return self

    def shape(self) -> AttentionShape:
        """Return the attention."""
        return AttentionShape(
            batch=self.batch,
            query_len=1,
            kv_len=self.kv_len,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            kv_dtype=self.kv_dtype,
            activation_dtype=Dtype.BF16,
            window=self.window or None,
            page_tokens=self.page_tokens,
            kv_sharers=self.kv_sharers,
        )


class PrefillAttentionCase(_AttentionCase):
    """Attention of `seq_len` new tokens per sequence over themselves."""

    kernel: ClassVar[str] = "prefill_attention"
    seq_len: Count
    dtype: Dtype = Dtype.BF16
    causal: bool = True

    def shape(self) -> AttentionShape:
        """Return the attention."""
        return AttentionShape(
            batch=self.batch,
            query_len=self.seq_len,
            kv_len=self.seq_len,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            kv_dtype=self.dtype,
            activation_dtype=Dtype.BF16 if self.dtype is Dtype.FP8 else self.dtype,
            causal=self.causal,
            window=self.window or None,
            page_tokens=self.page_tokens,
        )


KernelCase = GemmCase | DecodeAttentionCase | PrefillAttentionCase

KINDS: dict[str, type[GemmCase] | type[DecodeAttentionCase] | type[PrefillAttentionCase]] = {
    kind.kernel: kind for kind in (GemmCase, DecodeAttentionCase, PrefillAttentionCase)
}


@dataclass(frozen=True)
class Row:
    """A row of the file as read, and the case in it or why there is none."""

    line: int
    values: dict[str, str]
    case: KernelCase | None
    error: str = ""


def read_cases(path: Path) -> tuple[list[str], Iterator[Row]]:
    """Return the columns of a CSV file and its rows.

    A column of another kernel is left empty.  Raises ConfigError when the file cannot be read, has no header, no
    `kernel` column, a column twice or one that no kernel has; a row that is wrong carries its error instead.
    """
    text = config.read_text(path, limit=1 << 30)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    lines = text.splitlines()
    reader = csv.reader(lines)
    try:
        columns = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise ConfigError(f"{path}: line 1: {error}") from error
    if "kernel" not in columns:
        raise ConfigError(f"{path}: line 1: no column 'kernel' ({', '.join(KINDS)}); write a header line")
    known = {"kernel"} | {key for kind in KINDS.values() for key in kind.model_fields}
    for column in columns:
        if columns.count(column) > 1:
            raise ConfigError(f"{path}: line 1: column {column!r} stands twice")
        if column not in known:
            raise ConfigError(f"{path}: line 1: unknown column {column!r}; {config.nearest(column, known)}")
    return columns, _rows(reader, columns)


def _rows(reader: Iterator[list[str]], columns: list[str]) -> Iterator[Row]:
    while True:
        line = getattr(reader, "line_num", 0) + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, {}, None, str(error))
            continue
        if not any(field.strip() for field in fields):
            continue
        values = dict(zip(columns, (field.strip() for field in fields), strict=False))
        if len(fields) != len(columns):
            yield Row(line, values, None, f"{len(fields)} fields, but {len(columns)} columns in the header")
            continue
        yield _row(line, values)


def _row(line: int, values: dict[str, str]) -> Row:
    kind = KINDS.get(values["kernel"])
    if kind is None:
        return Row(
            line, values, None, f"kernel: unknown {values['kernel']!r}; {config.nearest(values['kernel'], KINDS)}"
        )
    given = {key: value for key, value in values.items() if value and key != "kernel"}
    foreign = [key for key in given if key not in kind.model_fields]
    if foreign:
        return Row(line, values, None, f"{foreign[0]}: does not apply to {kind.kernel}; leave it empty")
    try:
        return Row(line, values, config.build(kind, given, kind.kernel))
    except ConfigError as error:
        return Row(line, values, None, str(error).removeprefix(f"{kind.kernel}: "))
