"""Do options that several commands share mean what they say?"""

from __future__ import annotations

import os

import pytest

from simulator.cli.options import processes


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is no affinity to processors here")
def test_processes_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert processes(None) == 3
    assert processes(2) == 2
