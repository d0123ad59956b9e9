"""One GPU's rows of a kernel suite as two panels: predicted against measured time, and their ratio against size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from simulator import units
from simulator.report.accuracy import shape
from simulator.report.accuracy_summary import CALIBRATION
from simulator.report.bench import COLORS
from simulator.report.figures.style import INK, MUTED
from simulator.report.svg import Axis, line, text

Point = Mapping[str, Any]

PANEL, HEIGHT = 400, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 62
LEGEND_STEP = 110
RATIOS = (0.25, 4.0)
"""Ratios beyond these are drawn at the edge."""

NARROW = 100
"""Over less than this ratio every line of the grid has a label, else whole decades alone."""

RADIUS = 2.4
HALF_CIRCLE = f"a{RADIUS} {RADIUS} 0 0 1 "

FRAMEWORKS = ("vllm", "sglang", "trtllm")


def render(title: str, points: Sequence[Point], *, words: bool = False) -> str:
    """Return the plot of points of one GPU; calibration rows are rings, test rows discs.

    With `words`, every point says in a tooltip what it is.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * PANEL} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{2 * PANEL}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 16, title, "start", size=13),
        *_times(points, words),
        *_ratios(points, words),
        *_legend(points),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _times(points: Sequence[Point], words: bool) -> Iterator[str]:
    times = [1e6 * point[name] for point in points for name in ("measured_s", "predicted_s")]
    low, high = min(times) / 1.2, max(times) * 1.2
    across = Axis(low, high, LEFT, PANEL - RIGHT, logarithmic=True)
    up = Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic=True)
    for time in across.ticks(10):
        yield line(across.at(time), TOP, across.at(time), HEIGHT - BOTTOM)
        yield line(LEFT, up.at(time), PANEL - RIGHT, up.at(time))
        if high < NARROW * low or str(time).strip("0.").startswith("1"):
            yield text(across.at(time), HEIGHT - BOTTOM + 15, f"{time:g}", "middle", MUTED, size=10)
            yield text(LEFT - 6, up.at(time) + 4, f"{time:g}", "end", MUTED, size=10)
    yield line(across.at(low), up.at(low), across.at(high), up.at(high), MUTED)
    yield text((LEFT + PANEL - RIGHT) / 2, HEIGHT - 30, "measured (us)", "middle", MUTED)
    yield text(6, TOP - 8, "predicted (us)", "start", MUTED)
    places = [(across.at(1e6 * point["measured_s"]), up.at(1e6 * point["predicted_s"])) for point in points]
    yield from _marks(points, places, words)


def _ratios(points: Sequence[Point], words: bool) -> Iterator[str]:
    sizes = [point["bytes"] for point in points]
    across = Axis(min(sizes) / 1.2, max(sizes) * 1.2, PANEL + LEFT, 2 * PANEL - RIGHT, logarithmic=True)
    up = Axis(*RATIOS, HEIGHT - BOTTOM, TOP, logarithmic=True)
    for size in across.ticks(4):
        yield line(across.at(size), TOP, across.at(size), HEIGHT - BOTTOM)
        if size in (4.0**power for power in range(1, 30, 2)) or across.high / across.low < 4**4:
            yield text(across.at(size), HEIGHT - BOTTOM + 15, units.format_bytes(size), "middle", MUTED, size=10)
    for ratio in (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0):
        yield line(PANEL + LEFT, up.at(ratio), 2 * PANEL - RIGHT, up.at(ratio), *((MUTED,) if ratio == 1 else ()))
        yield text(PANEL + LEFT - 6, up.at(ratio) + 4, f"{ratio:g}", "end", MUTED, size=10)
    yield text((3 * PANEL + LEFT - RIGHT) / 2, HEIGHT - 30, "operands of one call", "middle", MUTED)
    yield text(PANEL + 6, TOP - 8, "predicted / measured", "start", MUTED)
    ratios = [min(max(point["ratio"], RATIOS[0]), RATIOS[1]) for point in points]
    places = [(across.at(point["bytes"]), up.at(ratio)) for point, ratio in zip(points, ratios, strict=True)]
    yield from _marks(points, places, words)


def _marks(points: Sequence[Point], places: Sequence[tuple[float, float]], words: bool) -> Iterator[str]:
    """Yield the circles of points: one path for all of a kind, or each with a tooltip."""
    kinds: dict[str, list[tuple[Point, float, float]]] = {}
    for point, (x, y) in zip(points, places, strict=True):
        ink = _ink(point["framework"])
        ring = point["set"] == CALIBRATION
        look = f'fill="none" stroke="{ink}"' if ring else f'fill="{ink}" fill-opacity=".55"'
        kinds.setdefault(look, []).append((point, x, y))
    for look, marks in kinds.items():
        if words:
            circles = (
                f'<circle cx="{x}" cy="{y}" r="{RADIUS}"><title>{_said(point)}</title></circle>'
                for point, x, y in marks
            )
            yield f"<g {look}>{''.join(circles)}</g>"
        else:
            yield f'<path {look} d="{"".join(_circle(x, y) for _, x, y in marks)}"/>'


def _circle(x: float, y: float) -> str:
    """Return a circle as a part of a path."""
    return f"M{x - RADIUS:.1f} {y:.1f}{HALF_CIRCLE}{2 * RADIUS} 0{HALF_CIRCLE}{-2 * RADIUS} 0"


def _said(point: Point) -> str:
    return escape(
        f"{point['framework']} {point['version']} {point['dtype']}, {shape(point)}: measured "
        f"{units.format_time(point['measured_s'])}, predicted {units.format_time(point['predicted_s'])} "
        f"(x {point['ratio']:.2f}), {point['limiter']}"
    )


def _legend(points: Sequence[Point]) -> Iterator[str]:
    names = [name for name in FRAMEWORKS if any(point["framework"] == name for point in points)]
    for place, name in enumerate(names):
        x, y = LEFT + place * LEGEND_STEP, HEIGHT - 10
        yield f'<circle cx="{x + 5}" cy="{y - 4}" r="4" fill="{_ink(name)}"/>'
        yield text(x + 14, y, name, "start")
    if any(point["set"] == CALIBRATION for point in points):
        x, y = LEFT + len(names) * LEGEND_STEP, HEIGHT - 10
        yield f'<circle cx="{x + 5}" cy="{y - 4}" r="4" fill="none" stroke="{INK}"/>'
        yield text(x + 14, y, "calibration row", "start")


def _ink(framework: str) -> str:
    return COLORS[FRAMEWORKS.index(framework) % len(COLORS)] if framework in FRAMEWORKS else INK
