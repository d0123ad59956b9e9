"""A run from request to result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from simulator import config
from simulator.errors import ConfigError, TraceError
from simulator.hardware import Hardware, ResolvedHardware
from simulator.memory.observer import AccessObserver
from simulator.models import Architecture
from simulator.run.generate import Streaming, Trace, generate, streaming_of
from simulator.run.request import RunRequest
from simulator.run.result import Json, result
from simulator.run.simulate import Outcome, Progress, simulate
from simulator.system import Samples
from simulator.trace import parquet
from simulator.trace.record import TraceHeader
from simulator.workload import Workload, check_capacity
from simulator.workload.protocol import Protocol


@dataclass(frozen=True)
class Prepared:
    """A run that has been checked and only has to be replayed; `again` prepares it anew, in another process."""

    trace: Trace
    hardware: ResolvedHardware
    protocol: Protocol
    layers: int
    seed: int
    exact: bool
    again: Callable[[], Prepared] | None = None


def prepare(request: RunRequest) -> Prepared:
    """Return a request with its hardware, model and trace resolved; raises ConfigError and CapacityError."""
    device = request.resolve_hardware()
    architecture = request.resolve_model()
    trace = generate(architecture, request.workload, request.protocol, device.spec, request.seed)
    again = partial(prepare, request)
    return Prepared(trace, device, request.protocol, architecture.layers, request.seed, request.exact, again)


def prepare_replay(path: Path, device: ResolvedHardware, exact: bool) -> Prepared:
    """Return the replay of a trace file on a device; raises TraceError.

    The protocol, seed and number of steps are those the trace was generated with.
    """
    header, _ = parquet.read(path)
    workload = header.workload
    try:
        protocol = Protocol.model_validate(workload.get("protocol", {}))
        steps, seed = int(workload.get("steps", 1)), int(workload.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise TraceError(
            f"{path}: metadata key workload: not as written by tierscope trace generate: {error}"
        ) from error
    if not 0 < steps <= 1 << 20:
        raise TraceError(f"{path}: metadata key workload.steps: must be positive (given {steps})")
    if not 0 <= seed < 1 << 31:
        raise TraceError(f"{path}: metadata key workload.seed: must be from 0 to {(1 << 31) - 1} (given {seed})")

    def kernels(only: frozenset[int] | None = None) -> Any:
        _, stream = parquet.read(path)
        return (kernel for kernel in stream if only is None or kernel.header.step in only)

    layers = header.model.get("layers", 1)
    trace = Trace(header, steps, kernels, _streaming_of(path, header, device.spec))
    again = partial(prepare_replay, path, device, exact)
    return Prepared(trace, device, protocol, layers if isinstance(layers, int) else 1, seed, exact, again)


def _streaming_of(path: Path, header: TraceHeader, device: Hardware) -> Streaming | None:
    """Return what a trace's workload copies between tiers, checked against the device it is replayed on."""
    if not header.workload.get("placement"):
        return None
    described = {key: value for key, value in header.workload.items() if key not in ("protocol", "seed", "steps")}
    try:
        workload = config.build(Workload, described, f"{path}: metadata key workload")
        architecture = config.build(Architecture, header.model, f"{path}: metadata key model")
    except ConfigError as error:
        raise TraceError(f"{error}; a trace with a placement has to describe both as tierscope writes them") from error
    check_capacity(architecture, workload, device)
    return streaming_of(architecture, workload)


def execute(prepared: Prepared, progress: Progress | None = None, observer: AccessObserver | None = None) -> Json:
    """Return the result object of a prepared run; an `observer` is told of every access."""
    return result_of(prepared, replayed(prepared, progress, observer))


def replayed(
    prepared: Prepared,
    progress: Progress | None = None,
    observer: AccessObserver | None = None,
    samples: Samples | None = None,
) -> Outcome:
    """Return what replaying a prepared run comes to; an `observer` is told of every access, `samples` are taken."""
    hardware = prepared.hardware.spec
    options = (prepared.protocol, prepared.exact, prepared.seed, progress, observer)
    return simulate(prepared.trace, hardware, *options, samples=samples)


def result_of(prepared: Prepared, outcome: Outcome) -> Json:
    """Return the result object of a run that has been replayed."""
    return result(prepared.trace, outcome, prepared.hardware.spec, resolved_config(prepared), prepared.seed)


def resolved_config(prepared: Prepared) -> Json:
    """Return the whole configuration of a run as plain values with units."""
    header: TraceHeader = prepared.trace.header
    workload = {key: value for key, value in header.workload.items() if key not in ("protocol", "seed", "steps")}
    return {
        "hardware": prepared.hardware.spec.model_dump(mode="json", by_alias=True),
        "model": header.model,
        "workload": workload,
        "protocol": prepared.protocol.model_dump(mode="json", by_alias=True),
    }
