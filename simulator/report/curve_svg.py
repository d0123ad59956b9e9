"""Predicted and measured curves as one small static SVG, for a page that is kept beside the measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from simulator import units
from simulator.report.bench import COLORS
from simulator.report.figures.style import INK, MUTED
from simulator.report.svg import Axis, line, text

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
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, logarithmic=x_unit != "threads")
    y_axis = Axis(min(ys) / 1.1, max(ys) * 1.1, HEIGHT - BOTTOM, TOP, logarithmic=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 16, title, "start", size=13),
        *_grid(x_axis, y_axis, x_unit),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 30, curves[0]["x_name"], "middle", MUTED),
        text(6, TOP - 6, unit, "start", MUTED),
    ]
    for place, curve in enumerate(curves):
        parts += _curve(curve, COLORS[place % len(COLORS)], x_axis, y_axis)
        parts += _legend(curve["variant"], COLORS[place % len(COLORS)], LEFT + place * _legend_step(curves))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid(x_axis: Axis, y_axis: Axis, x_unit: str) -> Iterator[str]:
    for x in x_axis.ticks(4):
        label = units.format_bytes(x * 1024) if x_unit == "KiB" else f"{x:g}"
        yield line(x_axis.at(x), TOP, x_axis.at(x), HEIGHT - BOTTOM)
        yield text(x_axis.at(x), HEIGHT - BOTTOM + 15, label, "middle", MUTED, size=10)
    for y in y_axis.ticks(10):
        yield line(LEFT, y_axis.at(y), WIDTH - RIGHT, y_axis.at(y))
        yield text(LEFT - 6, y_axis.at(y) + 4, f"{y:,g}" if y < 1 else f"{y:,.0f}", "end", MUTED, size=10)


def _curve(curve: Curve, ink: str, x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    measured = [(x_axis.at(point["x"]), y_axis.at(point["measured"])) for point in curve["points"]]
    discs = "".join(f"M{x} {y}h0" for x, y in measured)
    yield f'<path d="{discs}" stroke="{ink}" stroke-width="6" stroke-linecap="round" opacity=".4"/>'
    places = " ".join(f"{x_axis.at(point['x'])},{y_axis.at(point['predicted'])}" for point in curve["points"])
    yield f'<polyline points="{places}" fill="none" stroke="{ink}" stroke-width="1.6"/>'


def _legend(name: str, ink: str, x: float) -> Iterable[str]:
    place = HEIGHT - 14
    yield f'<path d="M{x} {place}h16" stroke="{ink}" stroke-width="2"/>'
    yield text(x + 20, place + 4, name, "start")


def _legend_step(curves: Sequence[Curve]) -> float:
    return max(LEGEND_STEP, 8 * max(len(curve["variant"]) for curve in curves))
