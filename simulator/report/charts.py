"""The roofline and the time bars as Plotly figures, and the legends that stand under them in HTML.

A figure is the plain ``{"data": [...], "layout": {...}}`` object that Plotly draws.  Plotly reads labels as HTML, so
every name from outside is escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.report import groups, headline, values
from simulator.report.groups import KernelGroup, TimeBudget
from simulator.report.values import Result, at, plain, ratio

Figure = dict[str, Any]

OPERATOR_COLORS = {
    "gemm": "#2b6ca3",
    "decode_attention": "#d1495b",
    "prefill_attention": "#e07b39",
    "norm": "#4f9d69",
    "activation": "#8a63a8",
    "rope": "#c9a227",
    "kv_write": "#2a9d9d",
    "residual": "#9a6b4f",
    "embedding": "#6c7a89",
}
LIMITER_COLORS = {
    "dram bandwidth": "#c0503a",
    "l2 bandwidth": "#e3a33b",
    "compute": "#3f8f5b",
    "concurrency": "#4a6fb3",
    "launch": "#8c97a3",
}
SPARE_COLORS = ("#7a5195", "#2f8f9d", "#b0823c", "#a3476f", "#5d7b3a", "#44546a")
INK, MUTED, GRID = "#1f2933", "#5f6c7b", "#e3e8ed"
GAP_COLOR = "#d9dee3"

_ROOF_STYLES = {"peak": ("#1f2933", "solid"), "achievable": ("#c0503a", "dash"), "l2": ("#7b8794", "dot")}
_ROOF_STEPS = 40  # so that hovering finds a roof anywhere along it
_MARKER_PX = (9, 30)  # diameters at a share of 0 and of 1


@dataclass(frozen=True)
class Roof:
    """A ceiling: bandwidth times intensity up to the compute peak (None: unknown)."""

    key: str
    name: str
    bandwidth_bytes_per_s: float
    peak_flops_per_s: float | None

    @property
    def ridge(self) -> float | None:
        """Arithmetic intensity, in flops per byte, at which the bandwidth reaches the compute peak."""
        return ratio(self.peak_flops_per_s, self.bandwidth_bytes_per_s)

    def height(self, intensity: float) -> float:
        """Return the attainable flop/s at an arithmetic intensity."""
        sloped = self.bandwidth_bytes_per_s * intensity
        return sloped if self.peak_flops_per_s is None else min(sloped, self.peak_flops_per_s)


@dataclass(frozen=True)
class Point:
    """An operator class, or the whole run, on the roofline."""

    label: str
    intensity: float
    flops_per_s: float
    time_s: float
    share: float | None
    color: str


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend: `mark` is ``disc``, ``diamond`` or a line style."""

    mark: str
    color: str
    text: str


def operator_color(label: str) -> str:
    """Return the colour of an operator class, the same in every figure."""
    return OPERATOR_COLORS.get(label, SPARE_COLORS[0])


def limiter_colors(limiters: Iterable[str | None]) -> dict[str | None, str]:
    """Return a colour per limiter; unfamiliar ones take the spare colours in turn."""
    colors: dict[str | None, str] = {}
    spare = 0
    for limiter in dict.fromkeys(limiters):
        if limiter in LIMITER_COLORS:
            colors[limiter] = LIMITER_COLORS[limiter]
        else:
            colors[limiter] = SPARE_COLORS[spare % len(SPARE_COLORS)]
            spare += 1
    return colors


# Roofline


def roofs(result: Result) -> list[Roof]:
    """Return the ceilings that the result gives a bandwidth for, the device-memory peak first."""
    memory = headline.memory_name(result)
    peak = result["summary"]["peak_flops_per_s"]
    known = (
        ("peak", f"{memory} peak", at(result, "tiers", "hbm", "peak_bandwidth_bytes_per_s")),
        ("achievable", f"{memory} achievable", at(result, "tiers", "hbm", "achievable_bandwidth_bytes_per_s")),
        ("l2", "L2 peak", at(result, "tiers", "l2", "peak_bandwidth_bytes_per_s")),
    )
    return [Roof(key, name, bandwidth, peak or None) for key, name, bandwidth in known if bandwidth]


def points(result: Result) -> tuple[list[Point], list[str]]:
    """Return the points of the roofline, and the operator classes that have none, each with the reason."""
    budget = groups.time_budget(result)
    placed, left_out = [], []
    for group in groups.by_operator(result):
        reason = _why_not_placed(group)
        if reason:
            left_out.append(f"{words(group.label)} ({reason})")
        else:
            placed.append(_point(group, budget))
    return placed, left_out


def _why_not_placed(group: KernelGroup) -> str | None:
    for value, reason in ((group.time_s, "no time"), (group.flops, "no flops"), (group.dram_bytes, "no DRAM traffic")):
        if not value:
            return reason
    return None


def _point(group: KernelGroup, budget: TimeBudget) -> Point:
    share = budget.share(group.time_s)
    intensity, speed = group.arithmetic_intensity or 0.0, group.flops_per_s or 0.0
    return Point(group.label, intensity, speed, group.time_s, share, operator_color(group.label))


