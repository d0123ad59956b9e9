"""Benchmark curves (``tierscope.bench/1``) as a table, CSV, or an offline page with the measured curves behind them."""

from __future__ import annotations

import csv
import html as markup
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from simulator import units
from simulator.report import html
from simulator.report.columns import GAP_CELLS
from simulator.report.console import render_to_text
from simulator.report.figures.style import GRID, INK, MUTED, Figure
from simulator.report.values import DASH

Bench = Mapping[str, Any]
Curve = Mapping[str, Any]

COLORS = ("#2b6ca3", "#c0503a", "#3f8f5b", "#8a63a8", "#c9a227", "#2a9d9d")
MEASURED = "measured"
CSV_COLUMNS = ("benchmark", "variant", "hardware", "x", "x_unit", "predicted", "measured", "unit")


def render(bench: Bench, width: int = 160, *, color: bool = False) -> str:
    """Return one row per x and one or two columns per variant: predicted, and measured where it was at that x.

    As many variants stand side by side as fit in `width` columns, the others in tables below.
    """
    from rich.table import Table

    xs = list(dict.fromkeys(x for curve in bench["curves"] for x, _ in curve["predicted"]))
    first = Cells(bench["x_name"], [_x(x, bench["x_unit"]) for x in xs])
    rendered = []
    for columns in _side_by_side(first, [_columns(curve, xs) for curve in bench["curves"]], width):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.name, justify="right", style="dim" if column.name == MEASURED else "", no_wrap=True)
        for row in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*row)
        rendered.append(render_to_text(table, width, color=color))
    tables = "\n".join(rendered)
    return f"{bench['title']} on {bench['hardware_name']}, {bench['unit']}\n\n{tables}{_errors(bench)}"


class Cells(NamedTuple):
    """A column of text: its name, and a cell a row."""

    name: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """Its width in columns of the terminal, with the gap behind it."""
        return max(map(len, (self.name, *self.cells))) + GAP_CELLS


def _columns(curve: Curve, xs: Sequence[float]) -> list[Cells]:
    """Return the columns of a variant."""
    predicted = Cells(curve["variant"], [_at(curve["predicted"], x) for x in xs])
    return [predicted, *([Cells(MEASURED, [_at(curve["measured"], x) for x in xs])] if curve["measured"] else [])]


def _side_by_side(first: Cells, variants: Sequence[list[Cells]], width: int) -> Iterator[list[Cells]]:
    """Yield the columns of tables that each begin with `first` and go on with as many variants as fit."""
    columns = [first]
    for added in variants:
        if len(columns) > 1 and sum(column.width for column in (*columns, *added)) > width + GAP_CELLS:
            yield columns
            columns = [first]
        columns += added
    yield columns


def _errors(bench: Bench) -> str:
    """Return the mean errors of curves that were measured where they were predicted, if any, in one line."""
    errors = [(curve["variant"], curve["mean_error"]) for curve in bench["curves"] if curve["mean_error"] is not None]
    said = ", ".join(f"{variant} {100 * error:.1f} %" for variant, error in errors)
    return f"\nMean error: {said}\n" if said else ""


def to_csv(bench: Bench) -> str:
    """Return one row per predicted point; `measured` is empty where nothing was measured at that x."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for curve in bench["curves"]:
        measured = dict(curve["measured"])
        for x, value in curve["predicted"]:
            known = measured.get(x)
            row = (f"{x:.7g}", bench["x_unit"], f"{value:.6g}", "" if known is None else f"{known:g}", bench["unit"])
            writer.writerow((bench["benchmark"], curve["variant"], bench["hardware"], *row))
    return out.getvalue()


def page(bench: Bench) -> str:
    """Return a self-contained page with one interactive plot."""
    sources = dict.fromkeys(curve["source"] for curve in bench["curves"] if curve["source"])
    return html.template("bench.html").render(
        title=f"{bench['title']} on {bench['hardware_name']}",
        overrides=bench["overrides"],
        sources=list(sources),
        figures_json=html.json_for_script({"curves": figure(bench)}),
        style=html.resource("page.css"),
        script=html.resource("page.js"),
        plotly=html.plotly(),
    )


def figure(bench: Bench) -> Figure:
    """Return the plot: measured points, the predicted curve through its own."""
    data: list[Figure] = []
    for place, curve in enumerate(bench["curves"]):
        ink = COLORS[place % len(COLORS)]
        name = markup.escape(curve["variant"], quote=False)
        if curve["measured"]:
            data.append(_trace(curve["measured"], f"{name}, measured", "markers", ink) | {"opacity": 0.45})
        data.append(_trace(curve["predicted"], f"{name}, predicted", "lines+markers", ink))
    logarithmic = "linear" if bench["x_unit"] == "threads" else "log"
    return {
        "data": data,
        "layout": {
            "height": 520,
            "margin": {"l": 70, "r": 16, "t": 14, "b": 52},
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "#ffffff",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
            "legend": {"orientation": "h", "y": -0.14},
            "xaxis": _axis(f"{bench['x_name']} ({bench['x_unit']})") | {"type": logarithmic},
            "yaxis": _axis(bench["unit"]) | {"type": "log"},
        },
    }


def _trace(points: Sequence[Sequence[float]], name: str, mode: str, ink: str) -> Figure:
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": [x for x, _ in points],
        "y": [value for _, value in points],
        "line": {"color": ink, "width": 1.5},
        "marker": {"color": ink, "size": 7 if mode == "markers" else 4},
    }


def _axis(title: str) -> Figure:
    return {"title": {"text": title, "font": {"color": MUTED}}, "gridcolor": GRID, "automargin": True}


def _x(x: float, unit: str) -> str:
    return units.format_bytes(x * 1024) if unit == "KiB" else f"{x:g}"


def _at(points: Sequence[Sequence[float]], x: float) -> str:
    value = next((value for place, value in points if place == x), None)
    return DASH if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
