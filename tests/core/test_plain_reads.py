"""Do the short paths of reads count and time exactly as the long way, and runs of lanes as the record they amount to?

Invariants: (1) a device whose accesses are logged takes the long way, and comes to the same time and counters, where
lines are admitted to MSHRs one by one; (2) where those of an event are admitted together, as they are, all but what is
counted of MSHRs stays the same as long as there are enough, and those in use never exceed those there are; (3) lanes
that read on from one another hit, miss and move what one record of the same bytes does.
"""

from __future__ import annotations

import access_patterns as patterns
import datasheet
import numpy as np
import pytest
from datasheet import Access
from numpy.typing import NDArray

from simulator import hardware
from simulator.core import counter, line_asks
from simulator.core.state import MOST_MSHR_BATCH, Parameters, mshr_batch
from simulator.memory import Device, parameters
from simulator.trace.record import KernelHeader, Op


class _Listener:
    """An observer that counts what it is told."""

    def __init__(self) -> None:
        self.entries = 0

    def attached(self, parameters: Parameters) -> None:
        pass

    def started(self) -> None:
        pass

    def launched(self, slot: int, header: KernelHeader) -> None:
        pass

    def logged(self, entries: NDArray[np.int64]) -> None:
        self.entries += len(entries)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "mshr_batch", lambda _: 1)


def gathers(seed: int, count: int, through_l1: bool) -> list[Access]:
    """Return warps of 32 lanes, each of a sector or two somewhere in 64 KiB, now and then of several rows."""
    rng = np.random.default_rng(seed)
    return [
        Access(
            patterns.BASE + int(rng.integers(2048)) * 32 // 64 * 64,
            32 * int(rng.integers(1, 3)),
            rows=1 if lane % 7 else 3,
            stride=4096,
            through_l1=through_l1,
            joined=lane % 32 > 0,
        )
        for lane in range(count)
    ]


def lone_sectors(seed: int, through_l1: bool) -> list[Access]:
    """Return warps of up to 70 lanes, each of one sector or a part of one, which gathers stand for up to 64."""
    rng = np.random.default_rng(seed)
    warps = [(int(rng.integers(1, 71)), int(rng.integers(1, 33))) for _ in range(30)]
    return [
        Access(patterns.BASE + int(rng.integers(2048)) * 32, size, through_l1=through_l1, joined=lane > 0)
        for lanes, size in warps
        for lane in range(lanes)
    ]


def among_writes(accesses: list[Access], seed: int) -> list[Access]:
    """Return these accesses, a write somewhere in 64 KiB before every tenth, so that reads replace dirty lines."""
    rng = np.random.default_rng(seed)
    writes = [Access(patterns.BASE + int(rng.integers(2048)) * 32, 600, Op.WRITE) for _ in accesses[::10]]
    tens = [accesses[first : first + 10] for first in range(0, len(accesses), 10)]
    return [each for write, ten in zip(writes, tens, strict=True) for each in (write, *ten)]


def among_groups(accesses: list[Access], seed: int) -> list[Access]:
    """Return these accesses, five whole line groups of many before every fourth, so that lanes are joined again."""
    rng = np.random.default_rng(seed)
    groups = [Access(patterns.BASE + int(rng.integers(64)) * 4096, 5 * 4096) for _ in accesses[::4]]
    fours = [accesses[first : first + 4] for first in range(0, len(accesses), 4)]
    return [each for group, four in zip(groups, fours, strict=True) for each in (group, *four)]


def long_ones(seed: int) -> list[Access]:
    """Return reads of more groups, and of more parts of lines, than are dealt with at once."""
    rng = np.random.default_rng(seed)
    starts = [patterns.BASE + int(rng.integers(400)) * 4096 for _ in range(40)]
    rows = [Access(start, 32, rows=70, stride=int(rng.integers(1, 9)) * 128, joined=True) for start in starts[::2]]
    return [each for start, row in zip(starts, rows, strict=False) for each in (Access(start, 300 * 1024), row)]


def all_counted(on: Device, ctas: list[list[Access]]) -> list[int]:
    """Return when a kernel ended, and all its counters, with ledger and histograms."""
    slot = on.launch(datasheet.kernel(*ctas))
    end, _ = on.advance(0)
    return [end, *on.retire(slot).tolist()]


