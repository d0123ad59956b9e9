"""A copy over a link: set-up, the latency of the first byte, and the rest at the rate of the slowest server.

The postal model of Hockney (1994), time = latency + size / rate, with the slowest rate of a pipeline, or the sum of
the times where the stages of a chunk follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.units import PS_PER_S


def pipelined_copy_ps(size: float, setup_ps: float, latency_ps: float, rates_bytes_per_s: Sequence[float]) -> float:
    """Return the time (ps) of a copy whose chunks follow one another through all stages at once."""
    return setup_ps + latency_ps + size * PS_PER_S / min(rates_bytes_per_s)


def staged_copy_ps(
    size: float, setup_ps: float, chunk_bytes: float, chunk_latency_ps: float, rates_bytes_per_s: Sequence[float]
) -> float:
    """Return the time (ps) of a copy of which one chunk at a time goes through the stages, one after the other."""
    chunks = -(-size // chunk_bytes)
    return setup_ps + chunks * chunk_latency_ps + sum(size * PS_PER_S / rate for rate in rates_bytes_per_s)


def overlapped_ps(copy_ps: float, compute_ps: float, layers: int) -> float:
    """Return the time (ps) of `layers` alike whose copies run one layer ahead: the first copy, then the longer of copy
    and computation, then the last computation (two-stage pipeline)."""
    return copy_ps + (layers - 1) * max(copy_ps, compute_ps) + compute_ps
