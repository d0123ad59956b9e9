"""A result as one HTML file that needs no network: headline, memory chart, roofline, time bars, kernels.

`page.html` is the page, `page.css` and `page.js` go into it, and so does plotly.js.  Names come from users' files:
jinja2 escapes all text, and the figures are embedded as JSON that cannot close its script element.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from simulator.report import charts, concurrency, groups, headline, memory_chart, table, values
from simulator.report.groups import KernelGroup, TimeBudget
from simulator.report.values import Result, at, plain

if TYPE_CHECKING:
    from jinja2 import Template

MOST_ROWS = 60  # of the kernel table


@dataclass(frozen=True)
class Cell:
    """One cell of a sortable table: what it shows, and the number it sorts by (None: sort by the text)."""

    text: str
    order: float | None = None
    share: float | None = None


def render(result: Result) -> str:
    """Return the report of a result as one self-contained HTML page."""
    return template("page.html").render(_page(result))


def template(name: str) -> Template:
    """Return a page template of this folder, with escaping on."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("simulator", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _page(result: Result) -> dict[str, Any]:
    """Return the variables of `page.html`."""
    figures = {"roofline": charts.roofline(result), "time": charts.time_bars(result)}
    return {
        "title": headline.title(result),
        "circumstances": headline.circumstances(result),
        "figures": headline.figures(result),
        "verdict": headline.verdict(result),
        "exactness": headline.exactness(result),
        "memory_name": headline.memory_name(result),
        "in_flight": concurrency.levels(result),
        "in_flight_notes": concurrency.HOW_TO_READ,
        "waits": concurrency.waits(result),
        "servers": concurrency.servers(result),
        "memory_charts": memory_chart.charts(result),
        "ramp": memory_chart.RAMP,
        "has": {name: figure is not None for name, figure in figures.items()},
        "left_out": charts.points(result)[1],
        "roofline_legend": charts.roofline_legend(result),
        "time_legend": charts.time_legend(result),
        "kernel_columns": KERNEL_COLUMNS,
        "kernel_rows": kernel_rows(result),
        "kernels_left_out": max(0, len(groups.by_name(result)) - MOST_ROWS),
        "provenance": _provenance(result),
        "config": _pretty(result["config"]),
        "packages": at(result, "provenance", "packages") or {},
        "plain": plain,
        "figures_json": json_for_script(figures),
        "style": resource("page.css"),
        "script": resource("page.js"),
        "plotly": plotly(),
    }


def json_for_script(value: Any) -> str:
    """Return JSON that may stand in a script element: nothing in it can end the element or open a comment.

    The result has no ``<``, ``>`` or ``&`` and is ASCII; parsed, it is `value` again.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def resource(name: str) -> str:
    """Return a file of this package as text."""
    return resources.files("simulator.report").joinpath(name).read_text(encoding="utf-8")


def plotly() -> str:
    """Return plotly.js itself."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


KERNEL_COLUMNS = (
    ("Kernel", "text"),
    ("Operator", "text"),
    ("Time", "number"),
    ("Share", "number"),
    ("Launches", "number"),
    ("Mean", "number"),
    ("CTAs", "number"),
    ("L2 hits", "number"),
    ("DRAM bytes", "number"),
    ("DRAM bandwidth", "number"),
    ("Limiter", "text"),
)


def kernel_rows(result: Result) -> list[list[Cell]]:
    """Return the rows of the kernel table, the longest kernels first; the columns are `KERNEL_COLUMNS`."""
    budget = groups.time_budget(result)
    return [_kernel_row(group, budget) for group in groups.by_name(result)[:MOST_ROWS]]


def _kernel_row(group: KernelGroup, budget: TimeBudget) -> list[Cell]:
    share = budget.share(group.time_s)
    launches = group.launches
    bandwidth = group.dram_bandwidth_bytes_per_s
    return [
        Cell(plain(group.label)),
        Cell(charts.words(group.operator or "unnamed")),
        Cell(values.time(group.time_s), group.time_s),
        Cell(values.percent(share), share or 0.0, share or 0.0),
        Cell(values.count(launches), launches),
        Cell(values.time(group.mean_time_s), group.mean_time_s),
        Cell(table.grid(group), group.ctas[1] if group.ctas else -1),
        Cell(values.percent(group.l2_hit_rate), _order(group.l2_hit_rate)),
        Cell(values.size(group.dram_bytes), _order(group.dram_bytes)),
        Cell(values.rate(bandwidth), _order(bandwidth)),
        Cell(plain(group.limiter)),
    ]


def _order(value: float | None) -> float:
    """Return the number a cell sorts by; null sorts below everything."""
    return -1.0 if value is None else value


def _provenance(result: Result) -> list[tuple[str, str]]:
    provenance: Mapping[str, Any] = result["provenance"] or {}
    names = ("version", "commit", "config_sha256", "seed", "created")
    return [(name.replace("_", " "), plain(provenance.get(name))) for name in names]


def _pretty(config: Any) -> str:
    return json.dumps(config, indent=2, default=str)
