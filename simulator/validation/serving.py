"""Time per output token of serving engines against decode steps: the suite ``serving-decode``.

`validation/rows/serving.csv` holds serving runs on H100 under a fixed number of concurrent requests.  What a token
takes is put together from

- the decode step of one GPU's share of the model, at that batch and the mean context, simulated;
- its all-reduces, two a layer, from the link model of `theory.all_reduce`;
- prefills: whenever a request ends the next one's prompt runs alone, so that a token waits on average for
  (concurrency - 1) / tokens prefills, simulated;
- the host: scheduling, sampling, input preparation, one number per framework.

The last is the median of what the others leave of the measured time, over the calibration rows: those of concurrency
8.  The rows of 16 and 32 are the test; above that prefills are batched, and the rows wait for a serving model.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from simulator import config, hardware, models
from simulator.errors import ConfigError
from simulator.hardware import Dtype, Hardware
from simulator.models import Architecture
from simulator.models.sharding import shard
from simulator.run.generate import generate
from simulator.run.pool import compile_core
from simulator.run.simulate import simulate
from simulator.theory.all_reduce import serving_ps
from simulator.units import PS_PER_S
from simulator.validation.checks import check
from simulator.validation.kept import Solve, one_by_one
from simulator.workload import Phase, Workload
from simulator.workload.protocol import Protocol

Json = dict[str, Any]

FILE = "serving.csv"
COLUMNS = (
    *("hardware", "model", "framework", "version", "weights", "tensor_parallel", "prompt", "tokens", "concurrency"),
    *("tpot_ms", "source"),
)
CALIBRATION_CONCURRENCY, MOST_CONCURRENCY = 8, 32
PAGE_TOKENS = 64
MEDIAN_ERROR = 0.12
CALIBRATION, TEST = "calibration", "test"


@dataclass(frozen=True)
class Serving:
    """One run of a serving engine: requests of `prompt` tokens that ask for `tokens`, `concurrency` at a time."""

    hardware: str
    model: str
    framework: str
    weights: Dtype
    degree: int
    prompt: int
    tokens: int
    concurrency: int
    measured_s: float

    @property
    def set(self) -> str:
        """Whether the row is one the host's share is derived from, or one that is judged."""
        return CALIBRATION if self.concurrency <= CALIBRATION_CONCURRENCY else TEST


@dataclass(frozen=True)
class Device:
    """What a step of one GPU's share is simulated on."""

    name: str
    model: str
    weights: Dtype
    degree: int


@cache
def table() -> tuple[tuple[Serving, ...], dict[str, int]]:
    """Return the rows that can be predicted, and how many of the file are left out for which reason.

    Raises ConfigError naming file and line where a row cannot be read.
    """
    path = config.data_dir("validation/rows") / FILE
    reader = csv.reader(config.read_text(path).splitlines())
    if tuple(next(reader, ())) != COLUMNS:
        raise ConfigError(f"{path}: line 1: the columns must be {','.join(COLUMNS)}")
    rows, left_out = [], Counter[str]()
    for line, fields in enumerate(reader, start=2):
        row = dict(zip(COLUMNS, fields, strict=False))
        if not row.get("concurrency") or not row.get("tpot_ms"):
            left_out["concurrency or time per token is not given"] += 1
            continue
        try:
            found = _row(row)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"{path}: line {line}: {error}") from error
        if found.concurrency > MOST_CONCURRENCY:
            left_out[f"over {MOST_CONCURRENCY} concurrent requests: prefills are batched"] += 1
        else:
            rows.append(found)
    return tuple(rows), dict(left_out)


def _row(row: dict[str, str]) -> Serving:
    measured = float(row["tpot_ms"]) / 1e3
    if not 0 < measured < float("inf"):
        raise ValueError(f"tpot_ms: {row['tpot_ms']} is not a positive number")
    return Serving(
        hardware=row["hardware"],
        model=row["model"],
        framework=row["framework"],
        weights=Dtype(row["weights"]),
        degree=int(row["tensor_parallel"]),
        prompt=int(row["prompt"]),
        tokens=int(row["tokens"]),
        concurrency=int(row["concurrency"]),
        measured_s=measured,
    )


def select(devices: Sequence[str] = ()) -> list[Serving]:
    """Return the rows of the devices named (none named: all); raises ConfigError."""
    rows, _ = table()
    known = dict.fromkeys(row.hardware for row in rows)
    for name in devices:
        if name not in known:
            raise ConfigError(f"suite serving-decode: no hardware {name!r}; it has {', '.join(known)}")
    return [row for row in rows if not devices or row.hardware in devices]


def steps_of(rows: Sequence[Serving]) -> list[tuple[Device, Workload]]:
    """Return the passes that have to be simulated for rows, each once."""
    passes = [(device_of(row), workload) for row in rows for workload in (_decode(row), _prefill(row))]
    return list(dict.fromkeys(passes))


def device_of(row: Serving) -> Device:
    """Return what the passes of a row run on."""
    return Device(row.hardware, row.model, row.weights, row.degree)


