"""Are predictions kept, resumed and alike from one process and from several, and does a mechanism switched off show?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator import hardware
from simulator.cli import validate, validate_kernels
from simulator.errors import ConfigError
from simulator.lowering.implementation import implementations
from simulator.run.cases import KINDS, DecodeAttentionCase, GemmCase
from simulator.run.counterfactual import MECHANISMS, predict_without
from simulator.run.pool import Job, outcomes
from simulator.run.predict import predict
from simulator.units import PS_PER_S
from simulator.validation import catalog
from simulator.validation.kernels import checkpoint as checkpoints
from simulator.validation.kernels import transcribed
from simulator.validation.kernels.checkpoint import Checkpoint
from simulator.validation.kernels.rows import Selection
from simulator.validation.kernels.suite import DEVICES, SUITES

A100, H100 = "a100-sxm-80gb", "h100-sxm"


def product(m: int = 1, n: int = 512, k: int = 512, copies: int = 1, **more: object) -> GemmCase:
    return GemmCase.model_validate({"m": m, "n": n, "k": k, "weight_copies": copies, "framework": "vllm", **more})


def test_several_processes_predict_what_one_does() -> None:
    jobs = [Job(device, (), "", product(m)) for device in (A100, H100) for m in (1, 2, 3)]
    huge = Job(A100, (), "", product(1, 1 << 20, 1 << 20))
    keys = [job.key for job in (*jobs, huge, jobs[0])]
    alone = dict(outcomes(keys, workers=1))
    together = dict(outcomes(keys, workers=2))
    assert alone == together
    assert len(alone) == 7
    assert alone[jobs[0].key]["time_s"] == predict(product(1), hardware.load(A100).spec).time_s
    assert "exceed" in alone[huge.key]["error"]


def test_a_key_holds_what_a_prediction_depends_on() -> None:
    base = Job(A100, (), "", product())
    others = (
        Job(H100, (), "", product()),
        Job(A100, ("l2.ways=8",), "", product()),
        Job(A100, (), "l2", product()),
        Job(A100, (), "", product(2)),
        Job(A100, (), "", product(framework="sglang")),
    )
    assert len({base.key, *(other.key for other in others)}) == 6
    assert Job(A100, (), "", product(id="row 7")).key == base.key


def test_a_checkpoint_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    with Checkpoint(path) as first:
        first.add("a", {"time_s": 1.0, "error": ""})
        first.add("b", {"error": "too large"})
    whole = path.read_text()
    path.write_text(whole + '["c", {"time_s": 2.0, "err')  # killed in the middle of a line
    with Checkpoint(path) as second:
        assert second.known == {"a": {"time_s": 1.0, "error": ""}, "b": {"error": "too large"}}
        assert path.read_text() == whole
        second.add("c", {"time_s": 3.0, "error": ""})
    with Checkpoint(path) as third:
        assert third.known["c"] == {"time_s": 3.0, "error": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kernel,m,n,k\n", "line 1: not a checkpoint"),
        ('{"schema": "tierscope.result/1"}\n', "line 1: not a checkpoint"),
        ('{"schema": "tierscope.predictions/1", "model": "other"}\n', "line 1: made by another version"),
        ('HEADER\n["a", {"error": ""}]\n["b"]\n', "line 3: not \\[key, prediction\\]"),
        ('HEADER\n["a", {"time_s": 1}]\n', "line 2: not \\[key, prediction\\]"),
    ],
)
def test_a_foreign_checkpoint_is_refused_and_kept(tmp_path: Path, text: str, words: str) -> None:
    header = json.dumps({"schema": checkpoints.SCHEMA, "model": checkpoints.model_digest()})
    path = tmp_path / "done.jsonl"
    path.write_text(text.replace("HEADER", header))
    with pytest.raises(ConfigError, match=words), Checkpoint(path):
        pass
    assert path.read_text() == text.replace("HEADER", header)


def test_without_launch_a_call_is_shorter_by_what_launching_costs() -> None:
    device = hardware.load(A100).spec
    case = product(64, 256, 256)
    saved = predict(case, device).time_s - predict_without("launch", case, device).time_s
    gap_ps = implementations(case.framework).gemm.replay_ps
    assert saved == pytest.approx((gap_ps + device.launch.graph_ps) / PS_PER_S)


def test_a_replay_waits_for_half_a_tick_that_its_calls_share() -> None:
    """2 us apart: two products in a graph take 500 ns longer each, launched one by one nothing."""
    device = hardware.load(A100, ("launch.replay_tick=2 us",)).spec
    usual = hardware.load(A100).spec
    for launch, wait_s in (("graph", 0.5e-6), ("stream", 0)):
        case = product(copies=2, launch=launch)
        assert predict(case, device).time_s - predict(case, usual).time_s == pytest.approx(wait_s, abs=1e-12)


def test_a_graph_may_call_one_weight_several_times() -> None:
    """The gap between replays is shared by five calls, the tick of a device without one aside."""
    device = hardware.load(A100).spec
    gap_ps = implementations(product().framework).gemm.model_copy(update={"replay_ps": 5_000_000})
    once, often = (predict(product(calls=calls), device, gap_ps).time_s for calls in (0, 5))
    assert once - often == pytest.approx(4e-6)


@pytest.mark.parametrize(
    ("kernel", "framework", "more", "stores"),
    [
        ("decode_attention", "generic", {"kv_len": 512}, 0),
        ("decode_attention", "vllm", {"kv_len": 512}, 1),
        ("decode_attention", "sglang", {"kv_len": 512, "kv_dtype": "fp8"}, 3),  # K and V are cast for it
        ("prefill_attention", "generic", {"seq_len": 64}, 0),
        ("prefill_attention", "vllm", {"seq_len": 64}, 1),
        ("prefill_attention", "sglang", {"seq_len": 64, "head_dim": 512, "dtype": "fp8"}, 3),
    ],
)
def test_a_call_that_stores_nothing_is_shorter_by_all_that_storing_launches(
    kernel: str, framework: str, more: dict[str, object], stores: int
) -> None:
    device = hardware.load(H100).spec
    heads = {"batch": 4, "heads": 32, "kv_heads": 8, "head_dim": 128, "framework": framework}
    stored, alone = (
        predict(KINDS[kernel].model_validate(heads | more | {"kv_write": each}), device).time_s
        for each in (True, False)
    )
    launches = (stored - alone) * PS_PER_S / device.launch.graph_ps
    assert launches >= stores if stores else launches == 0


def test_keys_that_are_values_too_come_from_dram_once() -> None:
    """21 MB of keys, which stay in L2 until they are read as values."""
    usual = {"batch": 8, "kv_len": 256, "heads": 40, "kv_heads": 40, "head_dim": 128, "cache": "cold"}
    keys = 8 * 256 * 40 * 256
    for alone in (False, True):
        case = DecodeAttentionCase.model_validate(usual | {"framework": "trtllm", "value_is_key": alone})
        read = predict(case, hardware.load(A100).spec).dram_read_bytes
        assert read == pytest.approx(keys * (1 if alone else 2), rel=0.1)


def test_without_l2_residency_a_small_weight_is_read_again() -> None:
    device = hardware.load(A100).spec
    case = product(1, 2048, 2048)
    warm, cold = predict(case, device), predict_without("l2", case, device)
    assert warm.dram_read_bytes == 0
    assert cold.dram_read_bytes >= 2048 * 2048 * 2
    assert cold.time_s > warm.time_s


def test_without_limits_a_long_stream_is_no_slower() -> None:
    device = hardware.load(A100, ("sm.outstanding=4 KiB",)).spec
    case = DecodeAttentionCase(batch=8, kv_len=4096, heads=32, kv_heads=8, head_dim=128, framework="vllm")
    assert predict_without("in-flight", case, device).time_s < 0.7 * predict(case, device).time_s


def test_without_partitions_nothing_is_kept_twice() -> None:
    """Three weights of 8 MiB and 8 MiB of activations fit the 40 MiB of an A100, but not once in each half."""
    device = hardware.load(A100).spec
    case = product(1024, 2048, 2048, copies=3)
    halves, whole = predict(case, device), predict_without("partitions", case, device)
    assert whole.dram_read_bytes < halves.dram_read_bytes / 2
    one = hardware.load("l40s").spec
    assert predict_without("partitions", case, one) == predict(case, one)


def test_without_waves_compute_takes_the_fraction_of_waves_that_is_filled() -> None:
    """One CTA on one of 108 SMs would take a 108th."""
    device = hardware.load(A100).spec
    case = product(128, 64, 16384)
    assert predict_without("waves", case, device).time_s < predict(case, device).time_s


def test_the_command_line_knows_every_suite_and_mechanism() -> None:
    assert tuple(SUITES) == validate_kernels.KERNEL_SUITES
    assert tuple(MECHANISMS) == validate_kernels.MECHANISMS
    assert catalog.SUITES.keys() == {*validate.OWN_REPORTS, *SUITES}
    assert all(catalog.SUITES[name].startswith(suite.title) for name, suite in SUITES.items())


def test_the_transcribed_rows_cover_every_gpu_and_framework() -> None:
    rows = transcribed.read(transcribed.path())
    described = set(DEVICES.values()) - {"gb300"}  # described after the rows were drawn
    for suite in SUITES:
        mine = [row for row in rows if row.suite == suite]
        assert len(mine) >= 100
        assert {(row.device, row.framework) for row in mine} == {
            (device, framework) for device in described for framework in validate_kernels.FRAMEWORKS
        }
        assert {row.set for row in mine if row.device not in (A100, H100)} == {"test"}
    sources = [line.rsplit('"', 2)[1] for line in transcribed.path().read_text().splitlines()[1:]]
    assert all(source.startswith("aiconfigurator-core 0.12.0") and ".parquet:" in source for source in sources)


def test_transcribed_rows_are_drawn_and_counted() -> None:
    rows, ledger = transcribed.select(
        SUITES["gemm"], Selection(sample=5, frameworks=("vllm",), devices=(H100,)), transcribed.path()
    )
    assert len(rows) == 5
    assert {(row.device, row.framework) for row in rows} == {(H100, "vllm")}
    assert sum(ledger.files.values()) == sum(ledger.reasons().values()) + ledger.usable


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("suite", "gemv", "line 2: suite"),
        ("set", "", "line 2: set"),
        ("measured_us", "0", "line 2: measured_us"),
        ("measured_us", "nan", "line 2: measured_us"),
        ("m", "-1", "line 2: m"),
        ("heads", "8", "heads"),
    ],
)
def test_a_wrong_transcribed_row_is_named(tmp_path: Path, column: str, value: str, words: str) -> None:
    row = dict.fromkeys(transcribed.COLUMNS, "") | {
        "suite": "gemm", "hardware": A100, "framework": "vllm", "set": "test", "m": "1", "n": "2", "k": "3",
        "measured_us": "5",
    }  # fmt: skip
    path = tmp_path / "kernels.csv"
    path.write_text(",".join(transcribed.COLUMNS) + "\n" + ",".join((row | {column: value}).values()) + "\n")
    with pytest.raises(ConfigError, match=words):
        transcribed.read(path)
