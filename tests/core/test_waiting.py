"""Does an arrival wake up whom it would if all that wait in an SM asked again?

Invariants: (1) those get room, in the order of their numbers, that would if everybody asked at every arrival; (2) as
long as somebody waits one of them has an event; (3) the time waited is the sum over all that wait.
"""

from __future__ import annotations

import datasheet
import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.core import counter, waiting
from simulator.core.layout import CONTEXT_BITS, MAX_CONTEXTS
from simulator.core.state import Parameters
from simulator.memory import Device

SM = 1


@numba.njit
def begin(m, parameters, number, asked, now, until):
    return waiting.begin_waiting(m, parameters[0], 0, SM, number, asked, now, until)


@numba.njit
def ask_again(m, parameters, number, granted, room, now, until):
    return waiting.wake_next(m, parameters[0], 0, SM, number, granted, room, now, until)


class _Sm:
    """An SM with CTAs that wait, and their events."""

    def __init__(self, device: Device) -> None:
        self.m: NDArray[np.int64] = device._state.words
        self.p: Parameters = device.parameters
        self.record = device._record
        self.asked: dict[int, int] = {}
        self.events: set[int] = set()

    def note(self, key: int) -> None:
        if key != waiting.ASLEEP:
            assert key not in self.events
            self.events.add(key)

    def begin(self, number: int, asked: int, now: int, until: int) -> None:
        self.note(begin(self.m, self.record, number, asked, now, until))
        self.asked[number] = asked

    def arrival(self, now: int, room: int, until: int) -> list[int]:
        """Let events happen up to an arrival; return who got room, in that order."""
        granted = []
        while self.events and min(self.events) >> CONTEXT_BITS <= now:
            key = min(self.events)
            self.events.remove(key)
            assert key >> CONTEXT_BITS == now
            number = key & (MAX_CONTEXTS - 1)
            asked = self.asked[number]
            fits = asked <= room
            if fits:
                room -= asked
                granted.append(number)
                del self.asked[number]
            self.note(ask_again(self.m, self.record, number, fits, room + 1, now, until))
        return granted


@pytest.fixture(scope="module")
def device() -> Device:
    return datasheet.device({"sm.count": 2, "sm.ctas": 32})


def test_one_that_asks_for_less_is_woken_up_behind_one_that_is_refused(device: Device) -> None:
    """At 100 ps there are 60 bytes: 3 wants 80, 5 wants 90, 7 takes 40, 9 then finds too few."""
    sm = _Sm(device)
    for number, asked in ((5, 90), (9, 30), (3, 80), (7, 40)):
        sm.begin(number, asked, 50, 100)
    assert sm.events == {100 << CONTEXT_BITS | 5, 100 << CONTEXT_BITS | 3}  # 3 came after 5 had its event
    assert sm.arrival(100, 60, 200) == [7]
    assert sm.arrival(200, 1000, 300) == [3, 5, 9]
    assert sm.events == set()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [[64], [32, 64, 128, 2048]])
def test_as_if_all_asked_at_every_arrival(sizes: list[int], seed: int, device: Device) -> None:
    rng = np.random.default_rng(seed)
    sm = _Sm(device)
    counted_before = int(device._state.counters[0, counter.ROOM_WAIT_PS])
    arrivals = [1_000_000 * (seed + 1), *(1_000_000 * (seed + 1) + np.cumsum(rng.integers(2, 50, 300))).tolist()]
    free, began = list(range(32)), {}
    waited = granted = 0
    for now, arrival, following in zip(arrivals, arrivals[1:], arrivals[2:], strict=False):
        for _ in range(int(rng.integers(0, 6))):
            if free:
                number = free.pop(int(rng.integers(len(free))))
                sm.begin(number, int(rng.choice(sizes)), now + 1, arrival)
                began[number] = now + 1
        room = int(rng.integers(0, 200)) if following < arrivals[-1] else 1 << 20
        left, expected = room, []
        for number, asked in sorted(sm.asked.items()):
            if asked <= left:
                left -= asked
                expected.append(number)
        assert sm.arrival(arrival, room, following) == expected
        assert not sm.asked or min(sm.events) == following << CONTEXT_BITS | min(sm.asked)
        waited += sum(arrival - began.pop(number) for number in expected)
        granted += len(expected)
        free += expected
    assert not sm.asked and not sm.events and granted > 100
    assert device._state.counters[0, counter.ROOM_WAIT_PS] - counted_before == waited
