"""L1, partitions, hints, replacement and MSHRs, on sequences worked by hand.

A cache of one set: lines 128 B apart all fall into it.
"""

from __future__ import annotations

import datasheet
import pytest
from datasheet import Access

from simulator.trace.record import Hint, Op

BASE = 1 << 32
LINE = 128


def line(number: int, **more: object) -> Access:
    return Access(BASE + number * LINE, LINE, **more)  # type: ignore[arg-type]


def missed(changes: dict[str, object], first: list[Access], then: list[Access]) -> list[bool]:
    """Return which of `then` miss L2 after `first`."""
    device = datasheet.device(changes)
    now = datasheet.run(device, datasheet.kernel(first, stages=1)).end_ps
    out = []
    for access in then:
        ran = datasheet.run(device, datasheet.kernel([access]), now)
        now = ran.end_ps
        out.append(ran.counters["READ_SECTOR_MISSES"] > 0)
    return out


def one_set(replacement: str = "lru", **more: object) -> dict[str, object]:
    return datasheet.cache_of(1, 4, l2__replacement=replacement, **more)


def test_lru_replaces_the_line_used_longest_ago() -> None:
    assert missed(one_set(), [line(i) for i in (0, 1, 2, 3, 0, 4)], [line(0), line(2), line(3)]) == [False] * 3
    assert missed(one_set(), [line(i) for i in (0, 1, 2, 3, 0, 4)], [line(1)]) == [True]


def test_tree_plru_follows_its_tree() -> None:
    """After a b c d the tree points to a; using a points it to the right half, and there to c: e replaces c."""
    first = [line(i) for i in (0, 1, 2, 3, 0, 4)]
    assert missed(one_set("plru"), first, [line(0), line(1), line(3)]) == [False] * 3
    assert missed(one_set("plru"), first, [line(2)]) == [True]


@pytest.mark.parametrize("replacement", ["srrip"])
def test_srrip_keeps_what_was_used_again(replacement: str) -> None:
    """a is predicted near after its second use; e and f replace b and c, which are predicted far."""
    first = [line(i) for i in (0, 1, 2, 3, 0, 4, 5)]
    assert missed(one_set(replacement), first, [line(0), line(4), line(5)]) == [False] * 3
    assert missed(one_set(replacement), first, [line(1)]) == [True]


def test_evict_first_goes_first() -> None:
    first = [line(0), line(1), line(2), line(3, hint=Hint.EVICT_FIRST), line(4)]
    assert missed(one_set(), first, [line(0), line(1), line(2)]) == [False] * 3
    assert missed(one_set(), first, [line(3)]) == [True]


def test_evict_last_stays_as_far_as_room_is_set_aside() -> None:
    """One of the four ways is set aside: of two lines to be kept the later one is, whatever comes after."""
    aside = one_set(l2__set_aside="128 B")
    first = [line(0, hint=Hint.EVICT_LAST), *(line(i) for i in range(1, 12))]
    assert missed(aside, first, [line(0)]) == [False]
    assert missed(one_set(), first, [line(0)]) == [True]
    both = [line(20, hint=Hint.EVICT_LAST), *first]
    assert missed(aside, both, [line(0), line(20)]) == [False, True]


def test_no_allocate_leaves_nothing_behind() -> None:
    first = [line(0), line(1), line(2), line(3), line(4, hint=Hint.NO_ALLOCATE)]
    assert missed(one_set(), first, [line(i) for i in range(4)]) == [False] * 4
    assert missed(one_set(), first, [line(4)]) == [True]


def test_a_read_miss_fetches_what_the_device_fetches_at_least() -> None:
    ran = datasheet.run(
        datasheet.device(datasheet.cache_of(32, 4, l2__fetch="64 B")),
        datasheet.kernel([Access(BASE, 32), Access(BASE + 32, 32), Access(BASE + 64, 32)], stages=1),
    )
    assert ran.counters["READ_SECTOR_HITS"] == 1 and ran.counters["READ_SECTOR_MISSES"] == 2
    assert ran.counters["DRAM_READ_BYTES"] == 128


def test_l1_answers_the_second_read_and_is_empty_for_the_next_kernel() -> None:
    device = datasheet.device({"l1.size": "4 KiB", "l1.ways": 4} | datasheet.ONE_CTA)
    reads = [line(0, through_l1=True), line(0, through_l1=True, barrier=True)]
    for start in (0, 1):
        ran = datasheet.run(device, datasheet.kernel(reads), start * 10**9)
        assert ran.counters["L1_SECTOR_HITS"] == ran.counters["L1_SECTOR_MISSES"] == 4
        assert ran.counters["READ_SECTOR_HITS"] == 4 * start


