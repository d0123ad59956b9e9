"""How much was in flight, how long it took, and where requests waited: Little's law on what a run counted.

`mean_bytes` is the time average of what the queues of the core held, and `mean_latency_s` the byte-weighted mean of
what each request took; nothing makes the first the product of bandwidth and the second but Little's law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.run.limits import utilizations
from simulator.units import PS_PER_S

Json = dict[str, Any]
Counters = NDArray[np.int64]

SUM_UNIT = 1024
"""Sums of bytes or requests over time are kept in 1024 ps."""


def concurrency(counters: Counters, time_ps: int, hardware: Hardware) -> Json:
    """Return what was in flight to the SMs and from DRAM, where requests waited, and how busy each server was.

    Waits are summed over requests, so that they may be longer than the run.
    """
    return {
        "sm": _to_sms(counters, time_ps, hardware),
        "l2": _from_dram(counters, time_ps, hardware),
        "waits": {
            "sm_full_s": int(counters[counter.ROOM_WAIT_PS]) / PS_PER_S,
            "mshr_full_s": int(counters[counter.MSHR_FULL_PS]) / PS_PER_S,
            "write_queue_full_s": int(counters[counter.WRITE_QUEUE_FULL_PS]) / PS_PER_S,
        },
        "busy": utilizations(counters, time_ps, hardware),
    }


def in_flight(counters: Counters, time_ps: int, hardware: Hardware) -> Json:
    """Return the part of `concurrency` that a kernel is listed with."""
    level = _to_sms(counters, time_ps, hardware)
    return {
        "mean_outstanding_bytes": level["mean_bytes"],
        "needed_outstanding_bytes": level["needed_bytes"],
        "mean_latency_s": level["mean_latency_s"],
    }


def _to_sms(counters: Counters, time_ps: int, hardware: Hardware) -> Json:
    """Return what the SMs waited for: reads that L1 did not answer."""
    sm = hardware.sm
    moved = int(counters[counter.L2_READ_BYTES])
    records = int(counters[counter.READ_RECORDS])
    requests = int(counters[counter.REQUEST_OUTSTANDING]) * SUM_UNIT
    level = _level(counters, counter.SM_QUEUE, sm.count, time_ps)
    return level | {
        "limit_bytes": sm.outstanding_bytes * sm.count,
        "limit_bytes_per_sm": sm.outstanding_bytes,
        "needed_bytes": _needed(moved, int(counters[counter.DRAM_READ_BYTES]), hardware),
        "mean_requests": requests / time_ps if time_ps else None,
        "mean_request_latency_s": requests / records / PS_PER_S if records else None,
        "mean_latency_s": _latency(counters, counter.OUTSTANDING, moved),
        "bandwidth_bytes_per_s": _rate(moved, time_ps),
    }


def _from_dram(counters: Counters, time_ps: int, hardware: Hardware) -> Json:
    """Return what L2 waited for: misses, and lines on their way out, which hold an MSHR too."""
    hbm = hardware.hbm
    moved = int(counters[counter.DRAM_READ_BYTES] + counters[counter.DRAM_WRITE_BYTES])
    level = _level(counters, counter.MISS_QUEUE, 1, time_ps)
    return level | {
        "limit_bytes": hardware.l2.outstanding_bytes,
        "needed_bytes": hbm.achievable_bytes_per_s * hbm.latency_ps / PS_PER_S,
        "mean_latency_s": _latency(counters, counter.MISS_OUTSTANDING, moved),
        "bandwidth_bytes_per_s": _rate(moved, time_ps),
    }


def _level(counters: Counters, queue: int, queues: int, time_ps: int) -> Json:
    """Return mean, peak and histogram of the bytes that `queues` like this held together.

    The histogram gives the share of the time of a queue with less than so many bytes, and at least one or the bound
    before; the last bound is null.  For the rest of the time there was nothing in flight.
    """
    bins = counters[queue + counter.HISTOGRAM : queue + counter.QUEUE_WORDS]
    time = queues * time_ps
    bounds = [1 << (counter.HISTOGRAM_FIRST + place) for place in range(counter.HISTOGRAM_BINS - 1)]
    return {
        "mean_bytes": int(counters[queue + counter.HELD]) * SUM_UNIT / time_ps if time_ps else None,
        "peak_bytes": int(counters[queue + counter.PEAK_BYTES]),
        "histogram": [
            {"below_bytes": bound, "share": int(part) / time}
            for bound, part in zip([*bounds, None], bins, strict=True)
            if part and time
        ],
    }


def _latency(counters: Counters, outstanding: int, moved: int) -> float | None:
    return int(counters[outstanding]) * SUM_UNIT / moved / PS_PER_S if moved else None


def _rate(moved: int, time_ps: int) -> float | None:
    return moved / (time_ps / PS_PER_S) if time_ps else None


def _needed(from_l2: int, from_dram: int, hardware: Hardware) -> float | None:
    """Return the bytes in flight at which these reads would have the bandwidth of L2 or DRAM, whichever ends first.

    Little's law at the unloaded latency, of which only what misses has DRAM's part.
    """
    if not from_l2:
        return None
    missing = from_dram / from_l2
    latency_ps = hardware.l2.hit_latency_ps + missing * hardware.hbm.latency_ps
    bandwidth = float(hardware.l2.bandwidth_bytes_per_s)
    if missing:
        bandwidth = min(bandwidth, hardware.hbm.achievable_bytes_per_s / missing)
    return bandwidth * latency_ps / PS_PER_S
