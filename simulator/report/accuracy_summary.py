"""The mean errors of the kernel suites at a glance: parts and frameworks by GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simulator.report.sheet import Sheet
from simulator.report.values import DASH

Cell = Mapping[str, Any]

TEST, CALIBRATION = "test", "calibration"
ALL = "all"
OVER, NO_BETTER = "!", "*"
NOTE = (
    f"Mean errors in per cent. {OVER}: over the limit; {NO_BETTER}: no better than the line fitted to the very rows of "
    "the cell. Rows of all frameworks, and of all GPUs, are the cells weighted by their rows."
)
PUBLISHED = (
    "Published errors of models that are not fed with profiles either, each on rows of its own: 12.35 % over 703 "
    "products and 13.5 % over 166 configurations of decode attention (TileSight), 10.4 % per operator on one GPU "
    "(LLMCompass)."
)


def summary(cells: Iterable[Cell], kind: str = TEST) -> Sheet:
    """Return the table of the mean errors of all `kind` rows: a line for each part that has a limit, element type and
    framework."""
    cells = list(cells)
    limited = {(cell["suite"], cell["part"]) for cell in cells if cell["target"] is not None}
    mine = [cell for cell in cells if cell["set"] == kind and (cell["suite"], cell["part"]) in limited]
    devices = sorted({cell["hardware"] for cell in mine})
    lines = []
    for suite, part, dtype in dict.fromkeys((cell["suite"], cell["part"], cell["dtype"]) for cell in mine):
        group = [cell for cell in mine if (cell["suite"], cell["part"], cell["dtype"]) == (suite, part, dtype)]
        frameworks = sorted({cell["framework"] for cell in group})
        for framework in (*frameworks, ALL) if len(frameworks) > 1 else frameworks:
            chosen = [cell for cell in group if framework in (ALL, cell["framework"])]
            by_device = [[cell for cell in chosen if cell["hardware"] == device] for device in devices]
            limits = {cell["target"] for cell in chosen} if framework != ALL else {None}
            shown = [_error(there) for there in by_device]
            lines.append((suite, part, dtype, framework, _limit(limits), _mean(chosen), *shown))
    by_name = tuple(f">{name}" for name in _short(devices))
    columns = ("suite", "part", "type", "framework", ">limit", ">all GPUs", *by_name)
    return Sheet(f"Mean errors of {kind} rows", NOTE, columns, lines, by_name[::-1])


def _short(devices: Sequence[str]) -> list[str]:
    """Return the first words of names, or the names where those are not their own."""
    first = [device.partition("-")[0] for device in devices]
    return [name if first.count(name) == 1 else device for name, device in zip(first, devices, strict=True)]


def _limit(limits: set[float | None]) -> str:
    (limit,) = limits if len(limits) == 1 else {None}
    return "" if limit is None else f"{100 * limit:.0f}"


def _error(cells: Sequence[Cell]) -> str:
    """Return the mean error of some cells, with the marks of a single one."""
    if len(cells) != 1:
        return _mean(cells)
    over = OVER if cells[0]["within_target"] is False else ""
    return _mean(cells) + over + (NO_BETTER if cells[0]["beats_line"] is False else "")


def _mean(cells: Sequence[Cell]) -> str:
    rows = sum(cell["rows"] for cell in cells)
    return f"{100 * sum(cell['rows'] * cell['mape'] for cell in cells) / rows:.1f}" if rows else DASH
