"""Errors by cell: a part of a suite on one GPU, of one framework and element type, calibration and test rows apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.validation.kernels.baselines import line_error, line_of_others_error
from simulator.validation.kernels.rows import TEST, MeasuredRow
from simulator.validation.kernels.suite import KernelSuite, Part

Json = dict[str, Any]

WORST = 20
FEWEST = 5
"""Rows from which on a fitted line of two parameters says anything."""
PERCENTILE = 90


@dataclass(frozen=True)
class Judged:
    """A measured row with what was predicted for it, and what the roofline says (s)."""

    row: MeasuredRow
    prediction: Json
    roofline_s: float

    @property
    def ratio(self) -> float:
        """Predicted by measured time."""
        return float(self.prediction["time_s"]) / self.row.measured_s


def cells(suite: KernelSuite, judged: Sequence[Judged]) -> list[Json]:
    """Return every cell that has rows, by part, set, GPU, framework and element type."""
    return [cell for part in suite.parts for cell in _cells_of(suite, part, judged)]


def _cells_of(suite: KernelSuite, part: Part, judged: Sequence[Judged]) -> Iterator[Json]:
    groups: dict[tuple[str, str, str, str], list[Judged]] = {}
    for each in judged:
        row = each.row
        if row.counts_in(part):
            groups.setdefault((row.set, row.device, row.framework, row.dtype), []).append(each)
    for key in sorted(groups):
        kind, device, framework, dtype = key
        target = limit_of(part, kind, framework, dtype)
        named = {"suite": suite.name, "part": part.name, "set": kind}
        yield named | {"hardware": device, "framework": framework, "dtype": dtype} | errors(groups[key], target)


def limit_of(part: Part, kind: str, framework: str, dtype: str) -> float | None:
    """Return the largest mean error allowed to a cell: limits are for bf16 test rows."""
    return part.limits.get(framework) if kind == TEST and dtype == "bf16" else None


def errors(judged: Sequence[Judged], target: float | None = None) -> Json:
    """Return how far a group of rows is off, as shares: mean, median and 90th percentile of |predicted / measured - 1|,
    and `bias`, the median of predicted / measured less 1; the mean errors of the roofline, of the best line, and of
    each row by the best line of the others (`line_of_others`; None below `FEWEST` rows)."""
    ratios = np.array([each.ratio for each in judged])
    measured = np.array([each.row.measured_s for each in judged])
    bounds = np.array([each.roofline_s for each in judged])
    off = np.abs(ratios - 1)
    enough = len(judged) >= FEWEST
    line = line_error(bounds, measured) if enough else None
    mean = float(off.mean())
    return {
        "rows": len(judged),
        "mape": mean,
        "median": float(np.median(off)),
        "bias": float(np.median(ratios)) - 1,
        "p90": float(np.percentile(off, PERCENTILE)),
        "roofline": float(np.mean(np.abs(bounds / measured - 1))),
        "line": line,
        "line_of_others": line_of_others_error(bounds, measured) if enough else None,
        "beats_line": None if line is None else mean < line,
        "target": target,
        "within_target": None if target is None else mean <= target,
    }


def worst(judged: Iterable[Judged], count: int = WORST) -> list[Judged]:
    """Return the rows that are furthest off by ratio, too slow and too fast alike."""
    return sorted(judged, key=lambda each: abs(np.log(each.ratio)), reverse=True)[:count]
