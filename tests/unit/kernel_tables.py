"""Small databases of measured kernels, laid out as the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GEMM = {"framework": "VLLM", "gemm_dtype": "bfloat16", "m": 1, "n": 4096, "k": 4096, "latency": 0.01}
DECODE = {
    "batch_size": 8, "isl": 1, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "beam_width": 1,
    "attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "step": 1023, "window_size": 0, "latency": 0.02,
}  # fmt: skip
PREFILL = DECODE | {"isl": 512, "step": 0}

FILES = {
    "gemm": ("gemm", "gemm_perf.parquet"),
    "decode": ("attention", "generation_attention_perf.parquet"),
    "prefill": ("attention", "context_attention_perf.parquet"),
}


def write(root: Path, kind: str, rows: list[dict[str, Any]], where: str = "h100_sxm/vllm/0.24.0") -> Path:
    """Write rows as one table of a GPU, framework and version; return its path."""
    gpu, framework, version = where.split("/")
    family, name = FILES[kind]
    path = root / gpu / family / framework / version / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
