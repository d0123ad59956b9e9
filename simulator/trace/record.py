"""The one record type of every trace, generated or imported, and the tables that describe its kernels and tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Op(IntEnum):
    """What a record does with its bytes."""

    READ = 0
    WRITE = 1
    REDUCE = 2  # read-modify-write in L2 (atomic or bulk reduction)
    PREFETCH = 3  # fills L2; nobody waits for it


class Hint(IntEnum):
    """How L2 is to treat the lines of a record (PTX ISA, cache eviction priorities)."""

    NORMAL = 0
    EVICT_FIRST = 1  # next to be replaced
    EVICT_LAST = 2  # replaced after all others, as far as the persisting set-aside goes
    NO_ALLOCATE = 3  # not kept


@dataclass(frozen=True, slots=True)
class Records:
    """A run of records as columns of one length n.

    A requester (a CTA) issues its records in order.  Record i touches `rows` runs of `row_bytes` bytes, the first at
    `address`, each `row_stride` bytes after the one before; once its bytes are there, the requester computes for
    `compute_cycles` SM cycles and so frees the buffer.  With `barrier` set, the record waits until all earlier ones
    of its requester have arrived and been computed on.  `hint` is a Hint; with `through_l1`, a read looks into the
    SM's L1 first, as plain loads do (asynchronous copies do not).  A `joined` record is issued at once with the one
    before it and shares its buffer, as the lanes of one warp instruction do; such that read on from one another in
    whole lines are one request.
    """

    kernel: NDArray[np.int32]
    requester: NDArray[np.int32]
    op: NDArray[np.uint8]
    address: NDArray[np.int64]
    rows: NDArray[np.int32]
    row_bytes: NDArray[np.int32]
    row_stride: NDArray[np.int64]
    compute_cycles: NDArray[np.int32]
    barrier: NDArray[np.uint8]
    hint: NDArray[np.uint8]
    through_l1: NDArray[np.uint8]
    joined: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.address)

    def __getitem__(self, part: slice | NDArray[Any]) -> Records:
        return Records(**{name: getattr(self, name)[part] for name in COLUMNS})

    @staticmethod
    def of(count: int, **columns: NDArray[Any]) -> Records:
        """Return `count` records from some columns, the others at their defaults."""
        columns = {name: np.full(count, DEFAULTS[name]) for name in COLUMNS if name not in columns} | columns
        return Records(**{name: columns[name].astype(kind, copy=False) for name, kind in COLUMNS.items()})

    @staticmethod
    def concatenate(parts: Iterable[Records]) -> Records:
        """Return the parts one after the other."""
        parts = list(parts)
        return Records(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS})


COLUMNS: dict[str, type[np.generic]] = {
    "kernel": np.int32,
    "requester": np.int32,
    "op": np.uint8,
    "address": np.int64,
    "rows": np.int32,
    "row_bytes": np.int32,
    "row_stride": np.int64,
    "compute_cycles": np.int32,
    "barrier": np.uint8,
    "hint": np.uint8,
    "through_l1": np.uint8,
    "joined": np.uint8,
}

DEFAULTS = {
    "kernel": 0,
    "requester": 0,
    "op": int(Op.READ),
    "rows": 1,
    "row_bytes": 32,
    "row_stride": 0,
    "compute_cycles": 0,
    "barrier": 0,
    "hint": int(Hint.NORMAL),
    "through_l1": 0,
    "joined": 0,
}
"""Values of the columns that may be left out."""


@dataclass(frozen=True, slots=True)
class KernelHeader:
    """One kernel launch: its shape, what it needs of an SM, and what it has to wait for.

    `requesters` CTAs of `threads` threads run `stages` record buffers deep; `shared_bytes` and `registers` (per
    thread) bound how many fit an SM.  `read_bytes` and `write_bytes` are what its records ask of L2.  `layer` is -1
    outside the repeated layers, `step` counts the passes of the run, `after` lists the kernels (by index in the run)
    that must have ended; None stands for the one before.  `prologue_ps` is what each CTA takes between its placement
    and its first access, beyond the device's own start-up time, and `warmup_ps` what those add to it that come before
    every place on the SMs has had one, as the kernel's code has to be fetched.  `run_bytes` is the length of the runs,
    in the tensors' own layout, that tiles are made of: a DRAM row is opened once a run; 0 where the records' own runs
    tell.  The data bus then stands still for `run_gap_ps` after each run read.
    """

    name: str
    operator: str
    layer: int
    step: int
    requesters: int
    threads: int
    shared_bytes: int
    registers: int
    stages: int
    flops: int
    records: int
    read_bytes: int
    write_bytes: int
    prologue_ps: int = 0
    warmup_ps: int = 0
    run_bytes: int = 0
    run_gap_ps: int = 0
    after: tuple[int, ...] | None = None

    @property
    def signature(self) -> tuple[object, ...]:
        """What makes two launches the same work on other addresses."""
        return (
            self.name,
            self.operator,
            self.requesters,
            self.threads,
            self.shared_bytes,
            self.registers,
            self.stages,
            self.flops,
            self.records,
            self.read_bytes,
            self.write_bytes,
            self.prologue_ps,
            self.warmup_ps,
            self.run_bytes,
            self.run_gap_ps,
        )


@dataclass(frozen=True, slots=True)
class TensorRange:
    """Where a tensor lies: [address, address + bytes) of device memory."""

    name: str
    tensor_class: str
    address: int
    bytes: int


@dataclass(frozen=True)
class TraceHeader:
    """What a trace was made from.  All values are plain JSON types."""

    model: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    workload: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[TensorRange, ...] = ()


@dataclass(frozen=True)
class TracedKernel:
    """A kernel and its records, produced when iterated, in chunks that hold whole requesters in ascending order.

    `index` is its place in the run, by which `after` of other kernels names it; None: its place among those given.
    """

    header: KernelHeader
    chunks: Iterable[Records]
    index: int | None = None
