"""Why a run missed its caches, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]

MOST_KERNELS = 8
MOST_REFETCHES = 6
NAME_CELLS = 34
REASONS = ("hit", "compulsory", "capacity", "conflict")
CACHES = ("sram", "l2")
TIERS = {"sram": "L1", "l2": "L2", "hbm": "device memory", "dram": "host DRAM", "ssd": "SSD"}


def tables(hits: Json) -> Iterable[Table | str]:
    """Yield reads of each tier by tensor class and by kernel with why they missed, what was touched of each line, and
    what was fetched again."""
    for tier, name in TIERS.items():
        rows = [row for row in hits["tiers"] if row["tier"] == tier and row["read_bytes"]]
        if rows:
            yield _misses(f"Reads of {name} ({format_bytes(hits['capacity_bytes'][tier])})", rows)
            if tier == "hbm":
                yield f"  {below_l2(hits)}"
            yield ""
    if hits["lines"]:
        yield _lines(hits["lines"])
        yield ""
    if hits["refetched"]:
        yield _refetched(hits["refetched"])
        yield ""


def below_l2(hits: Json) -> str:
    """Return a sentence on what device memory missed: what was copied in for kernels."""
    again = sum(row["read_capacity_bytes"] for row in hits["tiers"] if row["tier"] == "hbm")
    if not has_misses([row for row in hits["tiers"] if row["tier"] == "hbm"]):
        return "All that kernels read rests in device memory, or was written there: nothing was copied in."
    streamed = f"{format_bytes(again)} streamed again" if again else "none in one pass; a further one streams all again"
    return (
        "Misses of device memory are what was copied in for kernels: compulsory the first time, capacity when its "
        f"buffer had been given to later layers since ({streamed})."
    )


def has_misses(rows: Sequence[Json]) -> bool:
    """Return whether any read of these rows missed."""
    return any(row[f"read_{reason}_bytes"] for row in rows for reason in REASONS[1:])


def _misses(title: str, rows: Sequence[Json]) -> Table:
    table = _table(title, "bytes", *REASONS, "saved")
    _add(table, "everything", rows)
    if not has_misses(rows) and rows[0]["tier"] not in CACHES:
        return table  # memories have what rests in them
    for tensors in dict.fromkeys(row["tensor_class"] for row in rows):
        _add(table, f"  {tensors}", [row for row in rows if row["tensor_class"] == tensors])
    kernels = {row["kernel"]: sum(r["read_bytes"] for r in rows if r["kernel"] == row["kernel"]) for row in rows}
    for kernel in sorted(kernels, key=lambda name: -kernels[name])[:MOST_KERNELS]:
        _add(table, _shortened(kernel), [row for row in rows if row["kernel"] == kernel])
    return table


def _add(table: Table, name: str, rows: Sequence[Json]) -> None:
    total = sum(row["read_bytes"] for row in rows)
    shares = (_share(sum(row[f"read_{reason}_bytes"] for row in rows), total) for reason in REASONS)
    table.add_row(name, format_bytes(total), *shares, format_bytes(sum(row["saved_bytes"] for row in rows)))


def _lines(rows: Sequence[Json]) -> Table:
    """Spatial locality: sectors of 32 bytes touched of a line between its coming and going."""
    table = _table("Lines brought into", "lines", "sectors touched per line")
    for row in rows:
        name = f"{TIERS[row['tier']]}: {row['tensor_class']}"
        table.add_row(name, f"{row['lines']:,}", f"{row['sectors_per_line']:.2f}")
    return table


def _refetched(rows: Sequence[Json]) -> Table:
    """Fetches of what had been there, the most bytes first."""
    table = _table("Fetched again by", "bytes", "evicted by")
    table.columns[2].justify = "left"
    caches = [row for row in rows if row["tier"] in CACHES]
    for row in (*caches[:MOST_REFETCHES], *[row for row in rows if row not in caches][:MOST_REFETCHES]):
        culprit = f"{row['evicted_by']}: {row['evicted_for']}" if row["evicted_by"] else "not kept"
        who = f"{TIERS[row['tier']]} {_shortened(row['kernel'])}: {row['tensor_class']}"
        table.add_row(who, format_bytes(row["bytes"]), culprit)
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_CELLS else f"{name[: NAME_CELLS - 1]}…"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part else "–"
