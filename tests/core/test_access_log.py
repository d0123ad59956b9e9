"""Does the log of accesses say what the counters say, and does looking change nothing?"""

from __future__ import annotations

import access_patterns as patterns
import datasheet
import numpy as np
import pytest
from datasheet import Access
from numpy.typing import NDArray

from simulator.core import access_log
from simulator.core.state import Parameters
from simulator.errors import TraceError
from simulator.memory import Device, parameters
from simulator.trace.record import KernelHeader, Op


class Log:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.int64]] = []
        self.names: list[str] = []

    def attached(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def started(self) -> None:
        raise AssertionError("a device alone does not warm up")

    def launched(self, slot: int, header: KernelHeader) -> None:
        self.names.append(header.name)

    def logged(self, entries: NDArray[np.int64]) -> None:
        self.parts.append(entries.copy())

    def of(self, what: int, *operations: Op) -> tuple[int, int]:
        """Return the sectors of all entries of one kind and operation, and how many of them were missing."""
        entries = np.concatenate(self.parts)
        line, rest = entries[:, 0], entries[:, 1]
        lines = np.where(line & 63 == 0, self.parameters.group_lines, 1)
        chosen = (rest & 3 == what) & np.isin(rest >> access_log.OPERATION & 3, [int(op) for op in operations])
        sectors = np.bitwise_count(rest >> access_log.SECTORS & 15) * lines
        missing = np.bitwise_count(rest >> access_log.MISSING & 15) * lines
        return int(sectors[chosen].sum()), int(missing[chosen].sum())


def devices(changes: dict[str, object]) -> tuple[Device, Device, Log]:
    """Return a device without and one with an observer."""
    plain, log = datasheet.device(changes), Log()
    return plain, Device(plain.hardware, observer=log), log


@pytest.mark.parametrize("partitions", [1, 2])
def test_the_log_adds_up_to_the_counters(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "mshr_batch", lambda _: 1)  # which nobody watches are admitted together
    accesses = patterns.mixed(3, 600, 32, 4, reach=2.0)
    accesses += [a._replace(through_l1=True) for a in accesses[:200] if a.op is Op.READ]
    changes = datasheet.cache_of(32, 4, l2__partitions=partitions, l1__size="2 KiB", l1__ways=4)
    plain, observed, log = devices(changes)
    unseen = datasheet.run(plain, datasheet.kernel(accesses))
    seen = datasheet.run(observed, datasheet.kernel(accesses))
    assert seen == unseen
    counts = seen.counters
    read, read_missing = log.of(access_log.L2_ACCESS, Op.READ, Op.PREFETCH)
    assert read_missing == counts["READ_SECTOR_MISSES"] > 0
    assert read - read_missing == counts["READ_SECTOR_HITS"] > 0
    written, write_missing = log.of(access_log.L2_ACCESS, Op.WRITE, Op.REDUCE)
    assert (written - write_missing, write_missing) == (counts["WRITE_SECTOR_HITS"], counts["WRITE_SECTOR_MISSES"])
    asked, l1_missing = log.of(access_log.L1_ACCESS, Op.READ)
    assert (asked - l1_missing, l1_missing) == (counts["L1_SECTOR_HITS"], counts["L1_SECTOR_MISSES"])
    assert l1_missing > 0


def test_evictions_come_before_the_access_that_caused_them() -> None:
    """Two ways of one line each: a, b, a again, then c takes the place of b, and b that of a."""
    lines = [0, 1, 0, 2, 1]
    _, observed, log = devices(datasheet.cache_of(1, 2))
    datasheet.run(observed, datasheet.kernel([Access(n * 128, 128, barrier=True) for n in lines]))
    kinds = [(int(rest) & 3, int(line) >> 6) for line, rest in np.concatenate(log.parts)]
    hit, gone = access_log.L2_ACCESS, access_log.EVICTION
    assert kinds == [(hit, 0), (hit, 1), (hit, 0), (gone, 1), (hit, 2), (gone, 0), (hit, 1)]
    assert log.names == ["bench"]


def test_a_full_log_is_handed_over_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.memory.device.LOG_WORDS", 64)
    accesses = [Access(n * 128, 128) for n in range(200)]
    plain, observed, log = devices(datasheet.cache_of(16, 2))
    assert datasheet.run(observed, datasheet.kernel(accesses)) == datasheet.run(plain, datasheet.kernel(accesses))
    assert len(log.parts) > 5
    assert log.of(access_log.L2_ACCESS, Op.READ) == (800, 800)


def test_a_record_too_large_for_the_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.memory.device.LOG_WORDS", 64)
    _, observed, _ = devices(datasheet.cache_of(16, 2))
    with pytest.raises(TraceError, match="split it into records"):
        datasheet.run(observed, datasheet.kernel([Access(64, 128 * 100)]))
