"""Nsight Compute metrics that mean the same as something counted here, what they are counted from, and caveats.

Sectors are 32 bytes, as ncu's are.  A metric that only resembles one of ours has no place here:
l1tex__t_sector_hit_rate, for one, counts asynchronous copies as misses, which do not look into L1 here at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulator import units
from simulator.report.values import Result, at, ratio, setting, total

Kernel = Mapping[str, Any]

SECTOR_BYTES = 32
WARP_THREADS = 32
NS_PER_S = 1e9

PROFILER_HABITS = (
    "ncu by default flushes all caches before each kernel (--cache-control none keeps them warm, as they are here) and "
    "locks clocks to base (--clock-control none lets them run), so that real times are longer than in a run without it."
)


@dataclass(frozen=True)
class Device:
    """What metrics need of the device; None where the description has no such number."""

    clock_hz: float | None
    sms: int | None
    sm_threads: int | None
    sector_bytes: int
    dram_bytes_per_s: float | None

    @staticmethod
    def of(result: Result) -> Device:
        """Return the device of a result."""
        sector = _quantity(setting(result, "hardware", "l2", "sector"), units.BYTES)
        return Device(
            _quantity(setting(result, "hardware", "sm", "clock"), units.FREQUENCY),
            setting(result, "hardware", "sm", "count"),
            setting(result, "hardware", "sm", "threads"),
            SECTOR_BYTES if sector is None else sector,
            at(result, "tiers", "hbm", "peak_bandwidth_bytes_per_s"),
        )


def _quantity(text: object, table: dict[str, int]) -> int | None:
    return units.parse_quantity(text, table) if isinstance(text, str) else None


@dataclass(frozen=True)
class Metric:
    """One metric: its name and base unit in ncu, its value of a kernel here (None: not known), and in words what that
    is counted from and where the meanings part.

    `label` is what the details page calls it.
    """

    name: str
    unit: str
    value: Callable[[Kernel, Device], float | None]
    counted: str
    caveat: str = ""
    label: str = ""


def _read_sectors(kernel: Kernel, device: Device) -> float | None:
    return _sectors(kernel, device, "l2_read_hits", "l2_read_misses")


def _write_sectors(kernel: Kernel, device: Device) -> float | None:
    return _sectors(kernel, device, "l2_write_hits", "l2_write_misses")


def _all_sectors(kernel: Kernel, device: Device) -> float | None:
    return _sectors(kernel, device, "l2_read_hits", "l2_read_misses", "l2_write_hits", "l2_write_misses")


def _found_sectors(kernel: Kernel, device: Device) -> float | None:
    """Return the sectors that ncu counts as found: stores always are."""
    return _sectors(kernel, device, "l2_read_hits", "l2_write_hits", "l2_write_misses")


def _sectors(kernel: Kernel, device: Device, *keys: str) -> float | None:
    return _sum(kernel, device.sector_bytes / SECTOR_BYTES, *keys)


def _of_sectors(*keys: str) -> Callable[[Kernel, Device], float | None]:
    return lambda kernel, device: _sectors(kernel, device, *keys)


def _of(key: str, factor: float = 1) -> Callable[[Kernel, Device], float | None]:
    return lambda kernel, device: _sum(kernel, factor, key)


def _sum(kernel: Kernel, factor: float, *keys: str) -> float | None:
    known = total(kernel[key] for key in keys)
    return None if known is None else known * factor


def _percent(part: float | None, whole: float | None) -> float | None:
    share = ratio(part, whole)
    return None if share is None else 100 * share


def _per_second(*keys: str) -> Callable[[Kernel, Device], float | None]:
    return lambda kernel, device: ratio(_sum(kernel, 1, *keys), kernel["time_s"])


def _cycles(kernel: Kernel, device: Device) -> float | None:
    if kernel["time_s"] is None or device.clock_hz is None:
        return None
    cycles: float = kernel["time_s"] * device.clock_hz
    return round(cycles)


def _waves(kernel: Kernel, device: Device) -> float | None:
    return None if device.sms is None else ratio(kernel["ctas"], (kernel["ctas_per_sm"] or 0) * device.sms)


def _occupancy(kernel: Kernel, device: Device) -> float | None:
    if kernel["threads"] is None or kernel["ctas_per_sm"] is None or device.sm_threads is None:
        return None
    warps = -(-kernel["threads"] // WARP_THREADS) * kernel["ctas_per_sm"]
    return _percent(warps, device.sm_threads // WARP_THREADS)


def _share_of_dram(key: str) -> Callable[[Kernel, Device], float | None]:
    return lambda kernel, device: _percent(ratio(kernel[key], kernel["time_s"]), device.dram_bytes_per_s)


_MERGES = "a sector on its way from memory counts as a hit"
_FABRIC = "on an L2 of two partitions a lookup that goes on to the far one counts once here, in ncu again there"
_STORES = "stores count as hits, as ncu has it; reductions count as stores, ncu has op_red and op_atom apart"
_CLOCK = "at the clock of the device's description; ncu locks another one by default"
_PLANNED = "of the kernel that is modelled"

METRICS = (
    Metric("gpu__time_duration.sum", "ns", _of("time_s", NS_PER_S), "time from launch to end", _CLOCK, "Duration"),
    Metric("gpc__cycles_elapsed.max", "cycle", _cycles, "that time in SM cycles", _CLOCK, "Elapsed Cycles"),
    Metric("sm__cycles_elapsed.max", "cycle", _cycles, "that time in SM cycles", _CLOCK),
    Metric("launch__grid_size", "", _of("ctas"), "CTAs", _PLANNED, "Grid Size"),
    Metric("launch__block_size", "", _of("threads"), "threads of a CTA", _PLANNED, "Block Size"),
    Metric(
        "launch__registers_per_thread",
        "register/thread",
        lambda kernel, device: kernel["registers"] or None,
        "registers of a thread",
        f"{_PLANNED}; n/a where it does not say",
        "Registers Per Thread",
    ),
    Metric(
        "launch__waves_per_multiprocessor", "", _waves, "CTAs / (CTAs that fit an SM x SMs)", _PLANNED, "Waves Per SM"
    ),
    Metric(
        "sm__maximum_warps_per_active_cycle_pct",
        "%",
        _occupancy,
        "warps of the CTAs that fit an SM / warps that an SM holds",
        _PLANNED,
        "Theoretical Occupancy",
    ),
    Metric("dram__bytes_read.sum", "byte", _of("dram_read_bytes"), "bytes read from device memory"),
    Metric("dram__bytes_write.sum", "byte", _of("dram_write_bytes"), "bytes written back while the kernel ran"),
    Metric("dram__sectors_read.sum", "sector", _of("dram_read_bytes", 1 / SECTOR_BYTES), "the same in sectors"),
    Metric("dram__sectors_write.sum", "sector", _of("dram_write_bytes", 1 / SECTOR_BYTES), "the same in sectors"),
    Metric(
        "dram__bytes_read.sum.per_second", "byte/second", _per_second("dram_read_bytes"), "bytes read / time", _CLOCK
    ),
    Metric(
        "dram__bytes_write.sum.per_second",
        "byte/second",
        _per_second("dram_write_bytes"),
        "bytes written / time",
        _CLOCK,
    ),
    Metric(
        "dram__bytes.sum.per_second",
        "byte/second",
        _per_second("dram_read_bytes", "dram_write_bytes"),
        "bytes read and written / time",
        _CLOCK,
        "Memory Throughput",
    ),
    Metric(
        "dram__bytes_read.sum.pct_of_peak_sustained_elapsed",
        "%",
        _share_of_dram("dram_read_bytes"),
        "bytes read / time / peak bandwidth",
        _CLOCK,
    ),
    Metric(
        "dram__bytes_write.sum.pct_of_peak_sustained_elapsed",
        "%",
        _share_of_dram("dram_write_bytes"),
        "bytes written / time / peak bandwidth",
        _CLOCK,
    ),
    Metric("lts__t_sectors.sum", "sector", _all_sectors, "L2 lookups for reads and writes", _FABRIC),
    Metric(
        "lts__t_bytes.sum", "byte", lambda k, d: _times(_all_sectors(k, d), SECTOR_BYTES), "the same in bytes", _FABRIC
    ),
    Metric("lts__t_sectors_op_read.sum", "sector", _read_sectors, "L2 lookups for reads", _FABRIC),
    Metric(
        "lts__t_sectors_op_read_lookup_hit.sum",
        "sector",
        _of_sectors("l2_read_hits"),
        "those found",
        f"{_MERGES}; {_FABRIC}",
    ),
    Metric(
        "lts__t_sectors_op_read_lookup_miss.sum",
        "sector",
        _of_sectors("l2_read_misses"),
        "those fetched from memory",
        _FABRIC,
    ),
    Metric("lts__t_sectors_op_write.sum", "sector", _write_sectors, "L2 lookups for writes", "reductions included"),
    Metric("lts__t_sectors_srcunit_tex_op_read.sum", "sector", _read_sectors, "L2 lookups for reads of SMs"),
    Metric(
        "lts__t_sectors_srcunit_tex_op_write.sum",
        "sector",
        _write_sectors,
        "L2 lookups for writes of SMs",
        "reductions included",
    ),
    Metric(
        "lts__t_sector_op_read_hit_rate.pct",
        "%",
        lambda k, d: _percent(k["l2_read_hits"], _sum(k, 1, "l2_read_hits", "l2_read_misses")),
        "reads found / reads",
        f"{_MERGES}; {_FABRIC}",
    ),
    Metric(
        "lts__t_sector_hit_rate.pct",
        "%",
        lambda k, d: _percent(_found_sectors(k, d), _all_sectors(k, d)),
        "reads found and all writes / lookups",
        f"{_STORES}; {_MERGES}; {_FABRIC}",
        "L2 Hit Rate",
    ),
    Metric(
        "lts__d_sectors_fill_device.sum",
        "sector",
        _of("dram_read_bytes", 1 / SECTOR_BYTES),
        "sectors that L2 was filled with from device memory",
    ),
    Metric(
        "l1tex__m_xbar2l1tex_read_bytes.sum",
        "byte",
        _of("l2_read_bytes"),
        "bytes from L2 to the SMs",
        "bulk (TMA) copies are included",
    ),
    Metric(
        "l1tex__m_l1tex2xbar_write_bytes.sum",
        "byte",
        _of("write_bytes"),
        "bytes from the SMs to L2",
        "without the requests of reads",
    ),
    Metric(
        "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
        "sector",
        _of_sectors("l1_hits", "l1_misses"),
        "L1 lookups of plain loads",
        "asynchronous copies go around L1 here; ncu has them as op_ldgsts",
    ),
    Metric(
        "l1tex__t_sectors_pipe_lsu_mem_global_op_ld_lookup_hit.sum",
        "sector",
        _of_sectors("l1_hits"),
        "those found",
        "of plain loads alone",
    ),
    Metric(
        "l1tex__t_sectors_pipe_lsu_mem_global_op_ld_lookup_miss.sum",
        "sector",
        _of_sectors("l1_misses"),
        "those asked of L2",
        "of plain loads alone",
    ),
)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def values_of(kernel: Kernel, device: Device) -> dict[str, float | None]:
    """Return every metric of a kernel of a result, in base units, by name."""
    return {metric.name: metric.value(kernel, device) for metric in METRICS}


def capability(result: Result) -> str:
    """Return CUDA's number of the architecture, such as ``9.0``, or nothing where the description has none."""
    found = re.search(r"\(sm_(\d+)(\d)\)", str(setting(result, "hardware", "architecture")))
    return f"{found[1]}.{found[2]}" if found else ""
