"""A made-up but consistent result object for the tests of the reports, and the tests of its JSON and CSV forms."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from simulator.report.ledger import MEANINGS
from simulator.report.text import KERNEL_COLUMNS, LEDGER_COLUMNS, to_csv, to_json

HOSTILE = "</script><b>[red]\x1b[31m&\"'"

LAYERS = 32
HBM_PEAK = 3.352e12
L2_PEAK = 9.07e12
PEAK_FLOPS = 1.07e15
PLAIN = (
    "read_bytes",
    "write_bytes",
    "bandwidth_bytes_per_s",
    "utilization",
    "peak_bandwidth_bytes_per_s",
    "write_peak_bandwidth_bytes_per_s",
)

# operator, name, time in us, flops, bytes from DRAM, L2 hit rate, limiter, CTAs: one layer of an 8B decode step
LAYER = (
    ("norm", "attention_norm", 2.1, 4.1e4, 8.2e3, 0.66, "launch", 1),
    ("gemm", "qkv", 17.9, 5.0e7, 5.03e7, 0.004, "dram bandwidth", 192),
    ("rope", "rope", 1.9, 3.1e4, 0.0, 0.97, "launch", 40),
    ("kv_write", "kv_write", 1.8, 0.0, 4.1e3, 0.91, "launch", 8),
    ("decode_attention", "attention", 9.4, 6.7e7, 1.68e7, 0.02, "concurrency", 264),
    ("gemm", "o", 13.2, 3.4e7, 3.36e7, 0.006, "dram bandwidth", 128),
    ("norm", "mlp_norm", 2.1, 4.1e4, 0.0, 0.99, "launch", 1),
    ("gemm", "gate_up", 76.4, 2.35e8, 2.35e8, 0.002, "dram bandwidth", 448),
    ("activation", "activation", 2.0, 5.7e4, 0.0, 0.98, "launch", 28),
    ("gemm", "down", 40.1, 1.17e8, 1.17e8, 0.003, "l2 bandwidth", 256),
)


def ledger(time_s: float) -> dict[str, float]:
    """Return a ledger whose parts add up to `time_s`."""
    shares = {"dram_bandwidth_s": 0.5, "compute_s": 0.25, "bytes_in_flight_s": 0.125, "tail_s": 0.125}
    return {key: time_s * shares.get(key, 0.0) for key in MEANINGS}


def kernel(name: str, operator: str, layer: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return one kernel of a result; `changes` replace its values."""
    return {
        "name": name,
        "operator": operator,
        "layer": layer,
        "step": 0,
        "start_s": None,
        "time_s": 1e-5,
        "launch_s": 8.6e-7,
        "waited_s": 0.0,
        "ctas": 132,
        "threads": 256,
        "registers": 64,
        "ctas_per_sm": 2,
        "flops": 1_000_000,
        "read_bytes": 20_000_000,
        "write_bytes": 8192,
        "dram_read_bytes": 19_000_000,
        "dram_write_bytes": 0,
        "l2_hit_rate": 0.05,
        "l1_hits": 0,
        "l1_misses": 0,
        "l2_read_hits": 31_250,
        "l2_read_misses": 593_750,
        "l2_write_hits": 0,
        "l2_write_misses": 256,
        "l2_read_bytes": 20_000_000,
        "mean_outstanding_bytes": 2_900_000.0,
        "needed_outstanding_bytes": 1_800_000.0,
        "mean_latency_s": 1.1e-6,
        "limiter": "dram bandwidth",
        "extrapolated": False,
        "ledger": ledger(9e-6) | {"launch_s": 1e-6},
    } | changes


