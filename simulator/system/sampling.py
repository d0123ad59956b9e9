"""A run over time: what a device has counted, at equal intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.memory import Device

FIRST_INTERVAL_PS = 500_000
MOST_SAMPLES = 2000


class Samples:
    """Counters of a device as they stood at times (ps) while kernels ran.

    The interval doubles whenever there are `MOST_SAMPLES`, of which every second is then dropped: a run of any length
    has a bounded number of them.  Sampling stops the core between two events and changes nothing.
    """

    def __init__(self) -> None:
        self.times: list[int] = []
        self.counters: list[NDArray[np.int64]] = []
        self.interval_ps = FIRST_INTERVAL_PS
        self.next_ps = 0

    def take(self, device: Device, now: int) -> None:
        """Take a sample and say when the next is due."""
        self.times.append(now)
        self.counters.append(device.counted())
        if len(self.times) >= MOST_SAMPLES:
            self.times, self.counters = self.times[::2], self.counters[::2]
            self.interval_ps *= 2
        self.next_ps = now + self.interval_ps
