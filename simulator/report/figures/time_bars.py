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

GAP_COLOR = "#d9dee3"
GAP = "between kernels"


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
    if _gap_shows(budget):
        names.append(GAP)
        ends.append(budget.gap_s)
        traces.append(_gap_trace(budget, scale))
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
    if rows and _gap_shows(groups.time_budget(result)):
        entries.append(LegendEntry("disc", GAP_COLOR, "launch and waiting"))
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


def _gap_shows(budget: TimeBudget) -> bool:
    return (budget.share(budget.gap_s) or 0.0) >= 0.0005


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


def _gap_trace(budget: TimeBudget, scale: float) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": "launch and waiting",
        "y": [GAP],
        "x": [budget.gap_s / scale],
        "marker": {"color": GAP_COLOR},
        "hoverinfo": "text",
        "hovertext": f"<b>{GAP}</b><br>{values.time(budget.gap_s)} of launch and waiting",
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
