"""Copies below device memory: descriptors cut into chunks that cross the servers of their path one after the other.

A *path* (host DRAM to device, device to SSD...) carries one copy at a time, of which at most `depth` chunks are in
flight.  An event is a chunk that reaches a server, or one that is issued; each server takes chunks in the order in
which they reach it, whatever their path: both directions use one host DRAM, host DRAM and SSD one link.  The chunks of
a path keep their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled, small_function
from simulator.core.layout import TICKS_PER_PS

Int64Array = NDArray[np.int64]

MAX_HOPS = 6
MAX_DEPTH = 256
NEVER = 1 << 62
NONE = -1
"""Path reported when `advance_copies` reached its limit and no copy ended; size of a copy on an idle path."""


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

    size: Int64Array  # (paths): bytes of the copy, NONE without one
    piece: Int64Array  # (paths): bytes of its chunks, the last one excepted
    start: Int64Array  # (paths)
    chunks: Int64Array  # (paths)
    issued: Int64Array  # (paths): chunks
    passed: Int64Array  # (paths x MAX_HOPS): chunks that a server has taken
    reached: Int64Array  # (paths x MAX_DEPTH): when a chunk in flight reaches its next server, or its end
    arrival: Int64Array  # (paths): when the last chunk of those that have passed all servers arrives
    moved: Int64Array  # (paths): bytes issued in all
    server_free: Int64Array  # (servers): 1/1024 ps
    server_busy: Int64Array  # (servers): 1/1024 ps in all


def new_copies(paths: int, servers: int) -> Copies:
    """Return the state in which nothing is in flight."""

    def zeros(count: int) -> Int64Array:
        return np.zeros(count, np.int64)

    return Copies(
        size=np.full(paths, NONE, np.int64),
        piece=zeros(paths),
        start=zeros(paths),
        chunks=zeros(paths),
        issued=zeros(paths),
        passed=zeros(paths * MAX_HOPS),
        reached=zeros(paths * MAX_DEPTH),
        arrival=zeros(paths),
        moved=zeros(paths),
        server_free=zeros(servers),
        server_busy=zeros(servers),
    )


@compiled
def start_copy(c: Copies, p: Paths, path: int, size: int, run_bytes: int, now: int) -> None:
    """Begin a copy of `size` bytes, stored in runs of `run_bytes`, on an idle path."""
    piece = max(1, min(p.chunk_bytes[path], run_bytes))
    c.size[path] = size
    c.piece[path] = piece
    c.start[path] = now
    c.chunks[path] = (size + piece - 1) // piece
    c.issued[path] = 0
    c.arrival[path] = now
    for hop in range(MAX_HOPS):
        c.passed[path * MAX_HOPS + hop] = 0


@small_function
def chunk_size(c: Copies, path: int, chunk: int) -> int:
    """Return the bytes of a chunk."""
    return int(min(c.piece[path], c.size[path] - chunk * c.piece[path]))


@small_function
def slot_of(p: Paths, path: int, chunk: int) -> int:
    """Return the place of a chunk among those in flight."""
    return int(path * MAX_DEPTH + chunk % p.depth[path])


@small_function
def issue(c: Copies, p: Paths, path: int, now: int) -> None:
    """Send the next chunk of a path on its way."""
    chunk = c.issued[path]
    c.reached[slot_of(p, path, chunk)] = now + p.request[path]
    c.moved[path] += chunk_size(c, path, chunk)
    c.issued[path] = chunk + 1


@small_function
def serve(c: Copies, p: Paths, path: int, hop: int) -> None:
    """Let a server take the next chunk of a path, which has reached it."""
    place = path * MAX_HOPS + hop
    chunk = c.passed[place]
    slot = slot_of(p, path, chunk)
    server = p.server[place]
    busy = (chunk_size(c, path, chunk) * p.ticks_per_kib[place] + 1023) >> 10
    free = max(c.server_free[server], c.reached[slot] * TICKS_PER_PS) + busy
    c.server_free[server] = free
    c.server_busy[server] += busy
    time = (free + TICKS_PER_PS - 1) // TICKS_PER_PS + p.latency[place]
    c.reached[slot] = time
    c.passed[place] = chunk + 1
    if hop == p.hops[path] - 1:
        c.arrival[path] = max(c.arrival[path], time)


@small_function
def only_path(c: Copies) -> int:
    """Return the path that carries a copy, NONE if there are several or there is none."""
    found = NONE
    for path in range(len(c.size)):
        if c.size[path] != NONE:
            if found != NONE:
                return NONE
            found = path
    return found


@small_function
def run_alone(c: Copies, p: Paths, path: int, until: int) -> None:
    """Let the only path do all it does up to `until`, chunk by chunk: nobody else uses its servers meanwhile, so that
    only the order at each of them counts (40 % of the time that looking for the next event takes)."""
    open_hops = p.hops[path]  # that the chunk before has got through
    last = path * MAX_HOPS + p.hops[path] - 1
    for chunk in range(c.passed[last], c.chunks[path]):
        slot = slot_of(p, path, chunk)
        if chunk == c.issued[path]:
            ready = c.start[path] if chunk < p.depth[path] else c.reached[slot]
            if chunk >= c.passed[last] + p.depth[path] or ready > until:
                return
            issue(c, p, path, ready)
        for hop in range(open_hops):
            if c.passed[path * MAX_HOPS + hop] > chunk:
                continue
            if c.reached[slot] > until:
                open_hops = hop
                break
            serve(c, p, path, hop)


@compiled
def advance_copies(c: Copies, p: Paths, until: int) -> tuple[int, int]:
    """Run to the first of: the end of a copy, the time `until` (ps).  Returns (path that ended or NONE, time)."""
    alone = only_path(c)
    if alone != NONE:
        run_alone(c, p, alone, until)
    while True:
        first, first_hop, time = NONE, NONE, NEVER
        ended, end = NONE, NEVER
        for path in range(len(c.size)):
            if c.size[path] == NONE:
                continue
            before = c.issued[path]
            out = c.passed[path * MAX_HOPS + p.hops[path] - 1]
            if out == c.chunks[path] and c.arrival[path] < end:
                ended, end = path, c.arrival[path]
            if before < c.chunks[path] and before < out + p.depth[path]:
                # the buffer of the chunk `depth` before is free once that one has arrived
                ready = c.start[path] if before < p.depth[path] else c.reached[slot_of(p, path, before)]
                if ready < time:
                    first, first_hop, time = path, NONE, ready
            for hop in range(p.hops[path]):
                taken = c.passed[path * MAX_HOPS + hop]
                if taken < before:
                    reached = c.reached[slot_of(p, path, taken)]
                    if reached < time:
                        first, first_hop, time = path, hop, reached
                before = taken
        if end <= time and ended != NONE:
            if end > until:
                return NONE, until
            c.size[ended] = NONE
            return ended, end
        if first == NONE or time > until:
            return NONE, until
        if first_hop == NONE:
            issue(c, p, first, time)
        else:
            serve(c, p, first, first_hop)
