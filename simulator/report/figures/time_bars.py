"""Time per operator class as horizontal bars, split by what limited each kernel."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.report import groups, values
from simulator.report.figures.style import (
    INK,
    LIMITER_COLORS,
    MUTED,
    Figure,
    LegendEntry,
    axis,
    category_axis,
    chosen_by,
    colors,
    label,
    layout,
    time_unit,
    words,
)
from simulator.report.groups import KernelGroup, TimeBudget
from simulator.report.values import Result, plain

GAPS = {groups.COPIES: ("copies from host or SSD", "#5d7b3a"), groups.BETWEEN: ("launch and waiting", "#d9dee3")}
"""What the times between kernels are called in the legend, and their colours."""


def draw(result: Result) -> Figure | None:
    """Return the bars, or None when no kernel took time."""
    rows = _rows(result)
    if not rows:
        return None
    budget = groups.time_budget(result)
    unit, scale = time_unit(max(group.time_s for group in rows))
    names = [label(words(group.label)) for group in rows]
    traces = [_limiter_trace(limiter, ink, rows, names, scale) for limiter, ink in _limiters(rows).items()]
    ends = [group.time_s for group in rows]
    for name, time_s in groups.gaps(result).items():
        names.append(name)
        ends.append(time_s)
        traces.append(_gap_trace(name, time_s, scale))
    traces.append(_end_labels(names, ends, budget, scale))
    look = layout(
        height=70 + 34 * len(names),
        barmode="stack",
        bargap=0.35,
        margin={"l": 62, "r": 124, "t": 14, "b": 52},  # the labels of the longest bars stand in the right margin
        xaxis=axis(f"Time ({unit})") | {"range": [0, max(ends) / scale], "zeroline": True, "zerolinecolor": MUTED},
        yaxis=category_axis(),
    )
    return {"data": traces, "layout": look}


def legend(result: Result) -> list[LegendEntry]:
    """Return the legend: the limiters in the order of their time."""
    rows = _rows(result)
    entries = [LegendEntry("disc", ink, f"limited by {_limiter(name)}") for name, ink in _limiters(rows).items()]
    if rows:
        entries += [LegendEntry("disc", ink, what) for what, ink in map(GAPS.__getitem__, groups.gaps(result))]
    return entries


def _rows(result: Result) -> list[KernelGroup]:
    return [group for group in groups.by_operator(result) if group.time_s > 0]


def _limiters(rows: Sequence[KernelGroup]) -> dict[str | None, str]:
    times: dict[str | None, float] = {}
    for group in rows:
        for limiter, time_s in group.time_by_limiter.items():
            times[limiter] = times.get(limiter, 0.0) + time_s
    return colors(sorted((name for name in times if times[name] > 0), key=lambda name: -times[name]), LIMITER_COLORS)


def _limiter(limiter: str | None) -> str:
    return "an unknown cause" if limiter is None else plain(limiter)


def _limiter_trace(
    limiter: str | None, ink: str, rows: Sequence[KernelGroup], names: Sequence[str], scale: float
) -> Figure:
    times = [group.time_by_limiter.get(limiter, 0.0) for group in rows]
    what = label(f"limited by {_limiter(limiter)}")
    return {
        "type": "bar",
        "orientation": "h",
        "name": what,
        "y": list(names),
        "x": [time_s / scale for time_s in times],
        "customdata": [chosen_by("operator", group.label) for group in rows],
        "marker": {"color": ink},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{name}</b><br>{values.time(time_s)} {what}<br>{values.count(group.launches)} launches"
            for name, time_s, group in zip(names, times, rows, strict=True)
        ],
        "textposition": "none",
    }


def _gap_trace(name: str, time_s: float, scale: float) -> Figure:
    what, ink = GAPS[name]
    return {
        "type": "bar",
        "orientation": "h",
        "name": what,
        "y": [name],
        "x": [time_s / scale],
        "marker": {"color": ink},
        "hoverinfo": "text",
        "hovertext": f"<b>{name}</b><br>{values.time(time_s)} of {what}",
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
