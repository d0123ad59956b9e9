"""The suites of `tierscope validate`, each a function from a selection to a report.

A report is plain data (``tierscope.validation/1``): checks (one number measured and predicted, with its tolerance)
and the curves they come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from simulator import hardware
from simulator.core.compiled import is_compiled
from simulator.errors import ConfigError
from simulator.run.bench import BENCHMARKS, Point
from simulator.validation import measured
from simulator.validation.checks import check
from simulator.validation.kept import Solve, one_by_one
from simulator.validation.measured import MeasuredCurve
from simulator.validation.metrics import Points, knee, mean_error, plateau
from simulator.validation.targets import TARGETS, Level, Target

Json = dict[str, Any]

COPIES = "dma.advance_copies"
LANES = "lanes.write_lanes"


def select(only: Sequence[str] = (), devices: Sequence[str] = ()) -> list[Target]:
    """Return the targets of the benchmarks and devices named (none named: all); raises ConfigError."""
    for name, given, known in (
        ("benchmark", only, {target.benchmark for target in TARGETS}),
        ("hardware", devices, {target.device for target in TARGETS}),
    ):
        for value in given:
            if value not in known:
                raise ConfigError(f"suite microbenchmarks: no {name} {value!r}; it has {', '.join(sorted(known))}")
    chosen = [t for t in TARGETS if (not only or t.benchmark in only) and (not devices or t.device in devices)]
    if not chosen:
        raise ConfigError("suite microbenchmarks: nothing was measured of that benchmark on that hardware")
    return chosen


def curve_of(target: Target) -> MeasuredCurve:
    """Return the measured curve of a target."""
    return measured.curves(target.benchmark, target.device)[target.variant]


def microbenchmarks(targets: Sequence[Target], overrides: Sequence[str] = (), solve: Solve = one_by_one) -> Json:
    """Predict the curves of `targets` and compare them with the measured ones; `solve` works out the curves."""
    curves: list[Json] = []
    checks: list[Json] = []
    tasks = {_key(target, overrides): (target, tuple(overrides)) for target in targets}
    found = solve(tasks, _predict, _compile_all)
    for target in targets:
        curve = curve_of(target)
        predicted = [Point(*point) for point in found[_key(target, overrides)]["points"]]
        curves.append(_curve(target, curve, predicted))
        checks += [{**_named(target, curve), **each} for each in compare(target, curve.points, predicted)]
    passed = all(each["passed"] is not False for each in checks)
    return {
        "schema": "tierscope.validation/1",
        "suite": "microbenchmarks",
        "overrides": list(overrides),
        "passed": passed,
        "checks": checks,
        "curves": curves,
    }


def _predict(task: tuple[Target, tuple[str, ...]]) -> Json:
    target, overrides = task
    device = hardware.load(target.device, overrides).spec
    variant = BENCHMARKS[target.benchmark].variant(target.variant)
    return {"points": [[float(part) for part in point] for point in variant.measure(device, _sizes(target))]}


def _sizes(target: Target) -> list[float]:
    return [x for x, _ in curve_of(target).points]


def _key(target: Target, overrides: Sequence[str]) -> str:
    """Return what a predicted curve depends on, as text."""
    return json.dumps([target.benchmark, target.variant, target.device, _sizes(target), list(overrides)])


def _compile_all() -> None:
    """Compile what workers will need, unless it is in the cache: each benchmark has a point that takes no time."""
    if is_compiled() and is_compiled(COPIES) and is_compiled(LANES):
        return
    device = hardware.load("v100-pcie-16gb").spec
    for benchmark in BENCHMARKS.values():
        least = benchmark.default_x(device, 2)[0]
        for _ in benchmark.variants[0].measure(device, [least]):
            pass


def compare(target: Target, theirs: Points, ours: Points) -> Iterator[Json]:
    """Yield the checks of one curve: its mean error, its levels, its knees."""
    error = mean_error(ours, theirs)
    yield check("mean error", None, None, "", error, target.curve)
    unit = BENCHMARKS[target.benchmark].unit
    for level in target.levels:
        levels = (plateau(points, level.low, level.high) for points in (theirs, ours))
        yield _compared(level.name, tuple(levels), unit, level.tolerance)
    if target.knee is None:
        return
    for before, after in zip(target.levels, target.levels[1:], strict=False):
        knees = (_knee(points, before, after) for points in (theirs, ours))
        yield _compared(f"{before.name} to {after.name} at", tuple(knees), "KiB", target.knee)


def _knee(points: Points, before: Level, after: Level) -> float | None:
    """Return where a curve leaves one level for the next, both its own."""
    low, high = plateau(points, before.low, before.high), plateau(points, after.low, after.high)
    if low is None or high is None:
        return None
    return knee(points, before.low, after.high, low, high)


def _compared(quantity: str, values: tuple[float | None, ...], unit: str, tolerance: float | None) -> Json:
    """Return the check of a quantity from its measured and its predicted value."""
    theirs, ours = values
    error = ours / theirs - 1 if ours is not None and theirs is not None else None
    return check(quantity, theirs, ours, unit, error, tolerance)


def _named(target: Target, curve: MeasuredCurve) -> Json:
    return {
        "gpu": curve.gpu,
        "hardware": target.device,
        "benchmark": target.benchmark,
        "variant": target.variant,
        "unseen": target.unseen,
    }


def _curve(target: Target, curve: MeasuredCurve, predicted: Sequence[Point]) -> Json:
    benchmark = BENCHMARKS[target.benchmark]
    points = [
        {"x": x, "measured": value, "predicted": point.value}
        for (x, value), point in zip(curve.points, predicted, strict=True)
    ]
    return {
        **_named(target, curve),
        "title": benchmark.title,
        "x_name": benchmark.x_name,
        "x_unit": benchmark.x_unit,
        "unit": benchmark.unit,
        "source": curve.source,
        "points": points,
    }
