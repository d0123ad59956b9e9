"""What the copies of a device's copy engines take of its DRAM bandwidth from its kernels."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.core.compiled import compiled
from simulator.core.dram import use
from simulator.core.dram_places import WHOLE, gates_of, refresh_unit
from simulator.core.dram_refresh import work_time
from simulator.core.dram_state import BUS
from simulator.core.layout import Int64Array
from simulator.core.state import Parameters


@compiled
def post_transfer(m: Int64Array, parameters: Sequence[Parameters], size: int, writing: bool, now: int) -> None:
    """Book the channel time of `size` bytes copied to (`writing`) or from device memory, spread over all channels.

    Copies are long runs: rows are opened once in many accesses and not counted.  Writes drain together as those of
    kernels do, and each drain turns the bus around once.
    """
    q = parameters[0].dram
    accesses = (size + q.channels * q.access_bytes - 1) // (q.channels * q.access_bytes)
    busy = accesses * q.burst_ps
    if writing:
        busy += accesses * q.turnaround_ps // (q.drain_from - q.drain_to)
    for group in range(q.channel_groups):
        bus = gates_of(q, group) + BUS * q.gate_words
        start = work_time(m, q, refresh_unit(q, group, 0), now)
        use(m, bus, WHOLE, q.group_channels, start, busy)