def ran(
    accesses: list[Access],
    partitions: int,
    listener: _Listener | None,
    sets: int = 64,
    refresh: str = "spread",
    fetched: int = 32,
) -> list[int]:
    changes: dict[str, object] = {"sm.count": 2, "l2.size": f"{sets * 4 * 128 * partitions} B", "l2.ways": 4}
    changes |= {"l2.partitions": partitions, "hbm.refresh": refresh, "l2.fetch": f"{fetched} B"}
    device = Device(datasheet.device(changes).hardware, observer=listener)
    return all_counted(device, [accesses[::2], accesses[1::2]])


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize(
    "case",
    [
        "mixed",
        "gathers",
        "gathers through L1",
        "gathers among writes",
        "sectors",
        "sectors through L1",
        "alone",
        "alone through L1",
        "alone among writes",
        "alone among groups",
    ],
)
def test_short_and_long_way_agree(case: str, partitions: int) -> None:
    for seed in range(3):
        accesses = gathers(seed, 640, "L1" in case)
        if case.startswith("sectors"):
            accesses = lone_sectors(seed, "L1" in case)
        if case == "mixed":
            accesses = patterns.mixed(seed, 400, 64, 4, reach=2.0, phases=3)
        if case.startswith("alone"):
            accesses = [access._replace(joined=False, rows=1) for access in accesses]
        if case.endswith("among groups"):
            accesses = among_groups(accesses, seed)
        if case.endswith("among writes"):
            accesses = among_writes(accesses, seed)
        listener = _Listener()
        short, long = ran(accesses, partitions, None), ran(accesses, partitions, listener)
        assert short == long
        assert listener.entries > len(accesses) // 2


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("refresh", ["spread", "per-bank", "all-bank"])
def test_they_agree_whatever_the_refresh(refresh: str) -> None:
    """Only with `spread` the short way leaves out what refresh does."""
    accesses = gathers(7, 640, False) + patterns.mixed(7, 400, 64, 4, reach=2.0, phases=3)
    assert ran(accesses, 2, None, refresh=refresh) == ran(accesses, 2, _Listener(), refresh=refresh)
    assert bool(datasheet.device({"hbm.refresh": refresh}).parameters.dram.steady) == (refresh == "spread")


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("fetched", [64, 128])
def test_they_agree_about_sectors_that_come_with_others(fetched: int, partitions: int) -> None:
    some = gathers(5, 640, False)
    for accesses in (some, [access._replace(joined=False, rows=1) for access in some]):
        short, long = (ran(accesses, partitions, listener, fetched=fetched) for listener in (None, _Listener()))
        assert short == long
        assert short != ran(accesses, partitions, None)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("gpu", ["h100-sxm", "a100-sxm-80gb"])
@pytest.mark.parametrize("lines", [16, 256])
def test_they_agree_about_what_is_in_l1_and_coalescers(lines: int, gpu: str) -> None:
    """Lanes want what earlier ones of their event have asked for, and replace it in an L1 of 16 lines; those of every
    fifth warp go through L1 in part."""
    rng = np.random.default_rng(lines)
    starts = patterns.BASE + rng.integers(4 * lines, size=1920) * 32
    accesses = [Access(int(at), through_l1=n % 160 < 150, joined=n % 32 > 0) for n, at in enumerate(starts)]
    ctas = [accesses[first : first + 160] for first in range(0, len(accesses), 160)]
    changes = ("sm.count=4", 'l1.size="2 KiB"', "l1.ways=2", 'l2.size="64 KiB"', "l2.ways=4")
    changes += ("l2.slices=10", "l2.slice_bytes_per_clock=1", 'launch.cta_interval="0 ps"')
    spec, listener = hardware.load(gpu, changes).spec, _Listener()
    short, long = Device(spec), Device(spec, observer=listener)
    assert (short.parameters.coalescer_sms > 0) == (gpu == "h100-sxm")
    assert all_counted(short, ctas) == all_counted(long, ctas)
    assert np.array_equal(short._state.l1_sets, long._state.l1_sets)
    assert np.array_equal(short._state.l1_uses, long._state.l1_uses)
    assert listener.entries > len(accesses)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("partitions", [1, 2])
def test_they_agree_about_more_than_is_dealt_with_at_once(partitions: int) -> None:
    accesses = long_ones(partitions)
    listener = _Listener()
    assert ran(accesses, partitions, None, 4096) == ran(accesses, partitions, listener, 4096)
    assert listener.entries > 70 * len(accesses)


