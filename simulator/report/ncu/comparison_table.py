"""The comparison with a real profile as tables, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from simulator.report import values
from simulator.report.console import render_to_text
from simulator.report.values import plain

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]

MOST_KERNELS = 6  # that the table shows
COLUMNS = (
    "simulated_kernel",
    "simulated_launches",
    "profiled_kernel",
    "profiled_launches",
    "metric",
    "unit",
    "profiled",
    "simulated",
    "difference",
    "ratio",
)


def to_json(comparison: Json) -> str:
    """Return the comparison as JSON."""
    return json.dumps(comparison, indent=2, allow_nan=False) + "\n"


def to_csv(comparison: Json) -> str:
    """Return a row per kernel and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in comparison["kernels"]:
        for row in pair["metrics"]:
            writer.writerow(
                [
                    *(pair["simulated"], pair["simulated_launches"], pair["profiled"], pair["profiled_launches"]),
                    *(row["name"], row["unit"], row["profiled"], row["simulated"], row["difference"], row["ratio"]),
                ]
            )
    return out.getvalue()


def render(comparison: Json, width: int = 100, *, color: bool = False) -> str:
    """Return the first kernels and all of them together as text of at most `width` columns."""
    from rich.console import Group

    return render_to_text(Group(*_parts(comparison)), width, color=color)


def _parts(comparison: Json) -> Iterator[Any]:
    from rich.text import Text

    yield Text(f"{comparison['run']} beside {plain(comparison['profile'])}", style="bold")
    yield Text(f"kernels matched by {comparison['matched_by']}; ratios are simulated / profiled", style="dim")
    for pair in sorted(comparison["kernels"], key=_order)[:MOST_KERNELS]:
        yield Text()
        yield Text.assemble((_side(pair, "simulated"), "bold"), "  beside  ", (_side(pair, "profiled"), "bold"))
        yield _kernel(pair)
    hidden = len(comparison["kernels"]) - MOST_KERNELS
    if hidden > 0:
        yield Text(f"\n{hidden} more kernels: --format csv or json", style="dim")
    if len(comparison["kernels"]) > 1:
        yield Text()
        yield _summary(comparison)
    yield Text()
    yield from _footer(comparison)


def _order(pair: Json) -> float:
    """Return what kernels are sorted by: those that took longest in the profile come first."""
    return -next((row["profiled"] for row in pair["metrics"] if row["name"] == "gpu__time_duration.sum"), 0.0)


def _side(pair: Json, key: str) -> str:
    launches = pair[f"{key}_launches"]
    return plain(pair[key]) + (f" (mean of {launches})" if launches > 1 else "")


def _kernel(pair: Json) -> Table | str:
    table = _table("metric", "profiled", "simulated", "ratio")
    for row in pair["metrics"]:
        table.add_row(row["name"], shown(row["profiled"], row["unit"]), shown(row["simulated"], row["unit"]), _off(row))
    return table if pair["metrics"] else "no metric in common"


def _off(row: Json) -> str:
    """Return the ratio, or the difference of a percentage."""
    if row["unit"] == "%":
        return f"{row['difference']:+.1f} pt"
    return values.shown(row["ratio"], lambda known: f"{known:.3g}")


def _summary(comparison: Json) -> Table:
    table = _table("over all kernels", "kernels", "median ratio", "mean |error|")
    for row in comparison["metrics"]:
        error = (
            f"{row['mean_absolute_difference']:.1f} pt"
            if row["unit"] == "%"
            else values.percent(row["mean_absolute_error"])
        )
        middle = values.shown(row["median_ratio"], lambda known: f"{known:.3g}")
        table.add_row(row["name"], str(row["kernels"]), middle, error)
    return table


def _footer(comparison: Json) -> Iterator[Any]:
    from rich.text import Text

    left = comparison["left_out"]
    parts = [f"{count} {side}" for side, count in left.items() if count]
    if parts:
        yield Text(f"Not compared: {' and '.join(parts)} launches.")
    yield Text(comparison["note"], style="dim")


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(first, box=None, pad_edge=False, header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def shown(value: float | None, unit: str) -> str:
    """Return the value of a metric with a readable unit."""
    match unit:
        case "ns":
            return values.shown(value, lambda known: values.time(known * 1e-9))
        case "byte":
            return values.size(value)
        case "byte/second":
            return values.rate(value)
        case "%":
            return values.shown(value, lambda known: f"{known:.1f} %")
    return values.shown(value, lambda known: f"{known:,.0f}" if known == int(known) else f"{known:,.2f}")