def decode_kernels() -> list[dict[str, Any]]:
    """Return the kernels of one decode step: embedding, 32 layers of `LAYER`, final norm and head."""
    kernels = [kernel("embedding", "embedding", flops=0, time_s=2e-6, dram_read_bytes=8192, limiter="launch", ctas=1)]
    for layer in range(LAYERS):
        for operator, name, time_us, flops, dram, hit_rate, limiter, ctas in LAYER:
            kernels.append(
                kernel(
                    f"layers.{layer}.{name}",
                    operator,
                    layer,
                    time_s=time_us * 1e-6,
                    flops=flops,
                    dram_read_bytes=dram,
                    read_bytes=dram / (1 - hit_rate),
                    l2_hit_rate=hit_rate,
                    limiter=limiter,
                    ctas=ctas,
                    extrapolated=layer > 3,
                )
            )
    kernels.append(kernel("final_norm", "norm", time_s=2e-6, dram_read_bytes=0, limiter="launch", ctas=1))
    head: dict[str, Any] = {"flops": 1.05e9, "dram_read_bytes": 1.05e9, "read_bytes": 1.05e9, "ctas": 1002}
    return [*kernels, kernel("head", "gemm", time_s=3.3e-4, l2_hit_rate=0.001, **head)]


def sample(kernels: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return a result: one decode step of an 8B model, or the given kernels."""
    kernels = decode_kernels() if kernels is None else kernels
    dram = sum(each["dram_read_bytes"] + each["dram_write_bytes"] for each in kernels)
    asked = sum(each["read_bytes"] for each in kernels)
    written = sum(each["write_bytes"] for each in kernels)
    flops = sum(each["flops"] for each in kernels)
    time_s = sum(each["time_s"] + each["launch_s"] for each in kernels)
    return {
        "schema": "tierscope.result/1",
        "provenance": _provenance(sum(each["extrapolated"] for each in kernels)),
        "config": _config(),
        "summary": {
            "time_s": time_s,
            "ttft_s": None,
            "tpot_s": time_s,
            "tokens_per_s": 1 / time_s if time_s else None,
            "flops": flops,
            "dram_bytes": dram,
            "arithmetic_intensity": flops / dram if dram else None,
            "energy_j": 2.41,
            "limiter": "dram bandwidth",
            "peak_flops_per_s": PEAK_FLOPS,
        },
        "tiers": _tiers(asked, written, dram, time_s),
        "concurrency": _concurrency(),
        "ledger": ledger(time_s),
        "what_if": None,
        "kernels": kernels,
    }


def _provenance(extrapolated: int) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "commit": "3f2a91c0d4b7",
        "config_sha256": "9b74c9897bac770ffc029102a200c5de4f1a6f1b7e0b1c2d3e4f5a6b7c8d9e0f",
        "seed": 0,
        "created": "2026-01-15T09:30:00Z",
        "packages": {"numpy": "2.3.5", "numba": "0.63.1", "simpy": "4.1.1"},
        "exact": extrapolated == 0,
        "extrapolated_kernels": extrapolated,
        "interpolated_steps": 0,
    }


def _config() -> dict[str, Any]:
    return {
        "hardware": {"name": "NVIDIA H100 SXM5 80 GB", "hbm": {"standard": "hbm3"}},
        "model": {"name": "llama-3.1-8b", "layers": LAYERS},
        "workload": {
            "phase": "decode",
            "batch": 1,
            "context": 4096,
            "prompt": None,
            "tokens": None,
            "weight_dtype": "bf16",
            "kv_dtype": "bf16",
        },
        "protocol": {"launch": "graph", "cache": "warm"},
    }


def _tiers(asked: float, written: float, dram: float, time_s: float) -> dict[str, Any]:
    hits, misses = (asked - dram) // 32, dram // 32
    hbm = {
        "read_bytes": dram,
        "write_bytes": 4_200_000,
        "row_hits": 0.92 * misses,
        "row_misses": 0.05 * misses,
        "row_conflicts": 0.03 * misses,
        "bandwidth_bytes_per_s": (dram + 4_200_000) / time_s if time_s else None,
        "utilization": 0.801,
        "peak_bandwidth_bytes_per_s": HBM_PEAK,
        "achievable_bandwidth_bytes_per_s": 3.18e12,
        "size_bytes": 80 * 2**30,
    }
    flow = {"read_bytes": asked, "write_bytes": written, "mean_outstanding_bytes": 2_900_000, "utilization": 0.31}
    return {
        "sram": flow | {"hits": 0, "misses": asked // 32, "hit_rate": 0.0, "peak_bandwidth_bytes_per_s": 1.67e13},
        "l2": flow
        | {
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else None,
            "merges": 18_204,
            "writebacks": 131_072,
            "peak_bandwidth_bytes_per_s": L2_PEAK,
            "size_bytes": 50 * 2**20,
        },
        "hbm": hbm,
        "dram": dict.fromkeys(hbm),
        "ssd": dict.fromkeys(PLAIN),
        "link": dict.fromkeys((*PLAIN, "busy_s", "exposed_s")),
    }


def _concurrency() -> dict[str, Any]:
    level = {
        "mean_bytes": 2_900_000.0,
        "peak_bytes": 40_960,
        "histogram": [{"below_bytes": 1024, "share": 0.25}, {"below_bytes": 2048, "share": 0.75}],
        "mean_requests": 180.0,
        "held_requests": 190.0,
        "peak_requests": 3,
        "requests_histogram": [{"below_requests": 2, "share": 0.25}, {"below_requests": 4, "share": 0.75}],
        "limit_bytes": 4_325_376,
        "needed_bytes": 1_800_000.0,
        "mean_latency_s": 1.1e-6,
        "mean_request_latency_s": 1.2e-6,
        "bandwidth_bytes_per_s": 2.6e12,
        "requests_per_s": 1.5e8,
    }
    return {
        "sm": level | {"limit_bytes_per_sm": 32_768},
        "l2": level,
        "waits": {"sm_full_s": 0.084, "mshr_full_s": 8.7e-4, "write_queue_full_s": 0.0},
        "busy": {"dram bandwidth": 0.8, "l2 bandwidth": 0.31, "compute": 0.0},
    }


def nulled(value: Any) -> Any:
    """Return a result with every leaf null, except that tables and the list of kernels stay."""
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    return [nulled(item) for item in value] if isinstance(value, list) else None


def renamed(value: Any, name: str = HOSTILE) -> Any:
    """Return a result with every string replaced by `name`."""
    if isinstance(value, dict):
        return {key: renamed(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, name) for item in value]
    return name if isinstance(value, str) else value


def test_json_is_the_result_again() -> None:
    result = sample()
    text = to_json(result)
    assert json.loads(text) == result
    assert text.startswith('{\n  "schema": "tierscope.result/1",\n')
    assert text.endswith("}\n")


def test_json_survives_any_name() -> None:
    result = renamed(sample(), f"{HOSTILE}\ud800µ")
    assert to_json(result).isascii()
    assert json.loads(to_json(result)) == result


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_json_refuses_what_is_not_a_number_and_says_where(bad: float) -> None:
    result = sample([kernel("a", "gemm"), kernel("b", "gemm", l2_hit_rate=bad)])
    with pytest.raises(ValueError, match=r"^result\.kernels\[1\]\.l2_hit_rate is"):
        to_json(result)


def test_csv_has_the_kernel_keys_and_one_row_a_kernel() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(sample()))))
    assert len(rows) == 2 + 1 + LAYERS * len(LAYER)
    assert tuple(rows[0]) == (*KERNEL_COLUMNS, *LEDGER_COLUMNS)
    assert tuple(kernel("a", "gemm")) == (*KERNEL_COLUMNS, "ledger")
    gate_up = next(row for row in rows if row["name"] == "layers.7.gate_up")
    assert (gate_up["layer"], gate_up["start_s"], gate_up["extrapolated"]) == ("7", "", "true")
    assert float(gate_up["time_s"]) == 76.4e-6


def test_csv_keeps_hostile_names_and_nulls_apart() -> None:
    name = 'a,"b"\nc'
    rows = list(csv.DictReader(io.StringIO(to_csv(sample([kernel(name, "gemm", limiter=None)])))))
    assert rows[0]["name"] == name
    assert rows[0]["limiter"] == ""


def test_csv_of_no_kernels_is_a_header() -> None:
    assert to_csv(sample([])) == ",".join([*KERNEL_COLUMNS, *LEDGER_COLUMNS]) + "\n"
