"""Copies between the tiers of a device: which servers each kind of copy crosses, and the compiled core behind them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from simulator.core.dma import MAX_HOPS, NEVER, NONE, Copies, Paths, advance_copies, new_copies, start_copy
from simulator.core.layout import TICKS_PER_PS
from simulator.errors import ConfigError
from simulator.hardware import Hardware
from simulator.hardware.tiers import Host, Link, Ssd
from simulator.units import PS_PER_S

CPU_COPY_TRAFFIC = 2
"""Bytes of host DRAM traffic per byte a core copies: one read, one written."""


class Path(IntEnum):
    """A kind of copy; each carries one at a time."""

    FROM_DRAM = 0  # pinned
    TO_DRAM = 1
    FROM_SSD = 2
    TO_SSD = 3
    FROM_PAGEABLE = 4  # host DRAM, through a pinned bounce buffer
    TO_PAGEABLE = 5
    INLINE = 6  # to the device, in the command buffer

    @property
    def to_device(self) -> bool:
        """Whether the bytes move towards the device."""
        return self not in (Path.TO_DRAM, Path.TO_SSD, Path.TO_PAGEABLE)


class Server(IntEnum):
    """What a chunk occupies on its way."""

    LINK_IN = 0  # towards the device
    LINK_OUT = 1
    HOST_DRAM = 2
    DEVICE = 3  # device memory, at its peak: contention with kernels is booked in the device's own channels
    CPU = 4  # the core that copies between pageable and pinned memory
    SSD_READ = 5
    SSD_WRITE = 6


class Hop(NamedTuple):
    """One server of a path: what it does per byte, and what passes before the next one sees the chunk."""

    server: Server
    bytes_per_s: int
    latency_ps: int = 0
    traffic: int = 1  # bytes it moves per byte copied


class Route(NamedTuple):
    """A path before it is laid out for the core."""

    hops: tuple[Hop, ...]
    request_ps: int  # from issuing a chunk to its arrival at the first server
    chunk_bytes: int
    depth: int


def routes(hardware: Hardware) -> dict[Path, Route]:
    """Return the paths a device has; none where it has no host.

    A chunk towards the device is read over the link: the request crosses it first.  Pageable copies go through one
    bounce buffer, which the core fills (or empties) before (after) the copy engine has moved it, the driver noticing
    each end.
    """
    link, host, ssd = hardware.link, hardware.host, hardware.ssd
    if link is None or host is None:
        return {}
    device = Hop(Server.DEVICE, hardware.hbm.peak_bytes_per_s)
    inward = Hop(Server.LINK_IN, link.to_device_bytes_per_s, link.latency_ps)
    outward = Hop(Server.LINK_OUT, link.to_host_bytes_per_s, link.latency_ps)
    dram = Hop(Server.HOST_DRAM, host.bandwidth_bytes_per_s, host.latency_ps)
    found = {
        Path.FROM_DRAM: Route((dram, inward, device), link.latency_ps, link.chunk_bytes, link.queue_depth),
        Path.TO_DRAM: Route((device, outward, dram), 0, link.chunk_bytes, link.queue_depth),
    }
    found |= _staged(link, host, device, inward, outward)
    if ssd is not None:
        found |= _through_host(ssd, link, host, device, inward, outward)
    return found


def _staged(link: Link, host: Host, device: Hop, inward: Hop, outward: Hop) -> dict[Path, Route]:
    cpu = Hop(Server.CPU, host.memcpy_bytes_per_s)
    dram = Hop(Server.HOST_DRAM, host.bandwidth_bytes_per_s, host.latency_ps, CPU_COPY_TRAFFIC + 1)
    asked = cpu._replace(latency_ps=link.latency_ps)  # the read request of the copy engine
    noticed = device._replace(latency_ps=host.completion_ps)
    emptied = dram._replace(latency_ps=host.latency_ps + host.completion_ps)
    return {
        Path.FROM_PAGEABLE: Route((asked, dram, inward, noticed), 0, host.staging_bytes, 1),
        Path.TO_PAGEABLE: Route((device, outward, emptied, cpu), 0, host.staging_bytes, 1),
        Path.INLINE: Route((cpu, inward, device), 0, max(1, host.inline_bytes), 1),
    }


def _through_host(ssd: Ssd, link: Link, host: Host, device: Hop, inward: Hop, outward: Hop) -> dict[Path, Route]:
    dram = Hop(Server.HOST_DRAM, host.bandwidth_bytes_per_s, host.latency_ps, 2)  # written and read
    read = Hop(Server.SSD_READ, ssd.read_bandwidth_bytes_per_s, ssd.latency_ps)
    write = Hop(Server.SSD_WRITE, ssd.write_bandwidth_bytes_per_s, ssd.write_latency_ps)
    asked = dram._replace(latency_ps=host.latency_ps + link.latency_ps)
    return {
        Path.FROM_SSD: Route((read, asked, inward, device), 0, ssd.chunk_bytes, ssd.queue_depth),
        Path.TO_SSD: Route((device, outward, dram, write), 0, ssd.chunk_bytes, ssd.queue_depth),
    }


def laid_out(found: dict[Path, Route]) -> Paths:
    """Return routes as the arrays of the core; costs are rounded up, so that no rate exceeds its peak."""
    count = len(Path)
    paths = Paths(
        hops=np.zeros(count, np.int64),
        server=np.zeros(count * MAX_HOPS, np.int64),
        ticks_per_kib=np.zeros(count * MAX_HOPS, np.int64),
        latency=np.zeros(count * MAX_HOPS, np.int64),
        request=np.zeros(count, np.int64),
        chunk_bytes=np.ones(count, np.int64),
        depth=np.ones(count, np.int64),
    )
    for path, route in found.items():
        paths.hops[path] = len(route.hops)
        paths.request[path] = route.request_ps
        paths.chunk_bytes[path] = route.chunk_bytes
        paths.depth[path] = route.depth
        for place, hop in enumerate(route.hops, start=path * MAX_HOPS):
            paths.server[place] = hop.server
            paths.ticks_per_kib[place] = -(-1024 * TICKS_PER_PS * PS_PER_S * hop.traffic // hop.bytes_per_s)
            paths.latency[place] = hop.latency_ps
    return paths


class HostCopies:
    """The copies of one device in flight; a path carries one copy at a time."""

    def __init__(self, hardware: Hardware) -> None:
        """Raises ConfigError when the device has no host."""
        found = routes(hardware)
        if not found:
            raise ConfigError(f"{hardware.name}: link: missing; this device has no host to copy to or from")
        self._known = frozenset(found)
        self._paths = laid_out(found)
        self._state = new_copies(len(Path), len(Server))
        self._in_flight = 0
        self._next: int | None = None

    def start(self, path: Path, size: int, now: int, run_bytes: int = 0) -> None:
        """Begin a copy of `size` bytes on an idle path; they lie in runs of `run_bytes` (0: one run)."""
        assert path in self._known and size > 0 and self._state.size[path] == NONE
        start_copy(self._state, self._paths, int(path), size, run_bytes or size, now)
        self._in_flight += 1
        self._next = None

    @property
    def next_ps(self) -> int:
        """When the next copy ends if none begins before; far away when none is in flight."""
        if not self._in_flight:
            return NEVER
        if self._next is None:  # found out on a copy of the state, which is small
            trial = Copies(*(column.copy() for column in self._state))
            _, self._next = advance_copies(trial, self._paths, NEVER)
        return int(self._next)

    def advance(self, until: int) -> list[Path]:
        """Run to `until` (ps), not beyond `next_ps`; return the copies that have ended."""
        ended: list[Path] = []
        while True:
            path, _ = advance_copies(self._state, self._paths, until)
            if path == NONE:
                return ended
            self._in_flight -= 1
            self._next = None
            ended.append(Path(path))

    @property
    def moved_bytes(self) -> list[int]:
        """Bytes issued so far on each path."""
        return [int(moved) for moved in self._state.moved]

    @property
    def busy_ps(self) -> list[int]:
        """How long each server has worked so far."""
        return [int(busy) // TICKS_PER_PS for busy in self._state.server_busy]
