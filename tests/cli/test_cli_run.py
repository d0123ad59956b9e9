"""Does `tierscope run` give what the contract of its result says, in every form and for every way of asking?"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commandline import PLACED, SMALL, Command, start, without_time_stamp

import simulator
from simulator.config import data_dir

Json = dict[str, Any]

TOP = {"schema", "provenance", "config", "summary", "tiers", "concurrency", "ledger", "what_if", "kernels", "hits"}
PROVENANCE = {"version", "commit", "config_sha256", "seed", "created", "packages", "exact"}
SUMMARY = {
    "time_s",
    "ttft_s",
    "tpot_s",
    "tokens_per_s",
    "flops",
    "dram_bytes",
    "arithmetic_intensity",
    "energy_j",
    "limiter",
}
L2 = {
    "read_bytes",
    "write_bytes",
    "hits",
    "misses",
    "hit_rate",
    "writebacks",
    "mean_outstanding_bytes",
    "utilization",
}
HBM = {
    "read_bytes",
    "write_bytes",
    "row_hits",
    "row_misses",
    "row_conflicts",
    "bandwidth_bytes_per_s",
    "utilization",
}
KERNEL = {"name", "operator", "layer", "time_s", "flops", "read_bytes", "write_bytes", "l2_hit_rate", "limiter"}

BASE = SMALL[:5]
PHASES = {
    "decode": ("--phase", "decode", "--context", "64"),
    "prefill": ("--phase", "prefill", "--prompt", "64"),
    "generate": ("--phase", "generate", "--prompt", "48", "--tokens", "4"),
}


def result_keys(result: Json) -> Json:
    """Return the keys of every part of a result."""
    return {
        "top": set(result),
        "provenance": set(result["provenance"]),
        "summary": set(result["summary"]),
        "tiers": {name: set(tier) for name, tier in result["tiers"].items()},
        "kernels": {frozenset(kernel) for kernel in result["kernels"]},
    }


@pytest.fixture(scope="module")
def results(shared: Command) -> dict[str, Json]:
    """One result of each phase."""
    return {phase: shared(*BASE, *options, "--format", "json").json for phase, options in PHASES.items()}


@pytest.mark.parametrize("phase", PHASES)
def test_json_has_the_keys_of_the_contract(results: dict[str, Json], phase: str) -> None:
    result = results[phase]
    assert set(result) == TOP
    assert result["schema"] == "tierscope.result/1"
    assert set(result["provenance"]) >= PROVENANCE
    assert set(result["summary"]) >= SUMMARY
    assert set(result["tiers"]) >= {"sram", "l2", "hbm", "dram"}
    assert set(result["tiers"]["l2"]) >= L2
    assert set(result["tiers"]["hbm"]) >= HBM
    assert set(result["tiers"]["dram"]) >= HBM
    assert result["kernels"]
    assert all(set(kernel) >= KERNEL for kernel in result["kernels"])


def test_keys_that_do_not_apply_are_null_not_missing(results: dict[str, Json]) -> None:
    keys = [result_keys(result) for result in results.values()]
    assert keys[0] == keys[1] == keys[2]
    given = {phase: {k for k in ("ttft_s", "tpot_s") if r["summary"][k] is not None} for phase, r in results.items()}
    assert given == {"decode": {"tpot_s"}, "prefill": {"ttft_s"}, "generate": {"ttft_s", "tpot_s"}}
    assert set(results["decode"]["tiers"]["dram"].values()) == {None}
    outside = [kernel for kernel in results["decode"]["kernels"] if kernel["operator"] == "embedding"]
    assert [kernel["layer"] for kernel in outside] == [None]


def test_placed_tensors_show_in_the_tiers(tierscope: Command, results: dict[str, Json]) -> None:
    result = tierscope(*PLACED, "--format", "json").json
    tiers, plain = result["tiers"], results["decode"]["tiers"]
    assert {name: set(tier) for name, tier in tiers.items()} == {name: set(tier) for name, tier in plain.items()}
    layer = 2 * (12 * 768 * 768 + 13 * 768)  # weights and biases of a layer and its norms
    token = 2 * 2 * 768
    assert tiers["ssd"]["read_bytes"] == 2 * 63 * token
    assert tiers["ssd"]["write_bytes"] == tiers["link"]["write_bytes"] == 2 * token
    assert tiers["link"]["read_bytes"] == 3 * layer + tiers["ssd"]["read_bytes"]
    assert tiers["dram"]["read_bytes"] == tiers["link"]["read_bytes"] + tiers["ssd"]["write_bytes"]
    written = sum(kernel["dram_write_bytes"] for kernel in result["kernels"])
    assert tiers["hbm"]["write_bytes"] == written + tiers["link"]["read_bytes"]
    waited = sum(kernel["waited_s"] for kernel in result["kernels"])
    assert 0 < waited <= tiers["link"]["exposed_s"] * (1 + 1e-9) < result["summary"]["time_s"]
    assert result["summary"]["limiter"] == "link bandwidth"
    assert result["config"]["workload"]["placement"]["weights"] == ["dram:layers[3:6]"]
    assert result["provenance"]["exact"] is True


def test_the_table_shows_the_tiers_below(tierscope: Command) -> None:
    table = tierscope(*PLACED).out
    for word in ("link to host", "SSD", "waiting for copies"):
        assert word in table
    assert max(map(len, table.splitlines())) <= 100


def test_provenance_says_what_made_the_result(results: dict[str, Json]) -> None:
    provenance = results["decode"]["provenance"]
    assert provenance["version"] == simulator.__version__
    assert provenance["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(\+dirty)?", provenance["commit"])
    assert provenance["seed"] == 0
    age = datetime.now(UTC) - datetime.fromisoformat(provenance["created"])
    assert timedelta(seconds=-5) < age < timedelta(hours=1)
    assert {"python", "numpy", "numba", "simpy"} <= set(provenance["packages"])
    assert all(re.match(r"\d+\.\d+", version) for version in provenance["packages"].values())


@pytest.mark.parametrize("phase", PHASES)
def test_config_digest_is_that_of_the_canonical_config(results: dict[str, Json], phase: str) -> None:
    canonical = json.dumps(results[phase]["config"], sort_keys=True, separators=(",", ":"))
    assert results[phase]["provenance"]["config_sha256"] == hashlib.sha256(canonical.encode()).hexdigest()


def test_times_and_tokens_of_the_phases_fit_together(results: dict[str, Json]) -> None:
    decode, prefill, generate = (results[phase]["summary"] for phase in ("decode", "prefill", "generate"))
    assert decode["tpot_s"] == decode["time_s"]
    assert decode["tokens_per_s"] == pytest.approx(1 / decode["time_s"])
    assert prefill["ttft_s"] == prefill["time_s"]
    assert prefill["tokens_per_s"] == pytest.approx(64 / prefill["time_s"])
    assert generate["time_s"] == pytest.approx(generate["ttft_s"] + 3 * generate["tpot_s"])
    assert generate["tokens_per_s"] == pytest.approx(4 / generate["time_s"])


def test_totals_are_the_sums_of_the_kernels(results: dict[str, Json]) -> None:
    result = results["decode"]
    kernels, summary, tiers = result["kernels"], result["summary"], result["tiers"]
    assert summary["flops"] == sum(kernel["flops"] for kernel in kernels)
    moved = sum(kernel["dram_read_bytes"] + kernel["dram_write_bytes"] for kernel in kernels)
    assert summary["dram_bytes"] == moved == tiers["hbm"]["read_bytes"] + tiers["hbm"]["write_bytes"]
    assert tiers["l2"]["read_bytes"] == sum(kernel["read_bytes"] for kernel in kernels)
    assert tiers["l2"]["write_bytes"] == sum(kernel["write_bytes"] for kernel in kernels)


def test_generate_runs_every_step(results: dict[str, Json]) -> None:
    assert {kernel["step"] for kernel in results["generate"]["kernels"]} == {0, 1, 2, 3}


def test_standard_output_is_the_data_alone(tierscope: Command) -> None:
    finished = tierscope(*SMALL, "--format", "json")
    assert finished.err == ""
    assert finished.out.startswith("{") and finished.out.endswith("}\n")
    finished.json  # noqa: B018


def test_table_is_the_default_and_fits_a_page(tierscope: Command) -> None:
    finished = tierscope(*SMALL)
    assert finished.code == 0 and finished.err == ""
    first = finished.out.splitlines()[0]
    assert "gpt2" in first and "A100" in first
    assert max(map(len, finished.out.splitlines())) <= 100
    assert "\x1b" not in finished.out
    for word in ("decode", "Time", "L2", "HBM2E", "gemm", "limiter"):
        assert word in finished.out


def test_csv_has_the_kernels_of_the_json(tierscope: Command, results: dict[str, Json]) -> None:
    finished = tierscope(*SMALL, "--format", "csv")
    assert finished.err == ""
    rows = list(csv.DictReader(io.StringIO(finished.out)))
    kernels = results["decode"]["kernels"]
    assert list(rows[0]) == [*list(kernels[0])[:-1], *(f"ledger_{key}" for key in kernels[0]["ledger"])]
    assert [row["name"] for row in rows] == [kernel["name"] for kernel in kernels]
    assert [float(row["time_s"]) for row in rows] == [kernel["time_s"] for kernel in kernels]
    assert rows[0]["layer"] == "" and kernels[0]["layer"] is None


def test_output_writes_the_file_and_nothing_else(tierscope: Command, tmp_path: Path, results: dict[str, Json]) -> None:
    finished = tierscope(*SMALL, "--format", "json", "--output", "result.json")
    assert (finished.code, finished.out, finished.err) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    written = json.loads((tmp_path / "result.json").read_text())
    assert without_time_stamp(written) == without_time_stamp(results["decode"])


def test_report_is_one_page_that_needs_no_network(tierscope: Command, tmp_path: Path) -> None:
    finished = tierscope(*SMALL, "--format", "json", "--report", "report.html")
    assert finished.json["schema"] == "tierscope.result/1"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "gpt2" in page and "A100" in page
    assert "</html>" in page
    loading = re.findall(
        r"""<(?:script|link|img|iframe|source|object|embed)\b[^>]*?\b(?:src|href|data)=["']?([^"'\s>]+)""", page
    )
    assert [address for address in loading if not address.startswith(("data:", "#"))] == []
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL))
    assert "@import" not in styles
    assert re.findall(r"url\(\s*['\"]?(?!data:|#)[^)]*\)", styles) == []


