"""Predicted and measured curves as one small static SVG, for a page that is kept beside the measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from simulator import units
from simulator.report.bench import COLORS
from simulator.report.charts import GRID, INK, MUTED

Curve = Mapping[str, Any]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 62
LEGEND_STEP = 108


def render(title: str, curves: Sequence[Curve]) -> str:
    """Return an SVG of curves that share their units: measured points as pale discs, predictions as lines.

    Axes are logarithmic, but for x in threads.
    """
    unit, x_unit = curves[0]["unit"], curves[0]["x_unit"]
    xs = [point["x"] for curve in curves for point in curve["points"]]
    ys = [point[key] for curve in curves for point in curve["points"] for key in ("measured", "predicted")]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, logarithmic=x_unit != "threads")
    y_axis = _Axis(min(ys) / 1.1, max(ys) * 1.1, HEIGHT - BOTTOM, TOP, logarithmic=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 16, title, "start", size=13),
        *_grid(x_axis, y_axis, x_unit),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 30, curves[0]["x_name"], "middle", MUTED),
        _text(6, TOP - 6, unit, "start", MUTED),
    ]
    for place, curve in enumerate(curves):
        parts += _curve(curve, COLORS[place % len(COLORS)], x_axis, y_axis)
        parts += _legend(curve["variant"], COLORS[place % len(COLORS)], LEFT + place * _legend_step(curves))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """From values to places on the page."""

    def __init__(self, low: float, high: float, start: float, end: float, *, logarithmic: bool) -> None:
        self.low, self.high, self.logarithmic = low, high, logarithmic
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Return the place of a value."""
        low, high, here = self.low, self.high, value
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(here)
        share = (here - low) / (high - low) if high > low else 0.5
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, base: int) -> Iterator[float]:
        """Yield round values: powers of `base`, or every eighth of a thousand and twenty-four."""
        if not self.logarithmic:
            yield from (float(x) for x in range(128, 1025, 128) if self.low <= x <= self.high)
            return
        for power in range(math.floor(math.log(self.low, base)), math.ceil(math.log(self.high, base)) + 1):
            for factor in (1, 2, 5) if base == 10 else (1,):
                if self.low <= factor * base**power <= self.high:
                    yield float(factor * base**power)


def _grid(x_axis: _Axis, y_axis: _Axis, x_unit: str) -> Iterator[str]:
    for x in x_axis.ticks(4):
        label = units.format_bytes(x * 1024) if x_unit == "KiB" else f"{x:g}"
        yield _line(x_axis.at(x), TOP, x_axis.at(x), HEIGHT - BOTTOM)
        yield _text(x_axis.at(x), HEIGHT - BOTTOM + 15, label, "middle", MUTED, size=10)
    for y in y_axis.ticks(10):
        yield _line(LEFT, y_axis.at(y), WIDTH - RIGHT, y_axis.at(y))
        yield _text(LEFT - 6, y_axis.at(y) + 4, f"{y:,g}" if y < 1 else f"{y:,.0f}", "end", MUTED, size=10)


def _curve(curve: Curve, ink: str, x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    measured = [(x_axis.at(point["x"]), y_axis.at(point["measured"])) for point in curve["points"]]
    discs = "".join(f"M{x} {y}h0" for x, y in measured)
    yield f'<path d="{discs}" stroke="{ink}" stroke-width="6" stroke-linecap="round" opacity=".4"/>'
    places = " ".join(f"{x_axis.at(point['x'])},{y_axis.at(point['predicted'])}" for point in curve["points"])
    yield f'<polyline points="{places}" fill="none" stroke="{ink}" stroke-width="1.6"/>'


def _legend(name: str, ink: str, x: float) -> Iterable[str]:
    place = HEIGHT - 14
    yield f'<path d="M{x} {place}h16" stroke="{ink}" stroke-width="2"/>'
    yield _text(x + 20, place + 4, name, "start")


def _legend_step(curves: Sequence[Curve]) -> float:
    return max(LEGEND_STEP, 8 * max(len(curve["variant"]) for curve in curves))


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{GRID}"/>'


def _text(x: float, y: float, words: str, anchor: str, ink: str = INK, size: int = 11) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{ink}" font-size="{size}">{escape(words)}</text>'
