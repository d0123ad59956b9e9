"""Reading what `ncu --csv` prints: the raw page (a row per kernel) and the details page (a row per metric).

What stands before the header is skipped, and so are ncu's own lines (``==PROF== ...``).  Numbers may have thousands
separators and scaled units (Kbyte is 1000 bytes; usecond and us are the same), and are written as the locale has it: in
a file with a number that can only be read so, such as 27.595.520 or 65,77, dots group and the comma is decimal.  Of the
metrics, those of `metrics.METRICS` are kept.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.errors import TierscopeError
from simulator.report.ncu.metrics import METRICS, Metric
from simulator.report.ncu.page import UNKNOWN

KERNEL, METRIC, UNIT, VALUE = "Kernel Name", "Metric Name", "Metric Unit", "Metric Value"
MOST_BYTES = 1 << 28
REPORT_MAGIC = b"NVR\0"  # of an .ncu-rep file
HOW = "ncu --import REPORT.ncu-rep --csv --page raw"

Row = dict[str, str]

_POWERS = {"": 0, "n": -9, "u": -6, "m": -3, "K": 3, "M": 6, "G": 9, "T": 12}
_UNIT = re.compile(r"([numKMGT]?)(byte|second|s|sector|cycle|block|thread|register)\Z")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?\Z")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+\Z")
_ONLY_POINTS = re.compile(r"-?\d{1,3}((,\d{3}){2,}|(,\d{3})+\.\d+)\Z")
_ONLY_COMMAS = re.compile(r"-?(\d{1,3}(\.\d{3}){2,}|\d{1,3}(\.\d{3})+,\d+|\d+,(\d{1,2}|\d{4,}))\Z")
"""Numbers that can be read in one way alone: with a decimal point, or with a decimal comma."""


class ProfileError(TierscopeError):
    """A profile that is foreign, truncated or malformed."""


@dataclass(frozen=True)
class ProfiledKernel:
    """One kernel of a profile: its number and name, and its metrics in base units by ncu's name (None: n/a)."""

    id: str
    name: str
    metrics: dict[str, float | None]


def read(path: Path) -> list[ProfiledKernel]:
    """Return the kernels of a profile in file order; raises ProfileError with the file, the line and a remedy."""
    lines = _text(path).splitlines(keepends=True)
    skipped = next((n for n, line in enumerate(lines) if line.startswith(('"ID",', "ID,"))), len(lines))
    rows = _rows(path, lines, skipped)
    _, header = next(rows, (0, []))
    if KERNEL not in header:
        raise ProfileError(f"{path}: no header of ncu --csv (with the columns ID and {KERNEL}); export one: {HOW}")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ProfileError(f"{path}: line {skipped + 1}: column {twice!r} is there twice; export it again: {HOW}")
    table = list(_whole(path, header, rows))
    commas = _has_decimal_commas(header, table)
    kernels = (_details if METRIC in header else _raw)(path, header, table, commas)
    if not kernels:
        raise ProfileError(
            f"{path}: a header and no kernel: truncated, or nothing was profiled; export it again: {HOW}"
        )
    if not any(kernel.metrics for kernel in kernels):
        raise ProfileError(
            f"{path}: none of the metrics that are known here (tierscope list counters); profile with --set full or "
            "--metrics gpu__time_duration.sum,dram__bytes_read.sum,lts__t_sectors_op_read.sum"
        )
    return kernels


def _text(path: Path) -> str:
    """Return a profile as text: UTF-8, or UTF-16 with its mark, which PowerShell writes."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ProfileError(f"{path}: larger than 256 MiB; export fewer kernels or metrics")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ProfileError(f"{path}: cannot be read: {reason}") from error
    if content.startswith(REPORT_MAGIC) or path.suffix == ".ncu-rep":
        raise ProfileError(f"{path}: a report, not CSV; export it: ncu --import {path.name} --csv --page raw")
    if not content.strip():
        raise ProfileError(f"{path}: empty; export a profile: {HOW}")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path}: not a text file; export a profile: {HOW}") from error


def _rows(path: Path, lines: Sequence[str], skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells from the header on; raises ProfileError where a quote is never closed."""
    reader = csv.reader((line for line in lines[skipped:] if not line.startswith("==")), strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ProfileError(f"{path}: not whole: {error}; export it again: {HOW}") from error
        if row:
            yield skipped + reader.line_num, row


def _whole(path: Path, header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, Row]]:
    """Yield line number and cells by column; raises ProfileError where a row has not the header's length."""
    for line, row in rows:
        if len(row) != len(header):
            raise ProfileError(
                f"{path}: line {line}: {len(row)} cells under {len(header)} columns: truncated, or not of the table; "
                f"export it again: {HOW}"
            )
        yield line, dict(zip(header, row, strict=True))


