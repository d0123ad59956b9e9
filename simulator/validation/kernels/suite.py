"""The kernel suites: which tables hold their rows, how a row becomes a case under the protocol it was measured by,
and which subsets of its rows have a target.

The protocol (collectors of aiconfigurator 0.12.0): replays of one CUDA graph after warm-up, L2 never flushed.  A GEMM
calls several copies of its weight in turn; attention reads the same paged KV cache at every replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import config
from simulator.hardware import Dtype, Hardware
from simulator.lowering.implementation import Backend, Framework
from simulator.run.cases import DecodeAttentionCase, GemmCase, KernelCase, PrefillAttentionCase
from simulator.validation.kernels.database import Columns

Values = Mapping[str, int]

MB = 10**6
PAGE_TOKENS = 64
WEIGHT_COPIES = 6
TRTLLM_MOST_COPIES = 5
KEYS_ALONE_BY = (Framework.TRTLLM, "1.0.0")
ONE_WEIGHT, ONE_WEIGHT_BY = {"weight_copies": 1, "calls": 5}, (Framework.SGLANG, "0.5.6.post2")

DEVICES = {
    "a100_sxm": "a100-sxm-80gb",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
}
"""The description in configs/hardware of each GPU of the database that has another name there."""


def description_of(gpu: str, named: Iterable[str] = ()) -> str | None:
    """Return what describes a GPU of a database, as `hardware.load` takes it; None where nothing does.

    That is the TOML file among those `named` which is called as the GPU, else the device that ships under its name.
    """
    name = DEVICES.get(gpu, gpu.replace("_", "-"))
    for file in map(Path, named):
        if file.suffix == ".toml" and file.stem.replace("_", "-") in (name, gpu.replace("_", "-")):
            return str(file)
    return name if name in config.names("hardware", ".toml") else None


def device_of(description: str) -> str:
    """Return what a description is called in reports: its name, or that of its file."""
    return Path(description).stem if description.endswith(".toml") else description


CALIBRATION_GPUS = ("a100_sxm", "h100_sxm")

DTYPES = {"bfloat16": "bf16", "fp8": "fp8"}
"""The element types that are predicted, as the database names them."""


@dataclass(frozen=True)
class Part:
    """A subset of a suite's rows with a target: the largest mean error allowed, by framework (None: no target).

    `among` says the same as `holds` of the rows of a table, where more are drawn of a part that is a small share of its
    suite.
    """

    name: str
    holds: Callable[[KernelCase], bool]
    limits: Mapping[str, float]
    among: Callable[[Columns], NDArray[np.bool_]] | None = None


@dataclass(frozen=True)
class KernelSuite:
    """One suite: where its rows stand and what they mean.

    `positive` columns hold counts of at least 1, `optional` ones counts where 0 or nothing has a meaning of its own.
    """

    name: str
    title: str
    family: str
    file: str
    kernel: type[KernelCase]
    dtype: str
    positive: tuple[str, ...]
    optional: tuple[str, ...]
    size: Callable[[Columns], NDArray[np.float64]]
    case: Callable[[Values, str, str, Hardware], dict[str, Any]]
    parts: tuple[Part, ...]

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which no row of a table can be used."""
        return (*self.positive, self.dtype, "latency")


def measured_call(kernel: type[KernelCase], framework: str, version: str, source: str = "") -> dict[str, Any]:
    """Return what the case of a row says of the call that was measured: whose it is, whether it stores K and V, whether
    V is K, and, by the table's `kernel_source`, whose kernels SGLang ran.

    The collector of vLLM 0.22.0's rows (aiconfigurator's collect_attn.py of that time) calls `forward` alone, out of
    which vLLM had by then taken the storing (its pull requests 25954 and 35422).  Calls of 0.24.0 have it again: the
    calibration rows of H100 take as long as both.  That of SGLang 0.5.6's products (collect_gemm.py, said to be for
    0.5.5) called one weight five times a graph; later ones have a weight for each call.  That of TensorRT-LLM 1.0.0's
    decode attention made a cache of keys alone (CacheType.SELFKONLY), which TensorRT-LLM takes for the values too
    (kvCacheManager.cpp, setOffsets).
    """
    if kernel is GemmCase:
        return {"framework": framework} | (ONE_WEIGHT if (framework, version) == ONE_WEIGHT_BY else {})
    call = {"framework": framework, "kv_write": (framework, version) != (Framework.VLLM, "0.22.0")}
    if framework == Framework.SGLANG and source in set(Backend):
        call["backend"] = source
    if kernel is DecodeAttentionCase:
        call["value_is_key"] = (framework, version) == KEYS_ALONE_BY
    return call


