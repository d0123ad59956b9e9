"""How local the accesses of a trace are: reuse distances, miss-ratio curves, working sets, density and sharing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from simulator.analysis.density import Density, DensityCounter
from simulator.analysis.order import Ctas, Order, Program, interleaved
from simulator.analysis.reuse import WINDOWS, Counted, ReuseCounter
from simulator.analysis.sampled import SampledKernel
from simulator.analysis.working_set import mean_working_set
from simulator.core.reuse_count import ORIGINS, Space, bin_edges
from simulator.core.reuse_stack import MAX_SHIFT
from simulator.errors import TraceError
from simulator.trace.info import UNKNOWN_CLASS
from simulator.trace.metadata import MAX_KERNELS
from simulator.trace.record import TensorRange, TracedKernel, TraceHeader

SECTOR_BYTES, LINE_BYTES, TILE_BYTES = 32, 128, 4096
UNITS = {"sector": SECTOR_BYTES, "line": LINE_BYTES, "tile": TILE_BYTES}

MOST_CLASSES = 64
OTHER = "other"
"""Kernel or tensor class of whatever comes after MOST_CLASSES of them."""

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Sharing:
    """Accesses by who had touched the unit last: nobody, the same CTA, another CTA of the same kernel on the same SM or
    on another one, an earlier kernel."""

    first_touches: int
    same_cta: int
    same_sm: int
    other_sm: int
    other_kernel: int


@dataclass(frozen=True)
class ClassReuse:
    """Reuse of one tensor class by one kernel class (None: by all, of all).

    `distance_bytes` are the beginnings of the bins that hold anything, `distance_accesses` the accesses in them.
    """

    kernel_class: str | None
    tensor_class: str | None
    accesses: int
    sharing: Sharing
    distance_bytes: tuple[int, ...]
    distance_accesses: tuple[int, ...]


@dataclass(frozen=True)
class MissRatioCurve:
    """Miss ratio of a fully associative LRU cache by its capacity: `miss_ratio[i]` holds from `capacity_bytes[i]` to
    the next.

    `standard_error` is None where all of the trace was looked at.  Below `resolution_bytes` a sample tells nothing: it
    takes all of a page that it looks at to be apart from the next such page.
    """

    capacity_bytes: Int64Array
    miss_ratio: NDArray[np.float64]
    standard_error: NDArray[np.float64] | None
    resolution_bytes: int

    def at(self, capacity_bytes: int) -> float:
        """Return the miss ratio of a cache of `capacity_bytes`."""
        place = np.searchsorted(self.capacity_bytes, capacity_bytes, side="right") - 1
        return float(self.miss_ratio[place])


@dataclass(frozen=True)
class WorkingSet:
    """`mean_bytes` touched in windows of `window_bytes` accessed, on average; and of the windows that begin after
    `start_bytes`, one after the other, the bytes touched and those of them touched for the first time."""

    window_bytes: tuple[int, ...]
    mean_bytes: tuple[float, ...]
    start_bytes: tuple[int, ...]
    touched_bytes: tuple[int, ...]
    new_bytes: tuple[int, ...]


@dataclass(frozen=True)
class Flow:
    """Bytes that a kernel class touched after an earlier kernel, of class `source`, had."""

    source: str
    target: str
    bytes: int


@dataclass(frozen=True)
class Reuse:
    """Everything at one granularity."""

    granularity: str
    unit_bytes: int
    accesses: int
    footprint_bytes: int
    sampling_rate: float  # part of the pages looked at; 1: all
    curve: MissRatioCurve
    classes: tuple[ClassReuse, ...]  # the whole, each tensor class, each kernel class, each pair
    working_set: WorkingSet
    flows: tuple[Flow, ...]

    def of(self, kernel_class: str | None = None, tensor_class: str | None = None) -> ClassReuse:
        """Return the reuse of one class; raises KeyError where there is none."""
        for entry in self.classes:
            if (entry.kernel_class, entry.tensor_class) == (kernel_class, tensor_class):
                return entry
        raise KeyError((kernel_class, tensor_class))


@dataclass(frozen=True)
class Locality:
    """The locality of a trace: reuse by granularity, and how densely lines are used.

    `order` says in words in which order accesses were taken to happen.
    """

    order: str
    kernel: str | None  # only kernels that match, as if nothing else ran
    kernels: int
    records: int
    reuse: tuple[Reuse, ...]
    density: Density

    def at(self, granularity: str) -> Reuse:
        """Return the reuse at a granularity; raises KeyError where it was not asked for."""
        return {entry.granularity: entry for entry in self.reuse}[granularity]


def locality(
    header: TraceHeader,
    kernels: Iterable[TracedKernel],
    order: Order,
    units: dict[str, int] | None = None,
    total_bytes: int = 0,
    rate: float | None = None,
    kernel: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Locality:
    """Return the locality of kernels in one pass over their records.

    `units` are the granularities by name, in bytes (powers of two).  `rate` 1 looks at all of the trace, a smaller one
    at that part of its pages (rounded to a power of two); None at all of it until that takes too long or too much.
    `total_bytes` that will be accessed, if known, are cut into windows of time.  `kernel` picks kernels by name or
    operator, with * and ?.  `progress` is told of records done.  Raises TraceError where no kernel matches or nothing
    is accessed.
    """
    units = units or UNITS
    counting = _Counting(tensor_space(header.tensors), units, total_bytes, rate, progress)
    for traced in _chosen(kernels, kernel):
        counting.add(traced, order)
    if not counting.records:
        raise TraceError("the trace holds no records; write at least one row")
    kernel_names, tensor_names = counting.kernel_classes.names, counting.tensor_names
    reuse = tuple(
        _reuse(name, counter.finish(), kernel_names, tensor_names)
        for name, counter in zip(units, counting.counters, strict=True)
    )
    density = counting.density.finish(kernel_names, tensor_names)
    return Locality(str(order), kernel, counting.launches, counting.records, reuse, density)


class _Counting:
    """The counters of a pass over kernels, one by granularity, each of which may begin to look at a sample of pages."""

    def __init__(
        self,
        space: tuple[Space, list[str]],
        units: dict[str, int],
        total_bytes: int,
        rate: float | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.space, self.tensor_names = space
        self.kernel_classes = _Names()
        shift = 0 if rate is None else min(MAX_SHIFT, max(0, round(-np.log2(rate))))
        window_bytes = -(-total_bytes // WINDOWS) or 1 << 60
        kinds = MOST_CLASSES, len(self.tensor_names)
        self.counters = [
            ReuseCounter(size, self.space, *kinds, window_bytes, shift, rate is None) for size in units.values()
        ]
        self.density = DensityCounter(self.space, *kinds)
        self.launches = self.records = 0
        self._progress = progress

    def add(self, traced: TracedKernel, order: Order) -> None:
        """Count the accesses of the next kernel."""
        its = self.kernel_classes.number(traced.header.operator or traced.header.name)
        launch = self.launches % MAX_KERNELS
        self.space.launches[launch] = its
        exact = [counter for counter in self.counters if counter.shift == 0]
        sampled = [
            SampledKernel(counter, order.resident(traced), order.sms, launch, its)
            for counter in self.counters
            if counter.shift
        ]
        for runs in interleaved(traced, self.launches, order, self._programs(traced, its, sampled)):
            for counter in exact:
                counter.add(runs, its)
        for part in sampled:
            part.finish()
        self.launches += 1

    def _programs(self, traced: TracedKernel, its: int, sampled: Sequence[SampledKernel]) -> Iterator[Program]:
        """Yield the records of a kernel for the counters that look at all of it, having shown them to the others."""
        for chunk in traced.chunks:
            if not len(chunk):
                continue
            ctas = Ctas.of(chunk)
            shift = max(counter.shift for counter in self.counters)
            if shift:
                self.density.sample(chunk, ctas, its, shift)
            for part in sampled:
                part.add(chunk, ctas)
            if len(sampled) < len(self.counters):
                program = Program.of(chunk, ctas)
                if not shift:
                    self.density.add(program, its)
                yield program
            self.records += len(chunk)
            if self._progress:
                self._progress(len(chunk))


class _Names:
    """Numbers for names as they come; those after MOST_CLASSES share the last."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def number(self, name: str) -> int:
        if name not in self.names and len(self.names) < MOST_CLASSES:
            self.names.append(name if len(self.names) < MOST_CLASSES - 1 else OTHER)
        return self.names.index(name) if name in self.names else MOST_CLASSES - 1


