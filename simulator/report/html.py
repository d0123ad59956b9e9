"""A result as one HTML file that needs no network: headline, memory chart, figures, kernels.

`page.html` is the page, its style sheets and `page.js` go into it, and so does plotly.js.  Names come from users'
files: jinja2 escapes all text, and the figures are embedded as JSON that cannot close its script element.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from simulator.report import concurrency, groups, headline, memory_chart, table, values
from simulator.report.figures import catalog
from simulator.report.figures.catalog import Picture
from simulator.report.figures.style import Figure, LegendEntry, chosen_by, words
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
    figures = catalog.drawn(result)
    return {
        "title": headline.title(result),
        "circumstances": headline.circumstances(result),
        "figures": headline.figures(result),
        "verdict": headline.verdict(result),
        "exactness": headline.exactness(result),
        "in_flight": concurrency.levels(result),
        "in_flight_notes": concurrency.HOW_TO_READ,
        "waits": concurrency.waits(result),
        "servers": concurrency.servers(result),
        "memory_charts": memory_chart.charts(result),
        "ramp": memory_chart.RAMP,
        "sections": sections(result, figures),
        "kernel_columns": KERNEL_COLUMNS,
        "kernel_rows": kernel_rows(result),
        "kernels_left_out": max(0, len(groups.by_name(result)) - MOST_ROWS),
        "provenance": _provenance(result),
        "config": _pretty(result["config"]),
        "packages": at(result, "provenance", "packages") or {},
        "plain": plain,
        "figures_json": json_for_script({key: figure for key, figure in figures.items() if figure}),
        "style": resource("page.css"),
        "memory_style": resource("memory_chart.css"),
        "script": resource("page.js"),
        "plotly": plotly(),
    }


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its picture, whether there is anything to draw, and the words below it."""

    picture: Picture
    drawn: bool
    legend: Sequence[LegendEntry]
    caption: str


def sections(result: Result, figures: Mapping[str, Figure | None]) -> dict[str, list[Shown]]:
    """Return the figures under each heading; those that have neither marks nor an excuse are left out."""
    found: dict[str, list[Shown]] = {}
    for picture in catalog.PICTURES:
        drawn = figures[picture.key] is not None
        if drawn or picture.empty:
            legend = picture.legend(result) if drawn else ()
            found.setdefault(picture.section, []).append(Shown(picture, drawn, legend, picture.explained(result)))
    return found


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
    ("Limiter", "text"),
    ("Time", "number"),
    ("Share", "number"),
    ("Launches", "number"),
    ("Mean", "number"),
    ("CTAs", "number"),
    ("L2 hits", "number"),
    ("In flight", "number"),
    ("DRAM bytes", "number"),
    ("DRAM bandwidth", "number"),
)


@dataclass(frozen=True)
class Row:
    """A row of the kernel table, and what it is chosen by."""

    cells: list[Cell]
    operator: str
    kernel: str


def kernel_rows(result: Result) -> list[Row]:
    """Return the rows of the kernel table, the longest kernels first; the columns are `KERNEL_COLUMNS`."""
    budget = groups.time_budget(result)
    return [
        Row(
            _cells(group, budget),
            chosen_by("operator", group.operator or "unnamed"),
            chosen_by("kernel", group.label),
        )
        for group in groups.by_name(result)[:MOST_ROWS]
    ]


def _cells(group: KernelGroup, budget: TimeBudget) -> list[Cell]:
    share = budget.share(group.time_s)
    launches = group.launches
    flight = group.mean("mean_outstanding_bytes")
    bandwidth = group.dram_bandwidth_bytes_per_s
    return [
        Cell(plain(group.label)),
        Cell(words(group.operator or "unnamed")),
        Cell(plain(group.limiter)),
        Cell(values.time(group.time_s), group.time_s),
        Cell(values.percent(share), share or 0.0, share or 0.0),
        Cell(values.count(launches), launches),
        Cell(values.time(group.mean_time_s), group.mean_time_s),
        Cell(table.grid(group), group.ctas[1] if group.ctas else -1),
        Cell(values.percent(group.l2_hit_rate), _order(group.l2_hit_rate)),
        Cell(values.size(flight), _order(flight)),
        Cell(values.size(group.dram_bytes), _order(group.dram_bytes)),
        Cell(values.rate(bandwidth), _order(bandwidth)),
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
