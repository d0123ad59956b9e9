"""Copies below device memory: descriptors cut into chunks that cross the servers of their path one after the other.

A *path* (host DRAM to device, device to SSD...) carries one copy at a time, of which at most `depth` chunks are in
flight.  An event is a path that may issue its next chunk; issuing reserves every server on the way, each a rate and a
latency, and yields the time the chunk arrives.  Paths share servers: both directions use one host DRAM, host DRAM and
SSD one link.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled, inlined
from simulator.core.state import TICKS_PER_PS

Int64Array = NDArray[np.int64]

MAX_HOPS = 6
NEVER = 1 << 62
MAX_DEPTH = 256
NONE = -1
"""Path reported when `advance_copies` reached its limit and no copy ended."""


class Paths(NamedTuple):
    """The servers of each path in order.  Times in ps, costs in 1/1024 ps per KiB."""

    hops: Int64Array  # (paths)
    server: Int64Array  # (paths x MAX_HOPS)
    ticks_per_kib: Int64Array  # (paths x MAX_HOPS)
    latency: Int64Array  # (paths x MAX_HOPS), after the server has passed a chunk on
    request: Int64Array  # (paths): before a chunk reaches its first server
    chunk_bytes: Int64Array  # (paths)
    depth: Int64Array  # (paths): chunks in flight


class Copies(NamedTuple):
    """What the copies in flight are up to, mutated in place."""

    remaining: Int64Array  # (paths): bytes not issued yet; NONE: no copy on this path
    piece: Int64Array  # (paths): bytes of a chunk of this copy
    issue: Int64Array  # (paths): when the next chunk may be issued
    arrival: Int64Array  # (paths): when the last chunk issued arrives
    issued: Int64Array  # (paths): chunks of this copy
    ring: Int64Array  # (paths x MAX_DEPTH): when each of the chunks in flight arrives
    moved: Int64Array  # (paths): bytes issued in all
    server_free: Int64Array  # (servers): 1/1024 ps
    server_busy: Int64Array  # (servers): 1/1024 ps in all


def new_copies(paths: int, servers: int) -> Copies:
    """Return the state in which nothing is in flight."""

    def zeros(count: int) -> Int64Array:
        return np.zeros(count, np.int64)

    return Copies(
        remaining=np.full(paths, NONE, np.int64),
        piece=zeros(paths),
        issue=zeros(paths),
        arrival=zeros(paths),
        issued=zeros(paths),
        ring=zeros(paths * MAX_DEPTH),
        moved=zeros(paths),
        server_free=zeros(servers),
        server_busy=zeros(servers),
    )


@compiled
def start_copy(c: Copies, p: Paths, path: int, size: int, run_bytes: int, now: int) -> None:
    """Begin a copy of `size` bytes, stored in runs of `run_bytes`, on an idle path."""
    c.remaining[path] = size
    c.piece[path] = max(1, min(p.chunk_bytes[path], run_bytes))
    c.issue[path] = now
    c.arrival[path] = now
    c.issued[path] = 0


@inlined
def _issue(c: Copies, p: Paths, path: int) -> None:
    """Send the next chunk of a path on its way."""
    size = min(c.piece[path], c.remaining[path])
    time = c.issue[path] + p.request[path]
    for hop in range(path * MAX_HOPS, path * MAX_HOPS + p.hops[path]):
        server = p.server[hop]
        busy = (size * p.ticks_per_kib[hop] + 1023) >> 10
        free = max(c.server_free[server], time * TICKS_PER_PS) + busy
        c.server_free[server] = free
        c.server_busy[server] += busy
        time = (free + TICKS_PER_PS - 1) // TICKS_PER_PS + p.latency[hop]
    slot = path * MAX_DEPTH + c.issued[path] % p.depth[path]
    c.ring[slot] = time
    c.arrival[path] = max(c.arrival[path], time)
    c.remaining[path] -= size
    c.moved[path] += size
    c.issued[path] += 1
    if c.issued[path] >= p.depth[path]:
        oldest = c.ring[path * MAX_DEPTH + c.issued[path] % p.depth[path]]
        c.issue[path] = max(c.issue[path], oldest)


@compiled
def advance_copies(c: Copies, p: Paths, until: int) -> tuple[int, int]:
    """Run to the first of: the end of a copy, the time `until` (ps).  Returns (path that ended or NONE, time)."""
    while True:
        first = NONE
        issue = NEVER
        ended = NONE
        end = NEVER
        for path in range(len(c.remaining)):
            if c.remaining[path] > 0 and c.issue[path] < issue:
                issue = c.issue[path]
                first = path
            elif c.remaining[path] == 0 and c.arrival[path] < end:
                end = c.arrival[path]
                ended = path
        if ended != NONE and end <= issue:
            if end > until:
                return NONE, until
            c.remaining[ended] = NONE
            return ended, end
        if first == NONE or issue > until:
            return NONE, until
        _issue(c, p, first)
