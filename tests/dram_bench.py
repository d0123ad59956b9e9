"""Small memories with round times, and the two that the cycle-level reference simulates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import config, hardware
from simulator.hardware import Hardware

REFERENCE: dict[str, dict[str, Any]] = {
    "HBM2": {
        "standard": "hbm2",
        "size": "1 GiB",
        "channels": 2,  # the pseudo-channels of a channel, which take turns row by row
        "data_rate": "2 Gbit/s",
        "interleave": "1 KiB",
        "latency": "14 ns",  # nCL: the reference counts to the last byte on the pins
        "refresh": "all-bank",
        "t_rfc": "350 ns",
    },
    "DDR5": {
        "standard": "ddr5",
        "size": "8 GiB",
        "channels": 1,
        "data_rate": "4.8 Gbit/s",
        "interleave": "4 KiB",
        "latency": "14.144 ns",
    },
}
"""Ramulator 2.1's HBM2_8Gb with HBM2_2000Mbps and DDR5_16Gb_x8 with DDR5_4800AN, one channel, RoBaRaCoCh."""


def memory(standard: str, **hbm: Any) -> Hardware:
    """Return an H100 whose memory is one channel of a preset in configs/dram, without bank hash, with keys changed."""
    tree = hardware.load("h100-sxm").spec.model_dump(by_alias=True)
    preset, _ = config.split_sources(
        {k: v for k, v in config.read_toml(config.find("dram", standard, ".toml")).items() if k != "references"}
    )
    tree["hbm"] = preset | {"standard": standard, "stacks": 1, "bank_hash": []} | hbm
    return config.build(Hardware, tree, f"bench on {standard}")


def reference(standard: str) -> Hardware:
    """Return the memory of one of the reference's two configurations."""
    return memory(**(REFERENCE[standard] | {"queue": 32, "turn": "overlapped"}))  # as its controllers do


def pattern(
    name: str, request_bytes: int, requests: int, span: int = 256 << 20, seed: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return addresses of a pattern of the reference, and which of them are writes."""
    rng = np.random.default_rng(seed)
    write = np.zeros(requests, bool)
    order = np.arange(requests, dtype=np.int64)
    if name == "sequential":
        address = order * request_bytes
    elif name == "stride4096":
        address = order * 4096
    elif name == "random_1k_blocks":
        per_block = 1024 // request_bytes
        block = rng.integers(0, span // 1024, -(-requests // per_block))
        address = block[order // per_block] * 1024 + order % per_block * request_bytes
    elif name in ("random", "random_rw50"):
        address = rng.integers(0, span // request_bytes, requests) * request_bytes
        if name == "random_rw50":
            write = rng.random(requests) < 0.5
    else:
        raise ValueError(name)
    return address % span, write
