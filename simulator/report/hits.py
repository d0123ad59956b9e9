"""Why a run missed its caches, in the words of every report; the numbers are those of `hits` in the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simulator.units import format_bytes

Json = Mapping[str, Any]

MOST_KERNELS = 8
MOST_REFETCHES = 6
NAME_CELLS = 34
REASONS = ("hit", "compulsory", "capacity", "conflict")
COLUMNS = ("bytes", *REASONS, "saved", "sectors/line")
REFETCH_COLUMNS = ("Fetched again by", "from", "bytes", "evicted by")
TIERS = {"sram": "L1", "l2": "L2"}

HOW_TO_READ = (
    "Of the bytes read from a cache: hits; misses of what had not been read before (compulsory), of what a fully "
    "associative LRU cache of the same size would have lost too (capacity), and what it would have kept (conflict).  "
    "Saved is what the tier below was not asked for; sectors per line are those used of a line brought in, of four.  "
    "An L1 starts every kernel empty."
)

BY_NAME_COLUMNS = tuple(
    f"by_name_{tier}_{kind}_{reason}_bytes"
    for tier, kinds in (("sram", ("read",)), ("l2", ("read", "write")))
    for kind in kinds
    for reason in REASONS
)
REFETCHED_COLUMNS = tuple(f"by_name_{tier}_refetched_bytes" for tier in TIERS)


def misses(hits: Json) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield for each cache that was read: a title, and rows by tensor class and by kernel, their cells as COLUMNS."""
    for tier, name in TIERS.items():
        rows = [row for row in hits["tiers"] if row["tier"] == tier and row["read_bytes"]]
        if rows:
            size = format_bytes(hits["capacity_bytes"][tier]) + (" per SM" if tier == "sram" else "")
            yield f"Reads of {name} ({size})", list(_rows(rows, [use for use in hits["lines"] if use["tier"] == tier]))


def _rows(rows: Sequence[Json], lines: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    yield _row("everything", rows, lines)
    for tensors in dict.fromkeys(row["tensor_class"] for row in rows):
        used = [use for use in lines if use["tensor_class"] == tensors]
        yield _row(f"  {tensors}", [row for row in rows if row["tensor_class"] == tensors], used)
    kernels = {row["kernel"]: sum(r["read_bytes"] for r in rows if r["kernel"] == row["kernel"]) for row in rows}
    for kernel in sorted(kernels, key=lambda name: -kernels[name])[:MOST_KERNELS]:
        yield _row(kernel[:NAME_CELLS], [row for row in rows if row["kernel"] == kernel], ())


def _row(name: str, rows: Sequence[Json], lines: Sequence[Json]) -> tuple[str, ...]:
    total = sum(row["read_bytes"] for row in rows)
    shares = (_share(sum(row[f"read_{reason}_bytes"] for row in rows), total) for reason in REASONS)
    count = sum(use["lines"] for use in lines)
    used = f"{sum(use['lines'] * use['sectors_per_line'] for use in lines) / count:.2f}" if count else "–"
    return name, format_bytes(total), *shares, format_bytes(sum(row["saved_bytes"] for row in rows)), used


def refetched(hits: Json) -> list[tuple[str, ...]]:
    """Return fetches of what had been in a cache, the most bytes first, their cells as REFETCH_COLUMNS."""
    return [
        (
            f"{row['kernel'][:NAME_CELLS]}: {row['tensor_class']}",
            TIERS[row["tier"]],
            format_bytes(row["bytes"]),
            f"{row['evicted_by']}: {row['evicted_for']}" if row["evicted_by"] else "not kept",
        )
        for row in hits["refetched"][:MOST_REFETCHES]
    ]


def by_name(hits: Json) -> dict[str, dict[str, int]]:
    """Return for each kernel name the bytes of BY_NAME_COLUMNS and REFETCHED_COLUMNS, of all its launches."""
    found: dict[str, dict[str, int]] = {}
    for row in hits["tiers"]:
        sums = found.setdefault(row["kernel"], dict.fromkeys((*BY_NAME_COLUMNS, *REFETCHED_COLUMNS), 0))
        for column in BY_NAME_COLUMNS:
            tier, _, key = column.removeprefix("by_name_").partition("_")
            if tier == row["tier"]:
                sums[column] += row[key]
    for row in hits["refetched"]:
        found[row["kernel"]][f"by_name_{row['tier']}_refetched_bytes"] += row["bytes"]
    return found


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part else "–"
