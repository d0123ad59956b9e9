"""The figures for print: the objects that Plotly draws, and the memory chart, drawn by matplotlib as SVG or PNG.

What is understood is what the figures use: lines, markers and words at x and y, stacked or grouped bars, linear,
logarithmic and category axes, notes at a place.  No window and no browser is needed.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.report.figures.style import GRID, INK, MUTED, Figure, LegendEntry
from simulator.report.memory_chart import UNKNOWN, Chart

if TYPE_CHECKING:
    Axes = Any  # matplotlib is not typed here
    Sheet = Any

FORMATS = ("svg", "png")
WIDTH_IN = 7.2  # two columns of a paper
PX_PER_IN = 100  # of the heights that figures are given
DPI = 200
MOST_LETTERS = 60  # of the categories below a figure that stand side by side
POINTS_PER_PX = 72 / 96

_TAG = re.compile(r"<[^>]*>")
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SETTINGS = {
    "font.size": 8,
    "font.family": "sans-serif",
    "svg.hashsalt": "tierscope",  # the same result gives the same file
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
}


def render(figure: Figure, legend: Sequence[LegendEntry], form: str) -> bytes:
    """Return a figure as the content of an SVG or PNG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Sheet

    look = figure["layout"]
    with mpl.rc_context(_SETTINGS):
        sheet = Sheet(figsize=(WIDTH_IN, look["height"] / PX_PER_IN), layout="constrained")
        axes = sheet.add_subplot()
        names = _names(figure["data"], look)
        ends: dict[Any, float] = {}
        bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
        _axes(axes, look, names)
        for trace in figure["data"]:
            if trace["type"] == "bar":
                _bars(axes, trace, names, ends, look, bars.index(trace), len(bars))
            else:
                _scatter(axes, trace, names)
        for note in look.get("annotations", ()):
            _note(axes, note, look)
        _limits(axes, look)
        _legend(sheet, legend)
        return _saved(sheet, form)


def render_chart(chart: Chart, form: str) -> bytes:
    """Return the memory chart as the content of an SVG or PNG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Sheet
    from matplotlib.patches import FancyBboxPatch, Polygon

    with mpl.rc_context(_SETTINGS):
        sheet = Sheet(figsize=(WIDTH_IN, WIDTH_IN * chart.height / chart.width))
        axes = sheet.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, chart.width)
        axes.set_ylim(chart.height, 0)
        axes.axis("off")
        scale = WIDTH_IN * 72 / chart.width  # points per user unit
        for arrow in chart.arrows:
            corners = [tuple(map(float, pair.split(","))) for pair in arrow.points.split()]
            face, edge = (arrow.color, "#6b7986") if arrow.used else ("#f1f3f5", "#c5cdd5")
            axes.add_patch(Polygon(corners, facecolor=face, edgecolor=edge, linewidth=0.4))
            _labels(axes, arrow.labels, scale, used=arrow.used)
        for box in chart.boxes:
            outline = box.outline
            bars = [(outline, outline.width, "#ffffff", "#9aa7b4" if box.used else "#c5cdd5", 8.0)]
            if box.gauge is not None:
                bars.append((box.gauge, box.gauge.width, "#eef1f4", "none", 4.0))
                bars.append((box.gauge, box.gauge.filled, box.gauge.color or UNKNOWN, "none", 4.0))
            for bar, width, face, edge, radius in bars:
                round_by = min(radius, width / 2)
                style = f"round,pad=0,rounding_size={round_by}"
                axes.add_patch(
                    FancyBboxPatch(
                        (bar.x, bar.y), width, bar.height, boxstyle=style, facecolor=face, edgecolor=edge, lw=0.7
                    )
                )
            _labels(axes, box.labels, scale, used=box.used)
        return _saved(sheet, form)


_LABELS = {"title": (16.0, INK, "bold"), "speed": (11.5, INK, "normal")}
_BOLD, _PALE = ("value", "moved"), ("subtitle", "name", "flow", "gauge")


def _labels(axes: Axes, labels: Iterable[Any], scale: float, *, used: bool) -> None:
    for one in labels:
        size, ink, weight = _LABELS.get(one.kind, (12.5, MUTED if one.kind in _PALE else INK, "normal"))
        weight = "bold" if one.kind in _BOLD else weight
        side = {"start": "left", "middle": "center", "end": "right"}[one.anchor]
        color = ink if used else "#8a96a3"
        axes.text(
            one.x, one.y, _literal(one.text), size=size * scale, color=color, weight=weight, ha=side, va="baseline"
        )


def _saved(sheet: Sheet, form: str) -> bytes:
    out = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
    sheet.savefig(out, format=form, dpi=DPI, metadata=metadata)
    return out.getvalue()


def _words(text: object) -> str:
    """Return Plotly's HTML as plain words that matplotlib does not read as mathematics."""
    return _literal(html.unescape(_TAG.sub(" ", str(text))))


def _literal(text: str) -> str:
    return text.replace("$", r"\$")


def _names(traces: Iterable[Mapping[str, Any]], look: Mapping[str, Any]) -> dict[str, dict[Any, int]]:
    """Return for each axis of categories the place of each of them, in the order in which they come."""
    names: dict[str, dict[Any, int]] = {}
    for side in "xy":
        given = look[f"{side}axis"]
        if given.get("type") == "category":
            found = given.get("categoryarray") or (name for trace in traces for name in trace[side])
            names[side] = {name: place for place, name in enumerate(dict.fromkeys(found))}
    return names


