"""What a run was and what came out of it, in the words that every report opens with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from simulator.report import values
from simulator.report.values import Result, at, plain, ratio, setting

_SHORT_WORD = re.compile(r"[A-Za-z0-9]{1,10}\Z")


@dataclass(frozen=True)
class Figure:
    """One headline number."""

    label: str
    value: str
    note: str = ""


def title(result: Result) -> str:
    """Return the model and the hardware, such as ``llama-3.1-8b on NVIDIA H100 SXM5 80 GB``."""
    model, hardware = setting(result, "model", "name"), setting(result, "hardware", "name")
    return f"{plain(model or 'trace')} on {plain(hardware)}"


def circumstances(result: Result) -> list[str]:
    """Return the workload and protocol as short phrases, such as ``batch 1`` and ``warm cache``."""
    workload = setting(result, "workload") or {}
    phrases = [plain(workload["phase"])] if workload.get("phase") is not None else []
    lengths = ("batch", "context", "prompt", "tokens")
    phrases += [f"{key} {plain(workload[key])}" for key in lengths if workload.get(key) is not None]
    phrases += _dtypes(workload.get("weight_dtype"), workload.get("kv_dtype"))
    launch, cache = setting(result, "protocol", "launch"), setting(result, "protocol", "cache")
    phrases += [f"{plain(launch)} launch"] if launch is not None else []
    phrases += [f"{plain(cache)} cache"] if cache is not None else []
    return phrases


def _dtypes(weights: str | None, kv: str | None) -> list[str]:
    if weights is None or kv is None or weights == kv:
        return [plain(dtype) for dtype in (weights or kv,) if dtype is not None]
    return [f"{plain(weights)} weights", f"{plain(kv)} KV"]


def memory_name(result: Result) -> str:
    """Return the name of the device memory: its standard, such as ``GDDR6X``, or ``HBM`` when that is no short word."""
    standard = setting(result, "hardware", "hbm", "standard")
    return standard.upper() if isinstance(standard, str) and _SHORT_WORD.match(standard) else "HBM"


def exactness(result: Result) -> str:
    """Return a sentence: every kernel was replayed, or how many kernels and steps were extrapolated."""
    exact = at(result, "provenance", "exact")
    if exact is None:
        return "Whether kernels were extrapolated is not recorded."
    if exact:
        return "Exact: every kernel was replayed."
    extrapolated = at(result, "provenance", "extrapolated_kernels")
    launches = len(result["kernels"] or ())
    sentence = f"Extrapolated from earlier layers: {values.count(extrapolated)} of {values.count(launches)} kernels."
    steps = at(result, "provenance", "interpolated_steps")
    return f"{sentence[:-1]}, and {values.count(steps)} steps interpolated." if steps else sentence


def figures(result: Result) -> list[Figure]:
    """Return the headline numbers; times to first and per token and energy only when they are known and differ."""
    summary = result["summary"]
    throughput = Figure("Throughput", values.number(summary["tokens_per_s"], "tokens/s"))
    return [
        Figure("Time", values.time(summary["time_s"])),
        *_token_times(result),
        throughput,
        Figure("Limited by", plain(summary["limiter"])),
        _traffic(result),
        _bandwidth(result),
        Figure("L2 hit rate", values.percent(at(result, "tiers", "l2", "hit_rate"))),
        _compute(result),
        Figure("Intensity", values.number(summary["arithmetic_intensity"], "flop/B"), "flops per DRAM byte"),
        *_energy(result),
    ]


def _token_times(result: Result) -> list[Figure]:
    summary = result["summary"]
    times = (("TTFT", summary["ttft_s"], "time to first token"), ("TPOT", summary["tpot_s"], "time per output token"))
    return [
        Figure(label, values.time(value), note)
        for label, value, note in times
        if value is not None and value != summary["time_s"]
    ]


def _traffic(result: Result) -> Figure:
    written = values.size(at(result, "tiers", "hbm", "write_bytes"))
    return Figure("DRAM traffic", values.size(result["summary"]["dram_bytes"]), f"{written} of it written")


def _bandwidth(result: Result) -> Figure:
    bandwidth = at(result, "tiers", "hbm", "bandwidth_bytes_per_s")
    share = ratio(bandwidth, at(result, "tiers", "hbm", "peak_bandwidth_bytes_per_s"))
    return Figure(f"{memory_name(result)} bandwidth", values.rate(bandwidth), f"{values.percent(share)} of peak")


def _compute(result: Result) -> Figure:
    achieved = ratio(result["summary"]["flops"], result["summary"]["time_s"])
    share = ratio(achieved, result["summary"]["peak_flops_per_s"])
    return Figure("Compute", values.quantity(achieved, "flop/s"), f"{values.percent(share)} of peak")


def _energy(result: Result) -> list[Figure]:
    energy = result["summary"]["energy_j"]
    if energy is None:
        return []
    per_token = ratio(energy, _generated_tokens(result))
    return [Figure("Energy", values.energy(energy), f"{values.energy(per_token)} per token")]


def _generated_tokens(result: Result) -> float | None:
    summary = result["summary"]
    if summary["tokens_per_s"] is None or summary["time_s"] is None:
        return None
    return float(summary["tokens_per_s"] * summary["time_s"])


def _floors_below(result: Result) -> list[tuple[float | None, str]]:
    """Return the floors that copies over the link and from the SSD set."""
    floors = []
    for key, name in (("link", "link"), ("ssd", "SSD")):
        tier = at(result, "tiers", key)
        read = at(tier, "read_bytes") if tier else None
        floor = ratio(read, at(tier, "peak_bandwidth_bytes_per_s")) if tier else None
        floors.append((floor, f"copying {values.size(read)} in at the peak of the {name}"))
    return floors


def verdict(result: Result) -> str | None:
    """Return one sentence that sets the run time against the highest of its floors, or None when none is known."""
    summary = result["summary"]
    memory = ratio(summary["dram_bytes"], at(result, "tiers", "hbm", "peak_bandwidth_bytes_per_s"))
    compute = ratio(summary["flops"], summary["peak_flops_per_s"])
    floors = [
        (memory, f"moving {values.size(summary['dram_bytes'])} at the {memory_name(result)} peak"),
        (compute, f"computing {values.quantity(summary['flops'], 'flop')} at the compute peak"),
        *_floors_below(result),
    ]
    known = [(floor, words) for floor, words in floors if floor is not None]
    if not known or not summary["time_s"]:
        return None
    floor, words = max(known)
    return f"The floor is {values.time(floor)}, {words}: {values.percent(floor / summary['time_s'])} of the run time."
