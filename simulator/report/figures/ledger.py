"""The ledger as bars: what the SMs did or waited for, in the whole run and in the kernels that take longest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.report import groups, values
from simulator.report.figures.style import (
    INK,
    MUTED,
    SPARE_COLORS,
    Figure,
    LegendEntry,
    axis,
    category_axis,
    chosen_by,
    label,
    layout,
    time_unit,
)
from simulator.report.groups import KernelGroup
from simulator.report.ledger import MEANINGS, name_of
from simulator.report.values import Result, plain

MOST_KERNELS = 12
LEAST_SHARE = 0.0005  # of the run, to be drawn

COLORS = {
    "compute": "#3f8f5b",
    "dram bandwidth": "#c0503a",
    "row conflicts": "#dc8f7d",
    "refresh": "#efc9bf",
    "dram latency": "#8a3324",
    "mshrs": "#a3476f",
    "l2 bandwidth": "#e3a33b",
    "partition link": "#f1d28f",
    "sm port": "#b0823c",
    "cache latency": "#7a5195",
    "bytes in flight": "#4a6fb3",
    "dependency": "#2a9d9d",
    "cta start": "#55626f",
    "tail": "#a9b4bf",
    "unused": "#d5dce2",
    "launch": "#7f8b97",
    "copies": "#5d7b3a",
}


def _parts(found: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the seconds of each part by its name; null counts as none."""
    return {name_of(key): seconds or 0.0 for key, seconds in (found or {}).items()}


_MEANINGS = {name_of(key): meaning for key, meaning in MEANINGS.items()}


def _drawn(result: Result) -> dict[str, float]:
    """Return the parts of the run that are large enough to be seen, the largest first."""
    parts = _parts(result.get("ledger"))
    whole = sum(parts.values())
    found = {name: seconds for name, seconds in parts.items() if whole and seconds >= LEAST_SHARE * whole}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _ink(name: str) -> str:
    return COLORS.get(name, SPARE_COLORS[0])


def draw_run(result: Result) -> Figure | None:
    """Return a bar for each part of the run time, the longest on top, or None when there is no ledger."""
    parts = _drawn(result)
    if not parts:
        return None
    whole = sum(_parts(result.get("ledger")).values())
    unit, scale = time_unit(max(parts.values()))
    names = [label(plain(name)) for name in parts]
    ends = [seconds / scale for seconds in parts.values()]
    shown = [f"{values.time(seconds)} · {values.percent(seconds / whole)}" for seconds in parts.values()]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "",
        "y": names,
        "x": ends,
        "marker": {"color": [_ink(name) for name in parts]},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{label(plain(name))}</b><br>{text}<br>{_MEANINGS.get(name, '')}"
            for name, text in zip(parts, shown, strict=True)
        ],
        "textposition": "none",
    }
    labels = {
        "type": "scatter",
        "mode": "text",
        "x": ends,
        "y": names,
        "text": [f" {text}" for text in shown],
        "textposition": "middle right",
        "textfont": {"size": 12, "color": INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
    look = layout(
        height=70 + 30 * len(names),
        bargap=0.35,
        margin={"l": 62, "r": 124, "t": 14, "b": 52},
        xaxis=axis(f"Time ({unit})") | {"range": [0, max(ends)], "zeroline": True, "zerolinecolor": MUTED},
        yaxis=category_axis(),
    )
    return {"data": [bars, labels], "layout": look}


def draw_kernels(result: Result) -> Figure | None:
    """Return the shares of the longest kernels' time, or None when they have no ledger."""
    rows = [(group, _of(group)) for group in groups.by_name(result)[:MOST_KERNELS]]
    known = [(group, parts) for group, parts in rows if sum(parts.values())]
    if not known:
        return None
    names = [label(plain(group.label)) for group, _ in known]
    traces = []
    for part in _order(result, [parts for _, parts in known]):
        shares = [100 * parts.get(part, 0.0) / sum(parts.values()) for _, parts in known]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": label(plain(part)),
                "y": names,
                "x": shares,
                "customdata": [chosen_by("kernel", group.label) for group, _ in known],
                "marker": {"color": _ink(part)},
                "hoverinfo": "text",
                "hovertext": [
                    f"<b>{name}</b><br>{values.percent(share / 100)}: {label(plain(part))}"
                    for name, share in zip(names, shares, strict=True)
                ],
                "textposition": "none",
            }
        )
    look = layout(
        height=80 + 30 * len(names),
        barmode="stack",
        bargap=0.3,
        xaxis=axis("Share of its time (%)") | {"range": [0, 100]},
        yaxis=category_axis(),
    )
    return {"data": traces, "layout": look}


def _of(group: KernelGroup) -> dict[str, float]:
    """Return the parts of all launches of a kernel added up."""
    found: dict[str, float] = {}
    for kernel, weight in zip(group.kernels, group.weights, strict=True):
        for name, seconds in _parts(kernel.get("ledger")).items():
            found[name] = found.get(name, 0.0) + seconds * weight
    return found


def _order(result: Result, kernels: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the parts that any of the kernels has, those largest in the run first."""
    run = _parts(result.get("ledger"))
    names = dict.fromkeys(name for parts in kernels for name, seconds in parts.items() if seconds)
    return sorted(names, key=lambda name: -run.get(name, 0.0))


def kernels_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the parts in the longest kernels."""
    kernels = [_of(group) for group in groups.by_name(result)[:MOST_KERNELS]]
    return [LegendEntry("disc", _ink(name), plain(name)) for name in _order(result, kernels)]
