"""The model with one mechanism switched off, to see what that mechanism is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.hardware import Hardware
from simulator.lowering.implementation import Implementation, implementations
from simulator.memory.occupancy import ctas_per_sm
from simulator.run.cases import KernelCase
from simulator.run.changes import changed, computing, no_launch, no_limits, starting
from simulator.run.predict import Prediction, predict
from simulator.trace.record import TracedKernel
from simulator.workload.protocol import CacheState

Reshape = Callable[[TracedKernel, Hardware], TracedKernel]


@dataclass(frozen=True)
class Mechanism:
    """What is changed to take one mechanism away: the device, the case, the fitted scalars, each kernel."""

    title: str
    device: Callable[[Hardware], Hardware] = lambda hardware: hardware
    cache: CacheState | None = None
    replay_ps: int | None = None
    kernel: Reshape | None = None


def _one_partition(hardware: Hardware) -> Hardware:
    """One partition of the whole size; a miss keeps its mean latency, of which half of the crossing was a part."""
    if hardware.l2.partitions == 1:
        return hardware
    crossing = (hardware.l2.cross_latency_ps or 0) // 2
    return changed(changed(hardware, "l2", partitions=1), "hbm", latency_ps=hardware.hbm.latency_ps + crossing)


def _no_waves(kernel: TracedKernel, hardware: Hardware) -> TracedKernel:
    """Scale what each CTA computes, and its prologue, so that whole waves take the time of the fraction of waves that
    the grid fills: c CTAs on s places take c / s instead of ceil(c / s)."""
    places = hardware.sm.count * ctas_per_sm(hardware.sm, kernel.header)
    ctas = kernel.header.requesters
    if ctas % places == 0:
        return kernel
    share = ctas / places / -(-ctas // places)
    return computing(starting(kernel, share), share)


MECHANISMS = {
    "l2": Mechanism("L2 residency: nothing is left in L2 from the replay before", cache=CacheState.COLD),
    "in-flight": Mechanism(
        "finite bytes in flight: no limit per SM, MSHRs for all misses; kernels keep the buffers they have",
        device=no_limits,
    ),
    "launch": Mechanism(
        "launch overhead: kernels and replays follow each other at once", device=no_launch, replay_ps=0
    ),
    "waves": Mechanism("wave quantisation: c CTAs on s places take c / s waves of work", kernel=_no_waves),
    "partitions": Mechanism("partitioned L2: one partition of the same size", device=_one_partition),
}
"""By the name that ``tierscope validate --without`` takes."""


def predict_without(name: str, case: KernelCase, hardware: Hardware) -> Prediction:
    """Return the prediction with the mechanism called `name` switched off; raises as `predict` does."""
    mechanism = MECHANISMS[name]
    device = mechanism.device(hardware)
    if mechanism.cache is not None:
        case = case.model_copy(update={"cache": mechanism.cache})
    scalars: Implementation = getattr(implementations(case.framework), case.kernel)
    if mechanism.replay_ps is not None:
        scalars = scalars.model_copy(update={"replay_ps": mechanism.replay_ps})
    change = mechanism.kernel
    reshape = (lambda kernel: change(kernel, device)) if change else None
    return predict(case, device, scalars, reshape)
