"""Why reads missed the caches, as bars: by tensor class and by kernel, the part of the bytes that hit and of those that
missed for each of the three reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.report import values
from simulator.report.figures.style import INK, Figure, LegendEntry, axis, category_axis, label, layout
from simulator.report.headline import memory_name
from simulator.report.hits_table import CACHES, REASONS, TIERS, has_misses
from simulator.report.values import Result, plain

MOST_KERNELS = 6
NAME_CELLS = 24

_INK = {"hit": "#3f8f5b", "compulsory": "#a9b4bf", "capacity": "#e3a33b", "conflict": "#c0503a"}
_MEANINGS = {
    "hit": "hit",
    "compulsory": "touched, or copied in, for the first time (compulsory)",
    "capacity": "too much was touched, or copied in, in between (capacity)",
    "conflict": "a fully associative cache would have kept it (conflict)",
}

Row = Mapping[str, Any]


def _bars(result: Result) -> dict[str, Sequence[Row]]:
    """Return the rows of each bar by its name: of each tier everything, its tensor classes and its busiest kernels."""
    found: dict[str, Sequence[Row]] = {}
    read = [row for row in (result.get("hits") or {}).get("tiers", ()) if row["read_bytes"]]
    for tier in dict.fromkeys(row["tier"] for row in read):
        name = memory_name(result) if tier == "hbm" else plain(TIERS.get(tier, tier))
        rows = [row for row in read if row["tier"] == tier]
        found[f"{name}: everything"] = rows
        if not has_misses(rows) and tier not in CACHES:
            continue  # memories have what rests in them
        for key, most in (("tensor_class", len(rows)), ("kernel", MOST_KERNELS)):
            parts = {row[key]: [each for each in rows if each[key] == row[key]] for row in rows}
            for part in sorted(parts, key=lambda part: -_read(parts[part]))[:most]:
                short = f"{name}: {plain(part)[:NAME_CELLS]}"
                found[f"{name}: {plain(part)}" if short in found else short] = parts[part]
    return found


def _read(rows: Sequence[Row], what: str = "") -> int:
    """Return the bytes read, or those of them with an outcome (``hit_``)."""
    return sum(row[f"read_{what}bytes"] for row in rows)


def draw(result: Result) -> Figure | None:
    """Return a bar of 100 % per tensor class and kernel of each tier, or None when nothing was explained."""
    bars = _bars(result)
    if not bars:
        return None
    names = [label(name) for name in bars]
    look = layout(
        height=80 + 26 * len(names),
        barmode="stack",
        bargap=0.3,
        margin={"l": 62, "r": 92, "t": 14, "b": 52},
        xaxis=axis("Share of the bytes read (%)") | {"range": [0, 100]},
        yaxis=category_axis(),
    )
    return {"data": [*(_stacked(bars, names, reason) for reason in REASONS), _sizes(bars, names)], "layout": look}


def _stacked(bars: Mapping[str, Sequence[Row]], names: Sequence[str], reason: str) -> Figure:
    sizes = [_read(rows, f"{reason}_") for rows in bars.values()]
    shares = [100 * size / _read(rows) for size, rows in zip(sizes, bars.values(), strict=True)]
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(reason),
        "y": list(names),
        "x": shares,
        "marker": {"color": _INK[reason]},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{name}</b><br>{values.size(size)} ({share:.1f} %): {_MEANINGS[reason]}"
            for name, size, share in zip(names, sizes, shares, strict=True)
        ],
        "textposition": "none",
    }


def _sizes(bars: Mapping[str, Sequence[Row]], names: Sequence[str]) -> Figure:
    return {
        "type": "scatter",
        "mode": "text",
        "x": [100] * len(names),
        "y": list(names),
        "text": [f" {values.size(_read(rows))}" for rows in bars.values()],
        "textposition": "middle right",
        "textfont": {"size": 12, "color": INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the outcomes."""
    return [LegendEntry("disc", _INK[reason], reason) for reason in REASONS]
