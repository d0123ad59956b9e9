"""Explained hits as a part of the result object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from simulator.analysis.hits import Explanation, Hits, Outcome

Json = dict[str, Any]


def hits_result(found: Hits) -> Json:
    """Return explained hits as plain values: bytes asked of a tier by kernel name and tensor class, over all layers and
    replayed steps, and what of them it had or why not.

    `saved_bytes` are those that the next tier did not have to deliver: none of the lowest.
    """
    lowest = next((tier for tier in ("ssd", "dram", "hbm") if tier in found.capacity_bytes), None)
    return {
        "capacity_bytes": found.capacity_bytes,
        "tiers": [_explanation(row, lowest) for row in found.kernels],
        "refetched": [asdict(row) for row in found.refetched],
        "lines": [asdict(row) for row in found.lines],
    }


def _explanation(row: Explanation, lowest: str | None) -> Json:
    reads, writes = _outcome(row.reads), _outcome(row.writes)
    return {
        "tier": row.tier,
        "kernel": row.kernel,
        "tensor_class": row.tensor_class,
        "saved_bytes": 0 if row.tier == lowest else row.reads.hit_bytes,
        **{f"read_{key}": value for key, value in reads.items()},
        **{f"write_{key}": value for key, value in writes.items()},
    }


def _outcome(outcome: Outcome) -> Json:
    return {"bytes": outcome.asked_bytes, **asdict(outcome)}
