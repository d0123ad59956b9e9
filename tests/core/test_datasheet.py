"""Does each part of the device take the time its data sheet says, to the picosecond where nothing else is in the way?

The bench device has round numbers.  SM at 1 GHz, 64 B/clk port: a 32-byte sector takes 0.5 ns.  L2 hit 200 ns.  A DRAM
access of 64 B takes 2 ns of its channel, 100 ns more than a hit with its row open and 110 ns when the row has to be
opened; nothing else about rows or bank groups costs time here (tests/core/test_dram_timing.py).  A CTA makes its
first access 50 ns after it is placed.
"""

from __future__ import annotations

from dataclasses import replace

import datasheet
import pytest
from datasheet import Access, kernel, run
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core.in_flight import BYTES, HEAD, TAIL
from simulator.core.layout import SM_QUEUE
from simulator.memory import Device
from simulator.trace.record import Op

NS = 1000
BENCH: dict[str, object] = {
    "sm.clock": "1 GHz",
    "sm.port_bytes_per_clock": 64,
    "sm.outstanding": "32 KiB",
    "l1.hit_latency": "20 ns",
    "l2.size": "1 MiB",
    "l2.clock": "1 GHz",
    "l2.slices": 80,
    "l2.slice_bytes_per_clock": 64,
    "l2.hit_latency": "200 ns",
    "hbm.stacks": 1,
    "hbm.channels": 32,
    "hbm.channel_bits": 32,
    "hbm.data_rate": "8 Gbit/s",
    "hbm.access": "64 B",
    "hbm.interleave": "256 B",
    "hbm.latency": "100 ns",
    "hbm.t_rcd": "10 ns",
    "hbm.t_rp": "0 ns",
    "hbm.t_ras": "0 ns",
    "hbm.t_rtp": "0 ns",
    "hbm.t_rrd_s": "0 ns",
    "hbm.t_rrd_l": "0 ns",
    "hbm.t_faw": "0 ns",
    "hbm.t_pre": "0 ns",
    "hbm.t_act": "0 ns",
    "hbm.n_ccd_l": 2,
    "hbm.t_rfc": "0 ns",
    "launch.cta_start": "50 ns",
}
START, HIT, PORT, TRANSFER = 50 * NS, 200 * NS, NS // 2, 2 * NS
MISS = 100 * NS + TRANSFER + HIT
ROW = 10 * NS
ROUNDING = 2  # ps
BASE = 1 << 32
FAR = (1 << 30) + (1 << 15)  # another row and bank, and another line group and set


def bench(**changes: object) -> Device:
    return datasheet.device(BENCH | {key.replace("__", "."): value for key, value in changes.items()})


def far(count: int, **more: object) -> list[Access]:
    """Return reads of `count` sectors in as many rows."""
    return [Access(BASE + i * FAR, **more) for i in range(count)]  # type: ignore[arg-type]


def test_a_cold_read_opens_the_row() -> None:
    assert run(bench(), kernel(far(1))).end_ps == START + MISS + ROW


def test_a_read_of_an_open_row_does_not() -> None:
    device = bench()
    first = run(device, kernel([Access(BASE)])).end_ps
    second = run(device, kernel([Access(BASE + 64)]), first)
    assert second.end_ps - first == START + MISS
    assert second.counters["ROW_HITS"] == 1


def test_a_second_read_of_the_line_hits() -> None:
    device = bench()
    first = run(device, kernel([Access(BASE, 128)])).end_ps
    second = run(device, kernel([Access(BASE)]), first)
    assert (second.counters["READ_SECTOR_HITS"], second.counters["DRAM_READ_BYTES"]) == (1, 0)
    assert second.end_ps - first == pytest.approx(START + PORT + HIT, abs=ROUNDING)


def test_a_row_conflict_closes_first() -> None:
    """Two rows of one bank in turn: with one channel of one bank every other row is a conflict."""
    device = bench(hbm__channels=1, hbm__banks=1, hbm__bank_groups=1, hbm__t_rp="7 ns")
    first = run(device, kernel([Access(BASE)]))
    second = run(device, kernel([Access(BASE + FAR)]), first.end_ps)
    assert (first.counters["ROW_MISSES"], second.counters["ROW_CONFLICTS"]) == (1, 1)
    assert (second.end_ps - first.end_ps) - first.end_ps == 7 * NS


def test_a_store_waits_for_no_memory() -> None:
    ran = run(bench(), kernel([Access(BASE, 32, Op.WRITE)]))
    assert ran.end_ps == pytest.approx(START + PORT + 20 * NS, abs=ROUNDING)  # through the pipeline of L1
    assert ran.counters["DRAM_READ_BYTES"] == 0


