"""DRAM commands worked out by hand, on a memory with round times.

A burst takes 2 ns, tCCD_L 4, tRCD 10 (writes 8), tRP 12, tRAS 30, tRTP 5, tWR 16, tCL 14, tCWL 6, tRRD_S 4, tRRD_L 6,
tFAW 20, tWTR 7, and 3 ns of idle bus between reads and writes.  Data are in L2 20 ns after their column command, and
the transfer.  Four bank groups of eight banks, rows of 1 KiB.
"""

from __future__ import annotations

from typing import Any

import dram_bench
import numpy as np
import pytest

from simulator.memory.dram_pattern import DramBench

NS = 1000
ROUND: dict[str, Any] = {
    "size": "1 GiB",
    "channels": 1,
    "data_rate": "4 Gbit/s",
    "interleave": "4 KiB",
    "latency": "20 ns",
    "n_bl": 2,
    "n_ccd_s": 2,
    "n_ccd_l": 4,
    "n_ccd_l_wr": 4,
    "refresh": "spread",
    "t_rfc": "0 ns",
    "t_refi": "1 us",
    "queue": 4,
    "turn": "overlapped",
} | {
    f"t_{name}": f"{time} ns"
    for name, time in {
        "cl": 14, "cwl": 6, "rcd": 10, "rcd_wr": 8, "rp": 12, "ras": 30, "rtp": 5, "wr": 16, "rrd_s": 4, "rrd_l": 6,
        "faw": 20, "wtr": 7, "rtw": 3, "pre": 1, "act": 2,
    }.items()
}  # fmt: skip
RCD, RP, RAS, RTP, RRD_L, FAW, REFI = 10, 12, 30, 5, 6, 20, 1000
DATA = 2 + 20  # burst, and from column command to L2


