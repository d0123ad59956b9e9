"""Runs side by side as tables, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import string
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from simulator.report import ledger, values
from simulator.report.comparison import QUANTITIES
from simulator.report.console import render_to_text
from simulator.report.values import plain

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]

MOST_SETTINGS = 16  # that the table shows
MOST_PARTS = 8
SMALL = 0.03  # of all causes together: those below go unsaid
COLUMNS = ("run", "source", "scope", "part", "quantity", "unit", "value", "delta", "ratio")
CLASS_UNITS = {
    "time_s": "s",
    "launches": "",
    "flops": "flop",
    "asked_bytes": "B",
    "dram_bytes": "B",
    "l2_hit_rate": "",
    "dram_bytes_per_s": "B/s",
    "flops_per_s": "flop/s",
}


def to_json(comparison: Json) -> str:
    """Return the comparison as JSON."""
    return json.dumps(comparison, indent=2, allow_nan=False) + "\n"


def to_csv(comparison: Json) -> str:
    """Return a row per run and quantity, for the run and for each class of kernels; changes are against the first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, run in enumerate(comparison["runs"]):
        name = (letter(place), run["source"])
        for row in comparison["quantities"]:
            figures = (row["values"][place], row["deltas"][place], row["ratios"][place])
            writer.writerow([*name, "run", "", row["name"], row["unit"], *figures])
        for each in comparison["classes"]:
            for quantity, unit in CLASS_UNITS.items():
                found = [(described or {}).get(quantity) for described in each["runs"]]
                value, first = found[place], found[0]
                delta = None if value is None or first is None else value - first
                writer.writerow(
                    [*name, "operator", each["operator"], quantity, unit, value, delta, values.ratio(value, first)]
                )
    for place, run in enumerate(comparison["runs"]):
        for row in comparison["ledger"]:
            value, delta = row["values"][place], row["deltas"][place]
            figures = (value, delta, values.ratio(value, row["values"][0]))
            writer.writerow([letter(place), run["source"], "ledger", row["part"], "time_s", "s", *figures])
    for place, change in enumerate(comparison["changes"], start=1):
        name = (letter(place), comparison["runs"][place]["source"])
        for part in change["parts"]:
            for cause in part["causes"]:
                writer.writerow([*name, "cause", part["part"], cause["cause"], "s", "", cause["delta_s"], ""])
    return out.getvalue()


def letter(place: int) -> str:
    """Return what a run is called in tables: A, B, ... Z, then by number."""
    return string.ascii_uppercase[place] if place < 26 else f"run {place + 1}"


def render(comparison: Json, width: int = 100, *, color: bool = False) -> str:
    """Return the comparison as text of at most `width` columns."""
    from rich.console import Group

    return render_to_text(Group(*_parts(comparison)), width, color=color)


def _parts(comparison: Json) -> Iterator[Any]:
    from rich.text import Text

    for place, run in enumerate(comparison["runs"]):
        said = " · ".join([run["title"], *run["circumstances"]])
        yield Text.assemble((f"{letter(place)}  ", "bold"), said, (f"  {plain(run['source'])}", "dim"))
    yield Text()
    if comparison["configuration"]:
        yield _configuration(comparison)
        hidden = len(comparison["configuration"]) - MOST_SETTINGS
        if hidden > 0:
            yield Text(f"{hidden} more settings differ: --format json", style="dim")
    else:
        yield Text("The configurations are the same.")
    yield Text()
    yield _quantities(comparison)
    for place, change in enumerate(comparison["changes"], start=1):
        yield Text()
        yield Text(_verdict(change, place), style="bold")
        if any(part["delta_s"] for part in change["parts"]):
            yield _change(change, place)
    if comparison["ledger"]:
        yield Text()
        yield _ledger(comparison)
    yield Text()
    for sentence in dict.fromkeys(run["exactness"] for run in comparison["runs"]):
        yield Text(sentence, style="dim")


def _configuration(comparison: Json) -> Table:
    table = _table("setting", *map(letter, range(len(comparison["runs"]))))
    table.columns[0].overflow = "fold"  # keys differ in their ends
    for row in comparison["configuration"][:MOST_SETTINGS]:
        table.add_row(plain(row["key"]), *map(plain, row["values"]))
    return table


