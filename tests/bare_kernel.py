"""A kernel header with nothing in it, for tests that fill in what they ask about."""

from __future__ import annotations

from simulator.trace.record import KernelHeader

BARE = KernelHeader(
    name="bare",
    operator="",
    layer=-1,
    step=0,
    requesters=1,
    threads=32,
    shared_bytes=0,
    registers=0,
    stages=1,
    flops=0,
    records=0,
    read_bytes=0,
    write_bytes=0,
)
