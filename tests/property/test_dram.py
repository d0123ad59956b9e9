"""Invariants of the DRAM model under random requests.

(1) Every access is a hit, a miss or a conflict, once.  (2) No data come sooner than an open row allows, and no channel
moves more than its pins can.  (3) A later arrival is never answered as if time ran backwards: the bus serves no two
bursts of a channel at once.  (4) Consecutive accesses of a row in one request are those requests one by one.  (5) A
whole line group is its lines, one after the other.  (6) The mapping is one to one.
"""

from __future__ import annotations

from typing import Any

import dram_bench
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware import Hardware
from simulator.memory.dram_pattern import DramBench, dram_pattern

LINE, GROUP = 128, 4096
PRESETS = ["ddr5", "gddr6", "gddr7", "hbm2", "hbm3", "hbm4", "lpddr5x"]
COMMON: dict[str, Any] = {"size": "2 GiB", "data_rate": "4 Gbit/s", "interleave": "256 B", "latency": "20 ns"}


def memory(standard: str, **changes: Any) -> Hardware:
    return dram_bench.memory(standard, **(COMMON | {"channels": 8} | changes))


SCHEMES = st.sampled_from(["all-bank", "per-bank", "spread"])
MEMORIES = st.builds(
    memory,
    st.sampled_from(PRESETS),
    refresh=SCHEMES,
    page_policy=st.sampled_from(["open", "closed"]),
    bank_hash=st.sampled_from([[], [0], [0, 5]]),
)


def requests(seed: int, count: int, reach: int, gap_ps: int) -> tuple[np.ndarray, ...]:
    """Return addresses, sizes (a sector, a line, a line group), arrivals in order, and which are writes."""
    rng = np.random.default_rng(seed)
    size = rng.choice([32, LINE, GROUP], count, p=[0.4, 0.3, 0.3])
    align = np.where(size == GROUP, GROUP, LINE)
    address = rng.integers(0, reach, count) * GROUP // align * align
    arrival = np.cumsum(rng.integers(0, gap_ps, count))
    return address, size, arrival, rng.random(count) < 0.3


