"""Is every picosecond of every SM counted once, and under the right name?

The device is that of tests/core/test_datasheet.py: a CTA starts 50 ns after it is placed, L2 answers after 200 ns, a
miss takes 100 ns more, 10 ns for its row and 2 ns of its channel; a 32-byte sector takes 0.5 ns of the port.  L2 has
twice the bandwidth of that device, so that the port is slower.
"""

from __future__ import annotations

import datasheet
import pytest
from datasheet import Access, kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_datasheet import BASE, BENCH, FAR, HIT, MISS, NS, ROW, START, TRANSFER

from simulator.core import counter
from simulator.memory import Device
from simulator.run.ledger import COUNTED
from simulator.trace.record import Op

Ledger = dict[str, int]
ROUNDING = 3  # ps


def bench(**changes: object) -> Device:
    one = {"sm.count": 1, "sm.ctas": 1, "l2.slice_bytes_per_clock": 128}
    return datasheet.device(BENCH | one | {key.replace("__", "."): value for key, value in changes.items()})


def run(on: Device, *ctas: list[Access], stages: int = 4, now: int = 0) -> tuple[Ledger, int]:
    """Return the ledger of a kernel by key, zeros left out, and its time."""
    slot = on.launch(kernel(*ctas, stages=stages))
    end, _ = on.advance(now)
    counted = on.retire(slot)
    ledger = {key: int(counted[counter.LEDGER + index]) for key, index in COUNTED.items()}
    assert sum(ledger.values()) == (end - now) * on.hardware.sm.count
    return {key: value for key, value in ledger.items() if value > ROUNDING}, end - now


def near(**expected: int) -> object:
    return pytest.approx({f"{key}_s": value for key, value in expected.items()}, abs=ROUNDING, rel=0)


def test_a_miss_is_its_latencies_and_its_transfer() -> None:
    ledger, time = run(bench(), [Access(BASE)])
    assert ledger == near(cta_start=START, dram_latency=100 * NS + ROW, dram_bandwidth=TRANSFER, cache_latency=HIT)
    assert time == pytest.approx(START + MISS + ROW, abs=ROUNDING)


