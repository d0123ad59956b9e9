"""Is the miss-ratio curve, made in one pass, what the simulated caches miss: exactly where they are fully associative,
within a bound where they have sets; and is a sample as close as it says?"""

from __future__ import annotations

import datasheet
import numpy as np
import pytest
from datasheet import Access
from naive_reuse import lru_misses
from numpy.typing import NDArray

from simulator.analysis import reuse
from simulator.analysis.locality import Reuse, locality
from simulator.analysis.order import Order
from simulator.core.reuse_room import renumber
from simulator.trace.record import TraceHeader

LINE = 128
COUNT = 6000


def lines_of(pattern: str, reach: int) -> NDArray[np.int64]:
    """Return accesses to `reach` lines, or a good part of them."""
    rng = np.random.default_rng(5)
    skewed = np.minimum(reach * rng.random(COUNT) ** 4, reach - 1).astype(np.int64)
    patterns = {"random": rng.integers(0, reach, COUNT), "skewed": skewed, "looped": np.arange(COUNT) % reach}
    return patterns[pattern]


def accesses_of(lines: NDArray[np.int64]) -> list[Access]:
    return [Access(int(line) * LINE, LINE, barrier=True) for line in lines]


def curve_of(lines: NDArray[np.int64], rate: float = 1.0) -> Reuse:
    kernel = datasheet.kernel(accesses_of(lines))
    return locality(TraceHeader(), [kernel], Order(), {"line": LINE}, rate=rate).at("line")


def simulated(lines: NDArray[np.int64], sets: int, ways: int) -> float:
    """Return the miss ratio of L2 in the core."""
    kernel = datasheet.kernel(accesses_of(lines))
    counts = datasheet.run(datasheet.device(datasheet.cache_of(sets, ways)), kernel).counters
    return counts["READ_SECTOR_MISSES"] / (4 * len(lines))


@pytest.mark.parametrize("pattern", ["random", "skewed", "looped"])
def test_a_fully_associative_cache_misses_exactly_that(pattern: str) -> None:
    lines = lines_of(pattern, 20)
    curve = curve_of(lines).curve
    for ways in (1, 2, 3, 5, 8, 13, 16):
        assert simulated(lines, 1, ways) == curve.at(ways * LINE)


def test_slots_numbered_anew_change_nothing() -> None:
    """Thirty times as many accesses as slots at first, of which a fortieth stay in use."""
    lines = np.random.default_rng(7).integers(0, 50, 2000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "FIRST_SLOTS", 64)
        calls = []
        patch.setattr(reuse, "renumber", lambda *arrays: (calls.append(len(arrays)), renumber(*arrays)))
        curve = curve_of(lines).curve
    assert len(calls) > 3
    for capacity in (1, 2, 7, 20, 49, 50):
        assert curve.at(capacity * LINE) * len(lines) == pytest.approx(lru_misses(lines.tolist(), capacity))


@pytest.mark.parametrize(("pattern", "bound"), [("random", 0.02), ("skewed", 0.02)])
@pytest.mark.parametrize(("sets", "ways"), [(16, 16), (64, 8), (64, 16)])
def test_sets_cost_little(pattern: str, bound: float, sets: int, ways: int) -> None:
    """Sixteen ways under a hash of the line: within two points of the curve, and not always equal to it."""
    lines = lines_of(pattern, 2048)
    difference = simulated(lines, sets, ways) - curve_of(lines).curve.at(sets * ways * LINE)
    assert abs(difference) <= bound
    assert difference != 0


def test_sets_lose_a_loop_by_parts() -> None:
    """A loop over 5 % more lines than fit always misses in the curve; sets that are not full keep theirs."""
    lines = lines_of("looped", 1075)
    curve = curve_of(lines).curve.at(1024 * LINE)
    assert curve == 1
    assert 0.3 < simulated(lines, 64, 16) < 1


@pytest.mark.parametrize("pattern", ["random", "skewed"])
@pytest.mark.parametrize("rate", [1 / 2, 1 / 8])
def test_a_sample_is_as_close_as_it_says(pattern: str, rate: float) -> None:
    """Standard errors come from eight groups of pages; no capacity is further off than four of them and a point."""
    lines = lines_of(pattern, 32 * 512)  # 512 pages
    exact, sampled = curve_of(lines), curve_of(lines, rate)
    error = sampled.curve.standard_error
    assert sampled.sampling_rate == rate and error is not None and error.max() > 0
    for place, capacity in enumerate(sampled.curve.capacity_bytes.tolist()[1:-1], 1):
        off = abs(sampled.curve.miss_ratio[place] - exact.curve.at(capacity))
        assert off <= 4 * error[place] + 0.01
    assert sampled.footprint_bytes == pytest.approx(exact.footprint_bytes, rel=0.3)