@settings(max_examples=40, deadline=None)
@given(MEMORIES, st.integers(0, 2**32 - 1), st.sampled_from([4, 200, 100_000]), st.sampled_from([10, 2_000, 100_000]))
def test_accesses_are_classified_once_and_not_early(device: Hardware, seed: int, reach: int, gap_ps: int) -> None:
    address, size, arrival, write = requests(seed, 400, reach, gap_ps)
    bench = DramBench(device)
    done = bench.serve(address, size, arrival, write)
    access = device.hbm.access_bytes
    accesses = np.maximum(size // access, 1)
    waiting = (bench.parameters.dram.queue + 1) * (8 + 8)  # at most, in all queues
    assert accesses.sum() - waiting * GROUP // access <= sum(bench.row_counts) <= accesses.sum()
    if not write.any():
        assert sum(bench.row_counts) == accesses.sum()
    reads = ~write
    burst = access * 10**12 / device.hbm.channel_bytes_per_s
    assert (done[reads] >= arrival[reads] + device.hbm.latency_ps + burst).all()
    assert (done[write] >= arrival[write]).all()


@settings(max_examples=40, deadline=None)
@given(MEMORIES, st.integers(0, 2**32 - 1), st.sampled_from([4, 200, 100_000]), st.booleans())
def test_no_channel_beats_its_pins(device: Hardware, seed: int, reach: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    size = GROUP if whole else LINE
    address = rng.integers(0, reach * (GROUP // size), 500) * size
    done = DramBench(device).serve(address, size, 0)
    busiest = 500 * size / 8
    if not whole:
        chunk = address // 256 % 8
        busiest = np.bincount(chunk.astype(int)).max() * size
    assert done.max() - device.hbm.latency_ps >= busiest * 10**12 / device.hbm.channel_bytes_per_s


@settings(max_examples=40, deadline=None)
@given(MEMORIES, st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_an_extent_is_its_accesses_one_by_one(device: Hardware, seed: int, count: int) -> None:
    """Requests of up to a line against single accesses arriving together, far from a refresh that may fall between.

    Their first bytes come at the same time; the last may change places with those of another request.
    """
    access = device.hbm.access_bytes
    count = min(count, LINE // access)
    if device.hbm.page_policy == "closed":
        return  # each single access would close the row
    rng = np.random.default_rng(seed)
    address = rng.integers(0, 2_000, 60) * LINE
    arrival = np.sort(rng.integers(0, 100_000, 60))
    device = device.model_copy(update={"hbm": device.hbm.model_copy(update={"t_rfc_ps": 0})})
    together, apart = DramBench(device), DramBench(device)
    done = together.serve(address, count * access, arrival)
    single = apart.serve(
        (address[:, None] + np.arange(count) * access).reshape(-1), access, np.repeat(arrival, count)
    ).reshape(-1, count)
    column_ps = access * 10**12 / device.hbm.channel_bytes_per_s * device.hbm.n_ccd_l / device.hbm.n_bl
    others_ps = (count - 1) * column_ps  # in one bank group, which takes longer than the bus
    assert np.abs(done - single[:, -1]).max() <= others_ps + count  # rounded up each
    assert together.row_counts == apart.row_counts


@settings(max_examples=40, deadline=None)
@given(MEMORIES, st.integers(0, 2**32 - 1), st.sampled_from([3, 50, 5_000]))
def test_a_whole_group_is_its_lines(device: Hardware, seed: int, reach: int) -> None:
    """Groups taken whole against line by line, in a memory whose channels share no command bus and refresh nothing
    between the lines: same answers and the same rows."""
    update = {"t_rfc_ps": 0, "command_sharing": 1, "page_policy": "open"}
    device = device.model_copy(update={"hbm": device.hbm.model_copy(update=update)})
    rng = np.random.default_rng(seed)
    group = rng.integers(0, reach, 80) * GROUP
    arrival = np.sort(rng.integers(0, 400_000, 80))
    whole, lines = DramBench(device), DramBench(device)
    done = whole.serve(group, GROUP, arrival)
    each = lines.serve(
        (group[:, None] + np.arange(GROUP // LINE) * LINE).reshape(-1), LINE, np.repeat(arrival, GROUP // LINE)
    ).reshape(-1, GROUP // LINE)
    assert done.tolist() == each.max(axis=1).tolist()
    assert whole.row_counts == lines.row_counts


def numbered(rows: np.ndarray) -> np.ndarray:
    """Return a number for each row of numbers from 0 on, the same for the same row alone."""
    return np.ravel_multi_index(tuple(rows.T), tuple(rows.max(axis=0) + 1))


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(PRESETS),
    st.sampled_from([1, 2, 6, 8, 12]),
    st.sampled_from(["row bank group column", "bank row column:2 group column", "row column:1 group bank column"]),
    st.sampled_from([[], [0], [3, 1], [0, 5]]),
    st.sampled_from(["128 B", "256 B", "1 KiB"]),
)
def test_the_mapping_is_one_to_one(
    standard: str, channels: int, mapping: str, bank_hash: list[int], interleave: str
) -> None:
    device = memory(standard, channels=channels, bank_hash=bank_hash, interleave=interleave, size="6 MiB",
                    mapping=mapping if standard != "ddr5" else mapping.replace("column:2", "column:1"))  # fmt: skip
    hbm = device.hbm
    bench = DramBench(device)
    place = bench.places(np.arange(0, hbm.size_bytes, hbm.access_bytes, dtype=np.int64))
    columns = hbm.row_bytes // hbm.access_bytes
    assert (place.min(axis=0) >= 0).all()
    assert len(np.unique(numbered(place[:, [0, 3]]))) == len(place)
    assert (place[:, :2].max(axis=0) < (hbm.channel_count, hbm.banks)).all()
    accesses, of_row = np.unique(numbered(place[:, :3]), return_counts=True)
    assert of_row.max() <= columns  # no two accesses on one column
    if mapping.startswith("row"):
        assert (
            len(accesses) * columns < len(place) + hbm.channel_count * hbm.banks * columns * 2
        )  # hardly a row part used


@pytest.mark.parametrize("standard", PRESETS)
def test_closed_loop_counts_every_request(standard: str) -> None:
    device = memory(standard)
    rng = np.random.default_rng(3)
    result = dram_pattern(device, rng.integers(0, 1 << 20, 5_000) * LINE, LINE)
    assert result.row_hits + result.row_misses + result.row_conflicts == 5_000 * LINE // device.hbm.access_bytes
    assert 0 < result.bandwidth_bytes_per_s <= device.hbm.peak_bytes_per_s
    assert result.mean_read_latency_ps > device.hbm.latency_ps


@pytest.mark.parametrize("standard", PRESETS)
def test_the_bus_turns_only_between_reads_and_writes(standard: str) -> None:
    """Writes alone stream as reads do, within a tenth; half of each lose what turning the bus takes."""
    device = memory(standard, refresh="spread")
    address = np.arange(3000) * GROUP
    kinds = {"reads": address < 0, "writes": address >= 0, "both": address // GROUP % 2 == 1}
    last = {name: int(DramBench(device).serve(address, GROUP, 0, write).max()) for name, write in kinds.items()}
    assert last["writes"] <= 1.1 * last["reads"]
    assert last["both"] > 1.01 * last["writes"]
