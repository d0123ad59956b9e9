"""Who wants to know what the caches did, access by access."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.core.state import Parameters
from simulator.trace.record import KernelHeader

LOG_WORDS = 1 << 21
"""Room of a log: 16 MiB.  It is handed over when half full, so that one record may take up the other half."""


class AccessObserver(Protocol):
    """Takes the log of a device (`simulator.core.access_log`) while it runs, in simulated order."""

    def attached(self, parameters: Parameters) -> None:
        """A device with these parameters is about to run, its caches empty."""

    def started(self) -> None:
        """What was logged so far was warming up; what follows counts."""

    def launched(self, slot: int, header: KernelHeader) -> None:
        """Entries of `slot` belong to this kernel from now on."""

    def logged(self, entries: NDArray[np.int64]) -> None:
        """Take entries (n, ENTRY_WORDS), which are only lent."""
