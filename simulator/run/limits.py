"""What bounds a kernel, from how busy each server was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.core.layout import TICKS_PER_PS
from simulator.hardware import Hardware

BOUND = 0.6
"""A server busy for less than this part of the time does not bound it: what does is latency, that is the number of
requests in flight."""


def utilizations(counters: NDArray[np.int64], time_ps: int, hardware: Hardware) -> dict[str, float]:
    """Return the part of `time_ps` that each server worked (0 to 1)."""
    if time_ps <= 0:
        return dict.fromkeys(("dram bandwidth", "l2 bandwidth", "sm port", "compute"), 0.0)
    sm = hardware.sm
    return {
        "dram bandwidth": int(counters[counter.DRAM_BUSY_PS]) / (hardware.hbm.channel_count * time_ps),
        "l2 bandwidth": int(counters[counter.L2_BUSY_TICKS]) / (TICKS_PER_PS * time_ps),
        "sm port": int(counters[counter.PORT_BUSY_TICKS]) / (TICKS_PER_PS * sm.count * time_ps),
        "compute": int(counters[counter.COMPUTE_CYCLES]) * 1e12 / (sm.clock_hz * sm.count * time_ps),
    }


def limiter(
    counters: NDArray[np.int64],
    time_ps: int,
    launch_ps: int,
    hardware: Hardware,
    below: Mapping[str, float] | None = None,
) -> str:
    """Return what bounds the time: the busiest server, the launch, or too few requests in flight.

    `below` adds the utilizations of what lies below device memory.
    """
    if launch_ps > time_ps:
        return "launch"
    busy = utilizations(counters, time_ps, hardware) | dict(below or {})
    busiest = max(busy, key=lambda name: busy[name])
    return busiest if busy[busiest] >= BOUND else "concurrency"
