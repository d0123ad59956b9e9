"""From a hardware description to the scalars of the core."""

from __future__ import annotations

from simulator.core.layout import TICKS_PER_PS
from simulator.core.replacement import LRU, POLICIES
from simulator.core.sets import MAX_SECTORS
from simulator.core.state import MOST_GROUP_LINES, Parameters, laid_out, lines_per_group, mshr_batch
from simulator.errors import ConfigError
from simulator.hardware import Hardware
from simulator.memory.dram_parameters import dram_parameters
from simulator.units import PS_PER_S

SITE_BYTES = 256
"""Consecutive bytes on one memory site, as on GeForce 8 to GT200 (Ruetsch and Micikevicius 2009, "Optimizing matrix
transpose in CUDA"); not published since, but with 128 B or 512 B the A100 misses a plateau of gpu-cache."""


def core_parameters(
    hardware: Hardware,
    seed: int = 0,
    grouped: bool = True,
    log_words: int = 0,
    most_group_lines: int = MOST_GROUP_LINES,
) -> Parameters:
    """Return the core's scalars for a device.

    Bandwidths become times per KiB in 1/1024 ps, rounded up, so that no simulated rate exceeds its peak.  Raises
    ConfigError for a geometry the core cannot represent.
    """
    sm, l1, l2, hbm = hardware.sm, hardware.l1, hardware.l2, hardware.hbm
    if l2.sector_bytes & (l2.sector_bytes - 1):
        raise ConfigError(f"{hardware.name}: l2.sector: must be a power of two (given {l2.sector_bytes})")
    if l2.line_bytes > MAX_SECTORS * l2.sector_bytes:
        raise ConfigError(f"{hardware.name}: l2.line: must be at most {MAX_SECTORS} sectors (given {l2.line_bytes} B)")
    sets = l2.size_bytes // (l2.partitions * l2.line_bytes * l2.ways)
    l1_sets = l1.size_bytes // (l2.line_bytes * l1.ways)
    group_lines = lines_per_group(sets, most_group_lines)
    sites = l2.slice_sites or 1
    group_bytes = group_lines * l2.line_bytes
    replacement = POLICIES[l2.replacement]
    set_aside_ways = (l2.set_aside_bytes or 0) * l2.ways // l2.size_bytes
    parameters = Parameters(
        sms=sm.count,
        sm_ctas=sm.ctas,
        cta_interval_ticks=hardware.launch.cta_interval_ps * TICKS_PER_PS,
        sm_outstanding_bytes=sm.outstanding_bytes,
        sm_cycle_ticks=_ceil(PS_PER_S * TICKS_PER_PS, sm.clock_hz),
        port_ticks_per_kib=_ticks_per_kib(sm.port_bytes_per_clock * sm.clock_hz),
        l1_sets=l1_sets,
        l1_sets_inverse=1 / l1_sets,
        l1_ways=l1.ways,
        l1_hit_ps=l1.hit_latency_ps,
        l1_ticks_per_kib=_ticks_per_kib(l1.bytes_per_clock * sm.clock_hz),
        l2_ways=l2.ways,
        l2_ticks_per_kib=_ticks_per_kib(l2.bandwidth_bytes_per_s),
        l2_hit_ps=l2.hit_latency_ps,
        replacement=replacement,
        plain=int(replacement == LRU and set_aside_ways == 0 and log_words == 0),
        set_aside_ways=set_aside_ways,
        fetch_sectors=(l2.fetch_bytes or l2.sector_bytes) // l2.sector_bytes,
        slices=l2.slices,
        slice_sites=sites,
        site_line_shift=_log2(max(SITE_BYTES // l2.line_bytes, 1)),
        site_slices=l2.slices // (l2.partitions * sites),
        coalescer_sms=l2.coalescer_sms or 0,
        slice_ticks_per_kib=_ticks_per_kib(l2.slice_bytes_per_clock * l2.clock_hz),
        mshr_lines=l2.slices * l2.mshrs,
        mshr_batch=mshr_batch(l2.slices * l2.mshrs),
        partitions=l2.partitions,
        cross_ps=l2.cross_latency_ps or 0,
        cross_ticks_per_kib=_ticks_per_kib((l2.cross_bytes_per_clock or 1) * l2.clock_hz),
        dram=dram_parameters(hardware.name, hbm, l2.line_bytes, group_lines),
        sector_shift=_log2(l2.sector_bytes),
        line_shift=_log2(l2.line_bytes),
        group_shift=_log2(group_bytes),
        group_lines=group_lines,
        line_mask=(1 << (l2.line_bytes // l2.sector_bytes)) - 1,
        set_groups=sets // group_lines,
        set_groups_inverse=group_lines / sets,
        grouped=int(grouped),
        seed=seed,
        log_words=log_words,
    )
    return laid_out(parameters)


def _ticks_per_kib(bytes_per_s: int) -> int:
    return _ceil(1024 * TICKS_PER_PS * PS_PER_S, bytes_per_s)


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _log2(power: int) -> int:
    return power.bit_length() - 1