def _quantities(comparison: Json) -> Table:
    places = range(len(comparison["runs"]))
    others = [f"{letter(place)} : A" for place in places if place]
    table = _table("", *map(letter, places), *others)
    written = {quantity.name: quantity for quantity in QUANTITIES}
    for row in comparison["quantities"]:
        quantity = written[row["name"]]
        changes = [_times(row, place) for place in places if place]
        table.add_row(quantity.label, *map(quantity.write, row["values"]), *changes)
    table.add_row("limited by", *(plain(run["limiter"]) for run in comparison["runs"]), *[""] * len(others))
    return table


def _times(row: Json, place: int) -> str:
    """Return a ratio, or the difference in points of what is a ratio itself."""
    if row["unit"] == "":
        return values.shown(row["deltas"][place], lambda points: f"{100 * points:+.1f} pt")
    return values.shown(row["ratios"][place], _ratio)


def _ratio(known: float) -> str:
    return f"{known:,.0f}" if known >= 1000 else f"{known:.3g}"


def _ledger(comparison: Json) -> Table:
    places = range(len(comparison["runs"]))
    others = [f"{letter(place)} - A" for place in places if place]
    table = _table("what SMs did or waited for", *map(letter, places), *others)
    for row in comparison["ledger"][:MOST_PARTS]:
        deltas = [values.shown(delta, signed_time) for delta in row["deltas"][1:]]
        table.add_row(plain(ledger.name_of(row["part"])), *map(values.time, row["values"]), *deltas)
    return table


def _share(share: float) -> str:
    return "<0.1 %" if abs(share) < 0.0005 else f"{100 * share:.1f} %"


def _verdict(change: Json, place: int) -> str:
    if change["delta_s"] is None:
        return f"{letter(place)} against A"
    if change["delta_s"] == 0:
        return f"{letter(place)} takes as long as A"
    sign = "more" if change["delta_s"] > 0 else "less"
    part = values.shown(change["ratio"], _ratio)
    return f"{letter(place)} takes {values.time(abs(change['delta_s']))} {sign} than A ({part} of its time)"


def _change(change: Json, place: int) -> Table:
    table = _table("what moved it", "A", letter(place), "change", "of all")
    table.add_column("because", justify="left", ratio=1)
    for part in change["parts"]:
        if part["delta_s"] == 0:
            continue
        start, end = part["times_s"]
        table.add_row(
            plain(part["part"]).replace("_", " "),
            values.time(start),
            values.time(end),
            signed_time(part["delta_s"]),
            values.shown(part["share_of_change"], _share) if change["delta_s"] else "",
            because(part),
        )
    return table


def because(part: Json) -> str:
    """Return what the change of a class of kernels comes from, the largest causes first, in words."""
    if not part["causes"]:
        start, end = part["times_s"]
        everywhere = (start and end) or part["limiters"] == [None, None]
        return "" if everywhere else f"only in {'A' if start else 'the other'}"
    whole = sum(abs(cause["delta_s"]) for cause in part["causes"])
    said = [
        f"{signed_time(cause['delta_s'])} {_words(cause)}"
        for cause in part["causes"]
        if whole and abs(cause["delta_s"]) >= SMALL * whole
    ]
    before, after = part["limiters"]
    if before != after:
        said.append(f"limited by {plain(before)}, then {plain(after)}")
    return "; ".join(said)


def _words(cause: Json) -> str:
    before, after = cause["values"]
    match cause["cause"]:
        case "launches":
            return f"launches {values.count(before)} → {values.count(after)}"
        case "flops per launch":
            return f"flops per launch {values.short_count(before)} → {values.short_count(after)}"
        case "time per flop":
            return f"compute {values.quantity(1 / before, 'flop/s')} → {values.quantity(1 / after, 'flop/s')}"
        case "time per launch":
            return f"each {values.time(before)} → {values.time(after)}"
        case "bytes asked for per launch":
            return f"asked per launch {values.size(before)} → {values.size(after)}"
        case "part of them that DRAM moves":
            return f"DRAM moves {values.percent(before)} → {values.percent(after)} of that"
        case "time per DRAM byte":
            return f"DRAM bandwidth {values.rate(1 / before)} → {values.rate(1 / after)}"
    return f"bandwidth {values.rate(1 / before)} → {values.rate(1 / after)}"


def signed_time(seconds: float) -> str:
    """Return a difference of times with its sign, such as ``-2.35 ms``."""
    return values.time(0.0) if seconds == 0 else f"{'+' if seconds > 0 else '-'}{values.time(abs(seconds))}"


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(first, box=None, pad_edge=False, header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table
