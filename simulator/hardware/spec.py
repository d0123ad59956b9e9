"""The hardware description: a device's processors, caches, memory and launch costs, frozen and checked."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.config import Bytes, Spec
from simulator.hardware.dram import Hbm
from simulator.hardware.ranges import (
    Count,
    NonNegativeTime,
    PositiveBytes,
    PositiveHertz,
    PositiveTime,
    Ways,
    Words,
)
from simulator.hardware.tiers import Host, Link, Peers, Ssd


class Dtype(StrEnum):
    """Element types of weights, activations and KV entries."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"

    @property
    def bytes(self) -> int:
        """Bytes of one element."""
        return _BYTES[self]


_BYTES = {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2, Dtype.FP8: 1}


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
    exponentials_per_clock: Count  # fp32, of the special-function units
    fp64_per_clock: Count  # additions or multiply-adds of doubles
    tensor_flops_per_clock: TensorRate
    sustained_tensor_flops_per_clock: TensorRate | None = None  # kept up for seconds at the power limit; None: the peak


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
    slice_sites: Count | None = None  # of a partition, dividing its slices; a line has one by hash; None: dealt evenly
    slice_bytes_per_clock: Count
    clock_hz: PositiveHertz
    hit_latency_ps: PositiveTime  # load to use, from an SM, unloaded, near partition
    fetch_bytes: PositiveBytes | None = None  # least that a read miss fetches; None: a sector
    mshrs: Count  # lines on their way from memory, per slice
    coalescer_sms: Count | None = None  # SMs whose requests of a line on its way become one; None: each is served
    partitions: Literal[1, 2]
    cross_latency_ps: NonNegativeTime | None = None  # that the far partition takes longer
    cross_bytes_per_clock: Count | None = None  # between the partitions, each way
    set_aside_bytes: Annotated[Bytes, Field(ge=0)] | None = None  # for lines to be evicted last
    replacement: Literal["lru", "plru", "random", "srrip", "brrip"]

    @model_validator(mode="after")
    def _geometry(self) -> L2:
        if self.line_bytes & (self.line_bytes - 1) or self.line_bytes % self.sector_bytes:
            raise ValueError("line must be a power of two and a multiple of sector")
        if self.line_bytes // self.sector_bytes > 8:
            raise ValueError("line has at most 8 sectors")
        if rest := self.size_bytes % (way := self.partitions * self.line_bytes * self.ways):
            near = self.size_bytes - rest or way
            raise ValueError(
                f"size must be a multiple of partitions x ways x line, such as {near} B; or choose other ways"
            )
        if self.slices % self.partitions:
            raise ValueError(f"slices must be a multiple of the {self.partitions} partitions (given {self.slices})")
        if self.partitions == 2 and self.cross_bytes_per_clock is None:
            raise ValueError("cross_bytes_per_clock is missing: what the link between two partitions moves each way")
        if self.slice_sites and self.slices % (self.partitions * self.slice_sites):
            of = f"the {self.slices / self.partitions:g} slices of a partition"
            raise ValueError(f"slice_sites must divide {of} (given {self.slice_sites})")
        fetch = self.fetch_bytes or self.sector_bytes
        if fetch % self.sector_bytes or fetch & (fetch - 1) or fetch > self.line_bytes:
            raise ValueError("fetch must be a power of two, a multiple of sector and at most a line")
        if self.replacement == "plru" and self.ways & (self.ways - 1):
            raise ValueError("ways must be a power of two for replacement plru")
        if self.set_aside_bytes and self.replacement != "lru":
            raise ValueError("set_aside needs replacement lru")
        if (self.set_aside_bytes or 0) > self.size_bytes * 3 // 4:
            raise ValueError("set_aside can be at most three quarters of size")
        if 0 < (self.set_aside_bytes or 0) * self.ways < self.size_bytes:
            raise ValueError(f"set_aside is kept in whole ways: at least {self.size_bytes // self.ways} B, or 0")
        return self

    @property
    def outstanding_bytes(self) -> int:
        """Bytes that may be on their way from and to memory at once."""
        return self.slices * self.mshrs * self.line_bytes

    @property
    def bandwidth_bytes_per_s(self) -> int:
        """Peak read bandwidth of all slices together."""
        return self.slices * self.slice_bytes_per_clock * self.clock_hz


class Launch(Spec):
    """What starting a kernel costs, in a chain of dependent kernels."""

    graph_ps: NonNegativeTime  # end of a kernel to start of the next, inside a CUDA graph
    stream_ps: NonNegativeTime  # the same when each is launched from the host
    replay_tick_ps: PositiveTime | None = None  # replays of a graph begin on ticks this far apart; None: at once
    cta_start_ps: NonNegativeTime  # CTA placed on an SM to its first memory access
    cta_interval_ps: NonNegativeTime  # one CTA placed to the next, on any SM


_GENERATIONS = {"volta": 70, "turing": 75, "ampere": 80, "ada": 89, "hopper": 90, "blackwell": 100}


class Hardware(Spec):
    """One device."""

    name: Words
    vendor: Words
    architecture: Words
    sm: Sm
    l1: L1
    l2: L2
    hbm: Hbm
    launch: Launch
    peers: Peers | None = None  # none where the machine has no such links
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

    @model_validator(mode="after")
    def _lines(self) -> Hardware:
        line = self.l2.line_bytes
        if self.sm.outstanding_bytes < line:
            raise ValueError(f"sm.outstanding must hold a line of l2 ({line} B; given {self.sm.outstanding_bytes} B)")
        if self.hbm.interleave_bytes < line:
            raise ValueError(f"hbm.interleave must hold a line of l2 ({line} B; given {self.hbm.interleave_bytes} B)")
        return self

    @property
    def compute_capability(self) -> int:
        """CUDA's number of the architecture, such as 90, by which frameworks choose kernels: as (sm_NN) says in the
        description, else that of the generation's data-centre parts (CUDA C++ Programming Guide), else 0."""
        found = re.search(r"\bsm_?(\d+)", self.architecture, re.IGNORECASE)
        if found:
            return int(found[1])
        words = self.architecture.lower().split()
        return next((number for generation, number in _GENERATIONS.items() if generation in words), 0)

    def tensor_flops_per_s(self, dtype: Dtype) -> int:
        """Peak dense matrix throughput of the device for operands of `dtype`."""
        rate: int = getattr(self.sm.tensor_flops_per_clock, dtype.value)
        return self.sm.count * rate * self.sm.clock_hz

    def peaks(self) -> dict[str, tuple[int, str]]:
        """Return what data sheets give, by name, with units: dense FLOPs/s by type, bytes/s of L2, memory and link."""
        rates = {dtype.value: (self.tensor_flops_per_s(dtype), "flop/s") for dtype in Dtype}
        rates["L2"] = (self.l2.bandwidth_bytes_per_s, "B/s")
        rates[self.hbm.standard.upper()] = (self.hbm.peak_bytes_per_s, "B/s")
        if self.link:
            rates["link to the device"] = (self.link.to_device_bytes_per_s, "B/s")
        return rates
