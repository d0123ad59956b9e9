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
EXPLAINED = tuple(
    f"{kind}_{outcome}_bytes"
    for kind in ("read", "write")
    for outcome in ("hit", "compulsory", "capacity", "conflict", "kept")
)
"""What a run with its hits explained says of each kernel and tier."""


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
    """Return one row per kernel under a header of the kernel keys; null is an empty cell, booleans are as in JSON.

    Explained hits follow in columns `l2_read_compulsory_bytes` and so on, all tensor classes together: those of all
    launches of the kernel's name that were replayed, so that they are the same in each of its rows.
    """
    kernels = result["kernels"] or []
    out = io.StringIO()
    explained = _explained(result)
    columns = list(_flat(kernels[0])) if kernels else [*KERNEL_COLUMNS, *LEDGER_COLUMNS]
    extra = next(iter(explained.values()), {})
    writer = csv.DictWriter(out, [*columns, *extra], lineterminator="\n")
    writer.writeheader()
    for kernel in kernels:
        row = _flat(kernel) | explained.get(kernel["name"], {})
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _flat(kernel: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kernel with the parts of its ledger as columns of their own."""
    row = {key: value for key, value in kernel.items() if not isinstance(value, Mapping)}
    return row | {f"ledger_{key}": value for key, value in (kernel.get("ledger") or {}).items()}


def _explained(result: Result) -> dict[str, dict[str, int]]:
    """Return the explained hits of each kernel name by column."""
    rows = (result.get("hits") or {}).get("tiers", ())
    tiers = dict.fromkeys(row["tier"] for row in rows)
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        its = found.setdefault(row["kernel"], {f"{tier}_{key}": 0 for tier in tiers for key in EXPLAINED})
        for key in EXPLAINED:
            its[f"{row['tier']}_{key}"] += row[key]
    return found


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