def weight_copies(framework: str, weight_bytes: int, l2_bytes: int) -> int:
    """Return how many copies of a weight one graph calls in turn, by the rule of the framework's collector."""
    if framework == Framework.TRTLLM:
        return max(1, min(TRTLLM_MOST_COPIES, -(-l2_bytes // weight_bytes)))
    return WEIGHT_COPIES


def _gemm(values: Values, dtype: str, framework: str, device: Hardware) -> dict[str, Any]:
    shape = {name: values[name] for name in ("m", "n", "k")}
    weight_bytes = GemmCase.model_validate(shape | {"dtype": dtype}).weight_bytes
    return shape | {"dtype": dtype, "weight_copies": weight_copies(framework, weight_bytes, device.l2.size_bytes)}


def _heads(values: Values) -> dict[str, int]:
    return {
        "batch": values["batch_size"],
        "heads": values["num_heads"],
        "kv_heads": values["num_key_value_heads"] or values["num_heads"],
        "head_dim": values["head_dim"],
        "page_tokens": PAGE_TOKENS,
        "window": values["window_size"],
    }


def _decode(values: Values, dtype: str, framework: str, device: Hardware) -> dict[str, Any]:
    return _heads(values) | {"kv_len": values["isl"] + values["step"], "kv_dtype": dtype}


def _prefill(values: Values, dtype: str, framework: str, device: Hardware) -> dict[str, Any]:
    return _heads(values) | {"seq_len": values["isl"], "dtype": dtype}


def _gemm_size(columns: Columns) -> NDArray[np.float64]:
    m, n, k = (columns.numbers(name) for name in ("m", "n", "k"))
    return m * k + n * k + m * n


def _attention_size(columns: Columns) -> NDArray[np.float64]:
    heads, kv_heads = columns.numbers("num_heads"), np.nan_to_num(columns.numbers("num_key_value_heads"))
    tokens = columns.numbers("isl")
    keys = tokens + np.nan_to_num(columns.numbers("step"))
    wide = tokens * heads + keys * np.where(kv_heads > 0, kv_heads, heads)
    return wide * columns.numbers("batch_size") * columns.numbers("head_dim")


def _everywhere(limit: float) -> dict[str, float]:
    return dict.fromkeys(("vllm", "sglang", "trtllm"), limit)


def _gemm_case(case: KernelCase) -> GemmCase:
    assert isinstance(case, GemmCase)
    return case


def _narrow_products(columns: Columns) -> NDArray[np.bool_]:
    codes, words = columns.words("gemm_dtype")
    element_bytes = np.array([Dtype(DTYPES[word]).bytes if word in DTYPES else 0 for word in words])[codes]
    weight_bytes = columns.numbers("n") * columns.numbers("k") * element_bytes
    narrow: NDArray[np.bool_] = (columns.numbers("m") <= 64) & (weight_bytes > 4 * MB)
    return narrow


def _kv_bytes(case: KernelCase) -> int:
    assert isinstance(case, DecodeAttentionCase)
    shape = case.shape()
    return 2 * shape.batch * (shape.kv_len - shape.first_key) * shape.kv_token_bytes


def _all(case: KernelCase) -> bool:
    return True


HEADS = ("batch_size", "num_heads", "head_dim", "isl")

SUITES = {
    suite.name: suite
    for suite in (
        KernelSuite(
            name="gemm",
            title="matrix products",
            family="gemm",
            file="gemm_perf.parquet",
            kernel=GemmCase,
            dtype="gemm_dtype",
            positive=("m", "n", "k"),
            optional=(),
            size=_gemm_size,
            case=_gemm,
            parts=(
                Part(
                    "m <= 64, weights over 4 MB",
                    lambda case: _gemm_case(case).m <= 64 and _gemm_case(case).weight_bytes > 4 * MB,
                    _everywhere(0.12),
                    among=_narrow_products,
                ),
                Part("m <= 8192", lambda case: _gemm_case(case).m <= 8192, _everywhere(0.18)),
                Part("all sizes", _all, {}),
            ),
        ),
        KernelSuite(
            name="decode-attention",
            title="attention of one new token over cached ones",
            family="attention",
            file="generation_attention_perf.parquet",
            kernel=DecodeAttentionCase,
            dtype="kv_cache_dtype",
            positive=(*HEADS, "step"),
            optional=("num_key_value_heads", "window_size"),
            size=_attention_size,
            case=_decode,
            parts=(
                Part("KV over 16 MB", lambda case: _kv_bytes(case) > 16 * MB, _everywhere(0.20) | {"vllm": 0.15}),
                Part("all sizes", _all, _everywhere(0.20)),
            ),
        ),
        KernelSuite(
            name="prefill-attention",
            title="attention of a prompt over itself",
            family="attention",
            file="context_attention_perf.parquet",
            kernel=PrefillAttentionCase,
            dtype="kv_cache_dtype",
            positive=HEADS,
            optional=("num_key_value_heads", "step", "window_size"),
            size=_attention_size,
            case=_prefill,
            parts=(Part("all sizes", _all, _everywhere(0.20)),),
        ),
    )
}
