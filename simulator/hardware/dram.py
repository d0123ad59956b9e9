"""Device memory: its channels and banks, their timing, and where an address lies."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from simulator.config import BitsPerSecond, Spec
from simulator.hardware.ranges import Count, NonNegativeTime, PositiveBytes, PositiveTime

_FIELD = re.compile(r"(row|bank|group|column)(?::(\d+))?")


class MappedBits(NamedTuple):
    """A run of bits of an access number that numbers rows, banks of a group, bank groups or columns."""

    level: str
    low: int
    width: int


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
    data_rate_bits_per_s: Annotated[BitsPerSecond, Field(ge=10**6, le=10**12)]  # per pin
    command_sharing: Literal[1, 2]  # channels that share a row command bus
    banks: Count  # per channel, those of all stack IDs or ranks
    bank_groups: Count
    access_bytes: PositiveBytes  # least transfer (burst length x pins)
    row_bytes: PositiveBytes  # per channel
    interleave_bytes: PositiveBytes  # consecutive bytes on one channel
    mapping: str  # bits of an access number within a channel, high to low, see `mapped`
    bank_hash: tuple[Annotated[int, Field(ge=0, le=40)], ...]  # bank and group bits are xored with row >> each of these
    queue: Annotated[int, Field(ge=4, le=1024)]  # writes a channel's controller holds, in least transfers
    page_policy: Literal["open", "closed"]
    turn: Literal["overlapped", "serial"]  # rows of the other direction open while the last data move, or only then
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
        if info.data.keys() >= _GEOMETRY:  # otherwise what is wrong there is reported
            mapped(value, *_widths(info.data))
        return value

    @model_validator(mode="after")
    def _holds_rows(self) -> Hbm:
        least = self.channel_count * self.banks * self.row_bytes
        if self.size_bytes < least:
            raise ValueError(f"size must hold a row of each bank, {least} B (given {self.size_bytes} B)")
        return self

    @model_validator(mode="after")
    def _timing(self) -> Hbm:
        if self.t_rfc_ps >= self.t_refi_ps:
            raise ValueError("t_rfc must be shorter than t_refi")
        if not self.n_bl <= self.n_ccd_s <= min(self.n_ccd_l, self.n_ccd_l_wr):
            raise ValueError("n_ccd_s must be at least n_bl and at most n_ccd_l and n_ccd_l_wr")
        return self

    @property
    def fields(self) -> list[MappedBits]:
        """The mapping's fields, lowest first."""
        return mapped(self.mapping, *_widths(dict(self)))

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


_GEOMETRY = {"size_bytes", "stacks", "channels", "banks", "bank_groups", "row_bytes", "access_bytes"}


def _widths(known: dict[str, Any]) -> tuple[dict[str, int], int]:
    """Return how many bits number banks, groups and columns, and how many all accesses of a channel."""
    counts = {
        "group": known["bank_groups"],
        "bank": known["banks"] // known["bank_groups"],
        "column": known["row_bytes"] // known["access_bytes"],
    }
    accesses = known["size_bytes"] // (known["access_bytes"] * known["channels"] * known["stacks"])
    return {name: count.bit_length() - 1 for name, count in counts.items()}, max(0, accesses - 1).bit_length()


def mapped(mapping: str, widths: dict[str, int], bits: int) -> list[MappedBits]:
    """Return the fields of a mapping such as ``row:14 bank:3 group:2 column:5``, written high to low, lowest first.

    A field without a width takes what its level needs; columns may be split into several fields.  `widths`: bits of
    banks (of a group), groups and columns; `bits`: of all accesses of a channel.  Raises ValueError when the mapping
    cannot be read, does not number a level exactly, or its rows do not cover the channel.
    """
    words = mapping.split()
    given: list[tuple[str, int | None]] = []
    for word in reversed(words):
        match = _FIELD.fullmatch(word)
        if match is None:
            raise ValueError(f"cannot read {word!r}: write fields such as row bank group column:5, high to low")
        given.append((match[1], int(match[2]) if match[2] else None))
    widths = widths | {"row": max(0, bits - sum(widths.values()))}
    for name, needed in widths.items():
        own = [width for field, width in given if field == name]
        if len(own) != 1 and (name != "column" or not own):
            raise ValueError(f"{name} must be there once" if name != "column" else "column is missing")
        if own.count(None) > 1:
            raise ValueError("all column fields but one need a width, as column:3")
        total = sum(width or 0 for width in own)
        if name == "row" and None not in own and not needed <= total <= 40:
            raise ValueError(f"{total} row bits do not cover the device: row:{needed} does")
        if name != "row" and (total > needed or (None not in own and total < needed)):
            raise ValueError(f"{total} {name} bits where {needed} number the {name}s: write {name}:{needed}")
        if None in own:
            given = [(field, needed - total if field == name and width is None else width) for field, width in given]
    fields = []
    low = 0
    for field, width in given:
        fields.append(MappedBits(field, low, width or 0))
        low += width or 0
    return fields
