"""Benchmark curves (``tierscope.bench/1``) as a table, CSV, or an offline page with the measured curves behind them."""

from __future__ import annotations

import csv
import html as markup
import io
from collections.abc import Mapping, Sequence
from typing import Any

from simulator import units
from simulator.report import html
from simulator.report.console import render_to_text
from simulator.report.figures.style import GRID, INK, MUTED, Figure
from simulator.report.values import DASH

Bench = Mapping[str, Any]
Curve = Mapping[str, Any]

COLORS = ("#2b6ca3", "#c0503a", "#3f8f5b", "#8a63a8", "#c9a227", "#2a9d9d")
CSV_COLUMNS = ("benchmark", "variant", "hardware", "x", "x_unit", "predicted", "measured", "unit")


def render(bench: Bench, width: int = 160, *, color: bool = False) -> str:
    """Return one row per x and one or two columns per variant: predicted, and measured where it was at that x."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(bench["x_name"], justify="right")
    for curve in bench["curves"]:
        table.add_column(curve["variant"], justify="right", no_wrap=True)
        if curve["measured"]:
            table.add_column("measured", justify="right", style="dim", no_wrap=True)
    for x in dict.fromkeys(x for curve in bench["curves"] for x, _ in curve["predicted"]):
        cells = [_x(x, bench["x_unit"])]
        for curve in bench["curves"]:
            cells.append(_at(curve["predicted"], x))
            if curve["measured"]:
                cells.append(_at(curve["measured"], x))
        table.add_row(*cells)
    heading = f"{bench['title']} on {bench['hardware_name']}, {bench['unit']}"
    return f"{heading}\n\n{render_to_text(table, width, color=color)}{_errors(bench)}"


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
