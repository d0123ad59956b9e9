"""Do the parts of a run's ledger add up to its time, whatever was replayed, extrapolated, interpolated or copied?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware import Hardware
from simulator.models import Architecture
from simulator.run.generate import generate
from simulator.run.result import result
from simulator.run.simulate import simulate
from simulator.workload import Phase, Placement, Workload
from simulator.workload.protocol import CacheState, Protocol

GOLDENS = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Architecture]:
    return small.load_models(tmp_path_factory.mktemp("models"))


def check(found: dict[str, Any], kernels: bool = True) -> None:
    """Check the sums of a result: of the run, and of each kernel with its launch and its wait for copies."""
    assert sum(found["ledger"].values()) == pytest.approx(found["summary"]["time_s"], rel=1e-3)
    for kernel in found["kernels"] if kernels else ():
        assert sum(kernel["ledger"].values()) == pytest.approx(
            kernel["time_s"] + kernel["launch_s"] + kernel["waited_s"], rel=1e-9
        )
        assert min(kernel["ledger"].values()) > -1e-12


@pytest.mark.parametrize("name", small.MODELS)
@settings(max_examples=10, deadline=None)
@given(workload=small.workloads(), protocol=small.PROTOCOLS, device=small.DEVICES, exact=st.booleans())
def test_of_one_pass(
    name: str,
    architectures: dict[str, Architecture],
    workload: Workload,
    protocol: Protocol,
    device: Hardware,
    exact: bool,
) -> None:
    trace = generate(architectures[name], workload, protocol, device)
    check(result(trace, simulate(trace, device, protocol, exact), device, {}, 0))


@pytest.mark.parametrize("placement", [None, Placement(weights=("dram",), prefetch_layers=1), Placement(kv=("dram",))])
@pytest.mark.parametrize("launch", ["graph", "stream"])
def test_of_a_generation(architectures: dict[str, Architecture], placement: Placement | None, launch: str) -> None:
    """Steps between the replayed ones are interpolated; with a placement nothing runs while a layer is copied."""
    device = small.device(*small.SMALL_DEVICE)
    workload = Workload(phase=Phase.GENERATE, prompt=40, tokens=24, page_tokens=16, placement=placement)
    protocol = Protocol(cache=CacheState.COLD, launch=launch)
    trace = generate(architectures["llama"], workload, protocol, device)
    found = result(trace, simulate(trace, device, protocol), device, {}, 0)
    assert found["provenance"]["interpolated_steps"] > 0
    check(found)
    assert found["ledger"]["copies_s"] == pytest.approx(found["tiers"]["link"]["exposed_s"] or 0.0, rel=1e-9)
    assert placement is None or placement.kv or found["ledger"]["copies_s"] > 0


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_of_the_golden_runs(path: Path) -> None:
    check(json.loads(path.read_text()))