def tensor_space(tensors: Sequence[TensorRange]) -> tuple[Space, list[str]]:
    """Return the address space in segments of one tensor class, and the names of the classes."""
    names = [UNKNOWN_CLASS, *sorted({tensor.tensor_class for tensor in tensors} - {UNKNOWN_CLASS})]
    if len(names) > MOST_CLASSES:
        names = [*names[: MOST_CLASSES - 1], OTHER]
    ends = [end for tensor in tensors for end in (tensor.address, tensor.address + tensor.bytes)]
    bounds = np.unique(np.array([0, *ends], np.int64))
    classes = np.zeros(len(bounds), np.int64)
    for tensor in reversed(tensors):  # where tensors overlap, the first one named counts
        first, last = np.searchsorted(bounds, (tensor.address, tensor.address + tensor.bytes))
        known = tensor.tensor_class in names
        classes[first:last] = names.index(tensor.tensor_class) if known else len(names) - 1
    return Space(bounds, classes, np.zeros(MAX_KERNELS, np.int64)), names


def _chosen(kernels: Iterable[TracedKernel], pattern: str | None) -> Iterator[TracedKernel]:
    """Yield the kernels whose name, or its first words, or operator matches; raises TraceError when none does."""
    patterns = () if pattern is None else (pattern, f"{pattern} *")
    seen: dict[str, None] = {}
    found = False
    for traced in kernels:
        header = traced.header
        if pattern is None or any(fnmatchcase(name, p) for name in (header.name, header.operator) for p in patterns):
            found = True
            yield traced
        seen |= dict.fromkeys((header.operator, header.name))
    if pattern is not None and not found:
        names = [name for name in seen if name]
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise TraceError(f"no kernel {pattern!r}; name one of {shown}, or a pattern such as 'gemm*'")


