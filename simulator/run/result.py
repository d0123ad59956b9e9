"""The result object of a run: what ``--format json`` prints, and what every report is made from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

import simulator
from simulator.core import counter
from simulator.hardware import Dtype, Hardware
from simulator.memory.copies import Path
from simulator.memory.occupancy import ctas_per_sm
from simulator.run import below
from simulator.run.concurrency import concurrency, in_flight
from simulator.run.generate import Trace
from simulator.run.ledger import ledger
from simulator.run.limits import limiter, run_limiter
from simulator.run.provenance import commit
from simulator.run.simulate import CopyTotals, KernelOutcome, Outcome
from simulator.units import PS_PER_S

SCHEMA = "tierscope.result/1"
PACKAGES = ("numpy", "numba", "simpy", "networkx", "pydantic", "pyarrow")

SECTORS = {
    "l1_hits": counter.L1_SECTOR_HITS,
    "l1_misses": counter.L1_SECTOR_MISSES,
    "l2_read_hits": counter.READ_SECTOR_HITS,
    "l2_read_misses": counter.READ_SECTOR_MISSES,
    "l2_write_hits": counter.WRITE_SECTOR_HITS,
    "l2_write_misses": counter.WRITE_SECTOR_MISSES,
}
"""What a kernel is listed with in sectors."""

Json = dict[str, Any]


def result(trace: Trace, outcome: Outcome, hardware: Hardware, config: Mapping[str, Any], seed: int) -> Json:
    """Return the result object (schema ``tierscope.result/1``) of a replay; `config` is the resolved configuration."""
    time_ps = int(outcome.step_ps.sum())
    total = counter.combine(outcome.step_counters)
    flight = concurrency(total, time_ps, hardware)
    return {
        "schema": SCHEMA,
        "provenance": _provenance(outcome, config, seed),
        "config": dict(config),
        "summary": _summary(trace, outcome, hardware, total, time_ps),
        "tiers": _tiers(hardware, total, time_ps, outcome.copies, flight),
        "concurrency": flight,
        "ledger": ledger(total, outcome.step_between_ps.sum(axis=0), hardware),
        "what_if": None,
        "kernels": [_kernel(kernel, hardware) for kernel in outcome.kernels],
        "hits": None,  # filled in where asked for, see simulator/analysis/hits_result.py
    }


def _provenance(outcome: Outcome, config: Mapping[str, Any], seed: int) -> Json:
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    return {
        "version": simulator.__version__,
        "commit": commit(),
        "config_sha256": hashlib.sha256(canonical).hexdigest(),
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "exact": outcome.exact,
        "extrapolated_kernels": sum(kernel.start_ps is None for kernel in outcome.kernels),
        "interpolated_steps": len(outcome.step_ps) - outcome.replayed_steps,
    }


def _summary(trace: Trace, outcome: Outcome, hardware: Hardware, total: NDArray[np.int64], time_ps: int) -> Json:
    workload = trace.header.workload
    phase, batch = workload.get("phase"), workload.get("batch", 1)
    seconds = time_ps / PS_PER_S
    first, rest = int(outcome.step_ps[0]) / PS_PER_S, outcome.step_ps[1:] / PS_PER_S
    tpot = seconds if phase == "decode" else float(rest.mean()) if len(rest) else None
    tokens = {"decode": batch, "prefill": batch * (workload.get("prompt") or 0)}.get(phase or "")
    if phase == "generate":
        tokens = batch * len(outcome.step_ps)
    flops = _flops(outcome)
    dram_bytes = sum(_device_memory_bytes(total, outcome.copies))
    dtype = Dtype(workload.get("activation_dtype", "bf16"))
    return {
        "time_s": seconds,
        "ttft_s": first if phase in ("prefill", "generate") else None,
        "tpot_s": tpot,
        "tokens_per_s": tokens / seconds if tokens and seconds else None,
        "flops": flops,
        "dram_bytes": dram_bytes,
        "arithmetic_intensity": flops / dram_bytes if dram_bytes else None,
        "energy_j": None,
        "limiter": _limiter(outcome, hardware, total, time_ps),
        "peak_flops_per_s": hardware.tensor_flops_per_s(dtype),
    }


def _limiter(outcome: Outcome, hardware: Hardware, total: NDArray[np.int64], time_ps: int) -> str:
    launch_ps = sum(kernel.launch_ps for kernel in outcome.kernels)
    overall = limiter(total, time_ps, launch_ps, hardware, below.utilizations(hardware, outcome.copies, time_ps))
    copies_ps = sum(kernel.gap.copies_ps for kernel in outcome.kernels)
    kernels = ((_kernel_limiter(kernel, hardware), kernel.time_ps) for kernel in outcome.kernels)
    return run_limiter(overall, kernels, launch_ps, copies_ps)


def _kernel_limiter(kernel: KernelOutcome, hardware: Hardware) -> str:
    return limiter(kernel.counters, kernel.time_ps, kernel.launch_ps, hardware)


def _flops(outcome: Outcome) -> int:
    """Return the matrix FLOPs of all steps, those of interpolated steps interpolated."""
    steps = sorted({kernel.header.step for kernel in outcome.kernels})
    known = [sum(k.header.flops for k in outcome.kernels if k.header.step == step) for step in steps]
    if len(steps) == len(outcome.step_ps):
        return sum(known)
    every = np.interp(np.arange(1, len(outcome.step_ps)), steps[1:], np.array(known[1:], float))
    return known[0] + int(every.sum())


def _device_memory_bytes(total: NDArray[np.int64], copies: CopyTotals | None) -> tuple[int, int]:
    """Return the bytes read from and written to device memory, by kernels and by copies."""
    read, written = int(total[counter.DRAM_READ_BYTES]), int(total[counter.DRAM_WRITE_BYTES])
    if copies is not None:
        moved = copies.moved_bytes.sum(axis=0)
        inward = int(sum(moved[path] for path in Path if path.to_device))
        read, written = read + int(moved.sum()) - inward, written + inward
    return read, written


def _tiers(hardware: Hardware, total: NDArray[np.int64], time_ps: int, copies: CopyTotals | None, flight: Json) -> Json:
    value = {name: int(total[index]) for name, index in counter.SINGLE.items()}
    busy = flight["busy"]
    seconds = time_ps / PS_PER_S
    hits = value["READ_SECTOR_HITS"] + value["WRITE_SECTOR_HITS"]
    misses = value["READ_SECTOR_MISSES"] + value["WRITE_SECTOR_MISSES"]
    l1_hits, l1_misses = value["L1_SECTOR_HITS"], value["L1_SECTOR_MISSES"]
    read_bytes, write_bytes = _device_memory_bytes(total, copies)
    moved = read_bytes + write_bytes
    hbm = hardware.hbm
    tiers: Json = {
        "sram": {
            "read_bytes": value["SM_READ_BYTES"],
            "write_bytes": value["SM_WRITE_BYTES"],
            "hits": l1_hits,
            "misses": l1_misses,
            "hit_rate": l1_hits / (l1_hits + l1_misses) if l1_hits + l1_misses else None,
            "mean_outstanding_bytes": flight["sm"]["mean_bytes"],
            "utilization": busy["sm port"],
            "peak_bandwidth_bytes_per_s": hardware.sm.count * hardware.sm.port_bytes_per_clock * hardware.sm.clock_hz,
        },
        "l2": {
            "read_bytes": value["L2_READ_BYTES"],
            "write_bytes": value["SM_WRITE_BYTES"],
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else None,
            "merges": value["MERGES"],
            "writebacks": value["WRITEBACK_SECTORS"],
            "mean_outstanding_bytes": flight["l2"]["mean_bytes"],
            "utilization": busy["l2 bandwidth"],
            "peak_bandwidth_bytes_per_s": hardware.l2.bandwidth_bytes_per_s,
            "size_bytes": hardware.l2.size_bytes,
        },
        "hbm": {
            "read_bytes": read_bytes,
            "write_bytes": write_bytes,
            "row_hits": value["ROW_HITS"],
            "row_misses": value["ROW_MISSES"],
            "row_conflicts": value["ROW_CONFLICTS"],
            "bandwidth_bytes_per_s": moved / seconds if seconds else None,
            "utilization": moved / seconds / hbm.peak_bytes_per_s if seconds else None,
            "peak_bandwidth_bytes_per_s": hbm.peak_bytes_per_s,
            "achievable_bandwidth_bytes_per_s": hbm.achievable_bytes_per_s,
            "size_bytes": hbm.size_bytes,
        },
    }
    lower = below.tiers(hardware, copies, time_ps)
    lower["dram"] = dict.fromkeys(tiers["hbm"]) | lower["dram"]
    return tiers | lower


def _kernel(kernel: KernelOutcome, hardware: Hardware) -> Json:
    header, counters = kernel.header, kernel.counters
    hits = int(counters[counter.READ_SECTOR_HITS] + counters[counter.WRITE_SECTOR_HITS])
    misses = int(counters[counter.READ_SECTOR_MISSES] + counters[counter.WRITE_SECTOR_MISSES])
    return {
        "name": header.name,
        "operator": header.operator,
        "layer": header.layer if header.layer >= 0 else None,
        "step": header.step,
        "start_s": None if kernel.start_ps is None else kernel.start_ps / PS_PER_S,
        "time_s": kernel.time_ps / PS_PER_S,
        "launch_s": kernel.launch_ps / PS_PER_S,
        "waited_s": kernel.waited_ps / PS_PER_S,
        "ctas": header.requesters,
        "threads": header.threads,
        "registers": header.registers,
        "ctas_per_sm": ctas_per_sm(hardware.sm, header),
        "flops": header.flops,
        "read_bytes": header.read_bytes,
        "write_bytes": header.write_bytes,
        "dram_read_bytes": int(counters[counter.DRAM_READ_BYTES]),
        "dram_write_bytes": int(counters[counter.DRAM_WRITE_BYTES]),
        "l2_hit_rate": hits / (hits + misses) if hits + misses else None,
        **{name: int(counters[index]) for name, index in SECTORS.items()},
        "l2_read_bytes": int(counters[counter.L2_READ_BYTES]),
        **in_flight(counters, kernel.time_ps, hardware),
        "limiter": _kernel_limiter(kernel, hardware),
        "extrapolated": kernel.start_ps is None,
        "ledger": ledger(counters, (kernel.gap.launch_ps, kernel.gap.copies_ps), hardware),
    }
