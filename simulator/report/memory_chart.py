"""The memory chart: boxes for the tiers, arrows for the bytes between them, colours for the share of the peak.

The chart is laid out twice, as a row for wide pages and as a column for narrow ones; `memory_chart.html` draws it.
Coordinates are in SVG user units, y downwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.report import headline, values
from simulator.report.values import Result, at, ratio, total

RAMP = ("#dfe8ef", "#a9cde3", "#f5d76e", "#f0964a", "#d6453d")  # at 0, 25, 50, 75 and 100 % of the peak
UNKNOWN = "#d5dade"
SECTOR_BYTES = 32  # in which hits and misses are counted

_MARGIN = 2  # keeps outlines inside the drawing


@dataclass(frozen=True)
class Tier:
    """What one box says; `fraction`, the share of its peak, fills its gauge."""

    title: str
    subtitle: str
    rows: tuple[tuple[str, str], ...] = ()
    gauge: str = ""
    fraction: float | None = None
    used: bool = True


@dataclass(frozen=True)
class Flow:
    """Bytes in one direction between two tiers; `fraction` is their share of the link's peak."""

    words: tuple[str, ...] = ()
    fraction: float | None = None
    used: bool = False


@dataclass(frozen=True)
class Label:
    """A line of text; `anchor` is as in SVG, `kind` names its style."""

    x: float
    y: float
    anchor: str
    kind: str
    text: str


@dataclass(frozen=True)
class Bar:
    """A rectangle, with the width of its filled part and the colour of it."""

    x: float
    y: float
    width: float
    height: float
    filled: float = 0.0
    color: str = UNKNOWN


@dataclass(frozen=True)
class Box:
    """A tier at its place."""

    outline: Bar
    gauge: Bar | None
    labels: tuple[Label, ...]
    used: bool


@dataclass(frozen=True)
class Arrow:
    """A flow at its place: the corners of the arrow, its colour and its labels."""

    points: str
    color: str
    labels: tuple[Label, ...]
    used: bool


@dataclass(frozen=True)
class Chart:
    """A drawing of `width` by `height`; `kind` is ``row`` or ``column``."""

    kind: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def charts(result: Result) -> tuple[Chart, Chart]:
    """Return the memory chart of a result as a row and as a column."""
    tiers = _sms(result), _l2(result), _device_memory(result), _host(result)
    flows = tuple(_flows(result))
    return _row(tiers, flows), _column(tiers, flows)


def color(fraction: float | None) -> str:
    """Return the colour of a share of the peak, mixed from the colours of `RAMP`; `UNKNOWN` for null."""
    if fraction is None:
        return UNKNOWN
    position = min(max(fraction, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(position), len(RAMP) - 2)
    low, high = (bytes.fromhex(stop[1:]) for stop in RAMP[index : index + 2])
    part = position - index
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high, strict=True))


# What the boxes and arrows say


def _sms(result: Result) -> Tier:
    sram, summary = at(result, "tiers", "sram"), result["summary"]
    achieved = ratio(summary["flops"], summary["time_s"])
    share = ratio(achieved, summary["peak_flops_per_s"])
    rows = (
        ("Compute", values.quantity(achieved, "flop/s")),
        ("Peak", values.quantity(summary["peak_flops_per_s"], "flop/s")),
        ("L1 hit rate", values.percent(at(sram, "hit_rate"))),
        ("In flight", values.size(at(sram, "mean_outstanding_bytes"))),
    )
    return Tier("SMs", "L1 and shared memory", rows, f"{values.percent(share)} of compute peak", share)


def _l2(result: Result) -> Tier:
    tier = at(result, "tiers", "l2")
    rows = (
        ("Hit rate", values.percent(at(tier, "hit_rate"))),
        ("Missed", _sectors(at(tier, "misses"))),
        ("Merged misses", values.short_count(at(tier, "merges"))),
        ("Write-backs", values.short_count(at(tier, "writebacks"))),
        ("In flight", values.size(at(tier, "mean_outstanding_bytes"))),
    )
    return Tier("L2 cache", values.size(at(tier, "size_bytes")), rows, *_utilization(tier))


