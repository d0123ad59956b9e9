"""A result as text for other programs: JSON with every key, CSV with one row per kernel."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.report.ledger import MEANINGS
from simulator.report.values import Result

KERNEL_COLUMNS = (
    "name",
    "operator",
    "layer",
    "step",
    "start_s",
    "time_s",
    "launch_s",
    "waited_s",
    "ctas",
    "threads",
    "registers",
    "ctas_per_sm",
    "flops",
    "read_bytes",
    "write_bytes",
    "dram_read_bytes",
    "dram_write_bytes",
    "l2_hit_rate",
    "l1_hits",
    "l1_misses",
    "l2_read_hits",
    "l2_read_misses",
    "l2_write_hits",
    "l2_write_misses",
    "l2_read_bytes",
    "mean_outstanding_bytes",
    "needed_outstanding_bytes",
    "mean_latency_s",
    "limiter",
    "extrapolated",
)
LEDGER_COLUMNS = tuple(f"ledger_{key}" for key in MEANINGS)


def to_json(result: Result) -> str:
    """Return the result as JSON, indented by two, ASCII only, ending in a newline.

    Raises ValueError naming the key path of a value that is not a finite number: JSON has none, and a result with
    one is a bug of the simulator.
    """
    for path, value in _numbers(result, "result"):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value}")
    return json.dumps(result, indent=2, allow_nan=False) + "\n"


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{path}[{index}]")


def to_csv(result: Result) -> str:
    """Return one row per kernel under a header of the kernel keys; null is an empty cell, booleans are as in JSON."""
    kernels = result["kernels"] or []
    out = io.StringIO()
    columns = list(_flat(kernels[0])) if kernels else [*KERNEL_COLUMNS, *LEDGER_COLUMNS]
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for kernel in kernels:
        writer.writerow({key: _cell(value) for key, value in _flat(kernel).items()})
    return out.getvalue()


def _flat(kernel: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kernel with the parts of its ledger as columns of their own."""
    row = {key: value for key, value in kernel.items() if not isinstance(value, Mapping)}
    return row | {f"ledger_{key}": value for key, value in (kernel.get("ledger") or {}).items()}


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