def test_set_overrides_the_hardware(tierscope: Command, results: dict[str, Json]) -> None:
    result = tierscope(*SMALL, "--set", "l2.size=80 MiB", "--set", 'hbm.size="24 GiB"', "--format", "json").json
    before = results["decode"]["config"]["hardware"]
    assert result["config"]["hardware"] == before | {
        "l2": before["l2"] | {"size": "80 MiB"},
        "hbm": before["hbm"] | {"size": "24 GiB"},
    }
    assert result["tiers"]["l2"]["size_bytes"] == 80 * 2**20
    assert result["provenance"]["config_sha256"] != results["decode"]["provenance"]["config_sha256"]


def test_the_last_of_two_overrides_holds(tierscope: Command) -> None:
    result = tierscope(*SMALL, "--set", "l2.size=80 MiB", "--set", "l2.size=20 MiB", "--format", "json").json
    assert result["tiers"]["l2"]["size_bytes"] == 20 * 2**20


def test_more_bandwidth_takes_less_time(tierscope: Command, results: dict[str, Json]) -> None:
    slow = tierscope(*SMALL, "--set", "hbm.data_rate=1 Gbit/s", "--format", "json").json
    assert slow["summary"]["time_s"] > 1.3 * results["decode"]["summary"]["time_s"]


