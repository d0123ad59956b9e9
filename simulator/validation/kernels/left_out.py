"""The rows that are not predicted, and why: every row of a file is either usable or counted under one reason.

The first rule that holds takes the row.  Rows known to be wrong were found by holding them against the DRAM peak.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.validation.kernels.database import Columns, Table
from simulator.validation.kernels.suite import DTYPES, KernelSuite

Mask = NDArray[np.bool_]

KNOWN_DTYPES = ("nvfp4", "fp8_block", "int8_wo", "int4_wo", "sq")
"""Element types of the database that no kernel of the model has."""

SHORTEST_MS, LONGEST_MS = 1e-6, 3.6e6
LARGEST_COUNT = 1 << 31
LARGEST_HEAD = 1024


@dataclass(frozen=True)
class KnownWrong:
    """Rows known to be implausible: some of the tables of one suite family."""

    reason: str
    family: str
    tables: Callable[[Table], bool]
    rows: Callable[[Columns], Mask]


def release(version: str) -> tuple[float, ...]:
    """Return a version as numbers that compare as releases do: a candidate before what it is a candidate for."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", version)
    if numbers is None:
        return ()
    major, minor, patch, candidate = numbers.groups()
    return float(major), float(minor), float(patch or 0), float(candidate or "inf")


def _every(columns: Columns) -> Mask:
    return np.ones(columns.rows, np.bool_)


def _grouped_heads(columns: Columns) -> Mask:
    kv_heads = np.nan_to_num(columns.numbers("num_key_value_heads"))
    mask: Mask = (kv_heads > 0) & (kv_heads != columns.numbers("num_heads"))
    return mask


def _is(gpu: str, framework: str, version: str) -> Callable[[Table], bool]:
    return lambda table: (table.gpu, table.framework, table.version) == (gpu, framework, version)


def _old_trtllm_decode(table: Table) -> bool:
    old = table.framework == "trtllm" and release(table.version) < release("1.3.0rc20")
    return old and table.path.name.startswith("generation")


def _a100_trtllm(table: Table) -> bool:
    return table.gpu == "a100_sxm" and table.framework == "trtllm"


KNOWN_WRONG = (
    KnownWrong(
        "implausible: TensorRT-LLM decode attention before 1.3.0rc20 at batch >= 32",
        "attention",
        _old_trtllm_decode,
        lambda columns: columns.numbers("batch_size") >= 32,
    ),
    KnownWrong(
        "implausible: A100 TensorRT-LLM 1.0.0 with fewer KV heads than heads (V aliases K: up to 1.7 x DRAM peak)",
        "attention",
        _a100_trtllm,
        _grouped_heads,
    ),
    KnownWrong("implausible: L40S SGLang 0.5.12 attention", "attention", _is("l40s", "sglang", "0.5.12"), _every),
    KnownWrong("implausible: H100 TensorRT-LLM 1.2.0rc5 gemm", "gemm", _is("h100_sxm", "trtllm", "1.2.0rc5"), _every),
    KnownWrong("implausible: GB300 vLLM 0.14.0 gemm", "gemm", _is("gb300", "vllm", "0.14.0"), _every),
    KnownWrong("implausible: B60 vLLM 0.12.0 gemm", "gemm", _is("b60", "vllm", "0.12.0"), _every),
    KnownWrong(
        "implausible: fp8_static",
        "gemm",
        lambda table: True,
        lambda columns: columns.equal("gemm_dtype", "fp8_static"),
    ),
)


def rules(suite: KernelSuite, table: Table, columns: Columns) -> Iterator[tuple[str, Mask]]:
    """Yield the reasons for which rows of a table are left out, each with the rows it holds for, in order."""
    for known in KNOWN_WRONG:
        if known.family == suite.family and known.tables(table):
            yield known.reason, known.rows(columns)
    latency = columns.numbers("latency")
    yield "latency missing or not a number", np.isnan(latency)
    yield "latency zero, negative or infinite", ~((latency > 0) & np.isfinite(latency))
    yield "latency under a nanosecond or over an hour", (latency < SHORTEST_MS) | (latency > LONGEST_MS)
    for name in suite.positive:
        values = columns.numbers(name)
        whole = (values >= 1) & (values <= LARGEST_COUNT) & (values == np.floor(values))
        yield f"{name} not a positive whole number", ~whole
    for name in suite.optional:
        values = np.nan_to_num(columns.numbers(name), nan=0.0)
        whole = (values >= 0) & (values <= LARGEST_COUNT) & (values == np.floor(values))
        yield f"{name} not a whole number", ~whole
    yield from _dtypes(suite.dtype, columns)
    if suite.family == "attention":
        heads, kv_heads = columns.numbers("num_heads"), np.nan_to_num(columns.numbers("num_key_value_heads"))
        yield "num_heads not a multiple of num_key_value_heads", heads % np.maximum(kv_heads, 1) != 0
        head_dim = columns.numbers("head_dim")
        yield f"head_dim not a multiple of 8 up to {LARGEST_HEAD}", (head_dim % 8 != 0) | (head_dim > LARGEST_HEAD)
        yield "not modelled: attention computed in fp8", columns.equal("attn_dtype", "fp8")
        yield "not modelled: beam search", columns.numbers("beam_width", absent=1) > 1
    if suite.name == "prefill-attention":
        yield "not modelled: a prompt after a cached prefix", np.nan_to_num(columns.numbers("step")) > 0


def _dtypes(column: str, columns: Columns) -> Iterator[tuple[str, Mask]]:
    for word in columns.words(column)[1]:
        if word not in DTYPES:
            kind = "not modelled" if word in KNOWN_DTYPES else "unknown type"
            yield f"{kind}: {column} {word or 'missing'}", columns.equal(column, word)
