"""Is a trace the whole truth: does replaying the file give what running the model gave, bit for bit?  And does a trace
written by hand replay?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commandline import Command

GPT2 = ("--model", "gpt2", "--hardware", "a100-sxm-80gb")
LLAMA = ("--model", "llama-3.2-1b", "--hardware", "h100-sxm")
WORKLOADS = {
    "decode": (*LLAMA, "--phase", "decode", "--context", "256", "--batch", "2"),
    "prefill": (*GPT2, "--phase", "prefill", "--prompt", "96", "--seed", "5"),
    "placed": (
        *GPT2,
        "--phase",
        "generate",
        "--prompt",
        "32",
        "--tokens",
        "11",
        "--placement",
        "weights=dram:layers[9:]",
        "--placement",
        "kv=ssd",
        "--prefetch-layers",
        "2",
    ),
    "stream": (*GPT2, "--phase", "decode", "--context", "64", "--launch", "stream", "--cache", "cold"),
}
SAMPLED = ("decode", "placed")  # have layers or steps that are extrapolated
GATHER_BYTES = 4 * 3 * 32


def hardware_of(options: tuple[str, ...]) -> tuple[str, str]:
    """Return the options that name the device."""
    place = options.index("--hardware")
    return options[place], options[place + 1]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_replaying_the_trace_is_running_the_model(tierscope: Command, tmp_path: Path, workload: str) -> None:
    options = WORKLOADS[workload]
    written = tierscope("trace", "generate", *options, "--output", "run.parquet")
    assert (written.code, written.out, written.err) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]
    for exactness in ((), ("--exact",)) if workload in SAMPLED else (("--exact",),):
        ran = tierscope("run", *options, *exactness, "--format", "json").json
        replayed = tierscope("replay", "run.parquet", *hardware_of(options), *exactness, "--format", "json").json
        assert ran["provenance"]["exact"] is bool(exactness)
        for part in ("summary", "tiers", "kernels", "config"):
            assert replayed[part] == ran[part], part
        for result in (ran, replayed):
            del result["provenance"]["created"]
        assert replayed["provenance"] == ran["provenance"]


def test_a_placed_trace_needs_the_tier_where_it_is_replayed(tierscope: Command) -> None:
    tierscope("trace", "generate", *WORKLOADS["placed"], "--output", "run.parquet")
    refused = tierscope("replay", "run.parquet", "--hardware", "jetson-orin-agx")
    assert (refused.code, refused.out) == (2, "")
    assert "no dram tier" in refused.err and len(refused.err.splitlines()) == 1


def test_a_trace_replays_on_another_device(tierscope: Command, tmp_path: Path) -> None:
    tierscope("trace", "generate", *WORKLOADS["stream"], "--output", "run.parquet")
    options = ("--hardware", "h100-sxm", "--set", "l2.size=25 MiB")
    result = tierscope("replay", "run.parquet", *options, "--format", "json", "--report", "replay.html").json
    assert "H100" in result["config"]["hardware"]["name"]
    assert result["tiers"]["l2"]["size_bytes"] == 25 * 2**20
    assert result["config"]["model"]["name"] == "gpt2"
    assert "gpt2" in (tmp_path / "replay.html").read_text(encoding="utf-8")


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """Two kernels: four CTAs that each gather three sectors out of lines of their own, then one that writes a line."""
    path = tmp_path / "hand.parquet"
    requester = np.repeat(np.arange(4), 3)
    table = {
        "kernel": [0] * 12 + [1],
        "requester": [*requester.tolist(), 0],
        "op": ["read"] * 12 + ["write"],
        "address": [*(np.arange(12) * 128).tolist(), 1 << 20],
        "row_bytes": [32] * 12 + [128],
    }
    pq.write_table(pa.table(table), path)
    return path


def test_a_trace_written_by_hand_replays(tierscope: Command, by_hand: Path) -> None:
    result = tierscope("replay", by_hand.name, "--hardware", "h100-sxm", "--format", "json").json
    assert [(k["name"], k["ctas"], k["read_bytes"], k["write_bytes"]) for k in result["kernels"]] == [
        ("kernel 0", 4, GATHER_BYTES, 0),
        ("kernel 1", 1, 0, 128),
    ]
    assert result["tiers"]["l2"]["hits"] == 0
    assert result["tiers"]["l2"]["misses"] == 12 + 4
    assert result["summary"]["time_s"] > 0
    assert result["summary"]["flops"] == 0
    assert result["summary"]["tokens_per_s"] is None
    table = tierscope("replay", by_hand.name, "--hardware", "h100-sxm")
    assert table.code == 0 and "kernel 0" in table.out


def test_only_addresses_are_needed(tierscope: Command, tmp_path: Path) -> None:
    pq.write_table(pa.table({"address": [0, 32, 0]}), tmp_path / "least.parquet")
    result = tierscope("replay", "least.parquet", "--hardware", "h100-sxm", "--format", "json").json
    assert (result["tiers"]["l2"]["hits"], result["tiers"]["l2"]["misses"]) == (1, 2)


def test_info_counts_what_is_in_a_trace(tierscope: Command, by_hand: Path) -> None:
    summary = json.loads(tierscope("trace", "info", by_hand.name, "--format", "json").out)
    assert (summary["kernels"], summary["requesters"], summary["records"]) == (2, 5, 13)
    assert (summary["reads"]["records"], summary["reads"]["bytes"]) == (12, GATHER_BYTES)
    assert (summary["writes"]["records"], summary["writes"]["bytes"]) == (1, 128)
    assert summary["footprint_bytes"] == GATHER_BYTES + 128
    assert [kernel["name"] for kernel in summary["largest_kernels"]] == ["kernel 0", "kernel 1"]


def test_info_tells_the_classes_of_a_generated_trace_apart(tierscope: Command) -> None:
    tierscope("trace", "generate", *WORKLOADS["stream"], "--output", "run.parquet")
    summary = json.loads(tierscope("trace", "info", "run.parquet", "--format", "json").out)
    run = tierscope("run", *WORKLOADS["stream"], "--exact", "--format", "json").json
    assert summary["reads"]["bytes"] == run["tiers"]["l2"]["read_bytes"]
    assert summary["writes"]["bytes"] + summary["reduces"]["bytes"] == run["tiers"]["l2"]["write_bytes"]
    assert summary["kernels"] == len(run["kernels"])
    names = {tensor["name"] for tensor in summary["classes"]}
    assert {"weights", "kv", "activations"} <= names
    table = tierscope("trace", "info", "run.parquet")
    assert table.code == 0 and table.err == ""
    assert all(name in table.out for name in names)
    assert max(map(len, table.out.splitlines())) <= 120
