"""Do the metrics find the levels, knees and errors of curves whose levels, knees and errors are known?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simulator.errors import ConfigError
from simulator.report import validation
from simulator.run.bench import BENCHMARKS
from simulator.validation import measured, suites
from simulator.validation.metrics import knee, mean_error, plateau
from simulator.validation.suites import compare
from simulator.validation.targets import TARGETS, Level, Target

SIZES = [2.0 ** (i / 4) for i in range(60)]


def stairs(x: float, knee_at: float = 512.0) -> float:
    """10 below half of the knee, 40 above twice of it, straight over log2(x) in between: 25 at the knee."""
    return 10 + 30 * min(1.0, max(0.0, (math.log2(x / knee_at) + 1) / 2))


CURVE = [(x, stairs(x)) for x in SIZES]


def test_a_plateau_is_the_median_of_its_range() -> None:
    noisy = [(1, 10.0), (2, 11.0), (4, 99.0), (8, 10.5), (16, 3.0)]
    assert plateau(noisy, 1, 8) == 10.75
    assert plateau(noisy, 3, 5) == 99
    assert plateau(noisy, 20, 30) is None


@pytest.mark.parametrize("at", [300.0, 512.0, 700.0])
def test_a_knee_is_half_way_up(at: float) -> None:
    curve = [(x, stairs(x, at)) for x in SIZES]
    assert knee(curve, 1, 1e5, 10, 40) == pytest.approx(at, rel=0.02)
    falling = [(x, 1 / value) for x, value in curve]
    found = knee(falling, 1, 1e5, 1 / 10, 1 / 40)
    assert found is not None and at / 2 < found < at  # half way down in value is earlier on the way


def test_no_knee_where_the_curve_does_not_cross() -> None:
    assert knee([(x, 10.0) for x in SIZES], 1, 1e5, 10, 40) is None
    assert knee(CURVE, 1, 300, 10, 40) is None


def test_the_mean_error_is_over_the_logarithm_of_x() -> None:
    base = [(1.0, 1.0), (10.0, 1.0), (100.0, 1.0)]
    assert mean_error([(1.0, 1.1), (10.0, 1.1), (100.0, 1.1)], base) == pytest.approx(0.1)
    assert mean_error([(1.0, 0.8), (10.0, 1.2), (100.0, 1.2)], base) == pytest.approx(0.2)
    assert mean_error([(1.0, 1.4), (10.0, 1.0), (100.0, 1.0)], base) == pytest.approx(0.1)  # 0.2 over half of it
    dense = [(1.0, 1.0), *((10 + i / 100, 1.0) for i in range(50)), (100.0, 1.0)]
    ours = [(x, 2.0 if 10 <= x < 10.5 else 1.0) for x, _ in dense]
    assert mean_error(ours, dense) == pytest.approx(0.5, abs=0.02)  # and not 50 of 52 points
    with pytest.raises(ValueError, match="same x"):
        mean_error(base[:2], base)


def target(**changes: object) -> Target:
    levels = (Level("L1", 1, 200), Level("L2", 2000, 1e6))
    return Target(**{"benchmark": "latency", "variant": "128 B nodes", "device": "l40", "curve": 0.08}
                  | {"levels": levels, "knee": 0.10} | changes)  # fmt: skip


def verdicts(ours: list[tuple[float, float]], **changes: object) -> dict[str, bool | None]:
    return {check["quantity"]: check["passed"] for check in compare(target(**changes), CURVE, ours)}


def test_a_perfect_prediction_passes() -> None:
    assert verdicts(CURVE) == {"mean error": True, "L1": True, "L2": True, "L1 to L2 at": True}


def test_each_kind_of_mistake_fails_its_check() -> None:
    low = [(x, 0.93 * value if x < 200 else value) for x, value in CURVE]
    assert verdicts(low) == {"mean error": True, "L1": False, "L2": True, "L1 to L2 at": True}
    late = [(x, stairs(x, 600.0)) for x in SIZES]
    assert verdicts(late) == {"mean error": True, "L1": True, "L2": True, "L1 to L2 at": False}
    assert verdicts([(x, 1.2 * value) for x, value in CURVE])["mean error"] is False
    flat = [(x, 10.0) for x in SIZES]
    assert verdicts(flat)["L1 to L2 at"] is False  # no knee at all


def test_what_has_no_tolerance_is_not_judged() -> None:
    flat = [(x, 10.0) for x in SIZES]
    assert set(verdicts(flat, curve=None, levels=(Level("L1", 1, 200, None),), knee=None).values()) == {None}


@pytest.mark.parametrize("one", TARGETS, ids=lambda one: f"{one.device}-{one.benchmark}-{one.variant}")
def test_every_target_has_its_curve_and_points_on_every_level(one: Target) -> None:
    curve = suites.curve_of(one)
    benchmark = BENCHMARKS[one.benchmark]
    assert (curve.unit, curve.x_unit) == (benchmark.unit, benchmark.x_unit)
    assert benchmark.variant(one.variant)
    assert 15 <= len(curve.points) <= 60
    for level in one.levels:
        assert sum(level.low <= x <= level.high for x, _ in curve.points) >= 2, level.name
    quantities = [check for check in compare(one, curve.points, curve.points) if check["measured"] is not None]
    assert len(quantities) == len(one.levels) + (len(one.levels) - 1 if one.knee else 0)  # each knee is found


def test_selection() -> None:
    assert len(suites.select()) == len(TARGETS)
    assert {t.device for t in suites.select(["latency"], ["l40", "mi210"])} == {"l40", "mi210"}
    with pytest.raises(ConfigError, match="it has a100-sxm-40gb, a100-sxm-80gb"):
        suites.select((), ["b200-sxm"])
    with pytest.raises(ConfigError, match="nothing was measured"):
        suites.select(["small-kernels"], ["h100-pcie"])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("G,,latency,v,1,KiB,-3,ns,s", "line 2: -3 is not a positive number"),
        ("G,,latency,v,1,KiB,nan,ns,s", "line 2: nan"),
        ("G,,latency,v,1,KiB", "line 2"),
        ("G,,latency,v,4,KiB,3,ns,s\nG,,latency,v,2,KiB,3,ns,s", "x must rise"),
    ],
)
def test_a_faulty_curve_is_refused(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(",".join(measured.COLUMNS) + "\n" + row + "\n")
    with pytest.raises(ConfigError, match=problem):
        measured.read(path)


def test_devices_whose_curves_were_not_used_are_counted_apart() -> None:
    checks = [{"passed": passed, "unseen": unseen} for unseen in (False, True) for passed in (True, unseen, None)]
    report = {"checks": checks, "overrides": []}
    assert validation.summary(report) == (
        "1 of 2 checks within their limits; of devices whose curves were not used 2 of 2 checks within theirs."
    )
    report = {"checks": checks[3:], "overrides": ["a=1"]}
    assert validation.summary(report) == "Of devices whose curves were not used 2 of 2 checks within theirs with a=1."
    assert {target.device for target in TARGETS if target.unseen} == {"a40", "gh200", "a100-sxm-40gb"}
