"""What the microbenchmark suite asks of each curve: where its levels lie, and how far off each may be.

Levels are read well inside a cache's capacity, in KiB of working set; capacities are the devices' own (L1 128 KiB on
Volta and Ada, 192 on Ampere, 256 on Hopper, 16 on CDNA 2; L2 as in configs/hardware, of which A100 and H100 keep half
near an SM).
"""

from __future__ import annotations

from dataclasses import dataclass

FAR = float("inf")
LEVEL, KNEE = 0.05, 0.10
LATENCY, BANDWIDTH, STREAM, SMALL, COPY, MI210 = 0.08, 0.08, 0.10, 0.12, 0.12, 0.15
UNSEEN = 0.15


@dataclass(frozen=True)
class Level:
    """A plateau of a curve for low <= x <= high; `tolerance` None: only reported, and used to find knees."""

    name: str
    low: float
    high: float
    tolerance: float | None = LEVEL


@dataclass(frozen=True)
class Target:
    """What is asked of one curve; tolerances are relative, None where there is no target."""

    benchmark: str
    variant: str
    device: str
    curve: float | None
    levels: tuple[Level, ...] = ()
    knee: float | None = None
    unseen: bool = False  # nothing of the device was read off its curves


V100, A100, H100, L40, AMD = "v100-pcie-16gb", "a100-sxm-80gb", "h100-pcie", "l40", "mi210"
A40, GH200, A100_40 = "a40", "gh200", "a100-sxm-40gb"
STREAMS = ("init", "read", "scale", "triad", "3pt", "5pt")
LAUNCHES = ("stream", "graph")


def _latency() -> tuple[Target, ...]:
    levels = {
        V100: (Level("L1", 2, 64), Level("L2", 256, 4096), Level("DRAM", 20_000, FAR)),
        A100: (
            Level("L1", 2, 96),
            Level("near L2", 384, 16_384),
            Level("far L2", 25_000, 39_000, None),
            Level("DRAM", 120_000, FAR),
        ),
        H100: (
            Level("L1", 2, 128),
            Level("near L2", 512, 18_000),
            Level("far L2", 32_000, 48_000, None),
            Level("DRAM", 120_000, FAR),
        ),
        L40: (Level("L1", 2, 64), Level("L2", 200, 32_768), Level("DRAM", 140_000, FAR)),
        AMD: (Level("L1", 2, 12, None), Level("L2", 64, 2048, None), Level("DRAM", 16_384, 65_536, None)),
    }
    return tuple(
        Target(
            benchmark="latency",
            variant="64 B nodes" if device == H100 else "128 B nodes",
            device=device,
            curve=MI210 if device == AMD else LATENCY,
            levels=those,
            knee=None if device == AMD else KNEE,
        )
        for device, those in levels.items()
    )


def _bandwidth() -> tuple[Target, ...]:
    same = {
        V100: (Level("L1", 4, 96, None), Level("L2", 400, 4600), Level("DRAM", 16_000, FAR)),
        A100: (Level("L1", 4, 128, None), Level("L2", 600, 18_000), Level("DRAM", 36_000, FAR)),
        H100: (Level("L1", 4, 192, None), Level("L2", 500, 18_000), Level("DRAM", 31_000, FAR)),
        L40: (Level("L1", 4, 90, None), Level("L2", 500, 80_000)),  # measured up to 1.4 times L2, without a fall
        AMD: (Level("L1", 4, 16, None), Level("L2", 96, 4600, None), Level("DRAM", 30_000, FAR, None)),
    }
    shared = {
        A100: (Level("L2", 1536, 25_600), Level("DRAM", 70_000, FAR)),
        H100: (Level("L2", 1024, 36_000), Level("DRAM", 76_000, FAR)),
        L40: (Level("L2", 1536, 92_000), Level("DRAM", 140_000, FAR)),
        AMD: (Level("L2", 1536, 6500, None), Level("DRAM", 80_000, FAR, None)),
    }
    return tuple(
        Target("bandwidth", variant, device, None if device == AMD else BANDWIDTH, levels)
        for variant, table in (("per_sm_same_buffer", same), ("shared_total", shared))
        for device, levels in table.items()
    )


def _stream() -> tuple[Target, ...]:
    return tuple(
        Target("stream", kind, device, None if device == AMD else STREAM)
        for device in (V100, A100, H100, L40, AMD)
        for kind in STREAMS
    )


def _small_kernels() -> tuple[Target, ...]:
    return tuple(
        Target("small-kernels", mode, device, None if device == AMD else SMALL)
        for device in (A100, L40, AMD)
        for mode in LAUNCHES
    )


def _copy() -> tuple[Target, ...]:
    """The copies of the Quadro's host stand under the V100 that has this host: the card takes no part but its link."""
    quadro = "v100-sxm-32gb"
    return (
        Target("copy", "h2d pinned", V100, COPY),
        *(
            Target("copy", f"{way} {memory}", quadro, COPY)
            for way in ("h2d", "d2h")
            for memory in ("pinned", "pageable")
        ),
    )


def _unseen() -> tuple[Target, ...]:
    """Devices that are predicted from data sheets and other devices; their curves were looked at afterwards."""
    a40 = (Level("L1", 4, 90, UNSEEN), Level("L2", 500, 4600, UNSEEN), Level("DRAM", 60_000, FAR, UNSEEN))
    gh200 = (Level("L2", 4096, 36_000, UNSEEN), Level("DRAM", 90_000, FAR, UNSEEN))
    chase = (
        Level("L1", 2, 96, UNSEEN),
        Level("near L2", 384, 16_384, UNSEEN),
        Level("far L2", 25_000, 39_000, None),
        Level("DRAM", 120_000, FAR, UNSEEN),
    )
    return (
        Target("latency", "64 B nodes", A100_40, UNSEEN, chase, UNSEEN, unseen=True),
        Target("bandwidth", "per_sm_same_buffer", A40, UNSEEN, a40, unseen=True),
        Target("bandwidth", "shared_total", GH200, UNSEEN, gh200, UNSEEN, unseen=True),
        *(
            Target(benchmark, variant, device, UNSEEN, unseen=True)
            for benchmark, variants in (("stream", STREAMS), ("small-kernels", LAUNCHES))
            for device in (A40, GH200)
            for variant in variants
        ),
    )


TARGETS = (*_latency(), *_bandwidth(), *_stream(), *_small_kernels(), *_copy(), *_unseen())
"""Every curve of the suite, in the order of the report."""
