"""The tiers below device memory in the result: host DRAM, SSD and the link, from the bytes copied on each path."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.hardware import Hardware
from simulator.memory.copies import Path, Route, Server, routes
from simulator.run.simulate import CopyTotals
from simulator.units import PS_PER_S

Json = dict[str, Any]

TIER_KEYS = ("read_bytes", "write_bytes", "bandwidth_bytes_per_s", "utilization", "peak_bandwidth_bytes_per_s")
DRAM_KEYS = (*TIER_KEYS, "size_bytes")
SSD_KEYS = (*TIER_KEYS, "write_peak_bandwidth_bytes_per_s", "size_bytes")
LINK_KEYS = (*TIER_KEYS, "write_peak_bandwidth_bytes_per_s", "busy_s", "exposed_s")


def tiers(hardware: Hardware, copies: CopyTotals | None, time_ps: int) -> Json:
    """Return the tiers ``dram``, ``ssd`` and ``link``; every key is null where nothing was placed below device memory.

    Of the link, `read_bytes` go towards the device, `write_bytes` towards the host; `busy_s` is the time of the busier
    direction, `exposed_s` the time in which nothing ran because of copies.
    """
    empty: Json = {
        "dram": dict.fromkeys(DRAM_KEYS),
        "ssd": dict.fromkeys(SSD_KEYS),
        "link": dict.fromkeys(LINK_KEYS),
    }
    link, host, ssd = hardware.link, hardware.host, hardware.ssd
    if copies is None or link is None or host is None:
        return empty
    use = _Use(hardware, copies, time_ps)
    moved = copies.moved_bytes.sum(axis=0)
    inward = int(sum(moved[path] for path in Path if path.to_device))
    outward = int(moved.sum()) - inward
    from_ssd, to_ssd = int(moved[Path.FROM_SSD]), int(moved[Path.TO_SSD])
    below = use.utilizations()
    found = {
        # what an SSD reads is written to host DRAM first, and the other way round
        "dram": use.tier(inward + to_ssd, outward + from_ssd, host.bandwidth_bytes_per_s)
        | {"utilization": below["host dram bandwidth"], "size_bytes": host.size_bytes},
        "ssd": dict.fromkeys(SSD_KEYS),
        "link": use.tier(inward, outward, link.to_device_bytes_per_s)
        | {
            "utilization": below["link bandwidth"],
            "write_peak_bandwidth_bytes_per_s": link.to_host_bytes_per_s,
            "busy_s": use.link_busy_ps / PS_PER_S,
            "exposed_s": int(copies.exposed_ps.sum()) / PS_PER_S,
        },
    }
    if ssd is not None and from_ssd + to_ssd:
        found["ssd"] = use.tier(from_ssd, to_ssd, ssd.read_bandwidth_bytes_per_s) | {
            "utilization": below["ssd bandwidth"],
            "write_peak_bandwidth_bytes_per_s": ssd.write_bandwidth_bytes_per_s,
            "size_bytes": ssd.size_bytes,
        }
    return found


def utilizations(hardware: Hardware, copies: CopyTotals | None, time_ps: int) -> dict[str, float]:
    """Return the part of `time_ps` that each server below device memory worked (0 to 1); none without copies."""
    return _Use(hardware, copies, time_ps).utilizations() if copies is not None else {}


class _Use:
    """How busy the bytes of each path kept the servers on it."""

    def __init__(self, hardware: Hardware, copies: CopyTotals, time_ps: int) -> None:
        self._time_ps = time_ps
        moved = copies.moved_bytes.sum(axis=0)
        self._busy_ps = np.zeros(len(Server))
        for path, route in routes(hardware).items():
            self._busy_ps += _busy_ps(route, int(moved[path]))

    @property
    def link_busy_ps(self) -> float:
        """Time of the busier direction of the link."""
        return float(max(self._busy_ps[Server.LINK_IN], self._busy_ps[Server.LINK_OUT]))

    def utilizations(self) -> dict[str, float]:
        """Return the part of the time that each server worked."""
        time_ps = max(1, self._time_ps)
        return {
            "link bandwidth": self.link_busy_ps / time_ps,
            "ssd bandwidth": float(max(self._busy_ps[Server.SSD_READ], self._busy_ps[Server.SSD_WRITE])) / time_ps,
            "host dram bandwidth": float(self._busy_ps[Server.HOST_DRAM]) / time_ps,
            "host copy": float(self._busy_ps[Server.CPU]) / time_ps,
        }

    def tier(self, read_bytes: int, write_bytes: int, peak: int) -> Json:
        """Return the keys common to all tiers."""
        seconds = self._time_ps / PS_PER_S
        return {
            "read_bytes": read_bytes,
            "write_bytes": write_bytes,
            "bandwidth_bytes_per_s": (read_bytes + write_bytes) / seconds if seconds else None,
            "utilization": None,
            "peak_bandwidth_bytes_per_s": peak,
        }


def _busy_ps(route: Route, moved: int) -> Any:
    busy = np.zeros(len(Server))
    for hop in route.hops:
        busy[hop.server] += moved * hop.traffic * PS_PER_S / hop.bytes_per_s
    return busy
