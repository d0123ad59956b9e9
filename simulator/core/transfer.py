"""What the copies of a device's copy engines take of its DRAM bandwidth from its kernels."""

from __future__ import annotations

from simulator.core.compiled import compiled
from simulator.core.state import TICKS_PER_PS, Parameters, State


@compiled
def post_transfer(s: State, p: Parameters, size: int, writing: bool, now: int) -> None:
    """Book the channel time of `size` bytes copied to (`writing`) or from device memory, spread over all channels.

    Copies are long runs: rows are opened once in many accesses and not counted.  Writes drain together as those of
    kernels do, and each drain turns the bus around once.
    """
    share = (size + p.channels - 1) // p.channels
    busy = (share * p.channel_ticks_per_kib + 1023) >> 10
    if writing:
        busy += share * p.turnaround_ticks // p.write_drain_bytes
    start = now * TICKS_PER_PS
    for channel in range(p.channels):
        s.channel_free[channel] = max(s.channel_free[channel], start) + busy
