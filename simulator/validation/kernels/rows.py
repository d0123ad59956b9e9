"""Measured rows: read from the database, counted, left out with a reason, and drawn.

`Ledger` keeps the books: for every file, rows = left out + not drawn + drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator import hardware
from simulator.errors import ConfigError
from simulator.lowering.implementation import Framework
from simulator.run.cases import KernelCase
from simulator.validation.kernels import database
from simulator.validation.kernels.database import Columns, Database, Table
from simulator.validation.kernels.left_out import rules
from simulator.validation.kernels.sampling import stratified
from simulator.validation.kernels.suite import (
    CALIBRATION_GPUS,
    DTYPES,
    KernelSuite,
    Part,
    description_of,
    device_of,
    measured_call,
)

CALIBRATION, TEST = "calibration", "test"
MOST_REASONS = 3


@dataclass(frozen=True)
class MeasuredRow:
    """One measured kernel: where its row stands, what ran, and how long it took."""

    source: str  # table and row
    suite: str
    device: str
    framework: str
    version: str
    set: str
    dtype: str
    case: KernelCase
    measured_s: float
    file: str = ""  # that describes the device, where it is not one that ships
    part: str = ""  # the part of the suite that it was drawn for, in which alone it counts; none: any

    def counts_in(self, part: Part) -> bool:
        """Return whether the row is one of those by which a part of its suite is judged."""
        return self.part in ("", part.name) and part.holds(self.case)

    @property
    def description(self) -> str:
        """What describes the device, as `hardware.load` takes it."""
        return self.file or self.device


@dataclass(frozen=True)
class Selection:
    """Which rows of a suite are wanted: `sample` None is all of them, `part_sample` how many more of each part that is
    a small share of its suite; none named of `devices` and `frameworks`: any."""

    sample: int | None = None
    seed: int = 0
    devices: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()
    longest_s: float | None = None
    part_sample: int = 0


@dataclass
class Ledger:
    """What became of the rows of each file: reasons and counts by file; `usable` and `drawn` rows in all."""

    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    usable: int = 0
    drawn: int = 0

    def enter(self, file: str, rows: int) -> None:
        """Note a file and its rows."""
        self.files[file] = rows
        self.left_out[file] = Counter()

    def reasons(self) -> Counter[str]:
        """Return how many rows each reason took, over all files."""
        return sum(self.left_out.values(), Counter())


@dataclass(frozen=True)
class _Usable:
    """The rows of one table that can be predicted."""

    table: Table
    description: str
    columns: Columns
    rows: NDArray[np.int64]
    calibration: NDArray[np.bool_]


def select(suite: KernelSuite, source: Database, selection: Selection) -> tuple[list[MeasuredRow], Ledger]:
    """Return the rows drawn for a suite and the books of its files.

    Raises ConfigError when nothing that was asked for is in the database.
    """
    ledger = Ledger()
    if source.version not in (None, database.VERSION):
        ledger.notes.append(f"the database is {source.version}; the rules for its rows were written for "
                            f"{database.PACKAGE} {database.VERSION}")  # fmt: skip
    tables = [table for table in source.tables(suite.family, suite.file) if _wanted(table, selection)]
    usable = [found for table in tables if (found := _usable(suite, table, selection, ledger)) is not None]
    if not usable:
        gpus = sorted({description_of(each.gpu) or each.gpu for each in source.tables(suite.family, suite.file)})
        if not gpus:
            place = f"<gpu>/{suite.family}/<framework>/<version>/{suite.file}"
            raise ConfigError(f"suite {suite.name}: {source.root} has no table {place}")
        raise ConfigError(
            f"suite {suite.name}: {source.root} has no usable row of what was asked for; it has tables of "
            f"{', '.join(gpus)}{_why_none(ledger)}{_of_files(selection)}"
        )
    drawn = [row for draw in _draws(suite, usable, selection) for row in _materialise(suite, draw)]
    ledger.usable, ledger.drawn = sum(len(found.rows) for found in usable), len(drawn)
    return drawn, ledger


def _why_none(ledger: Ledger) -> str:
    """Return what was wrong with files that were read, most rows first, as the end of a sentence."""
    reasons = [f"{count:,} rows: {reason}" for reason, count in ledger.reasons().most_common(MOST_REASONS)]
    return "".join(f"; {reason}" for reason in [*ledger.notes[:MOST_REASONS], *reasons])


def _of_files(selection: Selection) -> str:
    files = [name for name in selection.devices if name.endswith(".toml")]
    return f"; {files[0]} describes the GPU whose folder has the name of the file" if files else ""


def _wanted(table: Table, selection: Selection) -> bool:
    if selection.frameworks and table.framework not in selection.frameworks:
        return False
    return not selection.devices or description_of(table.gpu, selection.devices) in selection.devices


def _usable(suite: KernelSuite, table: Table, selection: Selection, ledger: Ledger) -> _Usable | None:
    """Return the usable rows of a table, having entered the others with their reasons; None when there are none."""
    try:
        columns = database.read(table)
    except ConfigError as error:
        ledger.notes.append(str(error))
        return None
    ledger.enter(table.name, columns.rows)
    if not columns.rows:
        ledger.notes.append(f"{table.name}: no rows")
    out = ledger.left_out[table.name]
    description = description_of(table.gpu, selection.devices)
    if whole := _whole_table(suite, table, columns, description):
        out[whole] = columns.rows
        return None
    left = np.ones(columns.rows, np.bool_)
    for reason, mask in rules(suite, table, columns):
        if taken := int(np.count_nonzero(left & mask)):
            out[reason] += taken
        left &= ~mask
    if selection.longest_s is not None:
        long = left & (columns.numbers("latency") * 1e-3 > selection.longest_s)
        out[f"longer than the {selection.longest_s * 1e3:g} ms asked for"] += int(np.count_nonzero(long))
        left &= ~long
    out += Counter()  # drop reasons that took nothing
    rows = np.flatnonzero(left)
    calibration = columns.calibration()[rows] if table.gpu in CALIBRATION_GPUS else np.zeros(len(rows), np.bool_)
    return _Usable(table, description or "", columns, rows, calibration) if len(rows) else None


def _whole_table(suite: KernelSuite, table: Table, columns: Columns, description: str | None) -> str | None:
    """Return why no row of a table can be used, if that is so."""
    if description is None:
        return f"no hardware description of {table.gpu}"
    if table.framework not in set(Framework):
        return f"unknown framework {table.framework}"
    if twice := [name for name, times in Counter(columns.names).items() if times > 1]:
        return f"more than one column {twice[0]}"
    missing = [name for name in suite.required if name not in columns.names]
    return f"no column {missing[0]}" if missing else None


@dataclass(frozen=True)
class _Draw:
    """Rows drawn of a table for a part of the suite, or for all."""

    table: _Usable
    rows: NDArray[np.int64]
    part: str = ""


def _draws(suite: KernelSuite, usable: Sequence[_Usable], selection: Selection) -> Iterator[_Draw]:
    """Yield the rows drawn of each table; strata are GPU, framework, element type, and calibration or test."""
    if selection.sample is None:
        yield from (_Draw(found, found.rows) for found in usable)
        return
    names: dict[tuple[str, str, str, bool], int] = {}
    strata, sizes = [], []
    for found in usable:
        codes, words = found.columns.words(suite.dtype)
        keys = [
            names.setdefault((found.table.gpu, found.table.framework, words[code], bool(mine)), len(names))
            for code, mine in zip(codes[found.rows], found.calibration, strict=True)
        ]
        strata.append(np.array(keys, np.int64))
        sizes.append(suite.size(found.columns)[found.rows])
    stratum, size = np.concatenate(strata), np.concatenate(sizes)
    chosen = stratified(stratum, size, selection.sample, selection.seed)
    yield from _of_tables(usable, chosen)
    for part in suite.parts:
        if part.among is None or not selection.part_sample:
            continue
        left = np.concatenate([part.among(found.columns)[found.rows] for found in usable])
        left[chosen] = False
        places = np.flatnonzero(left)
        more = stratified(stratum[places], size[places], selection.part_sample, selection.seed)
        yield from _of_tables(usable, places[more], part.name)


def _of_tables(usable: Sequence[_Usable], chosen: NDArray[np.int64], part: str = "") -> Iterator[_Draw]:
    """Yield the chosen of all rows of the tables, counted from the first table on, table by table."""
    bounds = np.cumsum([0, *(len(found.rows) for found in usable)])
    for found, low, high in zip(usable, bounds[:-1], bounds[1:], strict=True):
        yield _Draw(found, found.rows[chosen[(chosen >= low) & (chosen < high)] - low], part)


def _materialise(suite: KernelSuite, draw: _Draw) -> list[MeasuredRow]:
    """Return the rows drawn of a table as cases."""
    found, rows = draw.table, draw.rows
    table, columns = found.table, found.columns
    device = hardware.load(found.description).spec
    codes, words = columns.words(suite.dtype)
    numbers = {name: np.nan_to_num(columns.numbers(name))[rows] for name in (*suite.positive, *suite.optional)}
    latency = columns.numbers("latency")[rows]
    mine = found.calibration[np.searchsorted(found.rows, rows)]
    sources, names = columns.words("kernel_source")
    measured = []
    for place, row in enumerate(rows):
        values = {name: int(column[place]) for name, column in numbers.items()}
        dtype = DTYPES[words[codes[row]]]
        call = measured_call(suite.kernel, table.framework, table.version, names[sources[row]])
        tree = suite.case(values, dtype, table.framework, device) | call
        measured.append(
            MeasuredRow(
                source=f"{table.name}:{row}",
                suite=suite.name,
                device=device_of(found.description),
                framework=table.framework,
                version=table.version,
                set=CALIBRATION if mine[place] else TEST,
                dtype=dtype,
                case=suite.kernel.model_validate(tree),
                measured_s=float(latency[place]) * 1e-3,
                file=found.description if found.description.endswith(".toml") else "",
                part=draw.part,
            )
        )
    return measured
