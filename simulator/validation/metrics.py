"""How two curves are compared: levels, the places where a curve leaves one for the next, and the error between them.

A curve is a sequence of (x, value) in ascending order of x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median

Points = Sequence[tuple[float, float]]


def plateau(points: Points, low: float, high: float) -> float | None:
    """Return the median value over low <= x <= high, or None when no point lies there."""
    values = [value for x, value in points if low <= x <= high]
    return median(values) if values else None


def knee(points: Points, low: float, high: float, before: float, after: float) -> float | None:
    """Return the first x between `low` and `high` where the curve crosses half way from level `before` to `after`.

    Between points the curve is straight over the logarithm of x.  None when it does not cross.
    """
    half = (before + after) / 2
    sign = 1 if after > before else -1
    inside = [(x, value) for x, value in points if low <= x <= high]
    for (x0, y0), (x1, y1) in itertools.pairwise(inside):
        if sign * (y0 - half) < 0 <= sign * (y1 - half):
            return x0 * math.exp(math.log(x1 / x0) * (half - y0) / (y1 - y0))
    return None


def mean_error(predicted: Points, measured: Points) -> float:
    """Return the mean of |predicted / measured - 1| over the curve, both given at the same x.

    The mean is over the logarithm of x (trapezoidal rule), so that it does not depend on how densely parts of the
    curve were sampled.  Raises ValueError where the x differ.
    """
    if [x for x, _ in predicted] != [x for x, _ in measured] or not measured:
        raise ValueError("the curves are not at the same x")
    errors = [abs(ours / theirs - 1) for (_, ours), (_, theirs) in zip(predicted, measured, strict=True)]
    if len(errors) == 1:
        return errors[0]
    steps = [math.log(b[0] / a[0]) for a, b in itertools.pairwise(measured)]
    area = sum(step * (a + b) / 2 for step, a, b in zip(steps, errors, errors[1:], strict=False))
    return area / sum(steps)
