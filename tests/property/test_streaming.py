"""Do runs with tensors below device memory keep the laws of overlapped copies?

- What crosses the link is what was placed and used, once per pass, and no faster than the link.
- Copies run as far ahead as there are staging buffers, no further; kernels wait for their layer.
- Entries of the KV cache are stored before a later pass fetches them.
- With one layer ahead, a pass takes the first copy, then the longer of copy and computation per layer.
- Copies take device-memory bandwidth from kernels, and nothing else.
"""

from __future__ import annotations

from typing import Any

import datasheet
import pytest
import small
from datasheet import Access, kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import hardware, models, theory
from simulator.core import counter
from simulator.errors import DeadlockError
from simulator.hardware import Hardware
from simulator.memory.copies import Path
from simulator.models import Architecture
from simulator.run.generate import generate
from simulator.run.simulate import CopyTotals, Outcome, simulate
from simulator.system.copy_engine import Staging
from simulator.workload import Phase, Placement, TensorClass, Workload, tensors
from simulator.workload.protocol import CacheState, Protocol

COLD = Protocol(cache=CacheState.COLD)
LLAMA = models.load("llama-3.2-1b")


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Architecture]:
    return small.load_models(tmp_path_factory.mktemp("models"))


def run(model: Architecture, workload: Workload, device: Hardware, **more: Any) -> Outcome:
    return simulate(generate(model, workload, COLD, device), device, COLD, **more)


def copies_of(outcome: Outcome) -> CopyTotals:
    assert outcome.copies is not None
    return outcome.copies


def decode(context: int = 256, **rules: Any) -> Workload:
    placement = Placement(**rules) if rules else None
    return Workload(phase=Phase.DECODE, context=context, page_tokens=16, placement=placement)


def layer_weights(model: Architecture, workload: Workload, layers: range) -> int:
    prefixes = tuple(f"layers.{layer}." for layer in layers)
    return sum(
        tensor.bytes
        for tensor in tensors(model, workload).values()
        if tensor.tensor_class is TensorClass.WEIGHTS and tensor.name.startswith(prefixes)
    )


def time_ps(outcome: Outcome) -> int:
    return int(outcome.step_ps.sum())


def layer_spans(outcome: Outcome) -> dict[int, tuple[int, int]]:
    """Return when the kernels of each layer began and ended."""
    spans: dict[int, tuple[int, int]] = {}
    for done in outcome.kernels:
        assert done.start_ps is not None
        first, last = spans.get(done.header.layer, (done.start_ps, 0))
        spans[done.header.layer] = min(first, done.start_ps), max(last, done.start_ps + done.time_ps)
    return spans


@pytest.mark.parametrize("name", small.MODELS)
@settings(max_examples=15, deadline=None)
@given(
    workload=small.workloads(),
    tier=st.sampled_from(["dram", "ssd"]),
    first=st.integers(0, 1),
    ahead=st.integers(0, 3),
    memory=st.sampled_from(["pinned", "pageable"]),
)
def test_the_link_carries_what_is_placed_and_used(
    name: str,
    architectures: dict[str, Architecture],
    workload: Workload,
    tier: str,
    first: int,
    ahead: int,
    memory: str,
) -> None:
    model = architectures[name]
    rules = {"weights": f"{tier}:layers[{first}:]", "kv": tier}
    placement = Placement(**rules, prefetch_layers=ahead, host_memory=memory)
    placed = workload.model_copy(update={"placement": placement})
    device = small.device()
    outcome = run(model, placed, device)
    copies = copies_of(outcome)
    token = workload.batch * model.kv_bytes_per_token(workload.kv_dtype)
    weights = layer_weights(model, workload, range(first, model.layers))
    cached = workload.kv_len - workload.query_len
    inward = sum(int(copies.moved_bytes[0, path]) for path in Path if path.to_device)
    outward = int(copies.moved_bytes.sum()) - inward
    assert inward == weights + cached * token
    assert outward == workload.query_len * token
    assert device.link is not None
    assert time_ps(outcome) * device.link.to_device_bytes_per_s >= inward * 10**12
    plain = run(model, workload, device, exact=True)
    asked = (counter.SM_READ_BYTES, counter.SM_WRITE_BYTES)
    assert outcome.step_counters[:, asked].tolist() == plain.step_counters[:, asked].tolist()
    assert time_ps(outcome) >= time_ps(plain)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_copies_run_ahead_as_far_as_there_are_buffers(ahead: int) -> None:
    outcome = run(LLAMA, decode(weights="dram:layers[4:16]", prefetch_layers=ahead), small.device())
    spans = layer_spans(outcome)
    fetched = {copy.place: copy for copy in copies_of(outcome).runs}
    assert sorted(fetched) == list(range(4, 16))
    for layer, copy in fetched.items():
        assert copy.end_ps <= spans[layer][0]
        if layer - ahead - 1 >= 4:
            assert copy.ready_ps >= spans[layer - ahead - 1][1]
    if ahead:
        assert fetched[4].start_ps < spans[0][1]  # while layers that rest in device memory run


