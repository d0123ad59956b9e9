"""A result as `ncu --csv --page raw --print-units base` prints a profile: a row per kernel, a column per metric."""

from __future__ import annotations

import csv
import io

from simulator.report.console import render_to_text
from simulator.report.ncu.metrics import METRICS, Device, capability, values_of
from simulator.report.values import Result, plain

IDENTITY = (
    "ID",
    "Process ID",
    "Process Name",
    "Host Name",
    "Kernel Name",
    "Context",
    "Stream",
    "Block Size",
    "Grid Size",
    "Device",
    "CC",
)
UNKNOWN = "n/a"


def to_csv(result: Result) -> str:
    """Return the raw page of a result's kernels; the second row has the units, unknown values are ``n/a``."""
    device = Device.of(result)
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([*IDENTITY, *(metric.name for metric in METRICS)])
    writer.writerow([*[""] * len(IDENTITY), *(metric.unit for metric in METRICS)])
    for number, kernel in enumerate(result["kernels"] or ()):
        identity = (
            number,
            0,
            "tierscope",
            "simulated",
            plain(kernel["name"]),
            1,
            7,  # what ncu numbers the default stream
            _dimensions(kernel["threads"]),
            _dimensions(kernel["ctas"]),
            0,
            capability(result),
        )
        writer.writerow([*identity, *map(written, values_of(kernel, device).values())])
    return out.getvalue()


def written(value: float | None) -> str:
    """Return a value as ncu writes it without thousands separators: whole, or with six decimals."""
    if value is None:
        return UNKNOWN
    return str(int(value)) if value == int(value) else f"{value:.6f}"


def _dimensions(count: int | None) -> str:
    return UNKNOWN if count is None else f"({count}, 1, 1)"


def to_markdown() -> str:
    """Return the table of metrics for the documentation."""
    rows = [f"| `{m.name}` | {m.unit or '–'} | {m.counted} | {m.caveat or '–'} |" for m in METRICS]
    return "\n".join(["| metric | unit | counted here | caveat |", "|---|---|---|---|", *rows]) + "\n"


def to_table(width: int = 120) -> str:
    """Return the table of metrics for a terminal."""
    from rich.table import Table

    table = Table("metric", "unit", "counted here", "caveat", box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True
    for metric in METRICS:
        table.add_row(metric.name, metric.unit, metric.counted, metric.caveat)
    return render_to_text(table, width)
