"""From a description of device memory to the scalars of the DRAM model."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, gcd

from simulator.core.dram_state import NEVER, DramParameters
from simulator.core.state import MOST_GROUP_LINES
from simulator.errors import ConfigError
from simulator.hardware.dram import Hbm
from simulator.units import PS_PER_S

DRAIN_FROM, DRAIN_TO = (4, 5), (1, 5)
"""Parts of the write queue at which it is drained, and to which (write watermarks of Ramulator 2.1: 0.8 and 0.2)."""

NO_HASH = 63


def dram_parameters(name: str, hbm: Hbm, line_bytes: int, group_lines: int) -> DramParameters:
    """Return the scalars of a device's DRAM, given the L2 lines that are accessed as a group.

    Times are rounded up, so that nothing beats its peak.  Raises ConfigError, with the device's `name` and the key,
    for a geometry the model cannot represent.
    """
    group_bytes = group_lines * line_bytes
    most = MOST_GROUP_LINES * line_bytes
    if hbm.interleave_bytes > most:
        raise ConfigError(f"{name}: hbm.interleave: at most {MOST_GROUP_LINES} lines of l2, {most} B")
    chunk_bytes = min(hbm.interleave_bytes, group_bytes)  # less where the sets of L2 allow for small groups alone
    group_channels = gcd(hbm.channel_count, group_bytes // chunk_bytes)
    if hbm.access_bytes > line_bytes:
        raise ConfigError(f"{name}: hbm.access: must not exceed l2.line ({line_bytes} B)")
    shared = group_channels % hbm.command_sharing == 0  # else each channel is given its share of the command bus
    slow = 1 if shared else hbm.command_sharing
    at = {field.level: field for field in hbm.fields if field.level != "column"}
    top = max(field.low for field in hbm.fields)
    contiguous = hbm.access_bytes << min(field.low for field in at.values() if field.width)
    if contiguous < line_bytes:
        raise ConfigError(
            f"{name}: hbm.mapping: a line of {line_bytes} B must lie in one row: begin with more column bits"
        )
    piece_bytes = min(contiguous, group_bytes // group_channels)
    slower = Fraction(hbm.t_refi_ps, hbm.t_refi_ps - hbm.t_rfc_ps) if hbm.refresh == "spread" else Fraction(1)
    clock = Fraction(hbm.access_bytes * PS_PER_S, hbm.channel_bytes_per_s * hbm.n_bl) * slower
    burst = ceil(clock * hbm.n_ccd_s)
    activate = ceil(max(Fraction(hbm.t_rrd_s_ps), Fraction(hbm.t_faw_ps, 4)) * slower)
    activate_group = ceil(hbm.t_rrd_l_ps * slower)
    # what cannot be a bottleneck beside the activates of its channels is left out, which makes an access faster
    commands_bind = (hbm.t_pre_ps + hbm.t_act_ps) * hbm.command_sharing > activate
    still = hbm.t_ras_ps + hbm.t_rp_ps + hbm.t_rfc_ps if hbm.refresh == "all-bank" and hbm.t_rfc_ps else 0
    hashes = (*hbm.bank_hash, NO_HASH, NO_HASH)
    banks_per_group = hbm.banks // hbm.bank_groups
    return DramParameters(
        channels=hbm.channel_count,
        group_channels=group_channels,
        channel_shift=_log2(group_channels),
        channel_groups=hbm.channel_count // group_channels,
        channel_groups_inverse=group_channels / hbm.channel_count,
        chunk_line_shift=_log2(chunk_bytes // line_bytes),
        chunk_access_shift=_log2(chunk_bytes // hbm.access_bytes),
        chunks_shift=_log2(group_bytes // chunk_bytes // group_channels),
        access_bytes=hbm.access_bytes,
        access_shift=_log2(hbm.access_bytes),
        line_access_shift=_log2(line_bytes // hbm.access_bytes),
        piece_accesses=piece_bytes // hbm.access_bytes,
        banks=hbm.banks,
        bank_groups=hbm.bank_groups,
        group_bit=at["group"].low,
        group_bits=at["group"].width,
        bank_bit=at["bank"].low,
        bank_mask=banks_per_group - 1,
        row_bit=at["row"].low,
        row_mask=NEVER - 1 if at["row"].low == top else (1 << at["row"].width) - 1,
        hash_first=hashes[0],
        hash_second=hashes[1],
        latency_ps=hbm.latency_ps,
        burst_ps=burst,
        column_read_ps=max(burst, ceil(clock * hbm.n_ccd_l)),
        column_write_ps=max(burst, ceil(clock * hbm.n_ccd_l_wr)),
        t_rcd_ps=hbm.t_rcd_ps,
        t_rcd_wr_ps=hbm.t_rcd_wr_ps,
        t_rp_ps=hbm.t_rp_ps,
        t_ras_ps=hbm.t_ras_ps,
        t_rtp_ps=hbm.t_rtp_ps,
        write_recovery_ps=hbm.t_cwl_ps + ceil(clock * hbm.n_bl) + hbm.t_wr_ps,
        activate_ps=activate,
        activate_group_ps=activate_group if activate_group > activate else 0,
        precharge_command_ps=hbm.t_pre_ps * slow if commands_bind else 0,
        activate_command_ps=hbm.t_act_ps * slow if commands_bind else 0,
        command_shift=_log2(hbm.command_sharing) if shared else 0,
        activate_switch_ps=max(0, hbm.t_rp_ps - activate - 3 * (activate - hbm.t_rrd_s_ps)),
        turnaround_ps=turnaround_ps(hbm),
        drain_from=max(2, hbm.queue * DRAIN_FROM[0] // DRAIN_FROM[1] + 1),
        drain_to=hbm.queue * DRAIN_TO[0] // DRAIN_TO[1],
        queue=hbm.queue,
        closed_page=int(hbm.page_policy == "closed"),
        refresh_units=hbm.banks if hbm.refresh == "per-bank" else 1,
        refresh_period_ps=NEVER if hbm.refresh == "spread" or not hbm.t_rfc_ps else hbm.t_refi_ps - still,
        refresh_lost_ps=still,
        refresh_shut_ps=hbm.t_rfc_ps if hbm.refresh == "per-bank" else 0,
    )


def turnaround_ps(hbm: Hbm) -> int:
    """Return how long the data bus stands still for one batch of writes between reads (ps).

    Overlapped, that is what the bus itself needs.  A controller that turns to the other direction only after the last
    transfer (serial) then has a row to close and to open before the first command.
    """
    to_writes, to_reads = hbm.t_rtw_ps, hbm.t_wtr_ps
    if hbm.turn == "serial":
        to_writes = max(to_writes, hbm.t_rp_ps + hbm.t_rcd_wr_ps + hbm.t_cwl_ps - hbm.t_cl_ps)
        to_reads = max(to_reads, hbm.t_rp_ps + hbm.t_rcd_ps)
    return to_writes + to_reads + hbm.t_cl_ps


def _log2(power: int) -> int:
    return power.bit_length() - 1