def test_entries_are_stored_before_they_are_fetched(architectures: dict[str, Architecture]) -> None:
    model = architectures["ragged"]
    workload = Workload(phase=Phase.GENERATE, prompt=64, tokens=5, page_tokens=16, placement=Placement(kv="dram"))
    copies = copies_of(run(model, workload, small.device(), exact=True))
    stored = {(c.step, c.place): c.end_ps for c in copies.runs if not c.path.to_device}
    fetched = {(c.step, c.place): c.start_ps for c in copies.runs if c.path.to_device}
    assert len(stored) == 5 * model.layers
    assert len(fetched) == 4 * model.layers
    assert all(start >= stored[step - 1, place] for (step, place), start in fetched.items())


@pytest.mark.parametrize(
    ("link", "prompt"), [("pcie4", None), ("nvlink-c2c", None), ("pcie4", 256), ("nvlink-c2c", 256)]
)
def test_copies_and_computation_overlap(link: str, prompt: int | None) -> None:
    """Decoding is bound by the copies on either link, prefill by computation on the faster one."""
    clock = "1980 MHz" if prompt is None else "250 MHz"  # slow, so that a short prompt computes for long
    device = small.device(f"link.kind={link}", "host.kind=grace", f"sm.clock={clock}")
    workload = decode() if prompt is None else Workload(phase=Phase.PREFILL, prompt=prompt)
    assert device.link is not None and device.host is not None
    spans = layer_spans(run(LLAMA, workload, device, exact=True))
    compute_ps = (spans[15][1] - spans[1][1]) / 14
    outside_ps = spans[-1][1] - (spans[15][1] - spans[0][0])
    size = layer_weights(LLAMA, workload, range(1))
    copy_ps = theory.pipelined_copy_ps(
        size, device.host.setup_pinned_ps, 2 * device.link.latency_ps, (device.link.to_device_bytes_per_s,)
    )
    placed = workload.model_copy(update={"placement": Placement(weights="dram")})
    outcome = run(LLAMA, placed, device)
    expected = theory.overlapped_ps(copy_ps, compute_ps, LLAMA.layers) + outside_ps
    assert time_ps(outcome) == pytest.approx(expected, rel=0.03)
    assert (copy_ps > compute_ps) is (prompt is None or link == "pcie4")
    unhidden = LLAMA.layers * (copy_ps + compute_ps) + outside_ps
    serial = workload.model_copy(update={"placement": Placement(weights="dram", prefetch_layers=0)})
    assert time_ps(run(LLAMA, serial, device)) == pytest.approx(unhidden, rel=0.03)


def test_exposed_time_is_what_the_run_takes_longer() -> None:
    device = small.device("link.kind=nvlink-c2c")
    plain, placed = run(LLAMA, decode(), device, exact=True), run(LLAMA, decode(weights="dram:layers[8:12]"), device)
    exposed = int(copies_of(placed).exposed_ps.sum())
    assert exposed > 0
    assert time_ps(placed) - exposed == pytest.approx(time_ps(plain), rel=0.05)  # the rest is contention


def test_interpolated_steps_are_copied_for_too(architectures: dict[str, Architecture]) -> None:
    workload = Workload(
        phase=Phase.GENERATE, prompt=32, tokens=24, placement=Placement(weights="dram:layers[1:]", kv="dram")
    )
    model, device = architectures["ragged"], small.device()
    exact, sampled = (copies_of(run(model, workload, device, exact=exactly)) for exactly in (True, False))
    assert sampled.moved_bytes.tolist() == exact.moved_bytes.tolist()
    assert len(sampled.runs) < len(exact.runs)


def test_a_slower_tier_and_pageable_memory_take_longer() -> None:
    def seconds(**rules: Any) -> int:
        return time_ps(run(LLAMA, decode(**rules), small.device()))

    pinned = seconds(weights="dram:layers[8:]")
    assert seconds(weights="dram:layers[8:]", host_memory="pageable") > 5 * pinned
    assert seconds(weights="ssd:layers[8:]") > 5 * pinned


def test_copies_take_channel_time_from_kernels_and_nothing_else() -> None:
    read = [[Access((1 << 32) + (cta * 64 + i) * 4096, 4096) for i in range(64)] for cta in range(64)]
    alone, beside = datasheet.device(), datasheet.device()
    before = datasheet.run(alone, kernel(*read))
    moved = 16 << 20
    beside.post_transfer(moved, False, 0)
    after = datasheet.run(beside, kernel(*read))
    assert after.counters["DRAM_READ_BYTES"] == before.counters["DRAM_READ_BYTES"]
    hbm = hardware.load("h100-sxm").spec.hbm
    taken = theory.stream_time_ps(moved, hbm.peak_bytes_per_s, hbm.t_rfc_ps, hbm.t_refi_ps)
    assert after.end_ps - before.end_ps == pytest.approx(taken, rel=0.1)
    writing = datasheet.device()
    writing.post_transfer(moved, True, 0)
    assert datasheet.run(writing, kernel(*read)).end_ps > after.end_ps  # the bus turns around


def test_a_copy_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Injected: nobody fetches, so that the first layer below device memory waits for ever."""
    monkeypatch.setattr(Staging, "prefetch", lambda staging: (each for each in ()))
    workload = decode(weights="dram:layers[8:]")
    with pytest.raises(DeadlockError, match=r"work is left: step 0, place 8 for its copies in \(\d+ B from dram\)"):
        run(LLAMA, workload, hardware.load("h100-sxm").spec)
