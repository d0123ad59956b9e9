"""A hardware description with the source of every number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.report import values
from simulator.report.console import render_to_text


def leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key path and value of every leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def to_json(tree: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Return a JSON object of key path to value and source."""
    table = {path: {"value": value, "source": sources.get(path)} for path, value in leaves(tree)}
    return json.dumps(table, indent=2)


def render(tree: Mapping[str, Any], sources: Mapping[str, str], width: int = 100) -> str:
    """Return a table of key path, value and source."""
    from rich.table import Table

    table = Table("key", "value", "source", box=None, pad_edge=False, header_style="bold")
    for path, value in leaves(tree):
        table.add_row(path, "none" if value is None else str(value), sources.get(path, ""))
    return render_to_text(table, width)


def peaks(rates: Mapping[str, tuple[int, str]]) -> str:
    """Return a line of what a description adds up to, by name (value and unit), so that a slip in it shows."""
    return "Peaks: " + ", ".join(f"{name} {values.quantity(*rate)}" for name, rate in rates.items()) + "\n"
