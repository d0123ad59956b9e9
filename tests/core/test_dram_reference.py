"""Does the DRAM model come to the bandwidth, row hits and loaded latency of a cycle-level simulator?

One channel under patterns that keep its 32-entry queue full (validation/reference/dram.csv).
"""

from __future__ import annotations

import csv

import dram_bench
import pytest

from simulator import config
from simulator.memory.dram_pattern import PatternResult, dram_pattern

REQUESTS = 200_000


def rows() -> list[dict[str, str]]:
    with (config.data_dir("validation/reference") / "dram.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def simulated(row: dict[str, str]) -> PatternResult:
    size = int(row["request_bytes"])
    address, write = dram_bench.pattern(row["pattern"], size, REQUESTS)
    return dram_pattern(dram_bench.reference(row["memory"]), address, size, write, queue=32)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['memory']} {row['pattern']}")
def test_agrees_with_the_cycle_level_simulator(row: dict[str, str]) -> None:
    """Bandwidth within 7 %, row hits within 3 % of the requests and, where most hit, of the hits, latency within
    12 %."""
    result = simulated(row)
    assert result.bandwidth_bytes_per_s / 1e9 == pytest.approx(float(row["bandwidth_gb_per_s"]), rel=0.07)
    hits = 100 * result.row_hits / REQUESTS
    assert hits == pytest.approx(float(row["row_hits_percent"]), abs=3)
    if float(row["row_hits_percent"]) > 50:
        assert hits == pytest.approx(float(row["row_hits_percent"]), rel=0.03)
    assert result.mean_read_latency_ps / 1000 == pytest.approx(float(row["read_latency_ns"]), rel=0.12)
    assert result.row_hits + result.row_misses + result.row_conflicts == pytest.approx(
        REQUESTS, abs=32
    )  # unsent writes


def test_the_reference_has_both_memories_and_five_patterns() -> None:
    assert len({(row["memory"], row["pattern"]) for row in rows()}) == 10
