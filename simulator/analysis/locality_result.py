"""A locality as one JSON object (schema `tierscope.locality/1`), from which tables and pictures are made."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.analysis.locality import ClassReuse, Locality, MissRatioCurve, Reuse

SCHEMA = "tierscope.locality/1"

MOST_POINTS = 400
"""Points of a curve: all of its steps where they are fewer."""

Json = dict[str, Any]


def locality_result(found: Locality) -> Json:
    """Return a locality as plain values; sizes are in bytes, a key that does not apply is null."""
    return {
        "schema": SCHEMA,
        "order": found.order,
        "kernel": found.kernel,
        "kernels": found.kernels,
        "records": found.records,
        "granularities": [_reuse(entry) for entry in found.reuse],
        "line_use": [asdict(use) | {"sectors_per_line": use.sectors_per_line} for use in found.density.line_use],
        "strides": [asdict(stride) for stride in found.density.strides],
    }


def _reuse(entry: Reuse) -> Json:
    return {
        "granularity": entry.granularity,
        "unit_bytes": entry.unit_bytes,
        "accesses": entry.accesses,
        "footprint_bytes": entry.footprint_bytes,
        "sampling_rate": entry.sampling_rate,
        "miss_ratio_curve": _curve(entry.curve),
        "classes": [_class(part) for part in entry.classes],
        "working_set": {
            "window_bytes": list(entry.working_set.window_bytes),
            "mean_bytes": list(entry.working_set.mean_bytes),
        },
        "over_time": {
            "start_bytes": list(entry.working_set.start_bytes),
            "touched_bytes": list(entry.working_set.touched_bytes),
            "new_bytes": list(entry.working_set.new_bytes),
        },
        "flows": [asdict(flow) for flow in entry.flows],
    }


def _class(part: ClassReuse) -> Json:
    return {
        "kernel_class": part.kernel_class,
        "tensor_class": part.tensor_class,
        "accesses": part.accesses,
        **asdict(part.sharing),
        "reuse_distance": {"from_bytes": list(part.distance_bytes), "accesses": list(part.distance_accesses)},
    }


def _curve(curve: MissRatioCurve) -> Json:
    """Return the steps of a curve, the largest of them where they are many."""
    kept = _largest_steps(curve.miss_ratio)
    return {
        "capacity_bytes": curve.capacity_bytes[kept].tolist(),
        "miss_ratio": curve.miss_ratio[kept].tolist(),
        "resolution_bytes": curve.resolution_bytes,
        "standard_error": None if curve.standard_error is None else curve.standard_error[kept].tolist(),
    }


def _largest_steps(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places, in order, at which a curve has fallen by another 1 / MOST_POINTS, its ends included."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    span = max(values[0] - values[-1], 1e-300)
    level = np.floor((values[0] - values) / span * (MOST_POINTS - 2))
    kept = np.flatnonzero(np.diff(level, prepend=-1) > 0)
    return np.union1d(kept, [0, len(values) - 1])
