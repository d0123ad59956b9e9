"""Requests to DRAM alone: offered as fast as the controller's queue takes them, or at stated times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiled import compiled
from simulator.core.dram import accesses_of, dram_read, note_read, serve
from simulator.core.dram_places import WHOLE, channel_group_of, lane_of, locate, places_of
from simulator.core.dram_writes import dram_write
from simulator.core.heap import sift_down
from simulator.core.layout import Int64Array
from simulator.core.state import Parameters


@compiled
def offer(
    m: Int64Array,
    parameters: Sequence[Parameters],
    address: Int64Array,
    write: NDArray[np.uint8],
    size: int,
    places: Int64Array,
) -> tuple[int, int]:
    """Send requests of `size` bytes in order, each as soon as one of the read queue's places is free; return when the
    last read has arrived and the sum of the reads' latencies, from entering the queue to the last byte (ps).

    `places` is room for one more than the queue's entries.  A read leaves its place with the activate it needs, or
    else with its column command.  Writes are posted.
    """
    p = parameters[0]
    q = p.dram
    entries = len(places) - 1
    now = 0
    end = 0
    total = 0
    for i in range(len(address)):
        line = address[i] >> p.line_shift
        group = line // p.group_lines
        lane = line - group * p.group_lines
        if write[i]:
            dram_write(m, p, 0, group, lane, size, now)
        else:
            now = max(now, places[0])
            channel_group, access = channel_group_of(q, group)
            channel, offset = lane_of(q, lane)
            bank, row = locate(q, access + offset)
            gates, columns, record, unit = places_of(q, channel_group, bank, channel)
            note_read(m, gates)
            count = accesses_of(q, size)
            done, left, _, _, _ = serve(
                m, q, p.at.counters, gates, columns, record, unit, channel, row, count, 0, now, False
            )
            done += q.latency_ps
            sift_down(places, 0, entries, left)
            total += done - now
            end = max(end, done)
    return end, total


@compiled
def answer(
    m: Int64Array,
    parameters: Sequence[Parameters],
    address: Int64Array,
    size: Int64Array,
    write: NDArray[np.uint8],
    arrival: Int64Array,
    done: Int64Array,
) -> None:
    """Serve requests that come at stated times (`arrival`, ps), line by line or by whole line groups, and write into
    `done` when the data of each are there, or a write has been sent or is waiting (ps)."""
    p = parameters[0]
    for i in range(len(address)):
        line = address[i] >> p.line_shift
        group = line // p.group_lines
        lane = line - group * p.group_lines
        if size[i] == 1 << p.group_shift:
            lane = WHOLE
        if write[i]:
            done[i] = dram_write(m, p, 0, group, lane, size[i], arrival[i])
        else:
            channel_group, access = channel_group_of(p.dram, group)
            done[i], _, _, _ = dram_read(m, p, 0, channel_group, access, lane, size[i], arrival[i])


@compiled
def find_places(parameters: Sequence[Parameters], address: Int64Array, place: Int64Array) -> None:
    """Write channel, bank, row and access number within the channel of each address into the rows of `place`."""
    p = parameters[0]
    q = p.dram
    for i in range(len(address)):
        line = address[i] >> p.line_shift
        group = line // p.group_lines
        channel_group, first = channel_group_of(q, group)
        lane, offset = lane_of(q, line - group * p.group_lines)
        access = first + offset + ((address[i] & ((1 << p.line_shift) - 1)) >> q.access_shift)
        bank, row = locate(q, access)
        place[i, 0] = channel_group * q.group_channels + lane
        place[i, 1] = bank
        place[i, 2] = row
        place[i, 3] = access
