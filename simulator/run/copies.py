"""A copy between host and device as a benchmark sees it: how long one blocking call takes."""

from __future__ import annotations

from enum import StrEnum

from simulator.hardware import Hardware
from simulator.memory.copies import HostCopies, Path
from simulator.units import PS_PER_S


class Direction(StrEnum):
    """Which way a copy goes."""

    TO_DEVICE = "h2d"
    TO_HOST = "d2h"


def copy_time_ps(hardware: Hardware, size: int, direction: Direction, pinned: bool = True) -> int:
    """Return how long one blocking copy of `size` bytes takes on an idle machine (ps).

    A pageable copy to the device that rides in the command buffer returns without waiting for the device (CUDA C++
    Programming Guide, asynchronous operations).  Raises ConfigError when the device has no host.
    """
    copies = HostCopies(hardware)
    host = hardware.host
    assert host is not None
    inline = not pinned and direction is Direction.TO_DEVICE and size <= host.inline_bytes
    if inline:
        path = Path.INLINE
    elif direction is Direction.TO_DEVICE:
        path = Path.FROM_DRAM if pinned else Path.FROM_PAGEABLE
    else:
        path = Path.TO_DRAM if pinned else Path.TO_PAGEABLE
    copies.start(path, size, host.setup_pinned_ps if pinned else host.setup_pageable_ps)
    waited = host.completion_ps if pinned else 0  # staged copies notice the end of each bounce buffer themselves
    return copies.next_ps + waited


def both_ways_bandwidth(hardware: Hardware, size: int) -> float:
    """Return the bandwidth of two pinned copies of `size` bytes made at once, one each way, added up (bytes/s).

    Raises ConfigError when the device has no host.
    """
    copies = HostCopies(hardware)
    host = hardware.host
    assert host is not None
    for path in (Path.FROM_DRAM, Path.TO_DRAM):
        copies.start(path, size, host.setup_pinned_ps)
    end_ps = 0
    for _ in range(2):
        end_ps = copies.next_ps
        if copies.advance(end_ps) == [Path.FROM_DRAM, Path.TO_DRAM]:
            break
    return 2 * size * PS_PER_S / (end_ps + host.completion_ps)


def copy_bandwidth(hardware: Hardware, size: int, direction: Direction, pinned: bool = True) -> float:
    """Return the bandwidth of one blocking copy of `size` bytes (bytes/s)."""
    return size * PS_PER_S / copy_time_ps(hardware, size, direction, pinned)
