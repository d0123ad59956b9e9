"""Our caches against cache simulators of others: pycachesim (LRU, write-back, two levels), libcachesim (LRU, one set).

The question: do L1 and L2 hit, miss and write back line by line exactly as independent programs do?  Skipped without
them.  Ours deal addresses to sets by a hash; theirs take the line number modulo the sets, so each line is given a
number that has the residues of our sets: a relabelling, which changes no hit.  A store of pycachesim that
hits leaves its line as old as it was; ours makes it the youngest, so theirs loads a line before it stores it.
Its `load` and `store` of one address leave half of the address undefined; `iterload` and `iterstore` do not.
"""

from __future__ import annotations

from typing import Any

import datasheet
import numpy as np
import pytest
from datasheet import Access
from naive import NaiveL2, hashed

from simulator.trace.record import Op

LINE, SECTORS = 128, 4
BASE = 1 << 25  # lines
COUNT = 3000
L2_SHAPES = [(16, 1), (64, 4), (32, 16), (20, 7), (33, 2)]  # sets, ways
PATTERNS = ("random", "strided", "looped", "mixed")

Trace = list[tuple[int, bool]]  # line, whether written


def trace(pattern: str, lines: int, seed: int = 1) -> Trace:
    """Return accesses to lines of a cache that holds `lines`, of which a quarter write."""
    rng = np.random.default_rng(seed)
    numbers = {
        "random": rng.integers(0, 2 * lines, COUNT),
        "strided": np.arange(COUNT) * 13 % (3 * lines),
        "looped": np.arange(COUNT) % (lines + lines // 4 + 1),
    }
    numbers["mixed"] = np.concatenate([part[: COUNT // 3] for part in numbers.values()])
    writes = rng.random(COUNT) < 0.25
    return [(BASE + int(n), bool(w)) for n, w in zip(numbers[pattern], writes, strict=False)]


def ours(accesses: Trace, changes: dict[str, object], through_l1: bool) -> dict[str, int]:
    """Return our counters, in lines."""
    ops = {False: Op.READ, True: Op.WRITE}
    records = [Access(line * LINE, LINE, ops[w], through_l1=through_l1 and not w, barrier=True) for line, w in accesses]
    counts = datasheet.run(datasheet.device(changes), datasheet.kernel(records)).counters
    sectors = [name for name in counts if "SECTOR" in name]
    assert all(counts[name] % SECTORS == 0 for name in sectors)
    return {name: counts[name] // SECTORS for name in sectors}


def l1_set(line: int, sets: int) -> int:
    """Return the set of a line in our L1: each run of `sets` lines begins at a hashed one."""
    return (line + hashed(line // sets, sets)) % sets


def relabelled(line: int, residues: dict[int, int]) -> int:
    """Return a number for a line that leaves `residue` when divided by `sets`, for coprime `sets`."""
    product = int(np.prod(list(residues)))
    number = next(n for n in range(product) if all(n % sets == residue for sets, residue in residues.items()))
    return number + product * (line - BASE)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("sets", "ways"), L2_SHAPES)
def test_write_back_l2_against_pycachesim(pattern: str, sets: int, ways: int) -> None:
    cachesim = pytest.importorskip("cachesim", reason="the oracle needs pycachesim")
    accesses = trace(pattern, sets * ways)
    twin = NaiveL2(sets, ways, 32)
    l2, memory = cachesim.Cache("L2", sets, ways, LINE, "LRU"), cachesim.MainMemory()
    memory.load_to(l2)
    memory.store_from(l2)
    first = cachesim.CacheSimulator(l2, memory).first_level
    for line, written in accesses:
        address = relabelled(line, {sets: twin._set_of(line)}) * LINE
        first.backend.iterload([address], LINE)
        if written:
            first.backend.iterstore([address], LINE)
    counts = ours(accesses, datasheet.cache_of(sets, ways), through_l1=False)
    stats = l2.stats()
    assert counts["READ_SECTOR_HITS"] + counts["WRITE_SECTOR_HITS"] == stats["HIT_count"]
    assert counts["READ_SECTOR_MISSES"] + counts["WRITE_SECTOR_MISSES"] == stats["MISS_count"]
    assert counts["WRITE_SECTOR_HITS"] + counts["WRITE_SECTOR_MISSES"] == stats["STORE_count"]
    assert counts["WRITEBACK_SECTORS"] == stats["EVICT_count"] == memory.stats()["STORE_count"]
    assert stats["MISS_count"] > sets * ways / 2


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("l1_sets", "l1_ways", "sets", "ways"), [(3, 2, 16, 4), (5, 4, 64, 4), (7, 1, 32, 2)])
def test_two_levels_against_pycachesim(pattern: str, l1_sets: int, l1_ways: int, sets: int, ways: int) -> None:
    """Reads fill both levels; stores go past L1, as they do on a GPU's write-through L1 that takes no stores in."""
    cachesim = pytest.importorskip("cachesim", reason="the oracle needs pycachesim")
    accesses = trace(pattern, sets * ways // 2)
    twin = NaiveL2(sets, ways, 32)
    l2 = cachesim.Cache("L2", sets, ways, LINE, "LRU")
    l1 = cachesim.Cache(
        "L1", l1_sets, l1_ways, LINE, "LRU", store_to=l2, load_from=l2, write_back=False, write_allocate=False
    )
    memory = cachesim.MainMemory()
    memory.load_to(l2)
    memory.store_from(l2)
    first = cachesim.CacheSimulator(l1, memory).first_level
    for line, written in accesses:
        address = relabelled(line, {l1_sets: l1_set(line, l1_sets), sets: twin._set_of(line)}) * LINE
        if written:
            l2.backend.iterload([address], LINE)
            l2.backend.iterstore([address], LINE)
        else:
            first.backend.iterload([address], LINE)
    changes = datasheet.cache_of(sets, ways, l1__ways=l1_ways, l1__size=f"{l1_sets * l1_ways * LINE} B")
    counts = ours(accesses, changes, through_l1=True)
    assert counts["L1_SECTOR_HITS"] == l1.stats()["HIT_count"]
    assert counts["L1_SECTOR_MISSES"] == l1.stats()["MISS_count"]
    stats = l2.stats()
    assert counts["READ_SECTOR_HITS"] + counts["WRITE_SECTOR_HITS"] == stats["HIT_count"]
    assert counts["READ_SECTOR_MISSES"] + counts["WRITE_SECTOR_MISSES"] == stats["MISS_count"]
    assert counts["WRITEBACK_SECTORS"] == stats["EVICT_count"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("ways", [1, 4, 16])
def test_one_set_against_libcachesim(pattern: str, ways: int) -> None:
    """Reads alone: libcachesim has no stores.  A fully associative LRU needs no relabelling."""
    libcachesim: Any = pytest.importorskip("libcachesim", reason="the oracle needs libcachesim")
    accesses = [(line, False) for line, _ in trace(pattern, ways)]
    cache = libcachesim.LRU(cache_size=ways)
    hits = sum(bool(cache.get(libcachesim.Request(obj_id=line, obj_size=1))) for line, _ in accesses)
    counts = ours(accesses, datasheet.cache_of(1, ways), through_l1=False)
    assert (counts["READ_SECTOR_HITS"], counts["READ_SECTOR_MISSES"]) == (hits, len(accesses) - hits)


def test_the_traces_meet_every_case() -> None:
    """A comparison of zeros would prove nothing."""
    counts = ours(trace("mixed", 256), datasheet.cache_of(64, 4), through_l1=True)
    assert min(counts[name] for name in counts if name != "FAR_SECTORS") > 50