def _has_decimal_commas(header: Sequence[str], table: Sequence[tuple[int, Row]]) -> bool:
    """Return whether the numbers of a table have decimal commas: one says so, and none has a decimal point."""
    columns = [VALUE] if METRIC in header else [metric.name for metric in METRICS]
    cells = {row[column] for _, row in table for column in columns if column in row}
    return any(map(_ONLY_COMMAS.match, cells)) and not any(map(_ONLY_POINTS.match, cells))


def _raw(path: Path, header: Sequence[str], table: Sequence[tuple[int, Row]], commas: bool) -> list[ProfiledKernel]:
    """Return the kernels of a raw page; the row without an ID has the units."""
    known = [metric for metric in METRICS if metric.name in header]
    units: Row = {}
    kernels = []
    for line, row in table:
        if row["ID"] == "":
            units = row
            continue
        metrics = {
            metric.name: _value(path, line, metric, units.get(metric.name, metric.unit), row[metric.name], commas)
            for metric in known
        }
        kernels.append(ProfiledKernel(row["ID"], row[KERNEL], metrics))
    return kernels


def _details(path: Path, header: Sequence[str], table: Sequence[tuple[int, Row]], commas: bool) -> list[ProfiledKernel]:
    """Return the kernels of a details page; rows of rules have no metric, and each process has IDs of its own.

    Raises ProfileError where the last kernel has fewer metrics than any before it.
    """
    for column in (UNIT, VALUE):
        if column not in header:
            raise ProfileError(f"{path}: no column {column!r} beside {METRIC!r}; export it again: {HOW}")
    kernels: dict[tuple[str, str], ProfiledKernel] = {}
    found: dict[tuple[str, str], int] = {}
    for line, row in table:
        key = row.get("Process ID", ""), row["ID"]
        kernel = kernels.setdefault(key, ProfiledKernel(row["ID"], row[KERNEL], {}))
        found[key] = found.get(key, 0) + (row[METRIC] != "")
        metric = _metric(row[METRIC], row[UNIT])
        if metric is not None:
            kernel.metrics[metric.name] = _value(path, line, metric, row[UNIT], row[VALUE], commas)
    *before, last = found.values() or (0,)
    if before and last < min(before):
        raise ProfileError(
            f"{path}: the last kernel has {last} metrics, those before it {min(before)}: truncated; export it again: "
            f"{HOW}"
        )
    return list(kernels.values())


def _metric(name: str, unit: str) -> Metric | None:
    """Return the metric of a name or of a label of the details page; labels of two metrics differ in their unit."""
    for metric in METRICS:
        if name == metric.name or (name and name == metric.label and (unit == "%") == (metric.unit == "%")):
            return metric
    return None


def _value(path: Path, line: int, metric: Metric, unit: str, text: str, commas: bool) -> float | None:
    """Return a cell in the metric's base unit; raises ProfileError when number or unit cannot be read."""
    if text.strip().lower() in ("", UNKNOWN, "nan"):
        return None
    try:
        return number(text, commas) * factor(unit, metric.unit)
    except ValueError as error:
        raise ProfileError(
            f"{path}: line {line}: {metric.name}: {error}; export it again with --print-units base"
        ) from error


def number(text: str, commas: bool = False) -> float:
    """Return a number with or without thousands separators, such as ``1,234.5``; ``9,25`` has a decimal comma, as has
    every number where `commas`: ``1.234,5``.

    Raises ValueError when it is none, or not finite.
    """
    plain = text.strip()
    if commas:
        plain = plain.replace(".", "").replace(",", ".")
    elif _GROUPED.match(plain):
        plain = plain.replace(",", "")
    elif _DECIMAL_COMMA.match(plain):
        plain = plain.replace(",", ".")
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def factor(unit: str, base: str) -> float:
    """Return what a value in `unit` is multiplied by to be in `base`, such as 1000 for Kbyte and byte.

    No unit stands for the base itself, and a base without one takes any.  Raises ValueError when the two measure
    different things.
    """
    if unit in ("", base) or base == "":
        return 1.0
    (power, measured), (base_power, expected) = _scaled(unit), _scaled(base)
    if measured != expected:
        raise ValueError(f"unit {unit!r} where {base!r} is expected")
    return float(10.0 ** (power - base_power))


def _scaled(unit: str) -> tuple[int, tuple[str, ...]]:
    """Return the power of ten of a unit and what it measures: ``Gbyte/s`` is 9 and (byte, second)."""
    power, measured = 0, []
    for place, part in enumerate(unit.split("/")):
        found = _UNIT.match(part)
        if found is None:
            return 0, (unit,)
        power += _POWERS[found[1]] if place == 0 else -_POWERS[found[1]]
        measured.append("second" if found[2] == "s" else found[2])
    return power, tuple(measured)