def test_a_reduction_fetches_what_it_adds_to() -> None:
    assert run(bench(), kernel([Access(BASE, 32, Op.REDUCE)])).counters["DRAM_READ_BYTES"] == 64


def test_nobody_waits_for_a_prefetch() -> None:
    device = bench()
    ahead = run(device, kernel([Access(BASE, 128, Op.PREFETCH)]))
    assert ahead.end_ps == START
    later = run(device, kernel([Access(BASE)]), 1000 * NS)
    assert later.end_ps - 1000 * NS == pytest.approx(START + PORT + HIT, abs=ROUNDING)


def test_a_read_of_a_line_on_its_way_waits_for_it() -> None:
    """The prefetch leaves at 50 ns and its data is in L2 at 50 + 112 ns; a read 1 ns later does not fetch again."""
    device = bench()
    ran = run(device, kernel([Access(BASE, 32, Op.PREFETCH), Access(BASE)]))
    assert ran.counters["MERGES"] == 1
    assert ran.counters["DRAM_READ_BYTES"] == 64
    assert ran.end_ps == START + MISS + ROW


def test_two_sms_reading_one_line_fetch_it_once() -> None:
    ran = run(bench(sm__count=2), kernel([Access(BASE, 128)], [Access(BASE, 128)]))
    assert ran.counters["DRAM_READ_BYTES"] == 128
    assert (ran.counters["READ_SECTOR_MISSES"], ran.counters["READ_SECTOR_HITS"], ran.counters["MERGES"]) == (4, 4, 4)
    assert ran.end_ps == START + MISS + TRANSFER + ROW  # two accesses of 64 B


def test_a_barrier_waits_for_what_came_before() -> None:
    without = run(bench(), kernel(far(2))).end_ps
    first, second = far(2)
    waiting = run(bench(), kernel([first, second._replace(barrier=True)])).end_ps
    assert without <= START + MISS + ROW + 2 * TRANSFER
    assert waiting == START + 2 * (MISS + ROW)


def test_a_barrier_waits_for_the_computation() -> None:
    first, second = far(2)
    records = [first._replace(cycles=300), second._replace(barrier=True)]
    assert run(bench(), kernel(records)).end_ps == START + 2 * (MISS + ROW) + 300 * NS


@pytest.mark.parametrize(("stages", "rounds"), [(1, 12), (2, 6), (3, 4), (4, 3), (12, 1), (16, 1)])
def test_stages_limit_the_loads_in_flight(stages: int, rounds: int) -> None:
    """Twelve loads, `stages` at a time; the loads of a round differ by their turns at the port and channels."""
    end = run(bench(), kernel(far(12), stages=stages)).end_ps
    assert 0 <= end - (START + rounds * (MISS + ROW)) <= rounds * stages * TRANSFER


def test_a_buffer_is_free_once_it_is_computed_on() -> None:
    """One buffer: load, compute, load, compute."""
    end = run(bench(), kernel(far(3, cycles=500), stages=1)).end_ps
    assert end == START + 3 * (MISS + ROW + 500 * NS)


def test_loads_overlap_with_computation() -> None:
    """With buffers for all, the first load is exposed and then the computations follow each other."""
    end = run(bench(), kernel(far(8, cycles=500), stages=8)).end_ps
    assert end == START + MISS + ROW + 8 * 500 * NS


def test_ctas_of_an_sm_compute_in_turn() -> None:
    """The SM's arithmetic is booked when a load is issued, so that the first load may hide in the booked time."""
    ctas = [[access] for access in far(2, cycles=1000)]
    together = run(bench(sm__count=1), kernel(*ctas))
    apart = run(bench(sm__count=2), kernel(*ctas))
    assert START + 2000 * NS <= together.end_ps <= START + MISS + ROW + TRANSFER + 2000 * NS
    assert apart.end_ps == pytest.approx(START + MISS + ROW + 1000 * NS, abs=TRANSFER)  # their channels may be one
    assert together.counters["COMPUTE_CYCLES"] == apart.counters["COMPUTE_CYCLES"] == 2000


def test_ctas_that_do_not_fit_wait_for_a_place() -> None:
    ctas = [[access] for access in far(5)]
    assert run(bench(sm__count=1, sm__ctas=1), kernel(*ctas)).end_ps == 5 * (START + MISS + ROW)
    assert run(bench(sm__count=1, sm__ctas=3), kernel(*ctas)).end_ps < 2 * (START + MISS + ROW) + 5 * TRANSFER


