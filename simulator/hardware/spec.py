"""The hardware description: a device's processors, caches, memory and launch costs, frozen and checked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.config import BitsPerSecond, Bytes, Hertz, Picoseconds, Spec
from simulator.hardware.tiers import Host, Link, Ssd

# Upper bounds keep times within 64-bit picoseconds and the state within memory.
Count = Annotated[int, Field(gt=0, le=1 << 20, strict=True)]
Ways = Annotated[int, Field(gt=0, le=16, strict=True)]  # 16 way numbers of four bits fit the word that orders them
PositiveBytes = Annotated[Bytes, Field(gt=0, le=1 << 43)]
PositiveHertz = Annotated[Hertz, Field(ge=10**6, le=10**11)]
PositiveTime = Annotated[Picoseconds, Field(gt=0, le=10**12)]
NonNegativeTime = Annotated[Picoseconds, Field(ge=0, le=10**12)]


class Dtype(StrEnum):
    """Element types of weights, activations and KV entries."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"

    @property
    def bytes(self) -> int:
        """Bytes of one element."""
        return {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}[self.value]


class TensorRate(Spec):
    """Dense matrix throughput of one SM in FLOPs per clock by operand type; one multiply-add is two FLOPs.

    A type the device cannot multiply natively runs at the rate of the next wider one."""

    fp32: Count
    bf16: Count
    fp16: Count
    fp8: Count


class Sm(Spec):
    """Streaming multiprocessors (compute units on AMD devices)."""

    count: Annotated[int, Field(gt=0, le=1024, strict=True)]
    clock_hz: PositiveHertz  # clock held under load
    threads: Count  # resident threads per SM
    ctas: Count  # resident CTAs per SM
    registers: Count  # 32-bit registers per SM
    shared_memory_bytes: PositiveBytes  # usable by CTAs, per SM
    cta_reserved_bytes: Annotated[Bytes, Field(ge=0)]  # shared memory the runtime keeps per CTA
    port_bytes_per_clock: Count  # L2-to-SM read port
    outstanding_bytes: PositiveBytes  # loads in flight per SM
    vector_flops_per_clock: Count  # fp32 outside the matrix units
    tensor_flops_per_clock: TensorRate


class L1(Spec):
    """The cache of each SM that plain loads go through."""

    size_bytes: Annotated[Bytes, Field(gt=0, le=1 << 30)]  # left for data beside the least shared memory
    ways: Ways
    hit_latency_ps: PositiveTime  # load to use
    bytes_per_clock: Count  # delivered to the SM


class L2(Spec):
    """The device-wide cache.

    With two partitions, an SM reads through its near one, and lines whose home is the far one are kept in both.
    """

    size_bytes: Annotated[Bytes, Field(gt=0, le=16 << 30)]
    ways: Ways
    line_bytes: PositiveBytes
    sector_bytes: PositiveBytes
    slices: Count
    slice_bytes_per_clock: Count
    clock_hz: PositiveHertz
    hit_latency_ps: PositiveTime  # load to use, from an SM, unloaded, near partition
    fetch_bytes: PositiveBytes | None = None  # least that a read miss fetches; None: a sector
    mshrs: Count  # lines on their way from memory, per slice
    partitions: Literal[1, 2]
    cross_latency_ps: NonNegativeTime = 0  # that the far partition takes longer
    cross_bytes_per_clock: Count | None = None  # between the partitions, each way
    set_aside_bytes: Annotated[Bytes, Field(ge=0)] = 0  # for lines to be evicted last
    replacement: Literal["lru", "plru", "random", "srrip", "brrip"]

    @model_validator(mode="after")
    def _geometry(self) -> L2:
        if self.line_bytes & (self.line_bytes - 1) or self.line_bytes % self.sector_bytes:
            raise ValueError("line must be a power of two and a multiple of sector")
        if self.line_bytes // self.sector_bytes > 8:
            raise ValueError("a line has at most 8 sectors")
        if self.size_bytes % (self.partitions * self.line_bytes * self.ways):
            raise ValueError("size must be a multiple of partitions x ways x line; choose other ways")
        if self.partitions == 2 and self.cross_bytes_per_clock is None:
            raise ValueError("two partitions need cross_bytes_per_clock, what the link between them moves each way")
        fetch = self.fetch_bytes or self.sector_bytes
        if fetch % self.sector_bytes or fetch & (fetch - 1) or fetch > self.line_bytes:
            raise ValueError("fetch must be a power of two, a multiple of sector and at most a line")
        if self.replacement == "plru" and self.ways & (self.ways - 1):
            raise ValueError("replacement plru needs a power of two of ways")
        if self.set_aside_bytes and self.replacement != "lru":
            raise ValueError("set_aside needs replacement lru")
        if self.set_aside_bytes > self.size_bytes * 3 // 4:
            raise ValueError("set_aside can be at most three quarters of size")
        return self

    @property
    def bandwidth_bytes_per_s(self) -> int:
        """Peak read bandwidth of all slices together."""
        return self.slices * self.slice_bytes_per_clock * self.clock_hz


