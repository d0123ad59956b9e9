"""Rooflines: one for each tier that bytes come from, with the operator classes and the whole run as points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simulator.report import groups, headline, values
from simulator.report.figures.style import (
    INK,
    MUTED,
    Figure,
    LegendEntry,
    chosen_by,
    label,
    layout,
    log_axis,
    operator_color,
    words,
)
from simulator.report.groups import KernelGroup, TimeBudget
from simulator.report.values import Result, at, ratio, total

_ROOF_STYLES = {"peak": ("#1f2933", "solid"), "achievable": ("#c0503a", "dash"), "next": ("#7b8794", "dot")}
_ROOF_STEPS = 40  # so that hovering finds a roof anywhere along it
_MARKER_PX = (9, 30)  # diameters at a share of 0 and of 1


@dataclass(frozen=True)
class Level:
    """A tier to draw a roofline of: what its bytes are called, who moves how many of them, and its ceilings."""

    key: str
    bytes_name: str
    of_group: Callable[[KernelGroup], float | None]
    of_run: Callable[[Result], float | None]
    ceilings: Callable[[Result], Sequence[tuple[str, str, float | None]]]  # style, name and bytes/s


def _peak(tier: str, key: str = "peak_bandwidth_bytes_per_s") -> Callable[[Result], float | None]:
    return lambda result: at(result, "tiers", tier, key)


def _moved(*keys: tuple[str, str]) -> Callable[[Result], float | None]:
    return lambda result: total(at(result, "tiers", *each) for each in keys)


def _dram_ceilings(result: Result) -> Sequence[tuple[str, str, float | None]]:
    memory = headline.memory_name(result)
    return (
        ("peak", f"{memory} peak", _peak("hbm")(result)),
        ("achievable", f"{memory} achievable", _peak("hbm", "achievable_bandwidth_bytes_per_s")(result)),
        ("next", "L2 peak", _peak("l2")(result)),
    )


DRAM = Level(
    "dram",
    "DRAM byte",
    lambda group: group.dram_bytes,
    lambda result: at(result, "summary", "dram_bytes"),
    _dram_ceilings,
)
L2 = Level(
    "l2",
    "byte of L2",
    lambda group: group.l2_bytes,
    _moved(("l2", "read_bytes"), ("l2", "write_bytes")),
    lambda result: (("peak", "L2 peak", _peak("l2")(result)), ("next", "SM ports", _peak("sram")(result))),
)
SM = Level(
    "sram",
    "byte asked for",
    lambda group: group.asked_bytes,
    _moved(("sram", "read_bytes"), ("sram", "write_bytes")),
    lambda result: (("peak", "SM ports", _peak("sram")(result)),),
)
LINK = Level(
    "link",
    "byte copied in",
    lambda group: None,
    _moved(("link", "read_bytes")),
    lambda result: (("peak", "link peak", _peak("link")(result)),),
)


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

    name: str
    intensity: float
    flops_per_s: float
    time_s: float
    share: float | None
    color: str


def roofs(result: Result, level: Level = DRAM) -> list[Roof]:
    """Return the ceilings that the result gives a bandwidth for, the peak of the tier first."""
    peak = result["summary"]["peak_flops_per_s"]
    return [Roof(key, name, bandwidth, peak or None) for key, name, bandwidth in level.ceilings(result) if bandwidth]


def points(result: Result, level: Level = DRAM) -> tuple[list[Point], list[str]]:
    """Return the points of the roofline, and the operator classes that have none, each with the reason."""
    budget = groups.time_budget(result)
    placed, left_out = [], []
    for group in groups.by_operator(result):
        moved = level.of_group(group)
        reason = _why_not_placed(group, moved)
        if reason:
            left_out.append(f"{words(group.label)} ({reason})")
        elif moved:
            placed.append(_point(group, moved, budget))
    return placed, left_out


def _why_not_placed(group: KernelGroup, moved: float | None) -> str | None:
    for value, reason in ((group.time_s, "no time"), (group.flops, "no flops"), (moved, "no traffic")):
        if not value:
            return reason
    return None


def _point(group: KernelGroup, moved: float, budget: TimeBudget) -> Point:
    share = budget.share(group.time_s)
    intensity, speed = ratio(group.flops, moved) or 0.0, group.flops_per_s or 0.0
    return Point(group.label, intensity, speed, group.time_s, share, operator_color(group.label))


def whole_run(result: Result, level: Level = DRAM) -> Point | None:
    """Return the point of the run as a whole, over its whole time, or None when a part of it is null or zero."""
    summary = result["summary"]
    speed = ratio(summary["flops"], summary["time_s"])
    intensity = ratio(summary["flops"], level.of_run(result))
    if not speed or not intensity:
        return None
    return Point("whole run", intensity, speed, summary["time_s"], 1.0, INK)


def draw(result: Result, level: Level = DRAM) -> Figure | None:
    """Return the roofline of a tier on log-log axes, or None when there is nothing to draw."""
    placed, _ = points(result, level)
    run, ceilings = whole_run(result, level), roofs(result, level)
    marks = placed + ([run] if run else [])
    if not marks:
        return None
    low, high = _intensity_range(marks, ceilings)
    traces = [_roof_trace(roof, low, high) for roof in ceilings]
    traces += [_point_trace(point, level) for point in placed]
    traces += [_run_trace(run, level)] if run else []
    top = max([roof.height(high) for roof in ceilings] + [point.flops_per_s for point in marks])
    bottom = min(point.flops_per_s for point in marks)
    look = layout(
        height=460 if level is DRAM else 380,
        xaxis=log_axis(f"Intensity (flop per {level.bytes_name})", low, high),
        yaxis=log_axis("flop/s", bottom / 4, top * 3),
    )
    return {"data": traces, "layout": look | {"annotations": list(_roof_notes(ceilings, high))}}


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
        "name": label(roof.name),
        "x": intensities,
        "y": [roof.height(intensity) for intensity in intensities],
        "line": {"color": ink, "dash": dash, "width": 1.8},
        "hoverinfo": "text",
        "text": label(_roof_words(roof)),
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


def _point_trace(point: Point, level: Level) -> Figure:
    least, most = _MARKER_PX
    diameter = least + (most - least) * math.sqrt(min(max(point.share or 0.0, 0.0), 1.0))
    marker = {"size": diameter, "color": point.color, "opacity": 0.85, "line": {"color": "#ffffff", "width": 1}}
    return _marker_trace(point, level, marker) | {"customdata": [chosen_by("operator", point.name)]}


def _run_trace(point: Point, level: Level) -> Figure:
    line = {"color": INK, "width": 2.2}
    return _marker_trace(point, level, {"size": 14, "symbol": "diamond-open", "color": INK, "line": line})


def _marker_trace(point: Point, level: Level, marker: Figure) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(words(point.name)),
        "x": [point.intensity],
        "y": [point.flops_per_s],
        "marker": marker,
        "hoverinfo": "text",
        "text": _point_words(point, level),
    }


def _point_words(point: Point, level: Level) -> str:
    lines = (
        f"{values.time(point.time_s)} ({values.percent(point.share)} of the run)",
        f"{values.number(point.intensity, 'flop/B')} at {values.quantity(point.flops_per_s, 'flop/s')}",
        f"{values.rate(point.flops_per_s / point.intensity)}, per {level.bytes_name}",
    )
    return f"<b>{label(words(point.name))}</b><br>" + "<br>".join(lines)


def legend(result: Result, level: Level = DRAM) -> list[LegendEntry]:
    """Return the legend of the roofline: points first, then roofs."""
    placed, _ = points(result, level)
    run = whole_run(result, level)
    entries = [LegendEntry("disc", p.color, f"{words(p.name)} {values.percent(p.share)}") for p in placed]
    entries += [LegendEntry("diamond", INK, "whole run")] if run else []
    for roof in roofs(result, level):
        ink, dash = _ROOF_STYLES[roof.key]
        entries.append(LegendEntry(dash, ink, _roof_words(roof)))
    return entries
