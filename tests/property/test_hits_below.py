"""Do the rows below L2 say what was copied in, for whom, and why?

Invariants: device memory misses exactly what was copied in and the tiers below served; what L2 missed of tensors that
rest in device memory it had; the first pass over a tensor is compulsory, each later one capacity.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import small

from simulator.analysis.hits import HitExplainer
from simulator.analysis.hits_below import with_tiers_below
from simulator.analysis.hits_result import hits_result
from simulator.models import Architecture
from simulator.run.generate import generate
from simulator.run.simulate import Outcome, simulate
from simulator.workload import Phase, Placement, Workload
from simulator.workload.protocol import Protocol

DEVICE = small.device("sm.count=8", "l2.size=256 KiB", "l2.ways=8", "hbm.stacks=1", "hbm.channels=8")
PROMPT, TOKENS = 16, 4
Sums = dict[tuple[str, str], int]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    return small.load_models(tmp_path_factory.mktemp("models"))["llama"]


def explained(model: Architecture, placement: Placement | None) -> tuple[dict[str, Any], Outcome]:
    workload = Workload(phase=Phase.GENERATE, prompt=PROMPT, tokens=TOKENS, placement=placement)
    trace = generate(model, workload, Protocol(), DEVICE)
    explainer = HitExplainer(trace.header)
    outcome = simulate(trace, DEVICE, Protocol(), observer=explainer)
    headers = [kernel.header for kernel in outcome.kernels]
    return hits_result(with_tiers_below(explainer.finish(), DEVICE, trace.streaming, headers)), outcome


def sums(hits: dict[str, Any], key: str) -> Sums:
    """Return a column by tier and tensor class."""
    found: Sums = defaultdict(int)
    for row in hits["tiers"]:
        found[row["tier"], row["tensor_class"]] += row[key]
    return found


def test_device_memory_that_holds_everything_misses_nothing(llama: Architecture) -> None:
    hits, _ = explained(llama, None)
    assert {row["tier"] for row in hits["tiers"]} == {"l2", "hbm"}
    for tensors in ("weights", "kv", "activations"):
        missed = sum(sums(hits, f"read_{why}_bytes")["l2", tensors] for why in ("compulsory", "capacity", "conflict"))
        assert sums(hits, "read_hit_bytes")["hbm", tensors] == missed
        assert sums(hits, "read_bytes")["hbm", tensors] == missed
    assert not any(row["saved_bytes"] for row in hits["tiers"] if row["tier"] == "hbm")  # nothing lies below
    assert not any(row["tier"] == "hbm" for row in hits["refetched"])


def test_weights_are_streamed_anew_in_each_pass(llama: Architecture) -> None:
    """Both layers' weights in host DRAM: once compulsory, in the three passes that follow capacity."""
    hits, outcome = explained(llama, Placement(weights=("dram",)))
    head = llama.hidden // llama.heads
    attention = llama.hidden * head * (2 * llama.heads + 2 * llama.kv_heads)
    layer = 2 * (attention + 3 * llama.hidden * llama.intermediate + 2 * llama.hidden)
    assert sums(hits, "read_compulsory_bytes")["hbm", "weights"] == llama.layers * layer
    assert sums(hits, "read_capacity_bytes")["hbm", "weights"] == (TOKENS - 1) * llama.layers * layer
    assert outcome.copies is not None
    assert sums(hits, "read_bytes")["dram", "weights"] == outcome.copies.moved_bytes.sum() == TOKENS * 2 * layer
    assert {(row["evicted_by"], row["evicted_for"]) for row in hits["refetched"] if row["tier"] == "hbm"} == {
        ("copies for later layers", "weights")
    }
    assert sum(row["bytes"] for row in hits["refetched"] if row["tier"] == "hbm") == (TOKENS - 1) * 2 * layer


def test_each_copy_is_put_down_to_the_kernel_that_reads_it(llama: Architecture) -> None:
    hits, _ = explained(llama, Placement(weights=("dram",)))
    copied: dict[str, int] = defaultdict(int)
    for row in hits["tiers"]:
        if row["tier"] == "dram":
            copied[row["kernel"].split(" ")[0]] += row["read_bytes"]
    passes = TOKENS * llama.layers * 2
    assert copied["gate_up"] == passes * 2 * llama.hidden * llama.intermediate
    assert copied["down"] == passes * llama.hidden * llama.intermediate
    assert copied["mlp_norm"] == copied["input_norm"] == passes * llama.hidden
    assert {row["kernel"] for row in hits["tiers"] if row["tier"] == "dram"} <= {
        row["kernel"] for row in hits["tiers"] if row["tier"] == "l2"
    }


def test_what_kernels_wrote_is_fetched_again(llama: Architecture) -> None:
    """KV entries and the residual stream had been in device memory before they were copied in."""
    hits, outcome = explained(llama, Placement(kv=("dram",), activations=("dram:layers[1:2]",)))
    for tensors in ("kv", "activations"):
        assert sums(hits, "read_compulsory_bytes")["hbm", tensors] == 0
        assert sums(hits, "read_capacity_bytes")["hbm", tensors] > 0
    token = 2 * 2 * llama.kv_heads * llama.head_dim * llama.layers
    assert sums(hits, "read_capacity_bytes")["hbm", "kv"] == token * sum(PROMPT + n for n in range(TOKENS - 1))
    inward = sum(run.bytes for run in outcome.copies.runs if run.path.to_device) if outcome.copies else 0
    assert sum(row["read_bytes"] for row in hits["tiers"] if row["tier"] == "dram") == inward