@pytest.mark.parametrize("phase", ["decode", "generate"])
def test_exact_replays_everything(tierscope: Command, results: dict[str, Json], phase: str) -> None:
    options = ("--phase", "generate", "--prompt", "48", "--tokens", "12") if phase == "generate" else PHASES[phase]
    # layers of gpt2 take a few microseconds, of which those that repeat still differ by more than half a per cent
    base = BASE if phase == "generate" else ("run", "--model", "llama-3.2-1b", "--hardware", "h100-sxm")
    quick = tierscope(*base, *options, "--format", "json").json
    exact = tierscope(*base, *options, "--format", "json", "--exact").json
    assert quick["provenance"]["exact"] is False
    assert quick["provenance"]["extrapolated_kernels"] == sum(kernel["extrapolated"] for kernel in quick["kernels"]) > 0
    assert exact["provenance"]["exact"] is True
    assert exact["provenance"]["extrapolated_kernels"] == exact["provenance"]["interpolated_steps"] == 0
    assert not any(kernel["extrapolated"] for kernel in exact["kernels"])
    assert len(exact["kernels"]) >= len(quick["kernels"])
    assert exact["config"] == quick["config"]
    assert exact["summary"]["flops"] == quick["summary"]["flops"]
    assert quick["summary"]["time_s"] == pytest.approx(exact["summary"]["time_s"], rel=0.02)
    assert quick["summary"]["dram_bytes"] == pytest.approx(exact["summary"]["dram_bytes"], rel=0.01)


def test_a_run_can_be_repeated(tmp_path: Path, results: dict[str, Json]) -> None:
    """By a Python of its own, which hashes words in another order."""
    again = start(tmp_path, *SMALL, "--format", "json").json
    assert without_time_stamp(again) == without_time_stamp(results["decode"])


