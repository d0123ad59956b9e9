"""The regression gate: committed errors of cells, and which of today's are worse by more than their tolerance.

A cell over its limit is a known gap.  One that closes fails too, until the file is written anew: from then on the cell
is held to its limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator import config
from simulator.errors import ConfigError

Json = dict[str, Any]
Key = tuple[str, ...]

SCHEMA = "tierscope.gate/1"
TOLERANCE = 0.01
"""By how much (as a share of the measured time) the mean error of a cell may grow, unless its line says otherwise."""

NAMES = ("suite", "part", "set", "hardware", "framework", "dtype")
SAME_RUN = ("rows", "sample", "part_sample", "seed", "hardware", "frameworks", "longest_s", "overrides")


def committed(report: Json, previous: Json | None = None) -> Json:
    """Return the gate that a report sets; a cell keeps the tolerance it had in the previous one."""
    before = {_key(cell): cell["tolerance"] for cell in (previous or {"cells": []})["cells"]}
    return {
        "schema": SCHEMA,
        "selection": {name: report["selection"][name] for name in SAME_RUN},
        "cells": [
            {name: cell[name] for name in NAMES}
            | {"rows": cell["rows"], "mape": round(cell["mape"], 4), "line": _rounded(cell["line"])}
            | {"gap": cell["within_target"] is False, "tolerance": before.get(_key(cell), TOLERANCE)}
            for cell in _cells(report)
        ],
    }


def to_json(gate: Json) -> str:
    """Return a gate as JSON with one cell a line, so that a change shows as a change of its lines."""
    cells = ",\n  ".join(json.dumps(cell) for cell in gate["cells"])
    selection = json.dumps(gate["selection"])
    return f'{{"schema": "{gate["schema"]}",\n "selection": {selection},\n "cells": [\n  {cells}\n ]}}\n'


def read(path: Path) -> Json:
    """Return a committed gate; raises ConfigError when the file is not one."""
    gate = config.read_json(path)
    if gate.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: schema: not a gate of tierscope validate ({SCHEMA}); write one with --write-gate")
    cells = gate.get("cells")
    if not isinstance(gate.get("selection"), dict) or not isinstance(cells, list):
        raise ConfigError(f"{path}: selection and cells are missing; write the file again with --write-gate")
    for number, cell in enumerate(cells):
        named = isinstance(cell, dict) and all(isinstance(cell.get(name), str) for name in NAMES)
        if not named or not all(_is_number(cell.get(name)) for name in ("rows", "mape", "tolerance")):
            raise ConfigError(f"{path}: cells.{number}: needs {', '.join(NAMES)}, rows, mape and tolerance")
    return gate


def check_same_run(gate: Json, selection: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError when the gate was set on other rows than those selected now."""
    for name in SAME_RUN:
        if gate["selection"].get(name) != selection[name]:
            raise ConfigError(
                f"{path}: selection.{name}: set with {gate['selection'].get(name)!r}, but this run has "
                f"{selection[name]!r}; run with the same options, or set it anew with --write-gate"
            )


def compare(gate: Json, report: Json) -> list[Json]:
    """Return the committed cells that got worse, are gone, have other rows, or are on the other side of their limit;
    only of suites that were run."""
    now = {_key(cell): cell for cell in _cells(report)}
    ran = {suite["suite"] for suite in report["suites"]}
    bad = []
    for cell in gate["cells"]:
        if cell["suite"] not in ran:
            continue
        found = now.get(_key(cell))
        if found is None:
            why = "has no rows any more"
        elif found["rows"] != cell["rows"]:
            why = f"has {found['rows']} rows"
        elif found["mape"] > cell["mape"] + cell["tolerance"]:
            why = "worse"
        elif cell.get("gap") is True and found["within_target"]:
            why = "closed its gap: hold it to its limit with --write-gate"
        elif cell.get("gap") is False and found["within_target"] is False:
            why = "over its limit"
        else:
            continue
        bad.append(cell | {"now": found["mape"] if found else None, "why": why})
    return bad


def _cells(report: Json) -> list[Json]:
    return [cell for suite in report["suites"] for cell in suite["cells"]]


def _key(cell: Mapping[str, Any]) -> Key:
    return tuple(cell[name] for name in NAMES)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
