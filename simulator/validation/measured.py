"""The measured curves that ship in validation/measured, transcribed and thinned, each row with its source."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from simulator import config
from simulator.errors import ConfigError

COLUMNS = ["gpu", "device", "benchmark", "variant", "x", "x_unit", "value", "unit", "source"]


@dataclass(frozen=True)
class MeasuredCurve:
    """One benchmark variant measured on one GPU: (x, value) in ascending order of x, in the units given.

    `device` is the shipped hardware description of that GPU, or None.
    """

    gpu: str
    device: str | None
    benchmark: str
    variant: str
    x_unit: str
    unit: str
    source: str
    points: tuple[tuple[float, float], ...]


@cache
def all_curves() -> tuple[MeasuredCurve, ...]:
    """Return every shipped curve; raises ConfigError naming file and line where one cannot be read."""
    found: list[MeasuredCurve] = []
    for path in sorted(config.data_dir("validation/measured").glob("*.csv")):
        found.extend(read(path))
    return tuple(found)


def curves(benchmark: str, device: str | None) -> dict[str, MeasuredCurve]:
    """Return the curves of a benchmark on a device, by variant."""
    chosen = (curve for curve in all_curves() if curve.benchmark == benchmark and curve.device == device and device)
    return {curve.variant: curve for curve in chosen}


def read(path: Path) -> list[MeasuredCurve]:
    """Return the curves of a file; raises ConfigError naming file and line."""
    rows = csv.reader(config.read_text(path).splitlines())
    if next(rows, None) != COLUMNS:
        raise ConfigError(f"{path}: line 1: the columns must be {','.join(COLUMNS)}")
    points: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            gpu, device, benchmark, variant, x, x_unit, value, unit, source = row
            key = (gpu, device, benchmark, variant, x_unit, unit, source)
            points.setdefault(key, []).append((_positive(x), _positive(value)))
        except ValueError as error:
            raise ConfigError(f"{path}: line {line}: {error}") from error
    return [_curve(path, key, found) for key, found in points.items()]


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(f"{text} is not a positive number")
    return number


def _curve(path: Path, key: Iterable[str], points: list[tuple[float, float]]) -> MeasuredCurve:
    gpu, device, benchmark, variant, x_unit, unit, source = key
    if any(after[0] <= before[0] for before, after in itertools.pairwise(points)):
        raise ConfigError(f"{path}: {gpu} {benchmark} {variant}: x must rise from row to row")
    return MeasuredCurve(gpu, device or None, benchmark, variant, x_unit, unit, source, tuple(points))