def _device_memory(result: Result) -> Tier:
    tier = at(result, "tiers", "hbm")
    hits, conflicts = at(tier, "row_hits"), at(tier, "row_conflicts")
    accesses = total((hits, at(tier, "row_misses"), conflicts))
    rows = (
        ("Bandwidth", values.rate(at(tier, "bandwidth_bytes_per_s"))),
        ("Achievable", values.rate(at(tier, "achievable_bandwidth_bytes_per_s"))),
        ("Peak", values.rate(at(tier, "peak_bandwidth_bytes_per_s"))),
        ("Row hits", values.percent(ratio(hits, accesses))),
        ("Row conflicts", values.percent(ratio(conflicts, accesses))),
    )
    return Tier(headline.memory_name(result), values.size(at(tier, "size_bytes")), rows, *_utilization(tier))


def _host(result: Result) -> Tier:
    tier = at(result, "tiers", "dram")
    if values.is_unused(tier):
        return Tier("Host DRAM", "not used", used=False)
    rows = (
        ("Bandwidth", values.rate(at(tier, "bandwidth_bytes_per_s"))),
        ("Peak", values.rate(at(tier, "peak_bandwidth_bytes_per_s"))),
        ("Link", f"{values.percent(at(result, 'tiers', 'link', 'utilization'))} of peak"),
        ("Kernels wait", values.time(at(result, "tiers", "link", "exposed_s"))),
        ("From SSD", values.size(at(result, "tiers", "ssd", "read_bytes"))),
    )
    return Tier("Host DRAM", values.size(at(tier, "size_bytes")), rows, *_utilization(tier))


def _utilization(tier: Mapping[str, Any] | None) -> tuple[str, float | None]:
    utilization = None if tier is None else tier["utilization"]
    return f"{values.percent(utilization)} utilization", utilization


def _sectors(count: float | None) -> str:
    return values.shown(count, lambda known: values.size(SECTOR_BYTES * known))


def _flows(result: Result) -> Iterator[tuple[Flow, Flow]]:
    """Yield, from the SMs outwards, the flow towards the SMs and the flow away from them over each link."""
    time_s = result["summary"]["time_s"]
    for name, towards, away in (("l2", "loads", "stores"), ("hbm", "reads", "writes"), ("link", "in", "out")):
        tier = at(result, "tiers", name)
        if tier is None or (name == "link" and values.is_unused(tier)):
            yield Flow(), Flow()
        else:
            peak = tier["peak_bandwidth_bytes_per_s"]
            read, written = _by_kernels(result) if name == "hbm" else (tier["read_bytes"], tier["write_bytes"])
            yield (
                _flow(towards, read, time_s, peak),
                _flow(away, written, time_s, tier.get("write_peak_bandwidth_bytes_per_s", peak)),
            )


def _by_kernels(result: Result) -> tuple[float | None, float | None]:
    """Return the bytes read from and written to device memory but by copies, which write what comes over the link."""
    tier, link = at(result, "tiers", "hbm"), at(result, "tiers", "link")
    read, written = tier["read_bytes"], tier["write_bytes"]
    inward, outward = at(link, "read_bytes") or 0, at(link, "write_bytes") or 0
    return (None if read is None else read - outward), (None if written is None else written - inward)


def _flow(label: str, moved: float | None, time_s: float | None, peak: float | None) -> Flow:
    speed = ratio(moved, time_s)
    share = ratio(speed, peak)
    return Flow((label, values.size(moved), f"{values.rate(speed)} · {values.percent(share)}"), share, used=True)


# Where they stand


def _row(tiers: tuple[Tier, ...], flows: tuple[tuple[Flow, Flow], ...]) -> Chart:
    width, height, gap = 184, 228, 132
    lefts = [_MARGIN + index * (width + gap) for index in range(len(tiers))]
    boxes = tuple(_tall_box(tier, left, _MARGIN, width, height) for tier, left in zip(tiers, lefts, strict=True))
    arrows: list[Arrow] = []
    for left, (towards, away) in zip(lefts, flows, strict=False):
        start, end = left + width + 6, left + width + gap - 6
        arrows.append(_across(towards, end, start, _MARGIN + 70))
        arrows.append(_across(away, start, end, _MARGIN + 168))
    return Chart("row", lefts[-1] + width + _MARGIN, height + 2 * _MARGIN, boxes, tuple(arrows))


