"""From a hardware description to the scalars of the core."""

from __future__ import annotations

from simulator.core.replacement import POLICIES
from simulator.core.state import TICKS_PER_PS, Parameters, channels_per_group, lines_per_group
from simulator.errors import ConfigError
from simulator.hardware import Hardware
from simulator.hardware.spec import Hbm
from simulator.units import PS_PER_S

WRITE_DRAIN_ACCESSES = 32
"""Writes a channel collects before it turns its bus around: the write queue of common controllers (DRAMsim3's
default transaction queue holds 32)."""


READ_QUEUE = 16
"""Reads a controller chooses from, per channel: a 32-entry queue for two pseudo-channels (Ramulator 2.1's default)."""


def core_parameters(hardware: Hardware, seed: int = 0, grouped: bool = True) -> Parameters:
    """Return the core's scalars for a device.

    Bandwidths become times per KiB in 1/1024 ps, rounded up, so that no simulated rate exceeds its peak.  A channel
    loses `t_rfc` in every `t_refi` to refresh, which is spread evenly over its transfers.  Raises ConfigError for a
    geometry the core cannot represent.
    """
    sm, l1, l2, hbm = hardware.sm, hardware.l1, hardware.l2, hardware.hbm
    powers = {
        "l2.sector": l2.sector_bytes,
        "hbm.banks": hbm.banks,
        "hbm.access": hbm.access_bytes,
        "hbm.row": hbm.row_bytes,
        "hbm.interleave": hbm.interleave_bytes,
    }
    for key, value in powers.items():
        if value & (value - 1):
            raise ConfigError(f"{hardware.name}: {key}: must be a power of two (given {value})")
    if hbm.access_bytes > hbm.interleave_bytes:
        raise ConfigError(f"{hardware.name}: hbm.access: must not exceed hbm.interleave ({hbm.interleave_bytes} B)")
    sets = l2.size_bytes // (l2.partitions * l2.line_bytes * l2.ways)
    l1_sets = l1.size_bytes // (l2.line_bytes * l1.ways)
    group_lines = lines_per_group(sets)
    group_bytes = group_lines * l2.line_bytes
    group_channels = channels_per_group(hbm.channel_count, group_bytes, hbm.interleave_bytes)
    usable = PS_PER_S * (hbm.t_refi_ps - hbm.t_rfc_ps) // hbm.t_refi_ps
    return Parameters(
        sms=sm.count,
        sm_ctas=sm.ctas,
        sm_outstanding_bytes=sm.outstanding_bytes,
        sm_cycle_ticks=_ceil(PS_PER_S * TICKS_PER_PS, sm.clock_hz),
        port_ticks_per_kib=_ticks_per_kib(sm.port_bytes_per_clock * sm.clock_hz),
        l1_sets=l1_sets,
        l1_sets_inverse=1 / l1_sets,
        l1_ways=l1.ways,
        l1_hit_ps=l1.hit_latency_ps,
        l1_ticks_per_kib=_ticks_per_kib(l1.bytes_per_clock * sm.clock_hz),
        l2_sets=sets,
        l2_ways=l2.ways,
        l2_ticks_per_kib=_ticks_per_kib(l2.bandwidth_bytes_per_s),
        l2_hit_ps=l2.hit_latency_ps,
        replacement=POLICIES[l2.replacement],
        set_aside_ways=l2.set_aside_bytes * l2.ways // l2.size_bytes,
        fetch_sectors=(l2.fetch_bytes or l2.sector_bytes) // l2.sector_bytes,
        slices=l2.slices,
        slice_ticks_per_kib=_ticks_per_kib(l2.slice_bytes_per_clock * l2.clock_hz),
        mshr_bytes=l2.slices * l2.mshrs * l2.line_bytes,
        partitions=l2.partitions,
        cross_ps=l2.cross_latency_ps,
        cross_ticks_per_kib=_ticks_per_kib((l2.cross_bytes_per_clock or 1) * l2.clock_hz),
        channels=hbm.channel_count,
        channel_ticks_per_kib=_ticks_per_kib(hbm.channel_bytes_per_s * usable // PS_PER_S),
        access_bytes=hbm.access_bytes,
        banks=hbm.banks,
        dram_ps=hbm.latency_ps,
        t_rcd_ps=hbm.t_rcd_ps,
        t_rp_ps=hbm.t_rp_ps,
        row_ticks=row_ticks(hbm),
        turnaround_ticks=(hbm.t_rtw_ps + hbm.t_wtr_ps) * TICKS_PER_PS,
        write_drain_bytes=WRITE_DRAIN_ACCESSES * hbm.access_bytes,
        sector_shift=_log2(l2.sector_bytes),
        line_shift=_log2(l2.line_bytes),
        group_shift=_log2(group_bytes),
        group_lines=group_lines,
        line_mask=(1 << (l2.line_bytes // l2.sector_bytes)) - 1,
        set_groups=sets // group_lines,
        set_groups_inverse=group_lines / sets,
        group_channels=group_channels,
        channel_groups=hbm.channel_count // group_channels,
        channel_groups_inverse=group_channels / hbm.channel_count,
        access_shift=_log2(hbm.access_bytes),
        interleave_shift=_log2(max(1, hbm.interleave_bytes // l2.line_bytes)),
        channel_shift=_log2(group_channels),
        row_shift=_log2(max(1, hbm.row_bytes * group_channels // group_bytes)),
        grouped=int(grouped),
        seed=seed,
    )


def row_ticks(hbm: Hbm) -> int:
    """Return the mean time between two rows opened in one channel, in 1/1024 ps.

    Its banks are busy for tRC = tRAS + tRP each.  READ_QUEUE requests over B banks at random keep
    B N / (N + B - 1) of them busy (balanced closed queueing network, Lavenberg and Reiser 1980), the more so the
    longer the queue; refresh takes its part.
    """
    t_rc = hbm.t_ras_ps + hbm.t_rp_ps
    available = hbm.t_refi_ps - hbm.t_rfc_ps
    numerator = t_rc * (READ_QUEUE + hbm.banks - 1) * hbm.t_refi_ps * TICKS_PER_PS
    return _ceil(numerator, READ_QUEUE * hbm.banks * available)


def _ticks_per_kib(bytes_per_s: int) -> int:
    return _ceil(1024 * TICKS_PER_PS * PS_PER_S, bytes_per_s)


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _log2(power: int) -> int:
    return power.bit_length() - 1
