"""Building the records of a kernel: one program per CTA, written down for all CTAs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.lowering.layout import SECTOR_BYTES, Runs
from simulator.trace.record import COLUMNS, KernelHeader, Op, Records, TracedKernel

SHARE_BYTES = 4096
MANY_SHARES = 256
CHUNK_RECORDS = 1 << 17

ADDED = ("requester", "address", "rows", "row_bytes", "row_stride", "compute_cycles", "barrier", "joined", "op")
KINDS = [COLUMNS[name] for name in ADDED[:-1]]


class Stream(NamedTuple):
    """Records of one kind, step after step: what is read, the cycles computed on it, whether it waits for all records
    before it, and whether it is issued together with the one before."""

    runs: Runs
    cycles: ArrayLike
    barrier: ArrayLike = False
    joined: ArrayLike = False


@dataclass
class ProgramBuilder:
    """Records of the same kernel for many CTAs, added step by step and put in CTA order at the end.

    Every `add` appends one record to the program of each CTA named; a CTA's records keep the order of the calls.
    """

    kernel: int
    _parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(
        self,
        requester: ArrayLike,
        op: Op,
        runs: Runs,
        compute_cycles: ArrayLike = 0,
        barrier: ArrayLike = False,
        keep: ArrayLike = True,
        joined: ArrayLike = False,
    ) -> None:
        """Add a record per element; all arguments broadcast to one shape, of which the last axis is program order.

        Elements where `keep` is false are left out.
        """
        columns = (requester, *runs, compute_cycles, barrier, joined)
        shape = np.broadcast_shapes(*(np.shape(column) for column in (*columns, keep)))
        kept = np.asarray(keep, bool) & (np.asarray(runs.rows) > 0) & (np.asarray(runs.row_bytes) > 0)
        places = np.flatnonzero(np.broadcast_to(kept, shape))
        parts = [_taken(column, shape, places, kind) for column, kind in zip(columns, KINDS, strict=True)]
        self._parts.append((*parts, np.full(len(places), int(op), COLUMNS["op"])))

    def add_interleaved(
        self, requester: ArrayLike, op: Op, streams: Iterable[Stream | tuple[Runs, ArrayLike]], keep: ArrayLike
    ) -> None:
        """Add several streams of records of one shape (CTAs, steps): the first record of each, then the second..."""
        whole = [Stream(*stream) for stream in streams]
        stacked = Runs(*(_stacked([stream.runs[i] for stream in whole]) for i in range(4)))
        cycles, barrier, joined = (_stacked([stream[i] for stream in whole]) for i in (1, 2, 3))
        requester = np.asarray(requester, np.int64)[..., None]
        self.add(requester, op, stacked, cycles, barrier, np.asarray(keep, bool)[..., None], joined)

    def records(self) -> Records:
        """Return everything added, by requester and within one in the order added."""
        columns = dict(zip(ADDED, map(np.concatenate, zip(*self._parts, strict=True)), strict=True))
        requester = columns["requester"]
        if np.any(requester[1:] < requester[:-1]):
            order = np.argsort(requester, kind="stable")
            columns = {name: column[order] for name, column in columns.items()}
        return Records.of(len(requester), kernel=np.full(len(requester), self.kernel), **columns)


def _taken(
    column: ArrayLike, shape: tuple[int, ...], places: NDArray[np.int64], kind: type[np.generic]
) -> NDArray[Any]:
    """Return what stands at some places of a column broadcast to `shape`."""
    values = np.asarray(column)
    if values.size == 1:
        return np.full(len(places), values.reshape(()), kind)
    return np.broadcast_to(values, shape).reshape(-1)[places].astype(kind, copy=False)


def _stacked(columns: Sequence[ArrayLike]) -> NDArray[np.int64]:
    """Return columns side by side, along a new last axis."""
    shape = np.broadcast_shapes(*(np.shape(column) for column in columns))
    stacked = np.empty((*shape, len(columns)), np.int64)
    for place, column in enumerate(columns):
        stacked[..., place] = column
    return stacked


@dataclass(frozen=True, slots=True)
class Launch:
    """What a kernel needs of an SM, per CTA."""

    threads: int
    registers: int  # per thread
    shared_bytes: int
    stages: int  # record buffers
    prologue_ps: int = 0  # per CTA, beyond the device's own start-up time
    warmup_ps: int = 0  # on top of it, for the CTAs that are the first at their place
    run_bytes: int = 0  # length of the runs of the tensors' own layout in a tile; 0: as recorded
    run_gap_ps: int = 0  # that DRAM's data bus stands still after each


def traced(
    name: str,
    operator: str,
    layer: int | None,
    step: int,
    launch: Launch,
    flops: int,
    chunks: Iterable[Records],
    requesters: int,
    records: int,
    read_bytes: int,
    write_bytes: int,
) -> TracedKernel:
    """Return a kernel whose totals are known and whose records are made when wanted."""
    header = KernelHeader(
        name=name,
        operator=operator,
        layer=-1 if layer is None else layer,
        step=step,
        requesters=requesters,
        threads=launch.threads,
        shared_bytes=launch.shared_bytes,
        registers=launch.registers,
        stages=launch.stages,
        flops=flops,
        records=records,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        prologue_ps=launch.prologue_ps,
        warmup_ps=launch.warmup_ps,
        run_bytes=launch.run_bytes,
        run_gap_ps=launch.run_gap_ps,
    )
    return TracedKernel(header, chunks)


def traced_whole(
    name: str, operator: str, layer: int | None, step: int, launch: Launch, flops: int, records: Records
) -> TracedKernel:
    """Return a kernel from all of its records."""
    requesters = int(records.requester[-1]) + 1 if len(records) else 0
    read_bytes, write_bytes = _moved(records)
    return traced(
        name, operator, layer, step, launch, flops, (records,), requesters, len(records), read_bytes, write_bytes
    )


def traced_parts(
    name: str,
    operator: str,
    layer: int | None,
    step: int,
    launch: Launch,
    flops: int,
    ctas: int,
    cta_records: int,
    make: Callable[[NDArray[np.int64]], Records],
) -> TracedKernel:
    """Return a kernel whose records `make` makes for some CTAs at a time; one of many records is made twice, first to
    be counted, so that it is never held whole.  `cta_records` is the most a CTA may have."""
    parts = _Parts(make, ctas, max(1, CHUNK_RECORDS // cta_records))
    if ctas <= parts.size:
        return traced_whole(name, operator, layer, step, launch, flops, make(np.arange(ctas)))
    totals = np.sum([(len(part), *_moved(part)) for part in parts], axis=0)
    return traced(name, operator, layer, step, launch, flops, parts, ctas, *(int(total) for total in totals))


def _moved(records: Records) -> tuple[int, int]:
    """Return the bytes read and written."""
    size = records.rows.astype(np.int64) * records.row_bytes
    writing = (records.op == Op.WRITE) | (records.op == Op.REDUCE)
    return int(size[records.op == Op.READ].sum()), int(size[writing].sum())


@dataclass(frozen=True)
class _Parts:
    make: Callable[[NDArray[np.int64]], Records]
    ctas: int
    size: int

    def __iter__(self) -> Iterator[Records]:
        for first in range(0, self.ctas, self.size):
            yield self.make(np.arange(first, min(first + self.size, self.ctas)))


def contiguous(address: ArrayLike, size: ArrayLike) -> Runs:
    """Return runs of `size` bytes, one a record."""
    address, size = np.broadcast_arrays(np.asarray(address, np.int64), np.asarray(size, np.int64))
    return Runs(address, np.ones_like(address), size, np.zeros_like(address))


def shares(base: int, total: int, parts: int, alike: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return address and size of each of `parts` contiguous shares of `total` bytes from `base` on: whole units of
    4 KiB where there are enough of them, `alike` such totals being shared out at once, to keep all SMs busy, whole
    sectors otherwise."""
    granule = SHARE_BYTES if total * alike >= MANY_SHARES * SHARE_BYTES else SECTOR_BYTES
    bounds = np.arange(parts + 1, dtype=np.int64) * total // parts
    bounds = np.minimum(-(-bounds // granule) * granule, total)
    return base + bounds[:-1], np.diff(bounds)