@pytest.mark.parametrize(("lines", "hits"), [(32, 128), (64, 0)])
def test_l1_holds_its_size(lines: int, hits: int) -> None:
    """4 KiB hold 32 lines; twice as many, read in turn, never hit under LRU."""
    device = datasheet.device({"l1.size": "4 KiB", "l1.ways": 4} | datasheet.ONE_CTA)
    reads = [line(i % lines, through_l1=True) for i in range(2 * lines)]
    assert datasheet.run(device, datasheet.kernel(reads, stages=1)).counters["L1_SECTOR_HITS"] == hits


def test_a_joined_record_costs_no_further_event() -> None:
    """Two sectors issued together take as long as 64 bytes; one after the other, with a single buffer,
    a hit longer."""
    apart = [Access(BASE, 32), Access(BASE + 32, 32)]
    together = [apart[0], apart[1]._replace(joined=True)]
    warm = [Access(BASE, LINE)]

    def time(accesses: list[Access]) -> int:
        device = datasheet.device(datasheet.ONE_CTA)
        start = datasheet.run(device, datasheet.kernel(warm)).end_ps
        return datasheet.run(device, datasheet.kernel(accesses, stages=1), start).end_ps - start

    hit_ps = datasheet.device(datasheet.ONE_CTA).hardware.l2.hit_latency_ps
    assert time(together) == pytest.approx(time([Access(BASE, 64)]), abs=1000)
    assert time(apart) - time(together) == pytest.approx(hit_ps, abs=2000)


TWO = {"l2.partitions": 2, "sm.count": 2, "sm.ctas": 1}


def test_a_line_read_from_both_partitions_is_fetched_once_and_kept_twice() -> None:
    """Each of two CTAs, one near each partition, reads 64 groups; all cross for those whose home is the other."""
    device = datasheet.device(TWO)
    reads = [Access(BASE + i * 4096, 4096) for i in range(64)]
    first = datasheet.run(device, datasheet.kernel(reads, reads))
    assert first.counters["READ_SECTOR_MISSES"] == 64 * 128
    assert first.counters["FAR_SECTORS"] == 64 * 128  # every group is far from one of the two
    again = datasheet.run(device, datasheet.kernel(reads, reads), first.end_ps)
    assert again.counters["READ_SECTOR_MISSES"] == again.counters["FAR_SECTORS"] == 0
    writes = [access._replace(op=Op.WRITE) for access in reads]
    written = datasheet.run(device, datasheet.kernel(writes), again.end_ps)
    after = datasheet.run(device, datasheet.kernel(reads, reads), written.end_ps)
    assert after.counters["READ_SECTOR_MISSES"] == 0
    assert after.counters["FAR_SECTORS"] == 64 * 128  # the copies were made invalid


def test_one_sm_has_half_of_l2_near() -> None:
    """A set that fits the near half comes from there; between half and all, what is missing near is found across."""
    size = datasheet.device(TWO).hardware.l2.size_bytes

    def passes(share: float) -> tuple[datasheet.Ran, int]:
        device = datasheet.device(TWO)
        reads = [Access(BASE + at, 1 << 20) for at in range(0, int(size * share), 1 << 20)]
        now = datasheet.run(device, datasheet.kernel(reads)).end_ps
        return datasheet.run(device, datasheet.kernel(reads), now), len(reads) << 15

    near, _ = passes(0.4)
    assert near.counters["READ_SECTOR_MISSES"] == near.counters["FAR_SECTORS"] == 0
    wide, sectors = passes(0.8)
    assert wide.counters["FAR_SECTORS"] == pytest.approx(sectors / 2, rel=0.1)
    assert wide.counters["READ_SECTOR_MISSES"] == pytest.approx(sectors / 2, rel=0.1)


def test_misses_wait_for_an_mshr() -> None:
    changes = {"l2.slices": 1, "l2.slice_bytes_per_clock": 4096, "l2.clock": "8 GHz"} | datasheet.ONE_CTA
    reads = [Access(BASE + i * 4096, 4096) for i in range(8)]
    few = datasheet.run(datasheet.device(changes | {"l2.mshrs": 32}), datasheet.kernel(reads, stages=8))
    many = datasheet.run(datasheet.device(changes | {"l2.mshrs": 4096}), datasheet.kernel(reads, stages=8))
    assert few.counters["MSHR_FULL_PS"] > 0 == many.counters["MSHR_FULL_PS"]
    assert few.counters["MISS_PEAK_BYTES"] == 4096 and many.counters["MISS_PEAK_BYTES"] == 8 * 4096
    assert few.end_ps > 2 * many.end_ps