def _decode(row: Serving) -> Workload:
    """Return the step at the mean context; to a multiple of 64 tokens, so that rows share steps."""
    context = -(-(row.prompt + row.tokens // 2) // PAGE_TOKENS) * PAGE_TOKENS
    return Workload(
        phase=Phase.DECODE,
        batch=row.concurrency,
        context=context,
        weight_dtype=row.weights,
        activation_dtype=row.weights,
        page_tokens=PAGE_TOKENS,
    )


def _prefill(row: Serving) -> Workload:
    return Workload(
        phase=Phase.PREFILL,
        prompt=row.prompt,
        weight_dtype=row.weights,
        activation_dtype=row.weights,
        page_tokens=PAGE_TOKENS,
    )


def pass_ps(device: Device, workload: Workload, overrides: Sequence[str] = ()) -> float:
    """Return the time (ps) of one pass on every GPU of a machine, all-reduces included.

    Raises ConfigError where the model cannot be dealt out, or the device has no links to others, CapacityError where
    a share does not fit.
    """
    spec = hardware.load(device.name, overrides).spec
    whole = models.load(device.model)
    protocol = Protocol()
    outcome = simulate(generate(shard(whole, device.degree), workload, protocol, spec), spec, protocol)
    tokens = workload.batch * (workload.prompt or 1)
    return float(outcome.step_ps.sum()) + 2 * whole.layers * _all_reduce_ps(whole, tokens, device.degree, spec)


def _pass(step: tuple[Device, Workload, tuple[str, ...]]) -> Json:
    return {"ps": pass_ps(*step)}


def _key(device: Device, workload: Workload, overrides: Sequence[str]) -> str:
    """Return what the time of a pass depends on, as text."""
    return json.dumps([asdict(device), workload.model_dump(mode="json", exclude_defaults=True), list(overrides)])


def _all_reduce_ps(model: Architecture, tokens: int, degree: int, spec: Hardware) -> float:
    if degree == 1:
        return 0.0
    if spec.peers is None:
        raise ConfigError(f"{spec.name}: peers: missing; this device has no links to other GPUs")
    size = tokens * model.hidden * Dtype.BF16.bytes
    start_ps = spec.launch.graph_ps + spec.launch.cta_start_ps
    return serving_ps(size, degree, spec.peers.bandwidth_bytes_per_s, start_ps)


def serving_decode(rows: Sequence[Serving], overrides: Sequence[str] = (), solve: Solve = one_by_one) -> Json:
    """Predict the time per token of `rows` and compare it with the measured one; `solve` works out the passes."""
    passes = {_key(*step, overrides): (*step, tuple(overrides)) for step in steps_of(rows)}
    found = solve(passes, _pass, compile_core)
    times = {(device, workload): found[key]["ps"] for key, (device, workload, _) in passes.items()}
    device_s = [_device_s(row, times) for row in rows]
    host_s = _host_s(rows, device_s)
    points = [_point(row, ours, host_s) for row, ours in zip(rows, device_s, strict=True)]
    checks = _checks(points)
    left_out = table()[1]
    return {
        "schema": "tierscope.validation/1",
        "suite": "serving-decode",
        "note": _note(len(points), host_s, left_out),
        "overrides": list(overrides),
        "passed": all(each["passed"] is not False for each in checks),
        "host_s": host_s,
        "left_out": left_out,
        "checks": checks,
        "curves": [],
        "points": points,
    }


def _note(rows: int, host_s: Mapping[str, float], left_out: Mapping[str, int]) -> str:
    """Return what belongs to the checks of a report: the host's share and the rows left out."""
    host = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in host_s.items())
    reasons = "; ".join(f"{count} rows left out, {reason}" for reason, count in left_out.items())
    return f"{rows} rows; host, a token: {host}; {reasons}"


def _device_s(row: Serving, times: dict[tuple[Device, Workload], float]) -> float:
    """Return what a token takes without the host (s)."""
    step, prefill = times[device_of(row), _decode(row)], times[device_of(row), _prefill(row)]
    return (step + (row.concurrency - 1) / row.tokens * prefill) / PS_PER_S


def _host_s(rows: Sequence[Serving], device_s: Sequence[float]) -> dict[str, float]:
    """Return the host's share of a token by framework (s), from the calibration rows; 0 where there are none."""
    host = {}
    for framework in dict.fromkeys(row.framework for row in rows):
        left = [
            row.measured_s - ours
            for row, ours in zip(rows, device_s, strict=True)
            if row.framework == framework and row.set == CALIBRATION
        ]
        host[framework] = max(0.0, statistics.median(left)) if left else 0.0
    return host


def _point(row: Serving, device_s: float, host_s: dict[str, float]) -> Json:
    predicted = device_s + host_s[row.framework]
    return {
        "hardware": row.hardware,
        "model": row.model,
        "framework": row.framework,
        "weights": row.weights.value,
        "tensor_parallel": row.degree,
        "prompt": row.prompt,
        "tokens": row.tokens,
        "concurrency": row.concurrency,
        "set": row.set,
        "measured_s": row.measured_s,
        "predicted_s": predicted,
        "device_s": device_s,
        "ratio": predicted / row.measured_s,
    }


def _checks(points: Sequence[Json]) -> list[Json]:
    """Return the median errors: of the test rows of each model and degree, which have a limit, and by framework and
    set, which are only reported."""
    judged = [point for point in points if point["set"] == TEST]
    groups = [
        (judged, ("hardware", "model", "tensor_parallel"), MEDIAN_ERROR),
        (points, ("hardware", "model", "tensor_parallel", "framework", "weights", "set"), None),
    ]
    checks = []
    for rows, keys, tolerance in groups:
        members: dict[tuple[Any, ...], list[Json]] = defaultdict(list)
        for point in rows:
            members[tuple(point[key] for key in keys)].append(point)
        checks += [_check(members[group], group[3:], tolerance) for group in sorted(members)]
    return checks


def _check(members: Sequence[Json], parts: tuple[str, ...], tolerance: float | None) -> Json:
    first = members[0]
    degree = first["tensor_parallel"]
    error = statistics.median(abs(point["ratio"] - 1) for point in members)
    return {
        "gpu": first["hardware"],
        "hardware": first["hardware"],
        "benchmark": first["model"],
        "variant": ", ".join([f"{degree} GPU{'s' if degree > 1 else ''}", *parts]),
        **check(f"median error, {len(members)} rows", None, None, "", error, tolerance),
    }
