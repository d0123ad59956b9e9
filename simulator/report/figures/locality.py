"""Locality as pictures: miss ratio by capacity, reuse distances by class, working sets, what is new as a run goes on.

They are made from the object ``tierscope.locality/1``: the ``locality`` of a result, or that of a trace.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simulator.report import values
from simulator.report.figures.style import (
    INK,
    MUTED,
    OPERATOR_COLORS,
    Figure,
    LegendEntry,
    axis,
    bytes_axis,
    chosen_by,
    colors,
    label,
    layout,
    words,
)
from simulator.report.values import Result, at

Json = Mapping[str, Any]

TENSOR_COLORS = {
    "weights": "#2b6ca3",
    "kv": "#d1495b",
    "activations": "#4f9d69",
    "embeddings": "#c9a227",
    "metadata": "#8c97a3",
}
GRANULARITY_LOOKS = {"sector": ("#4a6fb3", "dot"), "line": ("#1f2933", "solid"), "tile": ("#c0503a", "dash")}
PREFERRED = ("line", "tile", "sector")
"""Granularity of the figures that show one, the first there is."""

FIRST_TOUCH = "first touch"


def _granularities(result: Result) -> Sequence[Json]:
    found = (result.get("locality") or {}).get("granularities")
    return found or ()


def _preferred(result: Result) -> Json | None:
    entries = {entry["granularity"]: entry for entry in _granularities(result)}
    return next((entries[name] for name in (*PREFERRED, *entries) if name in entries), None)


# Miss ratio by capacity


def draw_miss_ratio(result: Result) -> Figure | None:
    """Return the miss ratio of a fully associative LRU cache by its capacity, beside the caches of the device."""
    entries = _granularities(result)
    if not entries:
        return None
    capacities = [size for entry in entries for size, _ in _steps(entry)]
    caches = list(_caches(result))
    reach = capacities + [size for _, size, _ in caches]
    if not reach:
        return None
    low, high = min(reach) / 2, max(reach) * 2
    traces = [_curve(entry, high) for entry in entries]
    traces += [_cache(name, size, missed) for name, size, missed in caches]
    look = layout(
        height=380,
        xaxis=bytes_axis("Capacity", low, high),
        yaxis=axis("Miss ratio (%)") | {"range": [0, 103]},
    )
    return {"data": traces, "layout": look}


def _steps(entry: Json) -> list[tuple[int, float]]:
    """Return the capacities that can be told apart, with their miss ratios."""
    curve = entry["miss_ratio_curve"]
    steps = zip(curve["capacity_bytes"], curve["miss_ratio"], strict=True)
    return [(size, ratio) for size, ratio in steps if size >= curve["resolution_bytes"]]


def _curve(entry: Json, high: float) -> Figure:
    known = _steps(entry)
    last = known[-1][1] if known else 0.0
    ink, dash = GRANULARITY_LOOKS.get(entry["granularity"], (MUTED, "solid"))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(f"by {entry['granularity']}"),
        "x": [size for size, _ in known] + [high],
        "y": [100 * ratio for _, ratio in known] + [100 * last],
        "line": {"color": ink, "dash": dash, "width": 1.8, "shape": "hv"},
        "hoverinfo": "text",
        "text": [f"{values.size(size)}: {values.percent(ratio)} missed" for size, ratio in [*known, (high, last)]],
    }


def _caches(result: Result) -> Iterator[tuple[str, float, float | None]]:
    """Yield name, capacity and simulated miss ratio of the caches that the result has."""
    tiers = result.get("tiers")
    if not tiers:
        return
    size, hit_rate = at(tiers, "l2", "size_bytes"), at(tiers, "l2", "hit_rate")
    if size:
        yield "L2, simulated", size, None if hit_rate is None else 1 - hit_rate


def _cache(name: str, size: float, missed: float | None) -> Figure:
    if missed is None:
        line = {"color": MUTED, "dash": "dot", "width": 1.2}
        return {"type": "scatter", "mode": "lines", "name": name, "x": [size] * 2, "y": [0, 100], "line": line}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [size],
        "y": [100 * missed],
        "marker": {"size": 13, "symbol": "diamond-open", "color": INK, "line": {"color": INK, "width": 2.2}},
        "hoverinfo": "text",
        "text": f"<b>{name}</b><br>{values.size(size)}: {values.percent(missed)} of the sectors missed",
    }


def miss_ratio_legend(result: Result) -> list[LegendEntry]:
    """Return the legend: granularities, and the simulated L2."""
    entries = []
    for entry in _granularities(result):
        ink, dash = GRANULARITY_LOOKS.get(entry["granularity"], (MUTED, "solid"))
        sampled = entry["sampling_rate"]
        note = "" if sampled in (None, 1) else f", {values.percent(sampled)} sampled"
        entries.append(LegendEntry(dash, ink, f"by {entry['granularity']} of {values.size(entry['unit_bytes'])}{note}"))
    return entries + [LegendEntry("diamond", INK, f"{name}, {values.size(size)}") for name, size, _ in _caches(result)]


# Reuse distances


def draw_by_tensor(result: Result) -> Figure | None:
    """Return how far apart accesses to the same data are, stacked by class of tensor."""
    return _distances(result, "tensor_class")


def draw_by_kernel(result: Result) -> Figure | None:
    """Return how far apart accesses to the same data are, stacked by class of kernel."""
    return _distances(result, "kernel_class")


_OTHER = {"tensor_class": "kernel_class", "kernel_class": "tensor_class"}


def _classes(result: Result, key: str) -> list[Json]:
    """Return the classes told apart by `key` alone: the entries in which the other is null, which stands for all."""
    entry = _preferred(result) or {"classes": ()}
    return [part for part in entry["classes"] if part[key] is not None and part[_OTHER[key]] is None]


def _inks(result: Result, key: str) -> dict[str | None, str]:
    return colors((part[key] for part in _classes(result, key)), TENSOR_COLORS | OPERATOR_COLORS)


def _distances(result: Result, key: str) -> Figure | None:
    entry = _preferred(result)
    if entry is None or not entry["accesses"]:
        return None
    counts: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    firsts: dict[str, float] = defaultdict(float)
    for part in _classes(result, key):
        bins = part["reuse_distance"]
        firsts[part[key]] += part["first_touches"]
        for start, accesses in zip(bins["from_bytes"], bins["accesses"], strict=True):
            counts[part[key]][_bin(start)] += accesses
    whole = sum(firsts.values()) + sum(sum(found.values()) for found in counts.values())
    starts = sorted({start for found in counts.values() for start in found})
    if not whole:
        return None
    bounds = list(_filled(starts))
    names = [values.size(start) for start in bounds] + [FIRST_TOUCH]
    traces = []
    for name, ink in _inks(result, key).items():
        heights = [100 * counts[str(name)][start] / whole for start in bounds] + [100 * firsts[str(name)] / whole]
        trace: Figure = {
            "type": "bar",
            "name": label(words(str(name))),
            "x": names,
            "y": heights,
            "marker": {"color": ink},
            "hoverinfo": "text",
            "hovertext": [
                f"<b>{label(words(str(name)))}</b><br>{bound}: {height:.2f} % of all accesses"
                for bound, height in zip(names, heights, strict=True)
            ],
            "textposition": "none",
        }
        if key == "kernel_class":
            trace["customdata"] = [chosen_by("operator", str(name))] * len(names)
        traces.append(trace)
    look = layout(
        height=380,
        barmode="stack",
        bargap=0.12,
        xaxis=axis("Distinct bytes touched in between, from")
        | {"type": "category", "categoryarray": names, "showgrid": False},
        yaxis=axis("Share of the accesses (%)") | {"rangemode": "tozero"},
    )
    return {"data": traces, "layout": look}


def _bin(distance_bytes: float) -> float:
    """Return where the bin of a distance begins: at a power of four, or at zero for data touched again at once."""
    return 4.0 ** math.floor(math.log(distance_bytes, 4) + 1e-9) if distance_bytes >= 1 else 0.0


def _filled(starts: Sequence[float]) -> Iterator[float]:
    """Yield the beginnings of all bins from the first to the last of `starts`."""
    if 0.0 in starts:
        yield 0.0
    start = min((each for each in starts if each), default=math.inf)
    while start <= max(starts, default=0.0):
        yield start
        start *= 4


def by_tensor_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the classes of tensors."""
    return [LegendEntry("disc", ink, words(str(name))) for name, ink in _inks(result, "tensor_class").items()]


