"""The trace of a run: lowered when iterated, never held as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulator.hardware import Hardware
from simulator.lowering import Lowering
from simulator.models import Architecture
from simulator.trace.record import TracedKernel, TraceHeader
from simulator.workload import Placement, Tier, Unit, Workload, build, check_capacity, tensors, units
from simulator.workload.operators import AttentionShape
from simulator.workload.placement import resolve
from simulator.workload.protocol import Protocol


@dataclass(frozen=True)
class Streaming:
    """What a run copies because tensors rest below device memory; `units(only)` are the copies of the passes in `only`
    (all when None), with the number of the pass."""

    placement: Placement
    units: Callable[[frozenset[int] | None], list[tuple[int, Unit]]]


@dataclass(frozen=True)
class Trace:
    """A trace that can be replayed more than once: `kernels` starts it anew at each call.

    `steps` is the number of passes; `kernels(only)` yields the kernels of the passes in `only` (all when None).
    """

    header: TraceHeader
    steps: int
    kernels: Callable[[frozenset[int] | None], Iterator[TracedKernel]]
    streaming: Streaming | None = None


def generate(
    architecture: Architecture, workload: Workload, protocol: Protocol, hardware: Hardware, seed: int = 0
) -> Trace:
    """Return the trace of a workload on a device.

    Raises ConfigError when a placement names layers or tiers that are not there, CapacityError when tensors exceed
    the memory they are placed in.
    """
    check_capacity(architecture, workload, hardware)
    passes = list(workload.passes())
    first = build(architecture, workload, *passes[0])
    attention = next(op.shape for op in first.operators if isinstance(op.shape, AttentionShape))
    lowering = Lowering(hardware, tensors(architecture, workload).values(), attention, seed)

    def kernels(only: frozenset[int] | None = None) -> Iterator[TracedKernel]:
        number = 0
        for step, (query_len, kv_len) in enumerate(passes):
            if only is None or step in only:
                graph = first if step == 0 else build(architecture, workload, query_len, kv_len)
                for kernel in lowering.lower(graph.operators, step, number):
                    number += 1
                    yield kernel

    header = TraceHeader(
        model=architecture.model_dump(mode="json", by_alias=True),
        hardware=hardware.model_dump(mode="json", by_alias=True),
        workload={
            **workload.model_dump(mode="json", by_alias=True),
            "protocol": protocol.model_dump(mode="json", by_alias=True),
            "seed": seed,
            "steps": len(passes),
        },
        tensors=lowering.ranges,
    )
    return Trace(header, len(passes), kernels, streaming_of(architecture, workload))


def streaming_of(architecture: Architecture, workload: Workload) -> Streaming | None:
    """Return what a workload copies between tiers, None when everything rests in device memory."""
    placement = workload.placement
    if placement is None or resolve(placement, architecture.layers, architecture.name).tiers == {Tier.HBM}:
        return None
    passes = list(enumerate(workload.passes()))

    def copies(only: frozenset[int] | None = None) -> list[tuple[int, Unit]]:
        return [
            (step, unit)
            for step, (query_len, kv_len) in passes
            if only is None or step in only
            for unit in units(architecture, workload, query_len, kv_len)
        ]

    return Streaming(placement, copies)
