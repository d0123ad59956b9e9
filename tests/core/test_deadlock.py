"""Does work that can never move raise an error that names its kernel, instead of looping or ending early?"""

from __future__ import annotations

import datasheet
import pytest
from datasheet import Access, kernel

from simulator.core import scalar
from simulator.core.layout import SM_CAPACITY
from simulator.errors import DeadlockError
from simulator.memory import device as device_module
from simulator.system import run_stream

READ = [Access(1 << 32)]


def test_a_cta_that_fits_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "SM_CAPACITY", 64 * SM_CAPACITY)
    with pytest.raises(
        DeadlockError,
        match=r"stuck kernel: 0 CTAs resident, 2 waiting, CTA 0 for \d+ units of an SM, of which \d+ are free",
    ):
        run_stream(datasheet.device(), [kernel(READ, READ, name="stuck kernel")])


def test_a_cta_that_has_lost_its_event() -> None:
    device = datasheet.device()
    device.launch(kernel(READ, name="lost kernel"))
    device.advance(0, 10)
    device._state.scalars[scalar.HEAP] = 0
    with pytest.raises(
        DeadlockError,
        match=r"lost kernel: 1 CTAs resident, 0 waiting, one on SM 0 for an event to issue the first of its",
    ):
        device.advance(10)


def test_only_what_waits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    device = datasheet.device()
    device.launch(kernel(READ, name="moves"))
    monkeypatch.setattr(device_module, "SM_CAPACITY", 64 * SM_CAPACITY)
    device.launch(kernel(READ, name="stuck"))
    now, slot = device.advance(0)
    assert slot is not None
    device.retire(slot)
    with pytest.raises(DeadlockError) as caught:
        device.advance(now)
    assert "stuck" in str(caught.value) and "moves" not in str(caught.value)


def test_an_idle_device_is_not_stuck() -> None:
    assert datasheet.device().advance(5, 1000) == (1000, None)


def test_more_ctas_than_contexts_wait_their_turn() -> None:
    """1024 SMs x 32 CTAs are twice the contexts the core has."""
    device = datasheet.device({"sm.count": 1024, "sm.ctas": 32})
    ran = datasheet.run(device, kernel(*[READ] * 20_000))
    assert ran.counters["RECORDS"] == 20_000
