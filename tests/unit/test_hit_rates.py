"""Do L2 hit rates and DRAM sectors come out as hardware counters read them?"""

from __future__ import annotations

import numpy as np
import pytest
from datasheet import Access, kernel

from simulator import hardware
from simulator.errors import ConfigError
from simulator.run.predict import predict
from simulator.run.saved import SMALL_TENSORS_BYTES, saving
from simulator.trace.record import Op
from simulator.validation import hit_rates
from simulator.validation.hit_rates import Counter


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


def test_every_counter_is_within_its_limit(checks: dict[tuple[str, str], dict[str, object]]) -> None:
    assert len(checks) > 25
    assert [variant for (variant, _), check in checks.items() if not check["passed"]] == []


def test_a_loop_that_nobody_profiles_finds_its_keys_again() -> None:
    """16 MiB in an L2 of 32 MiB; what of them the profiler's save leaves is measured."""
    (counter,) = (each for each in hit_rates.counters() if each.label == "8 x 512 keys, warm, profiled")
    device = hardware.load(counter.device).spec
    assert predict(counter.case.model_copy(update={"profiled": False}), device).l2_hit_rate > 0.99
    assert predict(counter.case, device).l2_hit_rate < 0.8


def test_a_save_copies_what_was_touched_by_address() -> None:
    """Two rows a page apart, one across a boundary of pieces, and a piece touched twice; then the small tensors."""
    touched = kernel(
        [Access(5 * 4096 + 4000, 200, rows=2, stride=8192), Access(5 * 4096)], [Access(1 << 20, op=Op.WRITE)]
    )
    (records,) = saving([touched]).chunks
    pieces = records.address // 4096
    small = SMALL_TENSORS_BYTES // 4096
    assert pieces[records.op == Op.READ].tolist() == [5, 6, 7, 8, *range(256, 257 + small)]
    copies = pieces[records.op == Op.WRITE]
    assert copies[0] > 256 + small and np.all(np.diff(copies) == 1) and len(copies) == 5 + small


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
