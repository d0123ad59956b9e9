"""What lies below device memory: the link to the host, the host's DRAM and its copies, an SSD behind the host."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from simulator.config import BitsPerSecond, Bytes, BytesPerSecond, Spec
from simulator.hardware.ranges import Count, NonNegativeTime

Depth = Annotated[int, Field(gt=0, le=256, strict=True)]
TierBytes = Annotated[Bytes, Field(gt=0, le=1 << 50)]
ChunkBytes = Annotated[Bytes, Field(ge=512, le=64 << 20)]
Rate = Annotated[BytesPerSecond, Field(ge=10**6, le=10**14)]


class Peers(Spec):
    """The links to other GPUs of the machine, through which each reaches each."""

    bandwidth_bytes_per_s: Rate  # one way, of all links of a GPU together


class Link(Spec):
    """The link between device and host, and the copy engines of the device that use it; both directions are alike.

    Data towards the device are read completions, data towards the host are writes: their packets differ.
    """

    kind: str  # name of a preset in configs/links, whose keys fill those not given here
    lanes: Annotated[int, Field(gt=0, le=1024, strict=True)]  # per direction
    lane_rate_bits_per_s: Annotated[BitsPerSecond, Field(ge=10**8, le=10**12)]
    encoding_data: Count  # of `encoding_line` transmitted units this many are packets (128 of 130, 236 of 256)
    encoding_line: Count
    control_share: Annotated[float, Field(ge=0, lt=1)]  # of the wire, taken by acknowledgements and flow control
    write_payload_bytes: Annotated[Bytes, Field(gt=0, le=4096)]  # of a packet towards the host
    write_header_bytes: Annotated[Bytes, Field(ge=0, le=4096)]  # framing, header and checksum of that packet
    read_payload_bytes: Annotated[Bytes, Field(gt=0, le=4096)]  # of a read completion, towards the device
    read_header_bytes: Annotated[Bytes, Field(ge=0, le=4096)]
    latency_ps: NonNegativeTime  # one way, unloaded; a read crosses twice
    copy_engines: Annotated[int, Field(gt=0, le=64, strict=True)]  # one serves one copy at a time
    chunk_bytes: ChunkBytes  # what a descriptor is cut into
    queue_depth: Depth  # chunks of a copy in flight

    @model_validator(mode="after")
    def _encoding(self) -> Link:
        if self.encoding_data > self.encoding_line:
            raise ValueError("encoding_data must not exceed encoding_line")
        return self

    @property
    def packet_bytes_per_s(self) -> int:
        """Peak rate of one direction, packet headers included."""
        line = self.lanes * self.lane_rate_bits_per_s * self.encoding_data // (8 * self.encoding_line)
        return round(line * (1 - self.control_share))

    @property
    def to_device_bytes_per_s(self) -> int:
        """Peak payload rate towards the device."""
        packet = self.read_payload_bytes + self.read_header_bytes
        return self.packet_bytes_per_s * self.read_payload_bytes // packet

    @property
    def to_host_bytes_per_s(self) -> int:
        """Peak payload rate towards the host."""
        packet = self.write_payload_bytes + self.write_header_bytes
        return self.packet_bytes_per_s * self.write_payload_bytes // packet


class Host(Spec):
    """The host's DRAM and what its driver and processors take for a copy."""

    kind: str  # name of a preset in configs/hosts
    size_bytes: TierBytes  # DRAM
    bandwidth_bytes_per_s: Rate  # DRAM, reads and writes together
    latency_ps: NonNegativeTime  # DRAM, unloaded
    memcpy_bytes_per_s: Rate  # one core copying between a pageable and a pinned buffer
    staging_bytes: ChunkBytes  # pinned bounce buffer through which pageable copies go
    inline_bytes: Annotated[Bytes, Field(ge=0, le=1 << 20)]  # pageable copies to the device of up to this size ride
    # in the command buffer, without a DMA read of their own
    setup_pinned_ps: NonNegativeTime  # call of a copy of pinned memory to the first request of the copy engine
    setup_pageable_ps: NonNegativeTime
    completion_ps: NonNegativeTime  # last byte moved to the host going on


class Ssd(Spec):
    """A drive behind the host: what it reads goes to host DRAM and from there over the link."""

    kind: str  # name of a preset in configs/ssds
    size_bytes: TierBytes
    read_bandwidth_bytes_per_s: Rate
    write_bandwidth_bytes_per_s: Rate
    latency_ps: NonNegativeTime  # of a read, unloaded
    write_latency_ps: NonNegativeTime
    chunk_bytes: ChunkBytes  # of a request
    queue_depth: Depth  # requests in flight
