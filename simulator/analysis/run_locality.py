"""The locality of a run, for its report: sampled, so that it takes about a second whatever the model."""

from __future__ import annotations

from collections.abc import Callable

from simulator.analysis.locality import locality
from simulator.analysis.locality_result import Json, locality_result
from simulator.analysis.order import Order
from simulator.run.execute import Prepared
from simulator.run.sampling import sampled_steps

LOOKED_AT_BYTES = 1 << 30
"""Of what is accessed; at 32 bytes a sector, more than enough for a miss ratio to a tenth of a point."""


def run_locality(prepared: Prepared, progress: Callable[[int], None] | None = None) -> Json:
    """Return the locality of the steps of a run that are replayed (schema `tierscope.locality/1`)."""
    trace = prepared.trace
    kernels = list(trace.kernels(frozenset(range(trace.steps)) if prepared.exact else sampled_steps(trace.steps)))
    accessed = sum(each.header.read_bytes + each.header.write_bytes for each in kernels)
    rate = min(1.0, LOOKED_AT_BYTES / max(accessed, 1))
    order = Order(prepared.hardware.spec)
    return locality_result(locality(trace.header, kernels, order, None, accessed, rate, None, progress))
