"""Does a set never hold more lines than it has ways, whatever the replacement?"""

from __future__ import annotations

import access_patterns as patterns
import datasheet
import numpy as np
import pytest
from datasheet import Access

from simulator import config, hardware
from simulator.core.sets import ORDER, WAYS
from simulator.errors import ConfigError
from simulator.memory import Device


def tags_of(device: Device) -> np.ndarray:
    """Return the tags of all sets, a row each."""
    return np.ascontiguousarray(device._state.sets[:, :ORDER]).view(np.int32)


@pytest.mark.parametrize("replacement", ["lru", "random"])
@pytest.mark.parametrize("ways", [1, 2, 3, 8, 12, 16])
@pytest.mark.parametrize("grouped", [True, False])
def test_lines_per_set(replacement: str, ways: int, grouped: bool) -> None:
    sets = 32
    device = datasheet.device(datasheet.cache_of(sets, ways, l2__replacement=replacement), grouped)
    datasheet.run(device, datasheet.kernel(patterns.mixed(7, 2000, sets, ways, reach=4.0)))
    held = (tags_of(device) >= 0).sum(axis=1)
    assert held.max() == ways


@pytest.mark.parametrize("replacement", ["lru", "random"])
@pytest.mark.parametrize("ways", [4, 16])
def test_what_fits_stays(replacement: str, ways: int) -> None:
    """Free ways are taken before any line is replaced: a second pass over a footprint of the capacity hits."""
    sets, group = 128, 4096
    footprint = [Access(patterns.BASE + i * group, group) for i in range(sets * ways * 128 // group)]
    device = datasheet.device(datasheet.cache_of(sets, ways, l2__replacement=replacement))
    first = datasheet.run(device, datasheet.kernel(footprint))
    second = datasheet.run(device, datasheet.kernel(footprint), first.end_ps)
    assert first.counters["READ_SECTOR_HITS"] == 0
    assert second.counters["READ_SECTOR_MISSES"] == 0


def test_random_replacement_draws_every_way() -> None:
    sets, ways = 32, 4
    device = datasheet.device(datasheet.cache_of(sets, ways, l2__replacement="random"))
    flood = [Access(patterns.BASE + i * 4096, 4096) for i in range(400)]
    datasheet.run(device, datasheet.kernel(flood))
    newest = tags_of(device)[0]
    ages = np.sort(newest[newest >= 0])
    assert len(ages) == ways and ages[0] >= 300 - 100  # no way is forgotten: none holds a line for hundreds of misses


def test_more_ways_than_a_set_has_room_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"l2\.ways"):
        datasheet.device({"l2.ways": 2 * WAYS})


@pytest.mark.parametrize("name", config.names("hardware", ".toml"))
def test_every_shipped_device_keeps_what_fits(name: str) -> None:
    """Two fifths of its L2, read twice in whole line groups, hit the second time, even kept in both partitions."""
    device = Device(hardware.load(name).spec)
    size = device.hardware.l2.size_bytes
    footprint = [Access(patterns.BASE + start, 1 << 20) for start in range(0, size * 2 // 5, 1 << 20)]
    first = datasheet.run(device, datasheet.kernel(footprint))
    second = datasheet.run(device, datasheet.kernel(footprint), first.end_ps)
    assert second.counters["READ_SECTOR_HITS"] > 0.99 * first.counters["READ_SECTOR_MISSES"]
