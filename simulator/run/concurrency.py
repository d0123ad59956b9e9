"""How much was in flight, how long it took, and where requests waited: Little's law on what a run counted.

`mean_bytes` and `held_requests` are time averages of what the queues of the core held, and `mean_latency_s` and
`mean_request_latency_s` the means of what each byte, or request, took; nothing makes the former products of rates and
the latter but Little's law.  `mean_requests` is that product: a queue is left in the order of entry, so that it holds
requests that overtake others longer than they take.
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
    """Return what the SMs waited for: reads that L1 did not answer; a request is a record, or a lane of a warp.

    `mean_requests`, latency and rate include those that L1 answered; queue, peak and histogram do not, and hold lanes
    that load at once until the last has arrived.
    """
    sm = hardware.sm
    moved = int(counters[counter.L2_READ_BYTES])
    records = int(counters[counter.READ_RECORDS])
    level = _level(counters, counter.SM_QUEUE, sm.count, time_ps)
    outstanding = int(counters[counter.REQUEST_OUTSTANDING])
    return level | {
        "limit_bytes": sm.outstanding_bytes * sm.count,
        "limit_bytes_per_sm": sm.outstanding_bytes,
        "needed_bytes": _needed(moved, int(counters[counter.DRAM_READ_BYTES]), hardware),
        "mean_requests": _mean(outstanding, time_ps),
        "mean_latency_s": _latency(int(counters[counter.OUTSTANDING]), moved),
        "mean_request_latency_s": _latency(outstanding, records),
        "bandwidth_bytes_per_s": _rate(moved, time_ps),
        "requests_per_s": _rate(records, time_ps),
    }


def _from_dram(counters: Counters, time_ps: int, hardware: Hardware) -> Json:
    """Return what L2 waited for: misses, and lines on their way out, which hold an MSHR too; a request is a line."""
    hbm = hardware.hbm
    moved = int(counters[counter.DRAM_READ_BYTES] + counters[counter.DRAM_WRITE_BYTES])
    lines = int(counters[counter.MISS_REQUESTS])
    outstanding = int(counters[counter.MISS_REQUEST_OUTSTANDING])
    level = _level(counters, counter.MISS_QUEUE, 1, time_ps)
    return level | {
        "limit_bytes": hardware.l2.outstanding_bytes,
        "mean_requests": _mean(outstanding, time_ps),
        "needed_bytes": hbm.achievable_bytes_per_s * hbm.latency_ps / PS_PER_S,
        "mean_latency_s": _latency(int(counters[counter.MISS_OUTSTANDING]), moved),
        "mean_request_latency_s": _latency(outstanding, lines),
        "bandwidth_bytes_per_s": _rate(moved, time_ps),
        "requests_per_s": _rate(lines, time_ps),
    }


def _level(counters: Counters, queue: int, queues: int, time_ps: int) -> Json:
    """Return mean, peak and histogram of the bytes, and of the requests, that `queues` like this held together; the
    peak is that of one queue."""
    time = queues * time_ps
    by_bytes, by_requests = counter.time_by_bytes(counters, queue), counter.time_by_requests(counters, queue)
    idle = int(by_requests[0])
    return {
        "mean_bytes": _mean(int(counters[queue + counter.HELD]), time_ps),
        "peak_bytes": int(counters[queue + counter.PEAK]),
        "histogram": _histogram(by_bytes, idle, time, "below_bytes", counter.LINE),
        "held_requests": _mean(counter.held_requests(counters, queue), time_ps),
        "peak_requests": int(counters[queue + counter.REQUESTS + counter.PEAK]),
        "requests_histogram": _histogram(by_requests, idle, time, "below_requests", 1),
    }


def _mean(held: float, time_ps: int) -> float | None:
    return held * SUM_UNIT / time_ps if time_ps else None


def _histogram(bins: Counters, idle: int, time: int, below: str, first: int) -> list[Json]:
    """Return the shares of a time with less than so much in flight, and at least one or the bound before.

    For the rest, of which `idle` is counted in the first bin too, there was nothing in flight.
    """
    parts = [int(bins[0]) - idle, *map(int, bins[1:])]
    return [{below: first << place, "share": part / time} for place, part in enumerate(parts) if part and time]


def _latency(outstanding: int, count: int) -> float | None:
    return outstanding * SUM_UNIT / count / PS_PER_S if count else None


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
