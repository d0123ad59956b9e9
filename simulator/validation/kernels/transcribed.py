"""The measured rows that ship: a few hundred, rounded to three digits, each with its source.

`validation/sample.py` wrote them; the columns are those of the cases, and what a row of the database says besides.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator import config
from simulator.errors import ConfigError
from simulator.run.cases import KINDS
from simulator.validation.kernels.baselines import least_bytes
from simulator.validation.kernels.rows import CALIBRATION, TEST, Ledger, MeasuredRow, Selection
from simulator.validation.kernels.sampling import stratified
from simulator.validation.kernels.suite import KernelSuite, measured_call

FILE = "kernels.csv"
OWN = ("suite", "hardware", "framework", "version", "set")
SHAPE = (
    *("m", "n", "k", "weight_copies", "batch", "seq_len", "kv_len", "heads", "kv_heads", "head_dim", "window"),
    *("dtype", "kv_dtype"),
)
COLUMNS = [*OWN, *SHAPE, "measured_us", "source"]


def path() -> Path:
    """Return the file of transcribed rows."""
    return config.data_dir("validation/rows") / FILE


def select(suite: KernelSuite, selection: Selection, source: Path) -> tuple[list[MeasuredRow], Ledger]:
    """Return the rows drawn for a suite from a file of transcribed rows, and the books of the file.

    Raises ConfigError naming file and line where a row cannot be read, and when nothing asked for is in it.
    """
    ledger = Ledger()
    rows = read(source)
    ledger.enter(FILE, len(rows))
    out = ledger.left_out[FILE]
    wanted = []
    for row in rows:
        if row.suite != suite.name:
            out["another suite"] += 1
        elif selection.devices and row.device not in selection.devices:
            out["other hardware"] += 1
        elif selection.frameworks and row.framework not in selection.frameworks:
            out["another framework"] += 1
        elif selection.longest_s is not None and row.measured_s > selection.longest_s:
            out[f"longer than the {selection.longest_s * 1e3:g} ms asked for"] += 1
        else:
            wanted.append(row)
    if not wanted:
        raise ConfigError(f"suite {suite.name}: {source} has no row of what was asked for")
    drawn = _draw(wanted, selection)
    ledger.usable, ledger.drawn = len(wanted), len(drawn)
    return drawn, ledger


def _draw(rows: Sequence[MeasuredRow], selection: Selection) -> list[MeasuredRow]:
    if selection.sample is None:
        return list(rows)
    names: dict[tuple[str, str, str, str], int] = {}
    strata = [names.setdefault((row.device, row.framework, row.dtype, row.set), len(names)) for row in rows]
    sizes = np.array([float(least_bytes(row.case)) for row in rows])
    return [rows[place] for place in stratified(np.array(strata), sizes, selection.sample, selection.seed)]


def read(source: Path) -> list[MeasuredRow]:
    """Return every transcribed row; raises ConfigError naming file and line."""
    lines = csv.reader(config.read_text(source).splitlines())
    if next(lines, None) != COLUMNS:
        raise ConfigError(f"{source}: line 1: the columns must be {','.join(COLUMNS)}")
    return [_row(source, number, fields) for number, fields in enumerate(lines, start=2)]


def _row(source: Path, number: int, fields: Sequence[str]) -> MeasuredRow:
    where = f"{source}: line {number}"
    if len(fields) != len(COLUMNS):
        raise ConfigError(f"{where}: {len(fields)} fields, but {len(COLUMNS)} columns in the header")
    values = dict(zip(COLUMNS, fields, strict=True))
    kernel = values["suite"].replace("-", "_")
    if kernel not in KINDS:
        raise ConfigError(f"{where}: suite: {config.nearest(values['suite'], (k.replace('_', '-') for k in KINDS))}")
    if values["set"] not in (CALIBRATION, TEST):
        raise ConfigError(f"{where}: set: {values['set']!r} is neither {CALIBRATION} nor {TEST}")
    try:
        measured_s = float(values["measured_us"]) * 1e-6
    except ValueError:
        measured_s = 0.0
    if not 0 < measured_s < float("inf"):
        raise ConfigError(f"{where}: measured_us: {values['measured_us']!r} is not a positive number")
    shape = {name: values[name] for name in SHAPE if values[name]}
    call = measured_call(KINDS[kernel], values["framework"], values["version"])
    return MeasuredRow(
        source=f"{FILE}:{number}",
        suite=values["suite"],
        device=values["hardware"],
        framework=values["framework"],
        version=values["version"],
        set=values["set"],
        dtype=values["dtype"] or values["kv_dtype"],
        case=config.build(KINDS[kernel], shape | call, where),
        measured_s=measured_s,
    )


def to_csv_values(row: MeasuredRow, source: str) -> dict[str, Any]:
    """Return a row in the columns of the file, the time rounded to three digits."""
    case = row.case.model_dump(mode="json")
    shape = {name: case[name] for name in SHAPE if name in case}
    own = (row.suite, row.device, row.framework, row.version, row.set)
    return dict(zip(OWN, own, strict=True)) | shape | {"measured_us": f"{row.measured_s * 1e6:.3g}", "source": source}
