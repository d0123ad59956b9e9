"""A device's DRAM alone under a stated pattern of requests, as cycle-level DRAM simulators are run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter
from simulator.core.dram_pattern import answer, find_places, offer
from simulator.core.state import State, as_record
from simulator.hardware import Hardware
from simulator.memory.parameters import core_parameters
from simulator.units import PS_PER_S


@dataclass(frozen=True)
class PatternResult:
    """What a pattern came to."""

    time_ps: int
    moved_bytes: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    mean_read_latency_ps: float

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes read and written over the time of all."""
        return self.moved_bytes * PS_PER_S / self.time_ps


def dram_pattern(
    hardware: Hardware,
    address: NDArray[np.int64],
    request_bytes: int,
    write: NDArray[np.bool_] | None = None,
    queue: int = 32,
) -> PatternResult:
    """Return how the DRAM of a device serves requests that keep its read queue of `queue` entries full.

    `address` in bytes, in order of request; no request may cross a line.
    """
    parameters = core_parameters(hardware)
    state = State(parameters)
    writes = np.zeros(len(address), np.uint8) if write is None else write.astype(np.uint8)
    places = np.zeros(queue + 1, np.int64)
    end, latency = offer(state.words, as_record(parameters), address.astype(np.int64), writes, request_bytes, places)
    counters = state.counters[0]
    reads = len(address) - int(writes.sum())
    return PatternResult(
        time_ps=int(end),
        moved_bytes=len(address) * request_bytes,
        row_hits=int(counters[counter.ROW_HITS]),
        row_misses=int(counters[counter.ROW_MISSES]),
        row_conflicts=int(counters[counter.ROW_CONFLICTS]),
        mean_read_latency_ps=int(latency) / max(1, reads),
    )


class DramBench:
    """The DRAM of a device without the rest: requests at stated times, whose answers depend on those before."""

    def __init__(self, hardware: Hardware) -> None:
        self.parameters = core_parameters(hardware)
        self._state = State(self.parameters)

    def serve(
        self,
        address: NDArray[np.int64],
        request_bytes: int | NDArray[np.int64],
        arrival_ps: int | NDArray[np.int64],
        write: bool | NDArray[np.bool_] = False,
    ) -> NDArray[np.int64]:
        """Return when the data of each request are there, or a write has been sent or is waiting (ps).

        `address` in bytes.  A request lies within a line, or is one whole line group.
        """
        shape = np.shape(address)
        done = np.zeros(shape, np.int64)
        where, size = (np.broadcast_to(np.asarray(x, np.int64), shape).copy() for x in (address, request_bytes))
        kinds = np.broadcast_to(np.asarray(write, np.uint8), shape).copy()
        arrival = np.broadcast_to(np.asarray(arrival_ps, np.int64), shape).copy()
        answer(self._state.words, as_record(self.parameters), where, size, kinds, arrival, done)
        return done

    def places(self, address: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return channel, bank, row and number of the access within its channel, a row for each address (bytes)."""
        place = np.zeros((len(address), 4), np.int64)
        find_places(as_record(self.parameters), np.asarray(address, np.int64), place)
        return place

    @property
    def row_counts(self) -> tuple[int, int, int]:
        """Row hits, misses and conflicts so far, in accesses."""
        counters = self._state.counters[0]
        return tuple(int(counters[i]) for i in (counter.ROW_HITS, counter.ROW_MISSES, counter.ROW_CONFLICTS))  # type: ignore[return-value]
