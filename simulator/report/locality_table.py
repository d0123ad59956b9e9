"""Locality as tables or CSV, from its JSON object."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.report.console import render_to_text
from simulator.units import format_bytes, format_count

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]

CSV_COLUMNS = (
    "granularity",
    "unit_bytes",
    "kernel_class",
    "tensor_class",
    "accesses",
    "first_touches",
    "same_cta",
    "same_sm",
    "other_sm",
    "other_kernel",
    "reuse_distance_from_bytes",
    "reuse_distance_accesses",
)
"""One row for each bin of each class; an empty class means all of them."""

OWNERS = ("first_touches", "same_cta", "same_sm", "other_sm", "other_kernel")
BOUNDS = (1 << 17, 1 << 20, 1 << 23, 1 << 26)
DISTANCES = (*((f"< {format_bytes(bound)}", bound) for bound in BOUNDS), ("more", 1 << 62))
"""Columns of reuse distances, each up to a bound."""

MOST_FLOWS = 8
MOST_STRIDES = 4


def to_csv(found: Json) -> str:
    """Return one row per granularity, class and bin of reuse distances; first touches are in a row without one."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in found["granularities"]:
        for part in entry["classes"]:
            head = [entry["granularity"], entry["unit_bytes"], part["kernel_class"], part["tensor_class"]]
            head += [part["accesses"], *(part[owner] for owner in OWNERS)]
            writer.writerow([*head, "", part["first_touches"]])
            bins = part["reuse_distance"]
            for start, count in zip(bins["from_bytes"], bins["accesses"], strict=True):
                writer.writerow([*head, start, count])
    return out.getvalue()


def render(found: Json, capacity_bytes: int | None, width: int = 100) -> str:
    """Return the locality as text of at most `width` columns; `capacity_bytes` of a cache to be pointed out, if any."""
    from rich.console import Group

    parts: list[Any] = [_headline(found), ""]
    for entry in found["granularities"]:
        parts += [_title(entry), "", _classes(entry), "", _misses(entry, capacity_bytes), ""]
    main = found["granularities"][-1 if len(found["granularities"]) < 2 else 1]
    parts += [_owners(main), "", _working_sets(main), ""]
    if main["flows"]:
        parts += [_flows(main), ""]
    parts += [_line_use(found), "", _strides(found)]
    return render_to_text(Group(*parts), width)


def _headline(found: Json) -> str:
    only = f" matching {found['kernel']!r}, as if nothing else ran" if found["kernel"] else ""
    return f"{found['records']:,} records in {found['kernels']:,} kernels{only}\nOrder: {found['order']}."


def _title(entry: Json) -> str:
    looked = "" if entry["sampling_rate"] == 1 else f"   sampled: 1 page in {round(1 / entry['sampling_rate'])}"
    if looked and (error := _error(entry["miss_ratio_curve"])) is not None:
        looked += f",\nmiss ratios within {100 * error:.2f} points (1 sigma)"
    name, size = entry["granularity"], format_bytes(entry["unit_bytes"])
    accesses, footprint = format_count(entry["accesses"]), format_bytes(entry["footprint_bytes"])
    return f"By {name} of {size}: {accesses} accesses, footprint {footprint}{looked}"


def _error(curve: Json) -> float | None:
    """Return the largest standard error at a capacity that can be told, None without sampling."""
    if not curve["standard_error"]:
        return None
    pairs = zip(curve["capacity_bytes"], curve["standard_error"], strict=True)
    return max((error for capacity, error in pairs if capacity >= curve["resolution_bytes"]), default=None)


def _table(*columns: str, text: int = 1) -> Table:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[text:]:
        column.justify = "right"
    return table


