"""A table of text, as it goes into a terminal or a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.report.console import render_to_text


@dataclass(frozen=True)
class Sheet:
    """A table: its heading, a sentence on it, column names (a leading ``>`` aligns right) and rows of text."""

    heading: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def render_sheet(sheet: Sheet, width: int, *, color: bool = False) -> str:
    """Return one table as text under its heading; rows that hold OUT are red."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in sheet.columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row), style="red" if "OUT" in row else None)
    return f"{sheet.heading}\n{render_to_text(table, width, color=color)}"


def markdown(sheet: Sheet, level: str) -> list[str]:
    """Return the lines of a table in Markdown under a heading of `level` (``##``)."""
    lines = [f"{level} {sheet.heading}", ""]
    if sheet.note:
        lines += [sheet.note, ""]
    lines.append("| " + " | ".join(column.lstrip(">") for column in sheet.columns) + " |")
    lines.append("|" + "|".join("---:" if column.startswith(">") else "---" for column in sheet.columns) + "|")
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in sheet.rows]