def test_seed_is_recorded_and_decides_what_is_left_open(tierscope: Command, results: dict[str, Json]) -> None:
    seeded = tierscope(*SMALL, "--seed", "7", "--format", "json").json
    assert seeded["provenance"]["seed"] == 7
    assert seeded["config"] == results["decode"]["config"]
    zero = results["decode"]
    assert seeded["summary"]["flops"] == zero["summary"]["flops"]
    assert seeded["tiers"] != zero["tiers"], "another seed deals other pages, so something must move"


def test_dtype_fp8_halves_the_layers(tierscope: Command) -> None:
    options = ("run", "--model", "llama-3.2-1b", "--hardware", "h100-sxm", "--phase", "decode", "--context", "512")
    wide = tierscope(*options, "--format", "json").json
    narrow = tierscope(*options, "--dtype", "fp8", "--format", "json").json
    types = {"weight_dtype": "fp8", "activation_dtype": "fp8", "kv_dtype": "fp8"}
    assert narrow["config"]["workload"] == wide["config"]["workload"] | types
    assert narrow["summary"]["flops"] == wide["summary"]["flops"]

    def layer_bytes(result: Json) -> int:
        return sum(k["dram_read_bytes"] for k in result["kernels"] if k["layer"] == 8 and k["operator"] == "gemm")

    assert layer_bytes(narrow) == pytest.approx(layer_bytes(wide) / 2, rel=0.01)
    assert narrow["summary"]["time_s"] < wide["summary"]["time_s"]


def test_each_dtype_can_be_given_alone(tierscope: Command) -> None:
    result = tierscope(*SMALL, "--dtype", "fp16", "--kv-dtype", "fp8", "--page-tokens", "0", "--format", "json").json
    workload = result["config"]["workload"]
    assert [workload[key] for key in ("weight_dtype", "activation_dtype", "kv_dtype")] == ["fp16", "fp16", "fp8"]
    assert workload["page_tokens"] is None


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_config_json_is_a_model(tierscope: Command, tmp_path: Path, results: dict[str, Json], place: str) -> None:
    shipped = data_dir("configs") / "models" / "gpt2.json"
    folder = tmp_path / "my-gpt2"
    folder.mkdir()
    (folder / "config.json").write_bytes(shipped.read_bytes())
    given = folder if place == "folder" else folder / "config.json"
    result = tierscope("run", "--model", given, *SMALL[3:], "--format", "json").json
    assert result["config"]["model"]["name"] == "my-gpt2"
    assert result["kernels"] == results["decode"]["kernels"]
    assert result["summary"] == results["decode"]["summary"]


def test_stream_launch_costs_time_and_a_cold_cache_traffic(tierscope: Command, results: dict[str, Json]) -> None:
    warm = results["decode"]
    assert warm["config"]["protocol"] == {"launch": "graph", "cache": "warm"}
    stream = tierscope(*SMALL, "--launch", "stream", "--format", "json").json
    assert stream["config"]["protocol"] == {"launch": "stream", "cache": "warm"}
    assert stream["summary"]["time_s"] > warm["summary"]["time_s"]
    cold = tierscope(*SMALL, "--cache", "cold", "--format", "json").json
    assert cold["config"]["protocol"] == {"launch": "graph", "cache": "cold"}
    assert cold["tiers"]["hbm"]["read_bytes"] > warm["tiers"]["hbm"]["read_bytes"]


def test_what_if_ranks_every_resource(tierscope: Command, results: dict[str, Json]) -> None:
    assert results["decode"]["what_if"] is None
    answer = json.loads(tierscope(*SMALL, "--what-if", "--format", "json").out)["what_if"]
    assert answer["time_s"] == results["decode"]["summary"]["time_s"]
    savings = [row["ideal_saving"] for row in answer["resources"]]
    assert len(savings) == 11 and savings == sorted(savings, reverse=True)
    table = tierscope(*SMALL, "--what-if").out
    assert all(row["resource"] in table for row in answer["resources"])


def test_a_timeline_is_written_and_changes_nothing(
    tierscope: Command, tmp_path: Path, results: dict[str, Json]
) -> None:
    finished = tierscope(*SMALL, "--timeline", "timeline.json", "--format", "json")
    assert finished.code == 0 and json.loads(finished.out)["kernels"] == results["decode"]["kernels"]
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.json"]
    assert {event["ph"] for event in json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]} == set("MXC")


@pytest.mark.parametrize("option", ["--timeline", "--report"])
def test_a_folder_that_is_missing_is_refused_at_once(tierscope: Command, option: str) -> None:
    finished = tierscope(*SMALL, option, "absent/file")
    assert (finished.code, finished.out) == (2, "")
    assert "does not exist" in finished.err and finished.err.count("\n") == 1