def of_misses(counted: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, of what `all_counted` returns, all that does not concern MSHRs, and their latencies' sums."""
    counters = np.array(counted)
    latencies = [1 + counter.MISS_OUTSTANDING, 1 + counter.MISS_REQUEST_OUTSTANDING]
    queue = range(1 + counter.MISS_QUEUE, 1 + counter.MISS_QUEUE + counter.QUEUE_WORDS)
    return np.delete(counters, [*latencies, *queue]), counters[latencies]


@pytest.mark.parametrize("partitions", [1, 2])
def test_admitting_lines_together_changes_nothing_where_mshrs_are_free(
    partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    accesses = among_writes(gathers(5, 640, False), 5)
    together = ran(accesses, partitions, None)
    monkeypatch.setattr(parameters, "mshr_batch", lambda _: 1)
    rest, latencies = of_misses(together)
    alone, alone_latencies = of_misses(ran(accesses, partitions, None))
    assert together[1 + counter.MISS_REQUESTS] > 500
    assert np.array_equal(rest, alone)
    assert latencies == pytest.approx(alone_latencies, rel=2e-3)  # sums are rounded once an event


@pytest.mark.parametrize("mshrs", [1, 2, 4, 8])
def test_lines_admitted_together_take_no_more_mshrs_than_there_are(mshrs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MSHRs are few a warp waits until there are some for all of it, but a device never waits for more than a
    sixteenth of them, so that throughput stays near that of lines admitted one by one."""
    rng = np.random.default_rng(mshrs)
    ctas = [[Access(int(n) * 32, joined=lane % 32 > 0) for lane, n in enumerate(rng.integers(1 << 27, size=640))]] * 4

    def counted() -> tuple[Device, list[int]]:
        device = datasheet.device({"sm.count": 4, "l2.slices": 8, "l2.mshrs": mshrs})
        return device, all_counted(device, ctas)

    device, together = counted()
    assert device.parameters.mshr_batch == mshr_batch(8 * mshrs) <= max(1, 8 * mshrs // 16)
    assert device.parameters.mshr_batch <= MOST_MSHR_BATCH
    assert together[1 + counter.MISS_QUEUE + counter.REQUESTS + counter.PEAK] <= 8 * mshrs
    monkeypatch.setattr(parameters, "mshr_batch", lambda _: 1)
    _, alone = counted()
    traffic = [1 + counter.READ_SECTOR_MISSES, 1 + counter.DRAM_READ_BYTES, 1 + counter.MISS_REQUESTS]
    assert [together[n] for n in traffic] == [alone[n] for n in traffic]
    assert alone[1 + counter.MSHR_FULL_PS] > 0
    assert together[0] == pytest.approx(alone[0], rel=0.1)


def test_lanes_that_read_on_are_one_request() -> None:
    """Two warps of 32 lines each are two whole line groups: same traffic, and no group is split."""
    lanes = [Access(patterns.BASE + line * 128, 128, joined=line % 32 > 0) for line in range(64)]
    whole = [Access(patterns.BASE + group * 4096, 4096) for group in range(2)]
    device = datasheet.device()
    apart, together = (
        datasheet.run(on, datasheet.kernel(a)) for on, a in ((device, lanes), (datasheet.device(), whole))
    )
    assert apart.functional() == together.functional()
    assert apart.end_ps == together.end_ps
    assert (apart.counters["RECORDS"], together.counters["RECORDS"]) == (64, 2)
    assert not device._state.split.any()


@pytest.mark.parametrize("change", ["gap", "length", "kind"])
def test_lanes_that_do_not_read_on_stay_apart(change: str) -> None:
    second = {
        "gap": Access(patterns.BASE + 3968, 128, joined=True),
        "length": Access(patterns.BASE + 2048, 1024, joined=True),
        "kind": Access(patterns.BASE + 2048, 2048, Op.PREFETCH, joined=True),
    }[change]
    device = datasheet.device()
    datasheet.run(device, datasheet.kernel([Access(patterns.BASE, 2048), second]))
    assert device._state.split.any()


def test_a_lane_number_fits_its_mask() -> None:
    assert datasheet.device().parameters.group_lines <= line_asks.LANES + 1
