"""Device memory: its channels and banks, their timing, and where an address lies."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from simulator.config import BitsPerSecond, Spec
from simulator.hardware.ranges import Count, NonNegativeTime, PositiveBytes, PositiveTime

_FIELD = re.compile(r"(row|bank|group|column):(\d+)")


class Hbm(Spec):
    """HBM stacks, or GDDR, LPDDR or DDR chips named by the same levels.

    Column commands count in clocks (`n_`), since a faster speed bin moves a burst in as many clocks; everything else
    is a time.
    """

    size_bytes: PositiveBytes
    standard: str  # name of a preset in configs/dram, whose keys fill those not given here
    stacks: Count
    channels: Count  # per stack; a pseudo-channel counts as a channel
    channel_bits: Count  # data pins of a channel
    data_rate_bits_per_s: Annotated[BitsPerSecond, Field(gt=0)]  # per pin
    command_sharing: Literal[1, 2]  # channels that share a row command bus
    banks: Count  # per channel, those of all stack IDs or ranks
    bank_groups: Count
    row_bytes: PositiveBytes  # per channel
    access_bytes: PositiveBytes  # least transfer (burst length x pins)
    interleave_bytes: PositiveBytes  # consecutive bytes on one channel
    mapping: str  # bits of an access number within a channel, high to low: "row:14 bank:3 group:2 column:5"
    bank_hash: tuple[Annotated[int, Field(ge=0, le=40)], ...]  # bank and group bits are xored with row >> each of these
    queue: Annotated[int, Field(ge=4, le=1024)]  # writes a channel's controller holds, in least transfers
    page_policy: Literal["open", "closed"]
    latency_ps: PositiveTime  # what a miss adds to l2.hit_latency with the row open, unloaded, t_cl included
    n_bl: Count  # a burst
    n_ccd_s: Count  # column command to the next, other bank group
    n_ccd_l: Count  # the same bank group
    n_ccd_l_wr: Count  # two writes to the same bank group
    t_cl_ps: PositiveTime  # read command to data
    t_cwl_ps: NonNegativeTime  # write command to data
    t_rcd_ps: NonNegativeTime  # activate to read
    t_rcd_wr_ps: NonNegativeTime  # activate to write
    t_rp_ps: NonNegativeTime  # precharge to activate
    t_ras_ps: NonNegativeTime  # activate to precharge
    t_rtp_ps: NonNegativeTime  # read to precharge
    t_wr_ps: NonNegativeTime  # end of write data to precharge
    t_rrd_s_ps: NonNegativeTime  # activate to activate, other bank group
    t_rrd_l_ps: NonNegativeTime  # the same bank group
    t_faw_ps: NonNegativeTime  # in which at most four activates
    t_wtr_ps: NonNegativeTime  # end of write data to read command of another bank group
    t_rtw_ps: NonNegativeTime  # data bus idle between read and write data
    t_pre_ps: NonNegativeTime  # row command bus taken by a precharge
    t_act_ps: NonNegativeTime  # by an activate
    refresh: Literal["all-bank", "per-bank", "spread"]
    t_rfc_ps: NonNegativeTime  # a refresh shuts its channel or bank so long; spread: bandwidth lost, without pauses
    t_refi_ps: PositiveTime  # in which each bank is refreshed once

    @field_validator("banks", "bank_groups", "row_bytes", "access_bytes", "interleave_bytes", "queue")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value

    @field_validator("bank_groups")
    @classmethod
    def _within_banks(cls, value: int, info: ValidationInfo) -> int:
        if "banks" in info.data and value > info.data["banks"]:
            raise ValueError(f"more bank groups than the {info.data['banks']} banks")
        return value

    @field_validator("row_bytes", "interleave_bytes")
    @classmethod
    def _holds_an_access(cls, value: int, info: ValidationInfo) -> int:
        if "access_bytes" in info.data and value < info.data["access_bytes"]:
            raise ValueError(f"must not be less than access ({info.data['access_bytes']} B)")
        return value

    @field_validator("bank_hash")
    @classmethod
    def _short(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) > 2:
            raise ValueError("at most two shifts")
        return value

    @field_validator("mapping")
    @classmethod
    def _covers_the_device(cls, value: str, info: ValidationInfo) -> str:
        fields = mapping_fields(value)
        known = info.data
        if not {"banks", "bank_groups", "row_bytes", "access_bytes", "channels", "stacks", "size_bytes"} <= known.keys():
            return value  # what is wrong there is reported first
        expected = {
            "group": known["bank_groups"],
            "bank": known["banks"] // known["bank_groups"],
            "column": known["row_bytes"] // known["access_bytes"],
        }
        for name, count in expected.items():
            bits = sum(width for field, _, width in fields if field == name)
            if 1 << bits != count:
                raise ValueError(f"{bits} {name} bits for {count} {name}s: must be {name}:{count.bit_length() - 1}")
        bits = sum(width for _, _, width in fields)
        reach = known["access_bytes"] * known["channels"] * known["stacks"] << bits
        if reach < known["size_bytes"]:
            more = ((known["size_bytes"] - 1) // reach).bit_length()
            raise ValueError(f"{bits} bits do not cover the size of the device: {more} more row bits are needed")
        return value

    @model_validator(mode="after")
    def _timing(self) -> Hbm:
        if self.t_rfc_ps >= self.t_refi_ps:
            raise ValueError("t_rfc must be shorter than t_refi")
        if not self.n_bl <= self.n_ccd_s <= min(self.n_ccd_l, self.n_ccd_l_wr):
            raise ValueError("n_bl, n_ccd_s and n_ccd_l must not fall")
        return self

    @property
    def channel_count(self) -> int:
        """Channels of the whole device."""
        return self.stacks * self.channels

    @property
    def channel_bytes_per_s(self) -> int:
        """Peak bandwidth of one channel."""
        return self.channel_bits * self.data_rate_bits_per_s // 8

    @property
    def peak_bytes_per_s(self) -> int:
        """Pin bandwidth of the device."""
        return self.channel_count * self.channel_bytes_per_s

    @property
    def achievable_bytes_per_s(self) -> float:
        """Bandwidth left after refresh; banks refreshed one by one are hidden behind the others."""
        lost = 0 if self.refresh == "per-bank" else self.t_rfc_ps
        return self.peak_bytes_per_s * (1 - lost / self.t_refi_ps)


def mapping_fields(mapping: str) -> list[tuple[str, int, int]]:
    """Return the fields of a mapping as (name, lowest bit, width), lowest first.

    Raises ValueError when it cannot be read, or splits or repeats row, bank or group; columns may be split.
    """
    fields = []
    low = 0
    for word in reversed(mapping.split()):
        match = _FIELD.fullmatch(word)
        if match is None:
            raise ValueError(f"cannot read {word!r}: write fields such as row:14 bank:2 group:2 column:5, high to low")
        fields.append((match[1], low, int(match[2])))
        low += int(match[2])
    names = [name for name, _, _ in fields]
    for name in ("row", "bank", "group", "column"):
        if name not in names:
            raise ValueError(f"{name} is missing")
        if name != "column" and names.count(name) > 1:
            raise ValueError(f"{name} must be one run of bits")
    if low > 48:
        raise ValueError(f"{low} bits are more than any device has")
    return fields
