"""The pieces of a static SVG plot: axes, lines and words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from simulator.report.figures.style import GRID, INK


class Axis:
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


def line(x0: float, y0: float, x1: float, y1: float, ink: str = GRID) -> str:
    """Return a straight line."""
    return f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{ink}"/>'


def text(x: float, y: float, words: str, anchor: str, ink: str = INK, size: int = 11) -> str:
    """Return words beside a point; `anchor` says which end of them is there."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{ink}" font-size="{size}">{escape(words)}</text>'
