"""The ledger of a run: its time, by what the SMs did or waited for.

What the core counted in SM time (core/ledger.py) is divided by the number of SMs, so that with the time in which no
kernel ran the parts add up to the time of the run, or of a kernel with its launch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.system import KernelRun
from simulator.units import PS_PER_S

COUNTED = {
    "compute_s": counter.COMPUTE,
    "dram_bandwidth_s": counter.DRAM_BANDWIDTH,
    "row_conflicts_s": counter.ROW_CONFLICT,
    "refresh_s": counter.REFRESH,
    "dram_latency_s": counter.DRAM_LATENCY,
    "mshrs_s": counter.MSHR,
    "l2_bandwidth_s": counter.L2_BANDWIDTH,
    "partition_link_s": counter.PARTITION_LINK,
    "sm_port_s": counter.SM_PORT,
    "cache_latency_s": counter.CACHE_LATENCY,
    "bytes_in_flight_s": counter.BYTES_IN_FLIGHT,
    "dependency_s": counter.DEPENDENCY,
    "cta_start_s": counter.CTA_START,
    "tail_s": counter.TAIL,
    "unused_s": counter.UNUSED,
}
"""What the core counts, by key of the result."""

BETWEEN = ("launch_s", "copies_s")
"""What the time between kernels was spent on: their launch, and copies from and to host DRAM and SSD."""


@dataclass(frozen=True)
class Gap:
    """Time before a kernel in which no other ran (ps): of its launch, and for copies."""

    launch_ps: int
    copies_ps: int


NO_GAP = Gap(0, 0)


def gaps(runs: Iterable[KernelRun], start_ps: int) -> list[Gap]:
    """Return the gap before each kernel of a run that began at `start_ps`, in the order given."""
    found: dict[int, Gap] = {}
    busy_until = start_ps
    for place, run in sorted(enumerate(runs), key=lambda item: item[1].start_ps):
        idle = max(0, run.start_ps - busy_until)
        copies = min(run.waited_ps, idle)
        found[place] = Gap(idle - copies, copies)
        busy_until = max(busy_until, run.end_ps)
    return [found[place] for place in range(len(found))]


def ledger(counters: NDArray[np.int64], between_ps: Sequence[int], hardware: Hardware) -> dict[str, float]:
    """Return the seconds of each part, given what was counted and the time between kernels (as in `BETWEEN`)."""
    sm_s = PS_PER_S * hardware.sm.count
    counted = {key: int(counters[counter.LEDGER + index]) / sm_s for key, index in COUNTED.items()}
    return counted | {key: int(gap_ps) / PS_PER_S for key, gap_ps in zip(BETWEEN, between_ps, strict=True)}
