"""The report of the kernel suites (``tierscope.accuracy/1``): what was drawn, how far predictions are off, and what
each mechanism buys.  Its keys are described in validation/README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import simulator
from simulator import hardware
from simulator.run.counterfactual import MECHANISMS
from simulator.run.pool import Job, outcomes, shares
from simulator.run.provenance import commit
from simulator.validation.kernels import cells, transcribed
from simulator.validation.kernels.baselines import least_bytes, roofline_s
from simulator.validation.kernels.cells import Judged
from simulator.validation.kernels.checkpoint import Checkpoint, model_digest
from simulator.validation.kernels.database import Database
from simulator.validation.kernels.known_gaps import known_gap
from simulator.validation.kernels.rows import Ledger, MeasuredRow, Selection, select
from simulator.validation.kernels.sampling import stratified
from simulator.validation.kernels.suite import SUITES, KernelSuite

Json = dict[str, Any]

SCHEMA = "tierscope.accuracy/1"


@dataclass(frozen=True)
class Plan:
    """What a run is to do: the rows of each suite, and which of them are predicted again with which mechanisms switched
    off (`again`: of those drawn for the whole suite, as many as `without_sample` says)."""

    selection: Selection
    source: Database | Path
    rows: dict[str, list[MeasuredRow]]
    ledgers: dict[str, Ledger]
    overrides: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    without_sample: int | None = None
    again: dict[str, list[MeasuredRow]] = field(default_factory=dict)

    def jobs(self) -> Iterator[Job]:
        """Yield every prediction needed; equal ones stand more than once."""
        for without, suites in (("", self.rows), *((name, self.again) for name in self.without)):
            for rows in suites.values():
                yield from (job(row, self.overrides, without) for row in rows)

    def files(self) -> list[tuple[str, str]]:
        """Return the files that describe devices, with what they say: predictions are kept by the name alone."""
        named = sorted({row.file for rows in self.rows.values() for row in rows if row.file})
        return [(name, hardware.load(name).spec.model_dump_json()) for name in named]

    def missing(self, checkpoint: Checkpoint) -> set[str]:
        """Return the keys of the predictions still to be made."""
        return {key for each in self.jobs() if (key := each.key) not in checkpoint.known}


def job(row: MeasuredRow, overrides: tuple[str, ...], without: str = "") -> Job:
    """Return the prediction that a row needs."""
    return Job(row.description, overrides, without, row.case)


def plan(
    names: Iterable[str],
    selection: Selection,
    source: Database | Path,
    overrides: Sequence[str] = (),
    without: Sequence[str] = (),
    without_sample: int | None = None,
) -> Plan:
    """Return what is to be done for the suites named, with rows from the database or a transcribed file, of which
    mechanisms are switched off for `without_sample` a suite (None: all).

    Raises ConfigError when nothing that was asked for is there.
    """
    for name in selection.devices:
        if name.endswith(".toml"):
            hardware.load(name, overrides)  # a slip in it is said before any table is read
    rows, ledgers = {}, {}
    for name in names:
        suite = SUITES[name]
        if isinstance(source, Database):
            rows[name], ledgers[name] = select(suite, source, selection)
        else:
            rows[name], ledgers[name] = transcribed.select(suite, selection, source)
    for description in {row.description for found in rows.values() for row in found}:
        hardware.load(description, overrides)  # a mistake in the overrides is said before any work is done
    again = {
        name: _drawn([row for row in found if not row.part], without_sample, selection.seed)
        for name, found in rows.items()
    }
    return Plan(selection, source, rows, ledgers, tuple(overrides), tuple(without), without_sample, again)


def _drawn(rows: list[MeasuredRow], count: int | None, seed: int) -> list[MeasuredRow]:
    """Return `count` of the rows drawn (None: all), evenly over GPUs, and over sizes within each."""
    if count is None:
        return rows
    devices = sorted({row.device for row in rows})
    strata = np.array([devices.index(row.device) for row in rows], np.int64)
    sizes = np.array([least_bytes(row.case) for row in rows], np.float64)
    return [rows[place] for place in stratified(strata, sizes, count, seed)]


def run(todo: Plan, checkpoint: Checkpoint, workers: int, advance: Callable[[float], None] = lambda part: None) -> None:
    """Predict what the checkpoint lacks, on `workers` processes; `advance` is called with the part of that work that
    each prediction was."""
    missing = todo.missing(checkpoint)
    part = shares(missing)
    for key, prediction in outcomes(missing, workers):
        checkpoint.add(key, prediction)
        advance(part[key])


def report(todo: Plan, checkpoint: Checkpoint) -> Json:
    """Return the report of a plan whose predictions are all in the checkpoint."""
    suites = [_suite(SUITES[name], todo, checkpoint) for name in todo.rows]
    judged = [cell["within_target"] for suite in suites for cell in suite["cells"]]
    return {
        "schema": SCHEMA,
        "provenance": {"version": simulator.__version__, "commit": commit(), "model": model_digest()},
        "selection": describe(todo),
        "passed": all(verdict is not False for verdict in judged) and all(s["counts"]["predicted"] for s in suites),
        "suites": suites,
    }


def describe(todo: Plan) -> Json:
    """Return what decides which rows are drawn and how they are predicted."""
    source = todo.source
    rows = source.name if isinstance(source, Database) else transcribed.FILE
    selection = todo.selection
    return {
        "rows": rows,
        "sample": selection.sample,
        "part_sample": selection.part_sample,
        "seed": selection.seed,
        "hardware": list(selection.devices),
        "frameworks": list(selection.frameworks),
        "longest_s": selection.longest_s,
        "overrides": list(todo.overrides),
        "without": list(todo.without),
        "without_sample": todo.without_sample,
    }


def _suite(suite: KernelSuite, todo: Plan, checkpoint: Checkpoint) -> Json:
    rows, ledger = todo.rows[suite.name], todo.ledgers[suite.name]
    judged, failed = _judge(rows, todo.overrides, checkpoint)
    return {
        "suite": suite.name,
        "title": suite.title,
        "parts": [part.name for part in suite.parts],
        "counts": _counts(ledger, len(judged), len(failed)),
        "files": ledger.files,
        "left_out": {file: dict(reasons) for file, reasons in ledger.left_out.items() if reasons},
        "notes": ledger.notes,
        "failed": failed,
        "cells": cells.cells(suite, judged),
        "counterfactuals": list(_counterfactuals(suite, todo, judged, checkpoint)),
        "worst": [_point(each) for each in cells.worst(judged)],
        "points": [_point(each) for each in judged],
    }


def _counts(ledger: Ledger, predicted: int, failed: int) -> Json:
    """Return the books: in_files = left_out + usable, usable = not_drawn + predicted + failed."""
    left_out = sum(ledger.reasons().values())
    in_files = sum(ledger.files.values())
    assert in_files == left_out + ledger.usable, "every row of a file is usable or left out"
    assert ledger.drawn == predicted + failed, "every row drawn is predicted or has failed"
    return {
        "in_files": in_files,
        "left_out": left_out,
        "usable": ledger.usable,
        "not_drawn": ledger.usable - ledger.drawn,
        "predicted": predicted,
        "failed": failed,
        "reasons": dict(ledger.reasons().most_common()),
    }


def _judge(
    rows: Sequence[MeasuredRow], overrides: tuple[str, ...], checkpoint: Checkpoint
) -> tuple[list[Judged], list[Json]]:
    """Return the rows with their predictions, and those that could not be predicted with their reasons."""
    devices = {row.device: hardware.load(row.description).spec for row in rows}
    judged, failed = [], []
    for row in rows:
        prediction = checkpoint.known[job(row, overrides).key]
        if prediction["error"]:
            failed.append({"source": row.source, "error": prediction["error"]})
        else:
            judged.append(Judged(row, prediction, roofline_s(row.case, devices[row.device])))
    return judged, failed


def _counterfactuals(
    suite: KernelSuite, todo: Plan, judged: Sequence[Judged], checkpoint: Checkpoint
) -> Iterator[Json]:
    """Yield, by mechanism, part, set and GPU, the mean error with and without the mechanism on the same rows."""
    chosen = {row.source for row in todo.again[suite.name]}
    for name in todo.without:
        pairs = []
        for each in judged:
            if each.row.source not in chosen:
                continue
            prediction = checkpoint.known[job(each.row, todo.overrides, name).key]
            if not prediction["error"]:
                pairs.append((each, Judged(each.row, prediction, each.roofline_s)))
        for part in suite.parts:
            groups: dict[tuple[str, str], list[tuple[Judged, Judged]]] = {}
            for pair in pairs:
                row = pair[0].row
                if row.counts_in(part):
                    for device in (row.device, "all"):
                        groups.setdefault((row.set, device), []).append(pair)
            for (kind, device), group in sorted(groups.items()):
                whole, lacking = ([abs(each.ratio - 1) for each in side] for side in zip(*group, strict=True))
                slower = sorted(b.ratio / a.ratio for a, b in group)
                yield {
                    "without": name,
                    "mechanism": MECHANISMS[name].title,
                    "part": part.name,
                    "set": kind,
                    "hardware": device,
                    "rows": len(group),
                    "mape": sum(whole) / len(whole),
                    "mape_without": sum(lacking) / len(lacking),
                    "median_time_ratio": slower[len(slower) // 2],
                }


def _point(each: Judged) -> Json:
    row, found = each.row, each.prediction
    case = row.case.model_dump(mode="json", exclude={"id", "framework", "cache", "launch", "replays"})
    return {
        "source": row.source,
        "hardware": row.device,
        "framework": row.framework,
        "version": row.version,
        "set": row.set,
        "dtype": row.dtype,
        "case": {name: value for name, value in case.items() if name not in ("dtype", "kv_dtype")},
        "bytes": least_bytes(row.case),
        "measured_s": row.measured_s,
        "predicted_s": found["time_s"],
        "ratio": each.ratio,
        "roofline_s": each.roofline_s,
        "l2_hit_rate": found["l2_hit_rate"],
        "dram_bytes": found["dram_read_bytes"] + found["dram_write_bytes"],
        "limiter": found["limiter"],
        "known_gap": known_gap(row, each.ratio),
    }
