"""Bandwidth and bytes in flight as time goes by, each kernel at its mean.

Kernels stand one after the other in launch order with their launches between them, so that those that were extrapolated
have their place too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.report import headline, values
from simulator.report.figures.style import (
    MUTED,
    Figure,
    LegendEntry,
    axis,
    layout,
    time_unit,
)
from simulator.report.values import Result, at, total

MOST_STEPS = 1500
"""More kernels than this are averaged over so many equal parts of the time."""

Kernel = Any

_DRAM, _L2, _HELD, _NEEDED = "#c0503a", "#e3a33b", "#2b6ca3", "#8c97a3"


@dataclass(frozen=True)
class Line:
    """A quantity over time: its name, its colour, and for each kernel its mean."""

    name: str
    color: str
    of: Callable[[Kernel], float | None]
    dash: str = "solid"


def _rate(*keys: str) -> Callable[[Kernel], float | None]:
    def of(kernel: Kernel) -> float | None:
        moved = total(kernel[key] for key in keys)
        return moved / kernel["time_s"] if moved is not None and kernel["time_s"] else None

    return of


def _bandwidths(result: Result) -> list[Line]:
    return [
        Line("L2 to the SMs", _L2, _rate("l2_read_bytes")),
        Line(headline.memory_name(result), _DRAM, _rate("dram_read_bytes", "dram_write_bytes")),
    ]


_FLIGHT = [
    Line("needed", _NEEDED, lambda kernel: kernel["needed_outstanding_bytes"], "dot"),
    Line("in flight to the SMs", _HELD, lambda kernel: kernel["mean_outstanding_bytes"]),
]


def draw_bandwidth(result: Result) -> Figure | None:
    """Return bandwidth over time beside the peak of the memory, or None when no kernel took time."""
    figure = _draw(result, _bandwidths(result), "TB/s", 1e12)
    peak = at(result, "tiers", "hbm", "peak_bandwidth_bytes_per_s")
    if figure is not None and peak:
        ends = figure["data"][0]["x"]
        line = {"color": MUTED, "dash": "dash", "width": 1.2}
        figure["data"].append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": _peak_name(result),
                "x": [ends[0], ends[-1]],
                "y": [peak / 1e12] * 2,
                "line": line,
                "hoverinfo": "text",
                "text": f"{_peak_name(result)} {values.rate(peak)}",
            }
        )
    return figure


def _peak_name(result: Result) -> str:
    return f"{headline.memory_name(result)} peak"


def draw_flight(result: Result) -> Figure | None:
    """Return the bytes in flight and those needed over time, or None when no kernel took time."""
    return _draw(result, _FLIGHT, "MiB", float(1 << 20))


def _draw(result: Result, lines: Sequence[Line], unit: str, scale: float) -> Figure | None:
    kernels = [kernel for kernel in result["kernels"] or () if kernel["time_s"]]
    if not kernels:
        return None
    starts, ends = _places(kernels)
    time_name, time_scale = time_unit(float(ends[-1]))
    traces = []
    for line in lines:
        heights = np.array([line.of(kernel) or 0.0 for kernel in kernels])
        x, y = _steps(starts, ends, heights)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": line.name,
                "x": [float(f"{each:.6g}") for each in x / time_scale],
                "y": [float(f"{each:.4g}") for each in y / scale],
                "line": {"color": line.color, "dash": line.dash, "width": 1.3, "shape": "hv"},
                "hoverinfo": "x+y+name",
            }
        )
    look = layout(
        height=300,
        dragmode="zoom",
        xaxis=axis(f"Time ({time_name})") | {"fixedrange": False, "range": [0, float(ends[-1]) / time_scale]},
        yaxis=axis(unit) | {"rangemode": "tozero"},
    )
    return {"data": traces, "layout": look}


def _places(kernels: Sequence[Kernel]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return when each kernel begins and ends, in seconds."""
    before = np.array([(kernel["launch_s"] or 0.0) + (kernel["waited_s"] or 0.0) for kernel in kernels])
    times = np.array([kernel["time_s"] for kernel in kernels])
    ends = np.cumsum(before + times)
    return ends - times, ends


def _steps(
    starts: NDArray[np.float64], ends: NDArray[np.float64], heights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a curve that is zero between kernels, averaged over parts of the time if they are many."""
    x = np.ravel(np.column_stack([starts, ends]))
    y = np.ravel(np.column_stack([heights, np.zeros_like(heights)]))
    if len(heights) <= MOST_STEPS:
        return x, y
    areas = np.ravel(np.column_stack([np.zeros_like(heights), heights * (ends - starts)]))
    edges = np.linspace(0.0, float(ends[-1]), MOST_STEPS + 1)
    integral = np.interp(edges, x, np.cumsum(areas), left=0.0)
    return edges, np.append(np.diff(integral) / np.diff(edges), 0.0)


def bandwidth_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the bandwidths."""
    entries = [LegendEntry(line.dash, line.color, line.name) for line in _bandwidths(result)]
    return [*entries, LegendEntry("dash", MUTED, _peak_name(result))]


def flight_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the bytes in flight."""
    return [LegendEntry(line.dash, line.color, line.name) for line in _FLIGHT]