def _places(values: Iterable[Any], names: dict[Any, int] | None) -> list[Any]:
    return [names[value] for value in values] if names is not None else list(values)


def _axes(axes: Axes, look: Mapping[str, Any], names: Mapping[str, dict[Any, int]]) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_axisbelow(True)
    for side, line in (("x", axes.xaxis), ("y", axes.yaxis)):
        given = look[f"{side}axis"]
        if side not in names:
            line.grid(color=GRID, linewidth=0.6)
        line.set_label_text(_words(given.get("title", {}).get("text", "")))
        if given.get("type") == "log":
            line.axes.set(**{f"{side}scale": "log"})
            line.set_ticks(given["tickvals"], labels=[_words(text) for text in given["ticktext"]])
            line.set_ticks([], minor=True)
        elif side in names:
            line.set_ticks(list(names[side].values()), labels=[_words(name) for name in names[side]])
            crowded = side == "x" and sum(len(_words(name)) for name in names[side]) > MOST_LETTERS
            line.set_tick_params(length=0, rotation=30 if crowded else 0)


def _limits(axes: Axes, look: Mapping[str, Any]) -> None:
    """Set the ranges, last: bars and lines would widen them."""
    for side in "xy":
        given = look[f"{side}axis"]
        if "range" in given:
            ends = [10**end for end in given["range"]] if given.get("type") == "log" else given["range"]
            axes.set(**{f"{side}lim": ends})
        elif given.get("autorange") == "reversed":
            low, high = getattr(axes, f"get_{side}lim")()
            axes.set(**{f"{side}lim": (max(low, high), min(low, high))})
        elif given.get("rangemode") == "tozero":
            axes.set(**{f"{side}lim": (0, getattr(axes, f"get_{side}lim")()[1])})


def _scatter(axes: Axes, trace: Mapping[str, Any], names: Mapping[str, dict[Any, int]]) -> None:
    x, y = _places(trace["x"], names.get("x")), _places(trace["y"], names.get("y"))
    mode = trace.get("mode", "lines")
    if "lines" in mode:
        line = trace["line"]
        steps = "steps-post" if line.get("shape") == "hv" else "default"
        y = [math.nan if value is None else value for value in y]
        axes.plot(
            x,
            y,
            _DASHES[line.get("dash", "solid")],
            color=line["color"],
            linewidth=line["width"] * 0.75,
            drawstyle=steps,
        )
    if "markers" in mode:
        marker = trace["marker"]
        hollow = str(marker.get("symbol", "")).endswith("-open")
        shape = "D" if str(marker.get("symbol", "circle")).startswith("diamond") else "o"
        axes.scatter(
            x,
            y,
            s=(marker["size"] * POINTS_PER_PX) ** 2,
            marker=shape,
            facecolor="none" if hollow else marker["color"],
            edgecolor=marker["color"] if hollow else marker.get("line", {}).get("color", "none"),
            linewidth=marker.get("line", {}).get("width", 0) * 0.75,
            alpha=marker.get("opacity"),
            zorder=3,
        )
    if "text" in mode:
        for place, text in zip(zip(x, y, strict=True), trace["text"], strict=True):
            axes.annotate(_words(text), place, va="center", ha="left", annotation_clip=False)


def _bars(
    axes: Axes,
    trace: Mapping[str, Any],
    names: Mapping[str, dict[Any, int]],
    ends: dict[Any, float],
    look: Mapping[str, Any],
    number: int,
    count: int,
) -> None:
    """Draw bars, each on the end of those before it at its place, or beside them where they are grouped."""
    across = trace.get("orientation") == "h"
    along, over = ("x", "y") if across else ("y", "x")
    lengths = [value or 0.0 for value in trace[along]]
    places = _places(trace[over], names.get(over))
    width = 1 - look.get("bargap", 0.2)
    if look.get("barmode") == "group":
        width /= count
        places = [place + (number - (count - 1) / 2) * width for place in places]
    starts = [ends.get(place, 0.0) for place in places]
    ends.update({place: start + length for place, start, length in zip(places, starts, lengths, strict=True)})
    colors = trace["marker"]["color"]
    if across:
        axes.barh(places, lengths, height=width, left=starts, color=colors)
    else:
        axes.bar(places, lengths, width=width, bottom=starts, color=colors)


def _note(axes: Axes, note: Mapping[str, Any], look: Mapping[str, Any]) -> None:
    x, y = (10 ** note[side] if look[f"{side}axis"].get("type") == "log" else note[side] for side in ("x", "y"))
    sides = {"bottom": "bottom", "top": "top", "middle": "center"}
    font = note.get("font", {})
    axes.text(
        x,
        y,
        _words(note["text"]),
        ha=note.get("xanchor", "center"),
        va=sides[note.get("yanchor", "middle")],
        color=font.get("color", INK),
    )


def _legend(sheet: Sheet, entries: Sequence[LegendEntry]) -> None:
    from matplotlib.lines import Line2D

    if not entries:
        return
    handles = []
    for entry in entries:
        if entry.mark in _DASHES:
            handles.append(Line2D([], [], color=entry.color, linestyle=_DASHES[entry.mark], label=_literal(entry.text)))
        else:
            face = entry.color if entry.mark == "disc" else "none"
            shape = "o" if entry.mark == "disc" else "D"
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="none",
                    marker=shape,
                    markerfacecolor=face,
                    markeredgecolor=entry.color,
                    label=_literal(entry.text),
                )
            )
    sheet.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