class Hbm(Spec):
    """Device memory: HBM stacks, or GDDR/LPDDR chips named by the same levels."""

    size_bytes: PositiveBytes
    standard: str  # name of a preset in configs/dram, whose keys fill those not given here
    stacks: Count
    channels: Count  # per stack; a pseudo-channel counts as a channel
    channel_bits: Count  # data pins of a channel
    data_rate_bits_per_s: Annotated[BitsPerSecond, Field(gt=0)]  # per pin
    banks: Count  # per channel
    row_bytes: PositiveBytes  # per channel
    access_bytes: PositiveBytes  # least transfer (burst length x pins)
    interleave_bytes: PositiveBytes  # consecutive bytes on one channel
    latency_ps: PositiveTime  # what a miss adds to l2.hit_latency with the row open, unloaded
    t_rcd_ps: NonNegativeTime
    t_rp_ps: NonNegativeTime
    t_ras_ps: NonNegativeTime
    t_wtr_ps: NonNegativeTime  # write to read turnaround
    t_rtw_ps: NonNegativeTime  # read to write turnaround
    t_rfc_ps: NonNegativeTime  # channel time lost to one refresh
    t_refi_ps: PositiveTime

    @model_validator(mode="after")
    def _refresh(self) -> Hbm:
        if self.t_rfc_ps >= self.t_refi_ps:
            raise ValueError("t_rfc must be shorter than t_refi")
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


class Launch(Spec):
    """What starting a kernel costs, in a chain of dependent kernels."""

    graph_ps: NonNegativeTime  # end of a kernel to start of the next, inside a CUDA graph
    stream_ps: NonNegativeTime  # the same when each is launched from the host
    cta_start_ps: NonNegativeTime  # CTA placed on an SM to its first memory access


class Hardware(Spec):
    """One device."""

    name: str
    vendor: str
    architecture: str
    sm: Sm
    l1: L1
    l2: L2
    hbm: Hbm
    launch: Launch
    link: Link | None = None  # none where host and device share one memory
    host: Host | None = None
    ssd: Ssd | None = None

    @model_validator(mode="after")
    def _below(self) -> Hardware:
        if (self.link is None) != (self.host is None):
            raise ValueError("link and host are given together; add the missing table, such as host.kind")
        if self.ssd is not None and self.host is None:
            raise ValueError("an ssd is reached through the host; add the tables host and link, or remove ssd")
        return self

    @model_validator(mode="after")
    def _l1_geometry(self) -> Hardware:
        if self.l1.size_bytes % (self.l1.ways * self.l2.line_bytes):
            raise ValueError("l1.size must be a multiple of l1.ways x l2.line; choose other ways")
        return self

    def tensor_flops_per_s(self, dtype: Dtype) -> int:
        """Peak dense matrix throughput of the device for operands of `dtype`."""
        rate: int = getattr(self.sm.tensor_flops_per_clock, dtype.value)
        return self.sm.count * rate * self.sm.clock_hz
