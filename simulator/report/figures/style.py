"""Colours, axes and words that all figures share.

Plotly reads labels as HTML, so every name from outside is escaped by `label`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from simulator.report import values
from simulator.report.values import plain

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


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend: `mark` is ``disc``, ``diamond`` or a line style (``solid``, ``dash``, ``dot``)."""

    mark: str
    color: str
    text: str


def operator_color(operator: str) -> str:
    """Return the colour of an operator class, the same in every figure."""
    return OPERATOR_COLORS.get(operator, SPARE_COLORS[0])


def colors(names: Iterable[str | None], known: dict[str, str]) -> dict[str | None, str]:
    """Return a colour per name; those not `known` take the spare colours in turn."""
    found: dict[str | None, str] = {}
    spare = 0
    for name in dict.fromkeys(names):
        if name in known:
            found[name] = known[name]
        else:
            found[name] = SPARE_COLORS[spare % len(SPARE_COLORS)]
            spare += 1
    return found


def chosen_by(kind: str, name: str) -> str:
    """Return what a mark carries in `customdata` to be found by: a click on it shows this operator or kernel alone."""
    return f"{kind}:{plain(name)}"


def words(name: str) -> str:
    """Return an operator class as words, such as ``decode attention``."""
    return plain(name).replace("_", " ")


def label(text: str) -> str:
    """Return text for Plotly, which reads ``&``, ``<`` and ``>`` as HTML but leaves quotes alone."""
    return html.escape(text, quote=False)


def layout(**more: Any) -> Figure:
    """Return the layout of a figure with `more` laid over it."""
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


def axis(title: str) -> Figure:
    """Return a linear axis."""
    return {
        "title": {"text": label(title), "standoff": 10, "font": {"color": MUTED}},
        "gridcolor": GRID,
        "fixedrange": True,
        "automargin": True,
    }


def category_axis() -> Figure:
    """Return a vertical axis of names, the first on top."""
    return {
        "type": "category",
        "autorange": "reversed",
        "automargin": True,
        "fixedrange": True,
        "ticklen": 6,
        "tickcolor": "#ffffff",
    }


def log_axis(title: str, low: float, high: float) -> Figure:
    """Return a logarithmic axis from `low` to `high` with a tick per decade, or at 1, 2 and 5 over less than two."""
    factors = (1, 2, 5) if high < 100 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = (factor * 10.0**power for power in powers for factor in factors)
    ticks = [tick for tick in every if low <= tick <= high]
    return axis(title) | {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [_tick(value) for value in ticks],
        "linecolor": MUTED,
        "zeroline": False,
    }


MOST_TICKS = 7


def bytes_axis(title: str, low: float, high: float) -> Figure:
    """Return a logarithmic axis of byte counts with ticks at powers of two."""
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    step = max(1, -(-len(powers) // MOST_TICKS))
    ticks = [2.0**power for power in powers if power % step == 0]
    return log_axis(title, low, high) | {"tickvals": ticks, "ticktext": [values.size(tick) for tick in ticks]}


def _tick(value: float) -> str:
    return values.short_count(value) if value >= 1 else f"{value:g}"


def time_unit(longest_s: float) -> tuple[str, float]:
    """Return the unit for an axis up to `longest_s`, and how many seconds it is."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if longest_s >= scale:
            return unit, scale
    return "ps", 1e-12
