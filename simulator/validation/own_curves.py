"""Curves that a user measured, for `tierscope bench --measured`: a CSV file with a row for each point.

Columns: `x`, a number in the unit of the benchmark or a size such as 64 KiB; `value`, in its unit; `variant`, which may
be left out where one is asked for.  `unit` may say `cycles` of latencies, which are those of the SM clock; `x_unit`,
`unit` and `benchmark` are held against the benchmark, other columns are not read.  Of several values at one x the
median counts.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from simulator import config
from simulator.errors import ConfigError
from simulator.hardware import Hardware
from simulator.run.bench import Benchmark, Variant, parse_x
from simulator.validation.measured import MeasuredCurve

CYCLES = "cycles"
NS_PER_S = 1e9


def read(path: Path, benchmark: Benchmark, chosen: Sequence[Variant], device: Hardware) -> dict[str, MeasuredCurve]:
    """Return the curves of the variants chosen, by variant; raises ConfigError naming file and line."""
    rows = csv.DictReader(config.read_text(path).splitlines())
    for name in ("x", "value"):
        if name not in (rows.fieldnames or ()):
            raise ConfigError(f"{path}: line 1: no column {name!r}; write a header such as variant,x,value")
    values: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row.get("benchmark") not in (None, "", benchmark.name):
            continue
        try:
            variant = _variant(row, benchmark, chosen)
            values.setdefault(variant, {}).setdefault(_x(row, benchmark), []).append(_value(row, benchmark, device))
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path}: line {rows.line_num}: {error}") from error
    asked = {variant.name for variant in chosen}
    if not values.keys() & asked:
        raise ConfigError(f"{path}: no row of benchmark {benchmark.name}, {' or '.join(sorted(asked))}")
    return {
        name: MeasuredCurve(
            *(device.name, None, benchmark.name, name, benchmark.x_unit, benchmark.unit, path.name),
            points=tuple((x, median(found)) for x, found in sorted(points.items())),
        )
        for name, points in values.items()
        if name in asked
    }


def _variant(row: Mapping[str, str | None], benchmark: Benchmark, chosen: Sequence[Variant]) -> str:
    named = row.get("variant")
    if named:
        return benchmark.variant(named).name
    if len(chosen) != 1:
        allowed = ", ".join(variant.name for variant in benchmark.variants)
        raise ValueError(f"variant: missing; write one of {allowed}, or add --variant")
    return chosen[0].name


def _x(row: Mapping[str, str | None], benchmark: Benchmark) -> float:
    text, unit = row["x"] or "", row.get("x_unit") or benchmark.x_unit
    if unit != benchmark.x_unit:
        raise ValueError(f"x_unit: {benchmark.x_unit} is expected, not {unit!r}")
    try:
        x = float(text)
    except ValueError:
        x = parse_x(benchmark, text)
    if not 0 < x < float("inf"):
        raise ValueError(f"x: {text!r} is not positive")
    return x


def _value(row: Mapping[str, str | None], benchmark: Benchmark, device: Hardware) -> float:
    text, unit = row["value"] or "", row.get("unit") or benchmark.unit
    if unit == CYCLES and benchmark.unit == "ns":
        scale = NS_PER_S / device.sm.clock_hz
    elif unit == benchmark.unit:
        scale = 1.0
    else:
        raise ValueError(f"unit: {benchmark.unit} is expected, not {unit!r}")
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"value: {text!r} is not a number") from error
    if not 0 < value < float("inf"):
        raise ValueError(f"value: {text!r} is not positive")
    return value * scale
