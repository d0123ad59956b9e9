"""A bench for the core: small devices, hand-written kernels, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator import hardware
from simulator.core import counter
from simulator.hardware import Hardware
from simulator.memory import Device
from simulator.trace.record import COLUMNS, Hint, KernelHeader, Op, Records, TracedKernel

FUNCTIONAL = (
    "READ_SECTOR_HITS",
    "READ_SECTOR_MISSES",
    "WRITE_SECTOR_HITS",
    "WRITE_SECTOR_MISSES",
    "WRITEBACK_SECTORS",
    "DRAM_READ_BYTES",
    "DRAM_WRITE_BYTES",
)
"""Counters that depend on the order of the accesses alone, not on time."""

ONE_CTA = {"sm.count": 1, "sm.ctas": 1}


class Access(NamedTuple):
    """One record as a test writes it."""

    address: int
    size: int = 32
    op: Op = Op.READ
    cycles: int = 0
    barrier: bool = False
    rows: int = 1
    stride: int = 0
    hint: Hint = Hint.NORMAL
    through_l1: bool = False
    joined: bool = False


@cache
def small(overrides: tuple[str, ...]) -> Hardware:
    """Return an H100 with keys of it changed."""
    return hardware.load("h100-sxm", overrides).spec


def device(changes: dict[str, object] | None = None, grouped: bool = True, seed: int = 0) -> Device:
    """Return an idle device: an H100 of one L2 partition with `changes` by key path."""
    changes = {"l2.partitions": 1} | (changes or {})
    overrides = tuple(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in changes.items()
    )
    return Device(small(overrides), seed, grouped)


def cache_of(sets: int, ways: int, **more: object) -> dict[str, object]:
    """Return the changes that make L2 `sets` x `ways` lines of 128 bytes in one partition, with one CTA at a time."""
    return (
        ONE_CTA
        | {"l2.ways": ways, "l2.size": f"{sets * ways * 128} B"}
        | {key.replace("__", "."): value for key, value in more.items()}
    )


def records(ctas: Sequence[Sequence[Access]], first: int = 0) -> Records:
    """Return the records of CTAs numbered from `first` on."""
    flags = ("barrier", "hint", "through_l1", "joined")
    rows = [
        (0, first + cta, a.op, a.address, a.rows, a.size, a.stride, a.cycles, *(int(getattr(a, f)) for f in flags))
        for cta, accesses in enumerate(ctas)
        for a in accesses
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in COLUMNS)
    return Records.of(len(rows), **{name: np.array(column) for name, column in zip(COLUMNS, columns, strict=True)})


def kernel(
    *ctas: Sequence[Access], name: str = "bench", stages: int = 4, chunk: int | None = None, flops: int = 0
) -> TracedKernel:
    """Return a kernel of the CTAs given, handed over in chunks of `chunk` CTAs (all at once when None)."""
    chunk = chunk or max(1, len(ctas))
    chunks = tuple(records(ctas[i : i + chunk], i) for i in range(0, len(ctas), chunk))
    return TracedKernel(header(chunks, len(ctas), name, stages, flops), chunks)


def header(
    chunks: Iterable[Records], requesters: int, name: str = "bench", stages: int = 4, flops: int = 0
) -> KernelHeader:
    """Return the header of a kernel of one warp per CTA that needs nothing else of its SM."""
    return KernelHeader(
        name=name,
        operator="",
        layer=-1,
        step=0,
        requesters=requesters,
        threads=32,
        shared_bytes=0,
        registers=0,
        stages=stages,
        flops=flops,
        records=sum(len(part) for part in chunks),
        read_bytes=0,
        write_bytes=0,
    )


class Ran(NamedTuple):
    """When a kernel ended (ps), and its counters by name."""

    end_ps: int
    counters: dict[str, int]

    def functional(self) -> dict[str, int]:
        """Return the counters that do not depend on time."""
        return {name: self.counters[name] for name in FUNCTIONAL}


def named(counters: NDArray[np.int64]) -> dict[str, int]:
    """Return the counters by name, without the histograms."""
    return {name: int(counters[index]) for name, index in counter.SINGLE.items()}


def run(on: Device, what: TracedKernel, now: int = 0) -> Ran:
    """Run one kernel from `now` to its end."""
    slot = on.launch(what)
    end, ended = on.advance(now)
    assert ended == slot
    return Ran(end, named(on.retire(slot)))


def run_all(on: Device, kernels: Iterable[TracedKernel]) -> Ran:
    """Run kernels one after the other; return the last end and the sums of the counters."""
    now, total = 0, dict.fromkeys(counter.SINGLE, 0)
    for what in kernels:
        ran = run(on, what, now)
        now = ran.end_ps
        total = {name: total[name] + ran.counters[name] for name in total}
    return Ran(now, total)