def by_kernel_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the classes of kernels."""
    return [LegendEntry("disc", ink, words(str(name))) for name, ink in _inks(result, "kernel_class").items()]


# Working sets


def draw_working_set(result: Result) -> Figure | None:
    """Return the mean working set by the length of the window, on log-log axes."""
    entries = [entry for entry in _granularities(result) if any(entry["working_set"]["mean_bytes"])]
    if not entries:
        return None
    curves = [(entry, entry["working_set"]["window_bytes"], entry["working_set"]["mean_bytes"]) for entry in entries]
    windows = [size for _, lengths, _ in curves for size in lengths if size > 0]
    means = [size for _, _, sizes in curves for size in sizes if size > 0]
    traces = []
    for entry, lengths, sizes in curves:
        ink, dash = GRANULARITY_LOOKS.get(entry["granularity"], (MUTED, "solid"))
        known = [(x, y) for x, y in zip(lengths, sizes, strict=True) if x > 0 and y > 0]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": label(f"by {entry['granularity']}"),
                "x": [x for x, _ in known],
                "y": [y for _, y in known],
                "line": {"color": ink, "dash": dash, "width": 1.8},
                "hoverinfo": "text",
                "text": [f"{values.size(y)} touched in {values.size(x)} of accesses" for x, y in known],
            }
        )
    look = layout(
        height=380,
        xaxis=bytes_axis("Bytes accessed in a window", min(windows), max(2 * min(windows), *windows)),
        yaxis=bytes_axis("Distinct bytes", min(means) / 1.5, max(means) * 1.5),
    )
    return {"data": traces, "layout": look}


def working_set_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of the granularities."""
    looks = [(entry, GRANULARITY_LOOKS.get(entry["granularity"], (MUTED, "solid"))) for entry in _granularities(result)]
    return [LegendEntry(dash, ink, f"by {entry['granularity']}") for entry, (ink, dash) in looks]