def test_a_hit_waits_for_its_port_and_l2() -> None:
    device = bench()
    run(device, [Access(BASE)])
    ledger, _ = run(device, [Access(BASE)], now=10**9)
    assert ledger == near(cta_start=START, sm_port=NS // 2, cache_latency=HIT)


def test_what_queues_for_the_port_waits_for_it() -> None:
    """128 lines of 128 bytes that hit: 256 ns at 64 bytes a clock."""
    device = bench(sm__outstanding="1 MiB")
    run(device, [Access(BASE, 16384)])
    ledger, _ = run(device, [Access(BASE, 16384)], now=10**9)
    assert ledger == near(cta_start=START, sm_port=256 * NS, cache_latency=HIT)


def test_at_a_barrier_the_unloaded_latency_is_a_dependency() -> None:
    """The second access hits; it waits for the first, whose transfer is still one."""
    ledger, _ = run(bench(), [Access(BASE), Access(BASE, barrier=True)])
    latency = 100 * NS + ROW + HIT
    assert ledger == near(
        cta_start=START, dependency=latency, dram_bandwidth=TRANSFER, sm_port=NS // 2, cache_latency=HIT
    )


def test_with_no_room_the_unloaded_latency_is_the_limits() -> None:
    """Two lines, the SM having room for one at a time."""
    far = [Access(BASE, 128), Access(BASE + FAR, 128)]
    ledger, time = run(bench(sm__outstanding="128 B"), far)
    latency = 100 * NS + ROW + HIT
    assert ledger == near(
        cta_start=START,
        bytes_in_flight=latency,
        dram_latency=100 * NS + ROW,
        cache_latency=HIT,
        dram_bandwidth=time - START - 2 * latency,
    )


def test_computing_comes_before_waiting() -> None:
    """Of the 1000 ns that a record is computed on, none counts as a wait; the load before them does."""
    ledger, time = run(bench(), [Access(BASE, cycles=1000)])
    assert ledger["compute_s"] == 1000 * NS
    assert time == pytest.approx(START + MISS + ROW + 1000 * NS, abs=ROUNDING)
    assert sum(ledger.values()) == pytest.approx(time, abs=4 * ROUNDING)


def test_a_wait_that_computing_passed_on_is_that_of_the_load() -> None:
    """Four loads arrive together and are computed on in turn: what is not computing is the latency of the first."""
    ledger, _ = run(bench(), [Access(BASE + i * FAR, cycles=100) for i in range(4)])
    assert ledger["compute_s"] == 400 * NS
    assert ledger["dram_latency_s"] + ledger["cache_latency_s"] == pytest.approx(310 * NS, rel=0.01)


def test_sms_without_work_are_told_apart() -> None:
    """Of three SMs one has a long CTA, one a short one, and one none."""
    device = bench(sm__count=3)
    ledger, time = run(device, [Access(BASE, cycles=1000)], [Access(BASE, cycles=100)])
    assert ledger["unused_s"] == time
    assert ledger["tail_s"] == pytest.approx(900 * NS, rel=0.01)


def test_another_row_is_a_conflict() -> None:
    """Two rows of one bank, tRP 40 ns: the second access closes the row of the first."""
    device = bench(hbm__t_rp="40 ns", hbm__bank_hash=[], hbm__channels=1, hbm__size="1 GiB")
    row = device.hardware.hbm.row_bytes * device.hardware.hbm.banks
    run(device, [Access(BASE)])
    ledger, _ = run(device, [Access(BASE + row)], now=10**9)
    assert ledger["row_conflicts_s"] == pytest.approx(40 * NS + ROW, abs=ROUNDING)


accesses = st.builds(
    Access,
    address=st.integers(0, 4096).map(lambda n: BASE + 32 * n),
    size=st.sampled_from([32, 64, 128, 4096, 16384]),
    op=st.sampled_from([Op.READ, Op.READ, Op.READ, Op.WRITE, Op.REDUCE, Op.PREFETCH]),
    cycles=st.sampled_from([0, 0, 10, 1000]),
    barrier=st.booleans(),
    rows=st.integers(1, 3),
    stride=st.sampled_from([128, 4096, 8192]),
    through_l1=st.booleans(),
    joined=st.booleans(),
)
DEVICES: list[dict[str, object]] = [
    {"sm.count": 3, "sm.ctas": 2, "sm.outstanding": "8 KiB", "l2.size": "64 KiB"},
    {"sm.count": 2, "sm.ctas": 4, "l2.partitions": 2, "l2.slices": 2, "l2.mshrs": 16, "l2.size": "128 KiB"},
    {"sm.count": 5, "sm.ctas": 1, "l2.size": "64 KiB", "hbm.channels": 4, "hbm.refresh": "all-bank"},
    {"sm.count": 1, "sm.ctas": 8, "l2.size": "64 KiB", "hbm.refresh": "per-bank", "l2.replacement": "random"},
]


@settings(max_examples=60, deadline=None)
@given(
    ctas=st.lists(st.lists(accesses, min_size=1, max_size=12), min_size=1, max_size=9),
    changes=st.sampled_from(DEVICES),
    stages=st.integers(1, 5),
    kernels=st.integers(1, 3),
    chunk=st.sampled_from([None, 2]),
)
def test_the_parts_add_up(
    ctas: list[list[Access]], changes: dict[str, object], stages: int, kernels: int, chunk: int | None
) -> None:
    """Whatever kernels are in flight together, their ledgers add up to the time of all SMs; and no part is negative."""
    device = datasheet.device(changes)
    for number in range(kernels):
        device.launch(kernel(*ctas[number:], *ctas[:number], stages=stages, chunk=chunk))
    now, counted = 1000, []
    while device.busy:
        now, slot = device.advance(now)
        assert slot is not None
        counted.append(device.retire(slot)[counter.LEDGER :])
    assert sum(int(each.sum()) for each in counted) == (now - 1000) * device.hardware.sm.count
    assert min(int(each.min()) for each in counted) >= -ROUNDING