def _reuse(granularity: str, counted: Counted, kernel_names: list[str], tensor_names: list[str]) -> Reuse:
    unit = counted.unit_bytes
    footprint = counted.first_touches
    windows, mean = mean_working_set(counted.gaps, counted.accesses, footprint)
    start, touched, new = (column * unit for column in counted.windows.T)
    flows = [
        Flow(kernel_names[source], kernel_names[target], int(counted.flows[source, target]) * unit)
        for source, target in zip(*np.nonzero(counted.flows), strict=True)
    ]
    return Reuse(
        granularity=granularity,
        unit_bytes=unit,
        accesses=counted.accesses,
        footprint_bytes=footprint * unit,
        sampling_rate=counted.rate,
        curve=_curve(counted),
        classes=tuple(_classes(counted, kernel_names, tensor_names)),
        working_set=WorkingSet(
            tuple((windows * unit).tolist()),
            tuple((mean * unit).tolist()),
            tuple(start.tolist()),
            tuple(touched.tolist()),
            tuple(new.tolist()),
        ),
        flows=tuple(sorted(flows, key=lambda flow: -flow.bytes)),
    )


def _curve(counted: Counted) -> MissRatioCurve:
    capacities, misses = counted.misses()
    ratio = np.minimum(1, misses / counted.accesses)
    size = capacities * counted.unit_bytes
    return MissRatioCurve(size, ratio, counted.miss_error(capacities), counted.resolution_bytes)


def _classes(counted: Counted, kernel_names: list[str], tensor_names: list[str]) -> Iterator[ClassReuse]:
    """Yield the whole, each tensor class, each kernel class and each pair of them that has accesses."""
    kernels: list[int | None] = [None, *range(len(kernel_names))]
    tensors: list[int | None] = [None, *range(len(tensor_names))]
    edges = bin_edges() * counted.unit_bytes
    for kernel in kernels:
        for tensor in tensors:
            place = (slice(None) if kernel is None else [kernel], slice(None) if tensor is None else [tensor])
            origins = counted.origins[place].reshape(-1, ORIGINS).sum(axis=0)
            if origins.any():
                distances = counted.distances[place].reshape(-1, len(edges)).sum(axis=0)
                used = np.flatnonzero(distances)
                yield ClassReuse(
                    kernel_class=None if kernel is None else kernel_names[kernel],
                    tensor_class=None if tensor is None else tensor_names[tensor],
                    accesses=int(origins.sum()),
                    sharing=Sharing(*origins.tolist()),
                    distance_bytes=tuple(edges[used].tolist()),
                    distance_accesses=tuple(distances[used].tolist()),
                )
