"""Do line groups give exactly the hits, misses and write-backs of a core that keeps every line apart?

Invariants: (1) the functional counters are equal, kernel by kernel, whatever mix of whole groups and parts; (2) that
holds while groups are split into lanes and joined again, and the traces here make them do both; (3) a trace of whole
groups alone never splits one; (4) tiles made of short runs take as long, also in banks that parts of groups have used.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import access_patterns as patterns
import datasheet
import pytest
from datasheet import Access
from hypothesis import given, settings
from hypothesis import strategies as st

GEOMETRIES = [(16, 2), (32, 4), (64, 16), (24, 3), (40, 1), (128, 7)]  # sets, ways
PIECE = 25  # records per kernel


def replayed(
    accesses: list[Access], sets: int, ways: int, grouped: bool, replacement: str = "lru", seed: int = 0
) -> tuple[list[dict[str, int]], list[list[int]]]:
    """Return the functional counters of each piece of a trace, and which set groups were split after it."""
    changes = datasheet.cache_of(sets, ways, l2__replacement=replacement)
    device = datasheet.device(changes, grouped, seed)
    now, counters, split = 0, [], []
    for first in range(0, len(accesses), PIECE):
        ran = datasheet.run(device, datasheet.kernel(accesses[first : first + PIECE]), now)
        now = ran.end_ps
        counters.append(ran.functional())
        split.append(device._state.split.tolist())
    return counters, split


@pytest.mark.parametrize("replacement", ["lru", "random"])
@settings(max_examples=50, deadline=None)
@given(
    geometry=st.sampled_from(GEOMETRIES),
    seed=st.integers(0, 2**32 - 1),
    whole=st.sampled_from([0.5, 0.9, 0.98]),
    reach=st.sampled_from([0.8, 1.5, 4.0]),
    phases=st.integers(1, 4),
)
def test_groups_and_lines_count_the_same(
    replacement: str, geometry: tuple[int, int], seed: int, whole: float, reach: float, phases: int
) -> None:
    accesses = patterns.mixed(seed, 300, *geometry, whole=whole, reach=reach, phases=phases)
    groups, _ = replayed(accesses, *geometry, True, replacement, seed % 100)
    lines, _ = replayed(accesses, *geometry, False, replacement, seed % 100)
    assert groups == lines


@pytest.mark.parametrize("geometry", [(16, 2), (32, 4), (64, 8), (24, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_split_groups_are_joined_again_and_still_agree(geometry: tuple[int, int], seed: int) -> None:
    accesses = patterns.mixed(seed, 1500, *geometry, whole=0.9, reach=3.0, phases=6)
    groups, split = replayed(accesses, *geometry, True)
    lines, apart = replayed(accesses, *geometry, False)
    assert groups == lines
    changes = [after - before for a, b in itertools.pairwise(split) for before, after in zip(a, b, strict=True)]
    assert changes.count(-1) > 0, "no set group was joined"
    assert changes.count(1) > 0, "none was split after a join"
    assert all(all(flags) for flags in apart)


def test_random_replacement_never_joins() -> None:
    """Lanes of a set under random replacement may keep a difference for ever."""
    accesses = patterns.mixed(3, 1500, 32, 4, whole=0.9, reach=3.0, phases=6)
    _, split = replayed(accesses, 32, 4, True, "random")
    pairs = itertools.pairwise(split)
    assert any(split[-1]) and all(after >= before for a, b in pairs for before, after in zip(a, b, strict=True))


def test_whole_groups_never_split() -> None:
    _, split = replayed(patterns.mixed(5, 400, 64, 4, whole=1.0), 64, 4, True)
    assert not any(any(flags) for flags in split)


def test_a_dirty_lane_keeps_its_group_split() -> None:
    """One dirty sector in one lane must not be joined into a group that would write back all or nothing: whole reads
    that hit change nothing, and once it is evicted exactly one sector has been written back."""
    sets, ways, group = 32, 2, 4096
    target = patterns.BASE
    dirty = [Access(target, group), Access(target + 128, 32, datasheet.Op.WRITE)]
    hits = [Access(target, group)] * 50
    device = datasheet.device(datasheet.cache_of(sets, ways))
    first = datasheet.run(device, datasheet.kernel(dirty + hits))
    assert device._state.split.any()
    flood = [Access(target + i * group, group) for i in range(1, 5)]
    second = datasheet.run(device, datasheet.kernel(flood), first.end_ps)
    assert (first.counters["WRITEBACK_SECTORS"], second.counters["WRITEBACK_SECTORS"]) == (0, 1)
    assert not device._state.split.any()


@pytest.mark.parametrize(("run_bytes", "run_gap_ps"), [(0, 0), (128, 0), (128, 400), (512, 300)])
def test_tiles_take_as_long_whole_as_in_lines(run_bytes: int, run_gap_ps: int) -> None:
    """Rows that the runs of a tile open and the gaps after them are those of its lines, and lanes of a bank that a few
    sectors were read from one by one come together again without waiting for each other."""
    few = datasheet.kernel([Access((1 << 20) + 2368 * i) for i in range(16)])
    tiles = datasheet.kernel(*([Access(16384 * cta + (1 << 18) * i, 8192) for i in range(4)] for cta in range(8)))
    tiles = replace(tiles, header=replace(tiles.header, run_bytes=run_bytes, run_gap_ps=run_gap_ps))
    took, counted = [], []
    for grouped in (True, False):
        device = datasheet.device({"hbm.stacks": 1, "hbm.channels": 8}, grouped)
        began = datasheet.run(device, few).end_ps
        ran = datasheet.run(device, tiles, began)
        took.append(ran.end_ps - began)
        counted.append([ran.counters[name] for name in ("ROW_HITS", "ROW_MISSES", "ROW_CONFLICTS")])
    assert took[0] == pytest.approx(took[1], rel=0.01)
    assert sum(counted[0]) == sum(counted[1])