def _classes(entry: Json) -> Table:
    """Reuse distances of the whole, of tensor classes and of kernel classes."""
    table = _table("reuse distance of", "accesses", "first", *(name for name, _ in DISTANCES))
    for part in entry["classes"]:
        if part["kernel_class"] and part["tensor_class"]:
            continue
        bins = part["reuse_distance"]
        counts = [0] * len(DISTANCES)
        for start, count in zip(bins["from_bytes"], bins["accesses"], strict=True):
            counts[next(i for i, (_, bound) in enumerate(DISTANCES) if start < bound)] += count
        name = part["tensor_class"] or part["kernel_class"] or "everything"
        shares = (_share(count, part["accesses"]) for count in (part["first_touches"], *counts))
        about = "" if entry["sampling_rate"] == 1 else "~"
        table.add_row(name.replace("_", " "), about + format_count(part["accesses"]), *shares)
    return table


def _misses(entry: Json, capacity_bytes: int | None) -> Table:
    """The miss ratio at powers of four, and at the capacity pointed out, where it can be told."""
    curve = entry["miss_ratio_curve"]
    top = max(curve["capacity_bytes"][-1], 1)
    capacities = {1 << 2 * i for i in range(5, 25) if 1 << 2 * i < 4 * top}
    capacities |= {capacity_bytes} if capacity_bytes else set()
    shown = sorted(capacities)[-9:]
    table = _table("LRU cache of", *(format_bytes(capacity) for capacity in shown))
    ratios = []
    for capacity in shown:
        if capacity < curve["resolution_bytes"]:
            ratios.append("–")
            continue
        place = max(i for i, start in enumerate(curve["capacity_bytes"]) if start <= capacity)
        ratios.append(f"{100 * curve['miss_ratio'][place]:.1f} %")
    table.add_row("misses", *ratios)
    return table


def _owners(entry: Json) -> Table:
    """Who had touched a unit last."""
    owners = ("nobody", "same CTA", "same SM", "other SM", "other kernel")
    table = _table(f"{entry['granularity']}s last touched by", *owners)
    for part in entry["classes"]:
        if not part["kernel_class"]:
            shares = (_share(part[owner], part["accesses"]) for owner in OWNERS)
            table.add_row(part["tensor_class"] or "everything", *shares)
    return table


def _working_sets(entry: Json) -> Table:
    """The mean working set of some windows."""
    its = entry["working_set"]
    places = _spread(len(its["window_bytes"]), 8)
    table = _table("window", *(format_bytes(its["window_bytes"][i]) for i in places))
    table.add_row("mean working set", *(format_bytes(its["mean_bytes"][i]) for i in places))
    return table


def _flows(entry: Json) -> Table:
    table = _table("touched by", "again by a later", "bytes", text=2)
    for flow in entry["flows"][:MOST_FLOWS]:
        table.add_row(flow["source"].replace("_", " "), flow["target"].replace("_", " "), format_bytes(flow["bytes"]))
    return table


def _line_use(found: Json) -> Table:
    table = _table("sectors used per line touched", "by", "mean", "1", "2", "3", "4", text=2)
    for use in sorted(found["line_use"], key=lambda use: -sum(use["lines"]))[:12]:
        shares = (_share(count, sum(use["lines"])) for count in use["lines"])
        kernel, mean = use["kernel_class"].replace("_", " "), f"{use['sectors_per_line']:.2f}"
        table.add_row(use["tensor_class"], kernel, mean, *shares)
    return table


def _strides(found: Json) -> Table:
    """The commonest strides of each tensor class."""
    table = _table("strides of a CTA", "commonest first", text=2)
    for name in dict.fromkeys(stride["tensor_class"] for stride in found["strides"]):
        its = sorted((s for s in found["strides"] if s["tensor_class"] == name), key=lambda s: -s["steps"])
        total = sum(stride["steps"] for stride in its)
        words = [f"{_stride(stride)} {_share(stride['steps'], total)}" for stride in its[:MOST_STRIDES]]
        table.add_row(name, ", ".join(words))
    return table


def _stride(stride: Json) -> str:
    below = stride["below_bytes"]
    return stride["kind"] if below is None else f"{stride['kind']} < {format_bytes(below)}"


def _spread(count: int, most: int) -> Sequence[int]:
    """Return at most `most` of `count` places, evenly spread, the last included."""
    return sorted({round((i + 1) * (count - 1) / most) for i in range(most)})


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part else "–"
