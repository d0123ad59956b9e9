"""Do L2 hit rates and DRAM sectors come out as hardware counters read them, and are the known gaps still there?"""

from __future__ import annotations

import pytest

from simulator.errors import ConfigError
from simulator.validation import hit_rates
from simulator.validation.hit_rates import Counter

WARM_GAPS = {"8 x 512 keys, warm", "8 x 1024 keys, warm", "8 x 4096 keys, warm"}  # validation/DEVIATIONS.md, 22


@pytest.fixture(scope="module")
def checks() -> dict[tuple[str, str], dict[str, object]]:
    short = [counter for counter in hit_rates.counters() if footprint(counter) <= 1 << 27]
    report = hit_rates.hit_rates(short)
    assert report["schema"] == "tierscope.validation/1"
    return {(check["variant"], check["quantity"]): check for check in report["checks"]}


def footprint(counter: Counter) -> int:
    """Return the KV bytes a kernel reads, which its time here goes with."""
    case = counter.case
    return case.batch * case.kv_len * 4096 if hasattr(case, "kv_len") else 0


def test_every_counter_is_within_its_limit_but_the_known_gaps(checks: dict[tuple[str, str], dict[str, object]]) -> None:
    assert len(checks) > 25
    assert {variant for (variant, _), check in checks.items() if not check["passed"]} == WARM_GAPS


def test_a_gemm_reads_its_operands_once_from_dram(checks: dict[tuple[str, str], dict[str, object]]) -> None:
    """2560 x 2560 weights and 16 inputs of 2560, two bytes each, in sectors of 32."""
    check = checks["16 x 2560 x 2560, cold", "DRAM read sectors"]
    assert check["predicted"] == (2560 + 16) * 2560 * 2 / 32


def test_shared_kv_hits_as_often_as_it_is_shared(checks: dict[tuple[str, str], dict[str, object]]) -> None:
    """R sequences that read one cache miss once: (R - 1) / R, within a point."""
    for sharers in (4, 8, 16, 32):
        predicted = checks[f"{sharers} x 1024 keys, {sharers} share, cold", "L2 hits"]["predicted"]
        assert predicted == pytest.approx(100 * (sharers - 1) / sharers, abs=1)


def test_unknown_hardware_is_refused() -> None:
    with pytest.raises(ConfigError, match="no hardware 'h100-sxm'; it has v100-sxm-32gb, rtx-5060-ti"):
        hit_rates.select(["h100-sxm"])
