"""What would help, as bars: the time saved with each resource made ideal, and with each a tenth larger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.report import values
from simulator.report.figures.style import INK, MUTED, Figure, LegendEntry, axis, category_axis, label, layout
from simulator.report.values import Result, plain

_IDEAL, _MORE = "#2b6ca3", "#e3a33b"

Row = Mapping[str, Any]


def _rows(result: Result) -> Sequence[Row]:
    """Return the resources that were asked about, the most helpful first."""
    return (result.get("what_if") or {}).get("resources") or ()


def _more(result: Result) -> str:
    factor = (result.get("what_if") or {}).get("more_factor") or 1.0
    return f"{100 * (factor - 1):.0f} % more of it"


def draw(result: Result) -> Figure | None:
    """Return two bars per resource, or None when nothing was asked."""
    rows = _rows(result)
    if not rows:
        return None
    names = [label(plain(row["resource"])) for row in rows]
    traces = [_bars(rows, names, "ideal", _IDEAL, "made ideal"), _bars(rows, names, "more", _MORE, _more(result))]
    lengths = [length for trace in traces for length in trace["x"]]
    low, high = min(0.0, *lengths), max(1.0, *lengths)
    look = layout(
        height=80 + 38 * len(names),
        barmode="group",
        bargap=0.3,
        margin={"l": 62, "r": 112, "t": 14, "b": 52},
        xaxis=axis("Time saved (% of the run)") | {"range": [low, high], "zeroline": True, "zerolinecolor": MUTED},
        yaxis=category_axis(),
    )
    return {"data": [*traces, _labels(rows, names)], "layout": look}


def _bars(rows: Sequence[Row], names: Sequence[str], key: str, ink: str, what: str) -> Figure:
    savings = [100 * (row[f"{key}_saving"] or 0.0) for row in rows]
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(what),
        "y": list(names),
        "x": savings,
        "marker": {"color": ink},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{name}</b>, {label(what)}<br>{values.time(row[f'{key}_time_s'])}: "
            f"{abs(saving):.1f} % {'more' if saving < 0 else 'less'}"
            + (f"<br>{label(plain(row['question']))}" if key == "ideal" else "")
            + (f"<br>replayed in {values.time(row[f'{key}_replay_s'])}" if row.get(f"{key}_replay_s") else "")
            for name, row, saving in zip(names, rows, savings, strict=True)
        ],
        "textposition": "none",
    }


def _labels(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    savings = [row["ideal_saving"] or 0.0 for row in rows]
    ends = [max(0.0, row["ideal_saving"] or 0.0, row["more_saving"] or 0.0) for row in rows]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [100 * end for end in ends],  # a label of what costs time stands clear of both bars
        "y": list(names),
        "text": [f" {values.percent(saving)}{_more_label(row)}" for saving, row in zip(savings, rows, strict=True)],
        "textposition": "middle right",
        "textfont": {"size": 12, "color": INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _more_label(row: Row) -> str:
    saving = row["more_saving"]
    return "" if saving is None else f", {values.percent(saving)}"


def legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the two questions."""
    return [LegendEntry("disc", _IDEAL, "made ideal"), LegendEntry("disc", _MORE, _more(result))]