@pytest.mark.parametrize("size", [32, 128])
def test_no_more_lines_are_on_their_way_than_mshrs(size: int) -> None:
    """Whole lines or one sector of each; 64 CTAs ask for 16 lines each, in turns, at times that others wait for."""
    device = datasheet.device({"l2.slices": 1, "l2.mshrs": 96, "l2.slice_bytes_per_clock": 4096, "sm.count": 64})
    ctas = ([Access(BASE + (i * 64 + cta) * 4096, size) for i in range(16)] for cta in range(64))
    ran = datasheet.run(device, datasheet.kernel(*ctas, stages=8))
    assert ran.counters["MISS_REQUESTS"] == 1024 and ran.counters["MISS_PEAK_REQUESTS"] == 96
    assert ran.counters["MISS_PEAK_BYTES"] == 96 * size
    mean = ran.counters["MISS_REQUEST_OUTSTANDING"] * 1024 / ran.end_ps
    assert 60 < mean <= 96


def test_write_backs_hold_writers_back() -> None:
    """A write stream through a small cache goes at the speed of DRAM, not of L2."""
    device = datasheet.device({"l2.size": "1 MiB", "sm.count": 8})
    writes = [[Access(BASE + (cta * 64 + i) * 4096, 4096, Op.WRITE) for i in range(64)] for cta in range(64)]
    ran = datasheet.run(device, datasheet.kernel(*writes, stages=4))
    assert ran.counters["SM_WRITE_BYTES"] / ran.end_ps * 1e12 < 1.1 * device.hardware.hbm.peak_bytes_per_s


def test_far_writes_cross_to_their_home() -> None:
    """One SM writes 64 groups, about half of them at home in the other partition, over a link of 1 B/clk."""
    changes = TWO | {"sm.count": 1, "l2.clock": "1 GHz", "l2.cross_bytes_per_clock": 1}
    writes = [Access(BASE + i * 4096, 4096, Op.WRITE) for i in range(64)]
    ran = datasheet.run(datasheet.device(changes), datasheet.kernel(writes))
    crossed = ran.counters["CROSS_BYTES"]
    assert crossed == pytest.approx(32 * 4096, rel=0.2)
    assert ran.end_ps > crossed * 1000
    near = datasheet.run(datasheet.device(changes | {"l2.partitions": 1}), datasheet.kernel(writes))
    assert near.counters["CROSS_BYTES"] == 0
    assert near.end_ps < ran.end_ps / 10


@pytest.mark.parametrize(("sharing", "requests"), [(1, 8), (4, 2), (8, 1)])
def test_sms_that_share_a_coalescer_ask_once_for_a_line_on_its_way(sharing: int, requests: int) -> None:
    """Eight SMs read one line at the same time, and once more when it has come."""
    device = datasheet.device({"sm.count": 8, "sm.ctas": 1, "l2.coalescer_sms": sharing, "launch.cta_interval": "0 ps"})
    now = 0
    for missed in (4, 0):
        ran = datasheet.run(device, datasheet.kernel(*([line(0, through_l1=True)] for _ in range(8))), now)
        now = ran.end_ps
        assert ran.counters["READ_SECTOR_MISSES"] == missed
        assert ran.counters["READ_SECTOR_HITS"] + missed == 4 * requests
        assert ran.counters["SM_READ_BYTES"] == ran.counters["L2_READ_BYTES"] == 8 * LINE


def test_a_coalescer_joins_only_what_is_on_its_way() -> None:
    device = datasheet.device({"sm.count": 2, "sm.ctas": 1, "l2.coalescer_sms": 2, "launch.cta_interval": "10 us"})
    ran = datasheet.run(device, datasheet.kernel([line(0, through_l1=True)], [line(0, through_l1=True)]))
    assert (ran.counters["READ_SECTOR_MISSES"], ran.counters["READ_SECTOR_HITS"]) == (4, 4)


def test_ctas_are_placed_one_after_the_other() -> None:
    """Eight CTAs on as many SMs begin 100 ns apart: the last ends 700 ns after the first."""
    changes = {"sm.count": 8, "sm.ctas": 1}
    ctas = [[line(32 * 1024 * i)] for i in range(8)]
    ends = [
        datasheet.run(datasheet.device(changes | {"launch.cta_interval": interval}), datasheet.kernel(*ctas)).end_ps
        for interval in ("0 ps", "100 ns")
    ]
    assert ends[1] - ends[0] == pytest.approx(700_000, abs=5000)


def test_slices_of_sites_drawn_by_hash_are_asked_for_lines_unevenly() -> None:
    """Ten lines in a row, again and again, from ten slices that take 128 ns for a line."""
    took = []
    for sites in (1, 5):
        slow = {"l2.slices": 10, "l2.slice_sites": sites, "l2.slice_bytes_per_clock": 1, "l2.clock": "1 GHz"}
        device = datasheet.device(slow | datasheet.ONE_CTA)
        rows = [Access(BASE + 10 * LINE * i, 10 * LINE, barrier=True) for i in range(40)]
        now = datasheet.run(device, datasheet.kernel(rows)).end_ps
        took.append(datasheet.run(device, datasheet.kernel(rows), now).end_ps - now)
    assert took[0] < 40 * 450_000 < took[1]
