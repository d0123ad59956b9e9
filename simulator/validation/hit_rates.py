"""Hit rates and DRAM sectors of single kernels against hardware counters: the suite ``hit-rates``.

`validation/rows/hit_rates.csv` holds a row per counter read: the case as `tierscope predict` takes it, the counter, its
value and where it was published.  Nothing of it was fitted to.  Times are not compared: the profiler locks clocks.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from simulator import config, hardware
from simulator.errors import ConfigError
from simulator.run.cases import KINDS, DecodeAttentionCase, GemmCase, KernelCase
from simulator.run.pool import Job, compile_core
from simulator.run.predict import Prediction, predict
from simulator.validation.checks import check
from simulator.validation.kept import Solve, one_by_one

Json = dict[str, Any]

FILE = "hit_rates.csv"
OWN = ("gpu", "hardware", "kernel", "quantity", "measured", "source")
SECTOR_BYTES = 32
SECTORS, GEMM_HITS, ATTENTION_HITS, COLD_DISTINCT_HITS = 0.02, 0.02, 0.05, 0.03
"""Tolerances: a share of the sectors; points of hit rate, of decode attention fewer where nothing is read twice."""

PREDICTED: dict[str, Callable[[Prediction], float | None]] = {
    "DRAM read sectors": lambda prediction: prediction.dram_read_bytes / SECTOR_BYTES,
    "L2 read hits": lambda prediction: _percent(prediction.l2_read_hit_rate),
    "L2 hits": lambda prediction: _percent(prediction.l2_hit_rate),
}


@dataclass(frozen=True)
class Counter:
    """One counter of one kernel, as it was read; hit rates in percent."""

    gpu: str
    device: str
    case: KernelCase
    quantity: str
    measured: float
    source: str

    @property
    def tolerance(self) -> float:
        """How far off the prediction may be: relative for sectors, in points / 100 for hit rates."""
        if self.quantity == "DRAM read sectors":
            return SECTORS
        if not isinstance(self.case, DecodeAttentionCase):
            return GEMM_HITS
        distinct = self.case.cache == "cold" and self.case.kv_sharers == 1
        return COLD_DISTINCT_HITS if distinct else ATTENTION_HITS

    @property
    def label(self) -> str:
        """What ran, in short."""
        case = self.case
        if isinstance(case, DecodeAttentionCase):
            shared = f", {case.kv_sharers} share" if case.kv_sharers > 1 else ""
            profiled = ", profiled" if case.profiled else ""
            return f"{case.batch} x {case.kv_len} keys{shared}, {case.cache.value}{profiled}"
        assert isinstance(case, GemmCase)
        return f"{case.m} x {case.n} x {case.k}, {case.cache.value}"


@cache
def counters() -> tuple[Counter, ...]:
    """Return every counter that ships; raises ConfigError naming file and line where one cannot be read."""
    path = config.data_dir("validation/rows") / FILE
    rows = csv.DictReader(config.read_text(path).splitlines())
    found = []
    for line, row in enumerate(rows, start=2):
        given = {key: value for key, value in row.items() if value and key not in OWN}
        try:
            case = config.build(KINDS[row["kernel"]], given, row["kernel"])
            measured = float(row["measured"])
        except (KeyError, ValueError, ConfigError) as error:
            raise ConfigError(f"{path}: line {line}: {error}") from error
        if row["quantity"] not in PREDICTED:
            raise ConfigError(f"{path}: line {line}: unknown quantity {row['quantity']!r}")
        found.append(Counter(row["gpu"], row["hardware"], case, row["quantity"], measured, row["source"]))
    return tuple(found)


def select(devices: Sequence[str] = ()) -> list[Counter]:
    """Return the counters of the devices named (none named: all); raises ConfigError."""
    known = dict.fromkeys(counter.device for counter in counters())
    for name in devices:
        if name not in known:
            raise ConfigError(f"suite hit-rates: no hardware {name!r}; it has {', '.join(known)}")
    return [counter for counter in counters() if not devices or counter.device in devices]


def hit_rates(chosen: Sequence[Counter], overrides: Sequence[str] = (), solve: Solve = one_by_one) -> Json:
    """Predict the counters of `chosen` and compare them with the measured ones; `solve` works out the kernels."""
    jobs = [Job(counter.device, tuple(overrides), "", counter.case) for counter in chosen]
    found = solve({job.key: job for job in jobs}, _predict, compile_core)
    predictions = (Prediction(**found[job.key]["prediction"]) for job in jobs)
    checks = [_check(counter, prediction) for counter, prediction in zip(chosen, predictions, strict=True)]
    return {
        "schema": "tierscope.validation/1",
        "suite": "hit-rates",
        "overrides": list(overrides),
        "passed": all(each["passed"] for each in checks),
        "checks": checks,
        "curves": [],
    }


def _predict(job: Job) -> Json:
    return {"prediction": asdict(predict(job.case, hardware.load(job.device, job.overrides).spec))}


def _check(counter: Counter, prediction: Prediction) -> Json:
    ours = PREDICTED[counter.quantity](prediction)
    rate = counter.quantity != "DRAM read sectors"
    error = None
    if ours is not None:
        error = (ours - counter.measured) / 100 if rate else ours / counter.measured - 1
    return {
        "gpu": counter.gpu,
        "hardware": counter.device,
        "benchmark": counter.case.kernel.replace("_", " "),
        "variant": counter.label,
        **check(counter.quantity, counter.measured, ours, "%" if rate else "sectors", error, counter.tolerance),
        "source": counter.source,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