def _column(tiers: tuple[Tier, ...], flows: tuple[tuple[Flow, Flow], ...]) -> Chart:
    width, gap = 340, 84
    boxes: list[Box] = []
    arrows: list[Arrow] = []
    top: float = _MARGIN
    for index, tier in enumerate(tiers):
        boxes.append(_flat_box(tier, _MARGIN, top, width))
        bottom = top + boxes[-1].outline.height
        if index < len(flows):
            towards, away = flows[index]
            arrows.append(_along(towards, bottom + gap - 6, bottom + 6, _MARGIN + 24))
            arrows.append(_along(away, bottom + 6, bottom + gap - 6, _MARGIN + 194))
        top = bottom + gap
    return Chart("column", width + 2 * _MARGIN, top - gap + _MARGIN, tuple(boxes), tuple(arrows))


def _tall_box(tier: Tier, x: float, y: float, width: float, height: float) -> Box:
    """Return a box with the subtitle under the title, for the row."""
    labels = [
        Label(x + 16, y + 28, "start", "title", tier.title),
        Label(x + 16, y + 46, "start", "subtitle", tier.subtitle),
        *_lines(tier, x, y + 74, width, 21),
    ]
    return _box(tier, Bar(x, y, width, height), labels)


def _flat_box(tier: Tier, x: float, y: float, width: float) -> Box:
    """Return a box with the subtitle beside the title, no higher than it needs, for the column."""
    labels = [
        Label(x + 16, y + 28, "start", "title", tier.title),
        Label(x + width - 16, y + 28, "end", "subtitle", tier.subtitle),
        *_lines(tier, x, y + 54, width, 20),
    ]
    height = 44 + (20 * len(tier.rows) + 44 if tier.used else 0)
    return _box(tier, Bar(x, y, width, height), labels)


def _lines(tier: Tier, x: float, y: float, width: float, step: float) -> Iterator[Label]:
    for index, (name, value) in enumerate(tier.rows):
        yield Label(x + 16, y + index * step, "start", "name", name)
        yield Label(x + width - 16, y + index * step, "end", "value", value)


def _box(tier: Tier, outline: Bar, labels: list[Label]) -> Box:
    if not tier.used:
        return Box(outline, None, tuple(labels), used=False)
    x, bottom, width = outline.x + 16, outline.y + outline.height, outline.width - 32
    labels.append(Label(x, bottom - 30, "start", "gauge", tier.gauge))
    filled = width * min(max(tier.fraction or 0.0, 0.0), 1.0)
    gauge = Bar(x, bottom - 22, width, 8, filled, color(tier.fraction))
    return Box(outline, gauge, tuple(labels), used=True)


def _across(flow: Flow, start: float, end: float, y: float) -> Arrow:
    """Return a horizontal arrow from `start` to `end` with two labels above it and one below."""
    middle = (start + end) / 2
    labels = _words(flow, [(middle, y - 32), (middle, y - 15), (middle, y + 25)], "middle")
    return Arrow(_corners([(along, y + off) for along, off in _outline(flow, start, end)]), *_look(flow, labels))


def _along(flow: Flow, start: float, end: float, x: float) -> Arrow:
    """Return a vertical arrow from `start` to `end` with its labels to the right."""
    middle = (start + end) / 2
    labels = _words(flow, [(x + 18, middle - 16), (x + 18, middle + 2), (x + 18, middle + 20)], "start")
    return Arrow(_corners([(x + off, along) for along, off in _outline(flow, start, end)]), *_look(flow, labels))


def _outline(flow: Flow, start: float, end: float) -> list[tuple[float, float]]:
    """Return the corners of an arrow as (position along it, offset from its axis)."""
    half = 2 + 4 * min(max(flow.fraction or 0.0, 0.0), 1.0)
    neck = end - 13 if end > start else end + 13
    barb = half + 5
    return [(start, -half), (neck, -half), (neck, -barb), (end, 0), (neck, barb), (neck, half), (start, half)]


def _corners(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _words(flow: Flow, places: list[tuple[float, float]], anchor: str) -> tuple[Label, ...]:
    kinds = ("flow", "moved", "speed")
    return tuple(Label(x, y, anchor, kind, text) for (x, y), kind, text in zip(places, kinds, flow.words, strict=False))


def _look(flow: Flow, labels: tuple[Label, ...]) -> tuple[str, tuple[Label, ...], bool]:
    return color(flow.fraction), labels, flow.used