def whole_run(result: Result) -> Point | None:
    """Return the point of the run as a whole, over its whole time, or None when a part of it is null or zero."""
    summary = result["summary"]
    speed = ratio(summary["flops"], summary["time_s"])
    intensity = ratio(summary["flops"], summary["dram_bytes"])
    if not speed or not intensity:
        return None
    return Point("whole run", intensity, speed, summary["time_s"], 1.0, INK)


def roofline(result: Result) -> Figure | None:
    """Return the roofline at the device-memory level on log-log axes, or None when there is nothing to draw."""
    placed, _ = points(result)
    run, ceilings = whole_run(result), roofs(result)
    marks = placed + ([run] if run else [])
    if not marks:
        return None
    low, high = _intensity_range(marks, ceilings)
    traces = [_roof_trace(roof, low, high) for roof in ceilings]
    traces += [_point_trace(point) for point in placed]
    traces += [_run_trace(run)] if run else []
    top = max([roof.height(high) for roof in ceilings] + [point.flops_per_s for point in marks])
    bottom = min(point.flops_per_s for point in marks)
    layout = _layout(
        height=460,
        xaxis=_log_axis("Arithmetic intensity (flop per DRAM byte)", low, high),
        yaxis=_log_axis("flop/s", bottom / 4, top * 3),
    )
    return {"data": traces, "layout": layout | {"annotations": list(_roof_notes(ceilings, high))}}


def _intensity_range(marks: Sequence[Point], ceilings: Sequence[Roof]) -> tuple[float, float]:
    ridges = [roof.ridge for roof in ceilings if roof.ridge]
    reach = [point.intensity for point in marks]
    return min(reach + ridges) / 4, max(reach + ridges) * 6


def _roof_trace(roof: Roof, low: float, high: float) -> Figure:
    steps = [low * (high / low) ** (step / _ROOF_STEPS) for step in range(_ROOF_STEPS + 1)]
    intensities = sorted([*steps, *([roof.ridge] if roof.ridge and low < roof.ridge < high else [])])
    ink, dash = _ROOF_STYLES[roof.key]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _label(roof.name),
        "x": intensities,
        "y": [roof.height(intensity) for intensity in intensities],
        "line": {"color": ink, "dash": dash, "width": 1.8},
        "hoverinfo": "text",
        "text": _label(_roof_words(roof)),
    }


def _roof_words(roof: Roof) -> str:
    ridge = "" if roof.ridge is None else f", ridge at {values.number(roof.ridge, 'flop/B')}"
    return f"{roof.name} {values.rate(roof.bandwidth_bytes_per_s)}{ridge}"


def _roof_notes(ceilings: Sequence[Roof], high: float) -> Iterable[Figure]:
    """Yield the label of the compute peak, above the flat part of the roofs."""
    peaks = [roof.peak_flops_per_s for roof in ceilings if roof.peak_flops_per_s]
    if peaks:
        yield {
            "x": math.log10(high),
            "y": math.log10(peaks[0]),
            "xanchor": "right",
            "yanchor": "bottom",
            "showarrow": False,
            "text": f"compute peak {values.quantity(peaks[0], 'flop/s')}",
            "font": {"size": 12, "color": MUTED},
        }


def _point_trace(point: Point) -> Figure:
    least, most = _MARKER_PX
    diameter = least + (most - least) * math.sqrt(min(max(point.share or 0.0, 0.0), 1.0))
    marker = {"size": diameter, "color": point.color, "opacity": 0.85, "line": {"color": "#ffffff", "width": 1}}
    return _marker_trace(point, marker)


def _run_trace(point: Point) -> Figure:
    line = {"color": INK, "width": 2.2}
    return _marker_trace(point, {"size": 14, "symbol": "diamond-open", "color": INK, "line": line})


def _marker_trace(point: Point, marker: Figure) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": _label(words(point.label)),
        "x": [point.intensity],
        "y": [point.flops_per_s],
        "marker": marker,
        "hoverinfo": "text",
        "text": _point_words(point),
    }


def _point_words(point: Point) -> str:
    lines = (
        f"{values.time(point.time_s)} ({values.percent(point.share)} of the run)",
        f"{values.number(point.intensity, 'flop/B')} at {values.quantity(point.flops_per_s, 'flop/s')}",
        f"{values.rate(point.flops_per_s / point.intensity)} of DRAM traffic",
    )
    return f"<b>{_label(words(point.label))}</b><br>" + "<br>".join(lines)