_FRESH = (("touched_bytes", "#2b6ca3", "touched"), ("new_bytes", "#e07b39", "for the first time"))


def draw_fresh(result: Result) -> Figure | None:
    """Return the distinct bytes of each part of the accesses in their order, and how many of them are new."""
    entry = _preferred(result)
    if entry is None or len(entry["over_time"]["start_bytes"]) < 2:
        return None
    over = entry["over_time"]
    scale, unit = _scale(max(over["touched_bytes"]))
    along, along_unit = _scale(max(over["start_bytes"]))
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [start / along for start in over["start_bytes"]],
            "y": [size / scale for size in over[key]],
            "line": {"color": ink, "width": 1.8, "shape": "hv"},
            "hoverinfo": "text",
            "text": [f"{values.size(size)} {name}" for size in over[key]],
        }
        for key, ink, name in _FRESH
    ]
    look = layout(
        height=380,
        xaxis=axis(f"Bytes accessed so far ({along_unit})"),
        yaxis=axis(f"Distinct bytes ({unit})") | {"rangemode": "tozero"},
    )
    return {"data": traces, "layout": look}


def fresh_legend(result: Result) -> list[LegendEntry]:
    """Return the legend of what is touched and what is new."""
    return [LegendEntry("solid", ink, name) for _, ink, name in _FRESH]


def _scale(largest: float) -> tuple[float, str]:
    """Return the number of bytes of the unit that an axis up to `largest` is in, and its name."""
    for name, size in (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if largest >= size:
            return size, name
    return 1.0, "B"
