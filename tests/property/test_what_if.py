"""Does an ideal resource ever hurt, and does what was made of nothing save what it took?

Every run is replayed with each resource ideal and 10 % larger.  None may make it slower by more than TOLERANCE: kernels
then meet in another order, in L2 and in the banks of DRAM, which can cost more than a resource that nobody waits for
gives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import small
from hypothesis import given, settings

from simulator.hardware import Hardware, ResolvedHardware
from simulator.models import Architecture
from simulator.run.execute import Prepared, execute, prepare
from simulator.run.generate import generate
from simulator.run.request import RunRequest
from simulator.run.what_if import COPIES, RESOURCES, Change, replay_s, replays, what_if
from simulator.workload import Phase, Placement, Workload
from simulator.workload.protocol import CacheState, Protocol

TOLERANCE = 0.05
CROWDED = {"bytes in flight": 0.1, "balance": 0.1, "l2 size": 0.01}
"""Without a limit of bytes in flight SMs run apart, find less in L2 and close each other's rows (3.6 % was seen), and
without a tail those of one kernel meet those of the next (5.7 % in a prefill of five prompts of 273 tokens).  In an
endless L2 lines lie in other sets and line groups stay whole, which has to take as long (0.4 %)."""

WARM = Protocol()
DEVICE = small.device("sm.count=16", "l2.size=2 MiB", "hbm.stacks=1", "hbm.channels=8")


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Architecture]:
    return small.load_models(tmp_path_factory.mktemp("models"))


def asked(
    model: Architecture, workload: Workload, protocol: Protocol = WARM, device: Hardware = DEVICE
) -> tuple[dict[str, Any], Any]:
    """Return what each resource is worth, by name, and the result of the run itself."""
    trace = generate(model, workload, protocol, device)
    prepared = Prepared(trace, ResolvedHardware(device, {}), protocol, model.layers, 0, True)
    found = execute(prepared)
    calls: list[None] = []
    answer = what_if(prepared, found["summary"]["time_s"], lambda: calls.append(None))
    assert len(calls) == replays(prepared)
    savings = [row["ideal_saving"] for row in answer["resources"]]
    assert savings == sorted(savings, reverse=True)
    return {row["resource"]: row for row in answer["resources"]}, found


@pytest.mark.parametrize("name", small.MODELS)
@settings(max_examples=4, deadline=None)
@given(workload=small.workloads(), protocol=small.PROTOCOLS)
def test_nothing_ideal_hurts(
    name: str, architectures: dict[str, Architecture], workload: Workload, protocol: Protocol
) -> None:
    rows, _ = asked(architectures[name], workload, protocol)
    for resource, row in rows.items():
        tolerance = CROWDED.get(resource, TOLERANCE)
        assert row["ideal_saving"] >= -tolerance, row
        assert row["more_saving"] is None or row["more_saving"] >= -TOLERANCE, row
        assert row["ideal_saving"] <= 1
    assert "copies" not in rows


def test_no_launch_saves_the_launches(architectures: dict[str, Architecture]) -> None:
    """Kernels in a chain: what is left is the time of the kernels."""
    rows, found = asked(
        architectures["llama"], Workload(phase=Phase.DECODE, context=200), Protocol(cache=CacheState.COLD)
    )
    launches = sum(kernel["launch_s"] for kernel in found["kernels"])
    assert rows["launch"]["ideal_time_s"] == pytest.approx(found["summary"]["time_s"] - launches, rel=0.01)
    assert rows["launch"]["more_saving"] == pytest.approx(rows["launch"]["ideal_saving"] / 11, rel=0.15)


def test_without_dram_a_run_of_cold_weights_gains_most(architectures: dict[str, Architecture]) -> None:
    """DRAM that takes no time saves more than either half of it."""
    rows, _ = asked(architectures["llama"], Workload(phase=Phase.DECODE, context=200), Protocol(cache=CacheState.COLD))
    halves = [rows["dram latency"]["ideal_saving"], rows["dram bandwidth"]["ideal_saving"]]
    assert rows["l2 hits"]["ideal_saving"] >= max(halves) - 0.005
    assert min(halves) > 0.005


def test_an_endless_l2_leaves_first_touches_alone(architectures: dict[str, Architecture]) -> None:
    """A pass over 17 MB on an L2 of 12 MiB.  Cold, all are first touches, of which an endless L2 spares none; warm, it
    has kept all that the real one lost, and gives what finding everything gives."""
    workload = Workload(phase=Phase.DECODE, batch=16, context=900)
    device = small.device("sm.count=16", "l2.size=12 MiB", "l2.ways=8", "hbm.stacks=1", "hbm.channels=8")
    cold, _ = asked(architectures["llama"], workload, Protocol(cache=CacheState.COLD), device)
    assert abs(cold["l2 size"]["ideal_saving"]) < 0.03
    assert cold["l2 hits"]["ideal_saving"] > 0.4
    warm, _ = asked(architectures["llama"], workload, WARM, device)
    assert warm["l2 size"]["ideal_saving"] == pytest.approx(warm["l2 hits"]["ideal_saving"], abs=0.02)
    assert warm["l2 size"]["ideal_saving"] > 0.4


def test_replays_in_processes_of_their_own_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes long enough is shared among processes, which prepare it anew."""
    monkeypatch.setattr("simulator.run.what_if.WORTH_PROCESSES_S", 0.0)
    request = RunRequest.of(
        {"model": "gpt2", "hardware": "a100-sxm-80gb", "workload": {"phase": "decode", "context": 64}}, "test"
    )
    prepared = prepare(request)
    alone, together = what_if(prepared, 1.0), what_if(prepared, 1.0, workers=2)

    def times(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [(row["resource"], row["ideal_time_s"], row["more_time_s"]) for row in answer["resources"]]

    assert times(together) == times(alone)
    assert all(row["ideal_replay_s"] > 0 for row in together["resources"])


def test_layers_that_stand_for_others_leave_copies_as_they_are() -> None:
    """Half of the layers are copied in: what a resource is worth, with twins for layers that agree and without."""
    placed = {"phase": "decode", "context": 512, "placement": {"weights": ["dram:layers[6:12]"]}}
    prepared = prepare(RunRequest.of({"model": "gpt2", "hardware": "gh200", "workload": placed}, "test"))
    for resource in (*RESOURCES[1:3], COPIES):
        twins = [replay_s(prepared, change) for change in (Change(), resource.ideal)]
        whole = [replay_s(replace(prepared, exact=True), change) for change in (Change(), resource.ideal)]
        assert twins == pytest.approx(whole, rel=0.01)


def test_overlapping_kernels_take_as_long_extrapolated_as_replayed() -> None:
    """No tail between kernels, layers of one kind taken as the first of them against all layers replayed."""
    prepared = prepare(
        RunRequest.of(
            {"model": "gpt2", "hardware": "a100-sxm-80gb", "workload": {"phase": "decode", "context": 512}}, "test"
        )
    )
    flowing = Change(flowing=True)
    assert replay_s(prepared, flowing) == pytest.approx(replay_s(replace(prepared, exact=True), flowing), rel=0.02)


def test_free_copies_leave_what_the_same_run_takes_in_device_memory(architectures: dict[str, Architecture]) -> None:
    workload = Workload(phase=Phase.DECODE, context=200, placement=Placement(weights=("dram",)))
    rows, found = asked(architectures["llama"], workload)
    assert rows["copies"]["ideal_saving"] > 0.1
    assert rows["copies"]["ideal_time_s"] == pytest.approx(
        found["summary"]["time_s"] - found["ledger"]["copies_s"], rel=0.1
    )
