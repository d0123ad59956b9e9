"""Concurrency as pictures: what each kernel held in flight against what it needed, and how full the queues were."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from simulator.report import groups, headline, values
from simulator.report.figures.style import (
    INK,
    Figure,
    LegendEntry,
    axis,
    chosen_by,
    label,
    layout,
    log_axis,
    operator_color,
    words,
)
from simulator.report.groups import KernelGroup
from simulator.report.values import Result, at, plain, ratio

MOST_KERNELS = 24
SMALLEST, LARGEST = 1e-3, 1e3
"""Shares beyond these are drawn at the edge."""

_QUEUES = {"sm": ("#2b6ca3", "to the SMs, of one SM"), "l2": ("#c0503a", "between L2 and memory")}


@dataclass(frozen=True)
class Held:
    """A kernel by Little's law: bytes in flight over those needed, and bandwidth over what could be had."""

    name: str
    operator: str
    in_flight: float
    bandwidth: float
    share: float | None


def held(result: Result) -> list[Held]:
    """Return the kernels that take longest, where both shares are known."""
    l2_peak = at(result, "tiers", "l2", "peak_bandwidth_bytes_per_s")
    dram = at(result, "tiers", "hbm", "achievable_bandwidth_bytes_per_s")
    budget = groups.time_budget(result)
    found = []
    for group in groups.by_name(result)[:MOST_KERNELS]:
        flight = ratio(group.mean("mean_outstanding_bytes"), group.mean("needed_outstanding_bytes"))
        bandwidth = _share(group, l2_peak, dram)
        if flight and bandwidth:
            found.append(Held(group.label, group.operator or "unnamed", flight, bandwidth, budget.share(group.time_s)))
    return found


def _share(group: KernelGroup, l2_peak: float | None, dram: float | None) -> float | None:
    """Return what SMs were sent over what the slower of L2 and memory could send, given how much of it hits."""
    sent, fetched = group.total("l2_read_bytes"), group.total("dram_read_bytes")
    if not sent or not l2_peak or not dram:
        return None
    attainable = min(l2_peak, dram * sent / fetched) if fetched else l2_peak
    return ratio(sent / attainable, group.time_s)


def draw_needed(result: Result) -> Figure | None:
    """Return bandwidth over attainable against bytes in flight over needed, or None when no kernel has both."""
    kernels = held(result)
    if not kernels:
        return None
    places = [(_inside(kernel.in_flight), _inside(kernel.bandwidth)) for kernel in kernels]
    low = min(min(place) for place in places) / 2
    high = max(2.0, max(max(place) for place in places) * 2)
    roof = {
        "type": "scatter",
        "mode": "lines",
        "name": "unloaded latency",
        "x": [low, 1.0, high],
        "y": [low, 1.0, 1.0],
        "line": {"color": INK, "width": 1.8, "dash": "solid"},
        "hoverinfo": "text",
        "text": "at the unloaded latency",
    }
    look = layout(
        height=380,
        xaxis=log_axis("Bytes in flight over bytes needed", low, high),
        yaxis=log_axis("Bandwidth over attainable", low, 2.0),
    )
    marks = [_mark(kernel, *place) for kernel, place in zip(kernels, places, strict=True)]
    return {"data": [roof, *marks], "layout": look}


def _inside(value: float) -> float:
    return min(max(value, SMALLEST), LARGEST)


def _mark(kernel: Held, x: float, y: float) -> Figure:
    diameter = 8 + 18 * math.sqrt(min(max(kernel.share or 0.0, 0.0), 1.0))
    lines = (
        f"{values.percent(kernel.in_flight)} of the bytes in flight that are needed",
        f"{values.percent(kernel.bandwidth)} of the bandwidth that can be had",
        f"{values.percent(kernel.share)} of the run",
    )
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(plain(kernel.name)),
        "x": [x],
        "y": [y],
        "customdata": [chosen_by("kernel", kernel.name)],
        "marker": {
            "size": diameter,
            "color": operator_color(kernel.operator),
            "opacity": 0.8,
            "line": {"color": "#ffffff", "width": 1},
        },
        "hoverinfo": "text",
        "text": f"<b>{label(plain(kernel.name))}</b><br>" + "<br>".join(lines),
    }


def needed_legend(result: Result) -> list[LegendEntry]:
    """Return the legend: the operator classes of the kernels, and the bound."""
    operators = dict.fromkeys(kernel.operator for kernel in held(result))
    entries = [LegendEntry("disc", operator_color(operator), words(operator)) for operator in operators]
    return [*entries, LegendEntry("solid", INK, "at the unloaded latency")]


def draw_bytes(result: Result) -> Figure | None:
    """Return for how much of the time each queue held how many bytes, or None when the result has no histogram."""
    return _filled(result, "histogram", "below_bytes", "Bytes in flight, below", values.size)


def draw_requests(result: Result) -> Figure | None:
    """Return for how much of the time each queue held how many requests, or None when the result has no histogram."""
    return _filled(result, "requests_histogram", "below_requests", "Requests in flight, below", values.count)


def _filled(
    result: Result, histogram: str, below: str, title: str, write: Callable[[float | None], str]
) -> Figure | None:
    bins = {key: [each for each in at(result, "concurrency", key, histogram) or [] if each["share"]] for key in _QUEUES}
    order = sorted({each[below] for known in bins.values() for each in known})
    if not order:
        return None
    look = layout(
        height=380,
        barmode="group",
        bargap=0.25,
        xaxis=axis(title)
        | {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [write(bound) for bound in order],
            "showgrid": False,
        },
        yaxis=axis("Share of the time (%)") | {"rangemode": "tozero"},
    )
    return {"data": [_bars(result, key, known, below, write) for key, known in bins.items() if known], "layout": look}


def _bars(
    result: Result, key: str, bins: list[dict[str, float]], below: str, write: Callable[[float | None], str]
) -> Figure:
    ink, name = _QUEUES[key]
    bounds = [write(each[below]) for each in bins]
    shares = [each["share"] for each in bins]
    return {
        "type": "bar",
        "name": label(_name(name, result)),
        "x": bounds,
        "y": [100 * share for share in shares],
        "marker": {"color": ink},
        "hoverinfo": "text",
        "hovertext": [
            f"below {bound}: {values.percent(share)} of the time" for bound, share in zip(bounds, shares, strict=True)
        ],
        "textposition": "none",
    }


def _name(name: str, result: Result) -> str:
    return name.replace("memory", headline.memory_name(result))


def filled_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the queues."""
    drawn = {trace["marker"]["color"] for trace in (draw_bytes(result) or {"data": []})["data"]}
    return [LegendEntry("disc", ink, _name(name, result)) for ink, name in _QUEUES.values() if ink in drawn]
