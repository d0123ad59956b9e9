"""What bounds a kernel, from how busy each server was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.core.layout import TICKS_PER_PS
from simulator.hardware import Hardware
from simulator.units import PS_PER_S

BOUND = 0.6
"""A server busy for less than this part of the time does not bound it: what does is latency, that is the number of
requests in flight."""

LAUNCH = "launch"
COPIES = "copies"
CONCURRENCY = "concurrency"


def utilizations(counters: NDArray[np.int64], time_ps: int, hardware: Hardware) -> dict[str, float]:
    """Return the part of `time_ps` that each server worked (0 to 1).

    Of DRAM that is an upper bound: rows are opened while data of other banks are on the bus, both of which count.
    """
    sm, l2 = hardware.sm, hardware.l2
    busy_ps = {
        "dram bandwidth": int(counters[counter.DRAM_BUSY_PS]) / hardware.hbm.channel_count,
        "l2 bandwidth": int(counters[counter.L2_BUSY_TICKS]) / TICKS_PER_PS,
        "l2 slices": int(counters[counter.SLICE_BUSY_TICKS]) / TICKS_PER_PS / l2.slices,
        "l2 partition link": int(counters[counter.CROSS_BUSY_TICKS]) / TICKS_PER_PS / l2.partitions,
        "sm port": int(counters[counter.PORT_BUSY_TICKS]) / TICKS_PER_PS / sm.count,
        "l1 port": int(counters[counter.L1_BUSY_TICKS]) / TICKS_PER_PS / sm.count,
        "compute": int(counters[counter.COMPUTE_CYCLES]) * PS_PER_S / sm.clock_hz / sm.count,
    }
    return {name: min(1.0, busy / time_ps) if time_ps > 0 else 0.0 for name, busy in busy_ps.items()}


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
        return LAUNCH
    busy = utilizations(counters, time_ps, hardware) | dict(below or {})
    busiest = max(busy, key=lambda name: busy[name])
    return busiest if busy[busiest] >= BOUND else CONCURRENCY


def run_limiter(overall: str, kernels: Iterable[tuple[str, int]], launch_ps: int, copies_ps: int) -> str:
    """Return what bounds a run: a server that bounds it as a whole (`overall`), or else what bounds it longest.

    `kernels` are their limiters and times (ps); `launch_ps` is the time between kernels because of launches,
    `copies_ps` that because of copies.
    """
    if overall != CONCURRENCY:
        return overall
    longest = Counter({LAUNCH: launch_ps, COPIES: copies_ps})
    for name, time_ps in kernels:
        longest[name] += time_ps
    return longest.most_common(1)[0][0]
