"""Do the calls and the padding that predictions leave out, or put in, to be fast change what they say?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simulator import hardware
from simulator.hardware import Hardware
from simulator.lowering import prefill
from simulator.lowering.layout import Matrix, pitch_of
from simulator.run import calls
from simulator.run import predict as predicting
from simulator.run.calls import touched_bytes
from simulator.run.cases import DecodeAttentionCase, GemmCase, KernelCase, PrefillAttentionCase
from simulator.run.predict import Prediction, predict

A100 = hardware.load("a100-sxm-80gb").spec
SMALL = hardware.load("a100-sxm-80gb", ("l2.size=5 MiB", "hbm.refresh=spread", "hbm.queue=128")).spec
"""Few bytes are many times its L2, and no call differs by when refresh falls (3 % of 10 us) or writes go out: queues
of 512 hold more than a call writes, so that some calls pay for what others left (2 % of 9 us)."""
SGLANG, VLLM = {"framework": "sglang"}, {"framework": "vllm"}


def of(
    case: KernelCase,
    device: Hardware,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
) -> tuple[Prediction, Prediction]:
    """Return the prediction as it is, and that with a change."""
    ours = predict(case, device)
    change(monkeypatch)
    return ours, predict(case, device)


def every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no call out."""
    monkeypatch.setattr(predicting, "FRESH_FOOTPRINT", {})
    monkeypatch.setattr(predicting, "RESIDENT_FOOTPRINT", 0)


@pytest.mark.parametrize(
    "case",
    [
        GemmCase.model_validate({"m": 8, "n": 1024, "k": 1344, "weight_copies": 6, **VLLM}),
        GemmCase.model_validate({"m": 256, "n": 1024, "k": 1280, "weight_copies": 5, **SGLANG}),
        GemmCase.model_validate({"m": 4, "n": 256, "k": 256, "weight_copies": 6, **SGLANG}),
        DecodeAttentionCase.model_validate(
            {"batch": 8, "kv_len": 1024, "heads": 16, "kv_heads": 8, "head_dim": 64, **VLLM}
        ),
        PrefillAttentionCase.model_validate(
            {"batch": 8, "seq_len": 768, "heads": 8, "kv_heads": 4, "head_dim": 64, **VLLM}
        ),
    ],
    ids=["gemm", "gemm of own inputs", "small gemm", "decode", "prefill"],
)
def test_calls_left_out_are_like_those_made(case: KernelCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays in L2 from call to call, and what does not, is known without trying."""
    share = touched_bytes(case) / SMALL.l2.size_bytes
    assert 3 < share < 4 or share < 0.25
    ours, all_calls = of(case, SMALL, monkeypatch, every_call)
    assert ours.time_s == pytest.approx(all_calls.time_s, rel=0.02)
    assert ours.dram_read_bytes == pytest.approx(all_calls.dram_read_bytes, rel=0.03)


def without_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store panels one after the other, whatever their rows."""
    monkeypatch.setattr(calls, "pitch_of", lambda rows: rows)


@pytest.mark.parametrize("m", [129, 1281])
def test_where_panels_begin_changes_little(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but which channels groups of lines meet on (DEVIATIONS 11)."""
    case = GemmCase.model_validate({"m": m, "n": 512, "k": 2048, **VLLM})
    ours, tight = of(case, A100, monkeypatch, without_pitch)
    assert ours.time_s == pytest.approx(tight.time_s, rel=0.05)
    assert ours.dram_read_bytes == pytest.approx(tight.dram_read_bytes, rel=0.01)


def test_a_pitch_moves_rows_apart_and_leaves_their_bytes() -> None:
    assert [pitch_of(rows) for rows in (1, 33, 63, 64, 65, 4353)] == [1, 33, 63, 64, 96, 4384]
    tight, padded = (Matrix(0, 65, 512, 128, pitch_rows=pitch) for pitch in (0, 96))
    whole = [matrix.tile(0, 65, 0, 512) for matrix in (tight, padded)]
    assert [int(runs.rows * runs.row_bytes) for runs in whole] == [65 * 512] * 2
    assert (int(whole[1].rows), int(whole[1].row_stride)) == (4, 96 * 128)
    assert int(padded.tile(3, 1, 384, 128).address) == (3 * 96 + 3) * 128


@pytest.mark.parametrize(("tokens", "group"), [(77, 8), (64, 3)])
def test_tiles_of_packed_heads_take_every_byte_of_the_queries_once(tokens: int, group: int) -> None:
    device = hardware.load("h100-sxm").spec
    case = PrefillAttentionCase(batch=2, seq_len=tokens, heads=2 * group, kv_heads=2, head_dim=64)
    shape = case.shape()
    plan = prefill.prefill_plan(shape, device, case.framework)
    assert plan.packed
    tiles = prefill._Tiles(shape, plan)
    row_bytes = 2 * group * 128
    matrix = Matrix(0, 2 * tokens, row_bytes, 128)
    touched = np.zeros(2 * tokens * row_bytes, np.int64)
    for runs in tiles.rows_of(matrix, *tiles.where(np.arange(tiles.count))):
        for address, rows, size, stride in zip(*runs, strict=True):
            for row in range(rows):
                touched[address + row * stride :][:size] += 1
    assert (touched == 1).all()


def test_room_of_another_device_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device laid out where another was, of another layout and with lines, rows and queues left, is as new: the room
    is used, and no number differs from those in memory of its own."""
    cases = [
        GemmCase.model_validate({"m": 40, "n": 512, "k": 1024, "weight_copies": 2, **VLLM}),
        DecodeAttentionCase.model_validate({"batch": 3, "kv_len": 333, "heads": 8, "kv_heads": 2, "head_dim": 64}),
    ]
    monkeypatch.setattr(predicting, "_rooms", [])
    kept = predict(cases[0], A100), predict(cases[1], SMALL), predict(cases[0], A100)
    (room,) = predicting._rooms
    assert np.count_nonzero(room) > 10_000  # what the last left
    for case, device, found in zip([cases[0], cases[1], cases[0]], [A100, SMALL, A100], kept, strict=True):
        predicting._rooms.clear()
        assert predict(case, device) == found