class Bench(DramBench):
    """Requests named by bank group, bank and row, times in ns."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(dram_bench.memory("hbm3", **(ROUND | changes)))

    def read(self, now: float, group: int = 0, bank: int = 0, row: int = 0, column: int = 0, size: int = 32) -> float:
        return self._one(now, group, bank, row, column, size, False)

    def write(self, now: float, group: int = 0, bank: int = 0, row: int = 0, column: int = 0) -> float:
        return self._one(now, group, bank, row, column, 32, True)

    def _one(self, now: float, group: int, bank: int, row: int, column: int, size: int, write: bool) -> float:
        address = row << 15 | bank << 12 | group << 10 | column << 5
        return int(self.serve(np.array([address]), size, round(now * NS), write)[0]) / NS


def test_a_miss_activates_a_hit_does_not_a_conflict_closes_first() -> None:
    bench = Bench()
    assert bench.read(0) == RCD + DATA
    assert bench.row_counts == (0, 1, 0)
    assert bench.read(1000, column=7) == 1000 + DATA
    assert bench.row_counts == (1, 1, 0)
    assert bench.read(2000, row=1) == 2000 + RP + RCD + DATA
    assert bench.row_counts == (1, 1, 1)


def test_a_row_stays_open_for_tras() -> None:
    """Activated at 0, so closed at 30 at the earliest, though the read at 10 + tRTP would allow 15."""
    bench = Bench()
    bench.read(0)
    assert bench.read(5, row=1) == RAS + RP + RCD + DATA


def test_a_row_stays_open_for_trtp_after_a_read() -> None:
    bench = Bench()
    bench.read(0)
    bench.read(40)
    assert bench.read(41, row=1) == 40 + RTP + RP + RCD + DATA


def test_a_row_stays_open_for_twr_after_a_write() -> None:
    """Four writes fill the queue: the bus turns in 3 + 7 + 14 ns, then the columns follow tCCD_L apart, from 100 + 24
    on.  The last comes at 136 and its row can be closed tCWL + burst + tWR = 24 later."""
    bench = Bench()
    bench.read(0)
    for column in range(4):
        bench.write(100, column=column)
    assert bench.read(101, row=1) == 100 + 24 + 3 * 4 + 24 + RP + RCD + DATA


def test_reads_wait_for_the_bus_to_turn() -> None:
    """Behind four writes to open rows of another bank group: 3 + 7 + 14 ns turning and 4 x 2 ns of data."""
    bench = Bench()
    bench.read(0, group=0)
    bench.read(0, group=1)
    for column in range(4):
        bench.write(100, group=0, column=column)
    assert bench.read(100, group=1) == 100 + 3 + 7 + 14 + 4 * 2 + DATA


def test_a_serial_turn_opens_rows_after_the_last_transfer() -> None:
    """Before the writes max(3, 12 + 8 + 6 - 14) ns, before the read max(7, 12 + 10) + 14 ns, and 4 x 2 ns of data."""
    bench = Bench(turn="serial")
    bench.read(0, group=0)
    bench.read(0, group=1)
    for column in range(4):
        bench.write(100, group=0, column=column)
    assert bench.read(100, group=1) == 100 + 12 + 22 + 14 + 4 * 2 + DATA


def test_writes_wait_until_the_queue_is_full() -> None:
    bench = Bench()
    bench.read(0)
    for column in range(3):
        assert bench.write(100, column=column) == 100
    assert bench.read(100, group=1) == 100 + RCD + DATA
    assert sum(bench.row_counts) == 2


def test_five_activates_take_tfaw() -> None:
    """The fifth bank is activated tFAW after the first."""
    bench = Bench()
    done = [bench.read(0, group=i % 4, bank=i // 4) for i in range(5)]
    assert done[0] == RCD + DATA
    assert done[4] == FAW + RCD + DATA


def test_activates_of_a_bank_group_are_trrd_l_apart() -> None:
    bench = Bench()
    bench.read(0, group=0, bank=0)
    assert bench.read(0, group=0, bank=1) == RRD_L + RCD + DATA


@pytest.mark.parametrize(("group", "gap"), [(0, 4), (1, 2)])
def test_columns_follow_tccd_l_in_a_bank_group_and_tccd_s_in_another(group: int, gap: int) -> None:
    bench = Bench()
    for other in ((0, 0), (group, 1)):
        bench.read(0, *other)
    assert bench.read(1000, 0, 0) == 1000 + DATA
    assert bench.read(1000, group, 1) == 1000 + gap + DATA


def test_a_row_that_is_yet_to_be_closed_serves_hits() -> None:
    """Row 1 is waiting for tRAS of row 0 until 30; a younger read of row 0 goes first, one that comes at 26 cannot,
    since tRTP would hold up the other, and then closes row 1 in turn (42 + tRAS)."""
    bench = Bench()
    bench.read(0)
    assert bench.read(5, row=1) == RAS + RP + RCD + DATA
    assert bench.read(20, column=3) == 20 + DATA
    assert bench.row_counts == (1, 1, 1)
    assert bench.read(26, column=4) == RAS + RP + RAS + RP + RCD + DATA
    assert bench.row_counts == (1, 1, 2)


def test_a_hit_on_the_old_row_waits_until_it_is_open() -> None:
    bench = Bench()
    bench.read(0)
    bench.read(1, row=1)
    assert bench.read(2, column=1) == RCD + 4 + DATA  # tCCD_L after the first


def test_closed_pages_are_closed_after_each_access() -> None:
    bench = Bench(page_policy="closed")
    bench.read(0)
    assert bench.read(1, column=1) == RAS + RP + RCD + DATA
    assert bench.read(1000, column=2) == 1000 + RCD + DATA
    assert bench.row_counts == (0, 3, 0)


def test_all_bank_refresh_stops_the_channel_and_closes_rows() -> None:
    """From 1000 on the controller waits out tRAS, closes all banks (tRP) and refreshes (100 ns): 142 ns."""
    bench = Bench(refresh="all-bank", t_rfc="100 ns")
    bench.read(0)
    assert bench.read(950) == 950 + DATA
    assert bench.read(REFI + 1) == REFI + 142 + RCD + DATA
    assert bench.row_counts == (1, 2, 0)
    assert bench.read(1500) == 1500 + DATA
    assert bench.read(3 * REFI + 500) == 3 * REFI + 500 + RCD + DATA


def test_a_request_just_before_refresh_is_finished_after_it() -> None:
    """Row 1 is asked for at 995: precharge 995, then the refresh comes between."""
    bench = Bench(refresh="all-bank", t_rfc="100 ns")
    bench.read(900)
    assert bench.read(995, row=1) == 995 + 142 + RP + RCD + DATA


def test_per_bank_refresh_shuts_one_bank() -> None:
    """32 banks take turns: bank 31 (bank group 3) from 1000 on, bank 15 (bank group 3, bank 3) from 500 on."""
    bench = Bench(refresh="per-bank", t_rfc="100 ns")
    bench.read(600, group=3, bank=7)
    bench.read(650, group=3, bank=3)
    assert bench.read(REFI, group=3, bank=7) == REFI + 100 + RCD + DATA
    assert bench.read(1010, group=3, bank=3) == 1010 + DATA
    assert bench.row_counts == (1, 3, 0)


def test_the_command_bus_takes_an_activate_at_a_time() -> None:
    """Precharge and activate take 6 ns of a bus for two channels: two conflicts in different channels are 6 ns apart,
    though each channel could activate at once."""
    bench = Bench(channels=2, interleave="1 KiB", t_pre="2 ns", t_act="4 ns")
    first, second = (np.array([0]), np.array([1024]))  # the two channels
    for address in (first, second):
        bench.serve(address, 32, 0)
    done = [int(bench.serve(address + (1 << 18), 32, 1000 * NS)[0]) for address in (first, second)]
    assert done == [(1000 + RP + RCD + DATA) * NS, (1000 + 6 + RP + RCD + DATA) * NS]