def test_kernels_share_the_device() -> None:
    """Two kernels of one CTA each, launched together, overlap; each has its own counters."""
    device = bench()
    slots = [device.launch(kernel([access], name=f"k{i}")) for i, access in enumerate(far(2))]
    ends = {}
    now = 0
    while device.busy:
        now, slot = device.advance(now)
        assert slot is not None
        ends[slot] = now
        assert device.retire(slot)[datasheet.counter.DRAM_READ_BYTES] == 64
    assert sorted(ends) == sorted(slots)
    assert max(ends.values()) <= START + MISS + ROW + 2 * TRANSFER


def test_the_clock_stops_at_the_limit() -> None:
    device = bench()
    device.launch(kernel(far(1)))
    assert device.advance(0, 100 * NS) == (100 * NS, None)
    assert device.advance(100 * NS)[0] == START + MISS + ROW


def test_the_first_cta_of_each_place_warms_up() -> None:
    """Two places, one on each of two SMs, and six CTAs: three rounds, of which the first takes 300 ns more."""
    reads = [[Access(BASE, 32)]] * 6
    cold = kernel(*reads)
    warmed = replace(cold, header=replace(cold.header, warmup_ps=300 * NS, prologue_ps=70 * NS))
    ends = []
    for each in (replace(cold, header=replace(cold.header, prologue_ps=70 * NS)), warmed):
        ends.append(run(bench(sm__count=2, sm__ctas=1), each).end_ps)
    assert ends[1] - ends[0] == 300 * NS
    assert ends[0] == pytest.approx(3 * (START + 70 * NS) + MISS + ROW + 2 * (HIT + PORT), abs=3 * PORT)


def tiles(count: int, size: int, stride: int | None = None) -> list[Access]:
    return [Access(BASE + i * (size if stride is None else stride), size) for i in range(count)]


def test_dram_streams_near_but_never_above_its_bandwidth() -> None:
    """32 channels of 32 GB/s; half a percent is lost to the first access and the last."""
    ctas = [[Access(BASE + (cta * 256 + i) * 4096, 4096) for i in range(256)] for cta in range(132)]
    ran = run(bench(), kernel(*ctas, stages=16))
    moved, peak = 132 * 256 * 4096, 1.024  # bytes per ps
    assert ran.counters["DRAM_READ_BYTES"] == moved
    assert 1 <= ran.end_ps / (moved / peak) < 1.05


def test_a_port_delivers_its_bytes_per_clock() -> None:
    """One SM re-reading 64 KiB that are in L2: 64 B/ns."""
    device = bench(sm__count=1, sm__outstanding="1 MiB")
    warm = run(device, kernel(tiles(16, 4096), stages=16)).end_ps
    ran = run(device, kernel(tiles(16, 4096) * 20, stages=16), warm)
    ideal = 20 * 65536 * NS // 64
    assert ran.counters["READ_SECTOR_MISSES"] == 0
    assert ideal < ran.end_ps - warm < 1.05 * ideal


def test_l2_delivers_its_bytes_per_clock() -> None:
    """132 SMs re-reading 256 KiB that are in L2 (slices cut to 2 x 64 B/ns, far below what the ports could take)."""
    device = bench(l2__slices=2)
    ctas = [tiles(64, 4096)] * 132
    warm = run(device, kernel(tiles(64, 4096))).end_ps
    ran = run(device, kernel(*ctas), warm)
    ideal = 132 * 64 * 4096 * NS // 128
    assert ran.counters["READ_SECTOR_MISSES"] == 0
    assert ideal < ran.end_ps - warm < 1.05 * ideal


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([32, 128, 512, 4096, 6000]),
    ctas=st.integers(1, 6),
    stages=st.integers(1, 16),
    limit=st.sampled_from([1024, 4096, 16384]),
)
def test_bytes_in_flight_stay_below_the_limit(size: int, ctas: int, stages: int, limit: int) -> None:
    """Looked at every 10 ns.  A record leaves in pieces: one may be begun that does not fit whole, of which no more is
    in flight than may be."""
    device = bench(sm__count=1, sm__outstanding=f"{limit} B")
    per_cta = 30
    device.launch(
        kernel(
            *([Access(BASE + (c * per_cta + i) * 8192, size) for i in range(per_cta)] for c in range(ctas)),
            stages=stages,
        )
    )
    state, now, most = device._state, 0, 0
    ended = None
    while ended is None:
        now, ended = device.advance(now, now + 10 * NS)
        queue = state.in_flight[0, state.sms[0, SM_QUEUE + HEAD] : state.sms[0, SM_QUEUE + TAIL]]
        flying = int((queue[queue[:, 0] > now, 1] & BYTES).sum())
        most = max(most, flying)
    assert min(size, limit) <= most
    assert most <= limit + min(size, limit)
    if size * ctas * stages <= limit:
        assert most <= size * ctas * stages
    elif size <= limit // 4:
        assert most >= limit // 2