def roofline_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the roofline: points first, then roofs."""
    placed, _ = points(result)
    run = whole_run(result)
    entries = [LegendEntry("disc", p.color, f"{words(p.label)} {values.percent(p.share)}") for p in placed]
    entries += [LegendEntry("diamond", INK, "whole run")] if run else []
    for roof in roofs(result):
        ink, dash = _ROOF_STYLES[roof.key]
        entries.append(LegendEntry(dash, ink, _roof_words(roof)))
    return entries


# Time per operator class


def time_bars(result: Result) -> Figure | None:
    """Return horizontal bars of the time per operator class, split by limiter, or None when no kernel took time."""
    rows = [group for group in groups.by_operator(result) if group.time_s > 0]
    if not rows:
        return None
    budget = groups.time_budget(result)
    unit, scale = _time_unit(max(group.time_s for group in rows))
    names = [_label(words(group.label)) for group in rows]
    traces = [_limiter_trace(limiter, ink, rows, names, scale) for limiter, ink in _limiters(rows).items()]
    ends = [group.time_s for group in rows]
    if _gap_shows(budget):
        names.append("between kernels")
        ends.append(budget.gap_s)
        traces.append(_gap_trace(budget, scale))
    traces.append(_end_labels(names, ends, budget, scale))
    layout = _layout(
        height=70 + 34 * len(names),
        barmode="stack",
        bargap=0.35,
        margin={"l": 62, "r": 124, "t": 14, "b": 52},  # the labels of the longest bars stand in the right margin
        xaxis=_axis(f"Time ({unit})") | {"range": [0, max(ends) / scale], "zeroline": True, "zerolinecolor": MUTED},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "fixedrange": True,
            "ticklen": 6,
            "tickcolor": "#ffffff",
        },
    )
    return {"data": traces, "layout": layout}


def time_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the time bars: the limiters in the order of their time."""
    rows = [group for group in groups.by_operator(result) if group.time_s > 0]
    entries = [LegendEntry("disc", ink, f"limited by {_limiter(name)}") for name, ink in _limiters(rows).items()]
    if rows and _gap_shows(groups.time_budget(result)):
        entries.append(LegendEntry("disc", GAP_COLOR, "launch and waiting"))
    return entries


def _limiters(rows: Sequence[KernelGroup]) -> dict[str | None, str]:
    times: dict[str | None, float] = {}
    for group in rows:
        for limiter, time_s in group.time_by_limiter.items():
            times[limiter] = times.get(limiter, 0.0) + time_s
    return limiter_colors(sorted((name for name in times if times[name] > 0), key=lambda name: -times[name]))


def _limiter(limiter: str | None) -> str:
    return "an unknown cause" if limiter is None else plain(limiter)


def _gap_shows(budget: TimeBudget) -> bool:
    return (budget.share(budget.gap_s) or 0.0) >= 0.0005


def _limiter_trace(
    limiter: str | None, ink: str, rows: Sequence[KernelGroup], names: Sequence[str], scale: float
) -> Figure:
    times = [group.time_by_limiter.get(limiter, 0.0) for group in rows]
    label = _label(f"limited by {_limiter(limiter)}")
    return {
        "type": "bar",
        "orientation": "h",
        "name": label,
        "y": list(names),
        "x": [time_s / scale for time_s in times],
        "marker": {"color": ink},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{name}</b><br>{values.time(time_s)} {label}<br>{values.count(group.launches)} launches"
            for name, time_s, group in zip(names, times, rows, strict=True)
        ],
        "textposition": "none",
    }


def _gap_trace(budget: TimeBudget, scale: float) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": "launch and waiting",
        "y": ["between kernels"],
        "x": [budget.gap_s / scale],
        "marker": {"color": GAP_COLOR},
        "hoverinfo": "text",
        "hovertext": f"<b>between kernels</b><br>{values.time(budget.gap_s)} of launch and waiting",
        "textposition": "none",
    }


def _end_labels(names: Sequence[str], ends: Sequence[float], budget: TimeBudget, scale: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "text",
        "x": [time_s / scale for time_s in ends],
        "y": list(names),
        "text": [f" {values.time(time_s)} · {values.percent(budget.share(time_s))}" for time_s in ends],
        "textposition": "middle right",
        "textfont": {"size": 12, "color": INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _time_unit(longest_s: float) -> tuple[str, float]:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if longest_s >= scale:
            return unit, scale
    return "ps", 1e-12


# Common looks


def words(label: str) -> str:
    """Return an operator class as words, such as ``decode attention``."""
    return plain(label).replace("_", " ")


def _label(text: str) -> str:
    """Return text for Plotly, which reads ``&``, ``<`` and ``>`` as HTML but leaves quotes alone."""
    return html.escape(text, quote=False)


def _decade(value: float) -> str:
    return values.short_count(value) if value >= 1 else f"{value:g}"


def _layout(**more: Any) -> Figure:
    return {
        "showlegend": False,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 62, "r": 16, "t": 14, "b": 52},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "hovermode": "closest",
        "dragmode": False,
    } | more


def _axis(title: str) -> Figure:
    return {
        "title": {"text": title, "standoff": 10, "font": {"color": MUTED}},
        "gridcolor": GRID,
        "fixedrange": True,
        "automargin": True,
    }


def _log_axis(title: str, low: float, high: float) -> Figure:
    decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return _axis(title) | {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": decades,
        "ticktext": [_decade(value) for value in decades],
        "linecolor": MUTED,
        "zeroline": False,
    }
