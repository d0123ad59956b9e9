"""A table of text, as it goes into a terminal or a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.report.columns import Column, fitting
from simulator.report.console import render_to_text


@dataclass(frozen=True)
class Sheet:
    """A table: its heading, a sentence on it, column names (a leading ``>`` aligns right) and rows of text; `details`
    are the columns that a narrow terminal leaves out, first to go first."""

    heading: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    details: tuple[str, ...] = ()


def render_sheet(sheet: Sheet, width: int, *, color: bool = False) -> str:
    """Return one table as text of at most `width` columns under its heading, if it has one; rows that hold OUT are
    red, and what was left out for want of width is said."""
    from rich.table import Table
    from rich.text import Text

    columns = [_column(name, sheet.details) for name in sheet.columns]
    kept = fitting(columns, sheet.rows, width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, cells in kept.items():
        table.add_column(columns[index].name, justify=columns[index].justify, width=cells, no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(Text(row[index]) for index in kept), style="red" if "OUT" in row else None)
    gone = [column.name for index, column in enumerate(columns) if index not in kept]
    said = f"(left out at {width} columns: {', '.join(gone)})\n" if gone else ""
    heading = f"{sheet.heading}\n" if sheet.heading else ""
    return heading + render_to_text(table, width, color=color) + said


def _column(name: str, details: tuple[str, ...]) -> Column:
    detail = len(details) - details.index(name) if name in details else 0
    return Column(name.lstrip(">"), "right" if name.startswith(">") else "left", detail)


def markdown(sheet: Sheet, level: str) -> list[str]:
    """Return the lines of a table in Markdown under a heading of `level` (``##``)."""
    note = [sheet.note, ""] if sheet.note else []
    return [f"{level} {sheet.heading}", "", *note, *table_lines(sheet)]


def table_lines(sheet: Sheet) -> list[str]:
    """Return the lines of a table alone in Markdown."""
    lines = ["| " + " | ".join(column.lstrip(">") for column in sheet.columns) + " |"]
    lines.append("|" + "|".join("---:" if column.startswith(">") else "---" for column in sheet.columns) + "|")
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in sheet.rows]
