"""Is what bounds a run one server where one does, and otherwise what bounds its kernels longest?"""

from __future__ import annotations

import pytest

from simulator.run.limits import CONCURRENCY, COPIES, LAUNCH, run_limiter

KERNELS = [("compute", 40), ("dram bandwidth", 30), ("compute", 20), (CONCURRENCY, 50)]


@pytest.mark.parametrize(
    ("overall", "launch_ps", "copies_ps", "limiter"),
    [
        ("dram bandwidth", 500, 600, "dram bandwidth"),
        (CONCURRENCY, 0, 0, "compute"),
        (CONCURRENCY, 59, 59, "compute"),
        (CONCURRENCY, 61, 60, LAUNCH),
        (CONCURRENCY, 61, 62, COPIES),
    ],
)
def test_what_bounds_a_run(overall: str, launch_ps: int, copies_ps: int, limiter: str) -> None:
    assert run_limiter(overall, KERNELS, launch_ps, copies_ps) == limiter


def test_kernels_without_a_limit_leave_concurrency() -> None:
    assert run_limiter(CONCURRENCY, [(CONCURRENCY, 10)], 9, 0) == CONCURRENCY
