"""Which layers and steps are replayed, and what stands for those that are not.

Layers of a pass repeat the same work on other addresses.  Once two layers of one kind in a row agree in time and
traffic within TOLERANCE, further layers of that kind are not replayed but counted as the last one.  Steps of a
generation differ by one KV entry per sequence; a few are replayed and the others interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from simulator.core import counter
from simulator.system import KernelRun, StandIn
from simulator.trace.record import KernelHeader, TracedKernel

TOLERANCE = 0.005
"""Relative difference in time and in each kind of traffic below which two layers count as the same."""

REPLAYED_STEPS = 7
"""Decode steps replayed of a longer generation, besides the prefill."""

_COMPARED = (
    counter.READ_SECTOR_HITS,
    counter.READ_SECTOR_MISSES,
    counter.WRITE_SECTOR_HITS,
    counter.WRITE_SECTOR_MISSES,
    counter.DRAM_READ_BYTES,
    counter.SM_READ_BYTES,
)

Signature = tuple[tuple[object, ...], ...]


def sampled_steps(steps: int) -> frozenset[int]:
    """Return the steps to replay of a generation: the first (the prefill), the second, the last, and some between."""
    if steps <= REPLAYED_STEPS + 1:
        return frozenset(range(steps))
    return frozenset([0, *np.linspace(1, steps - 1, REPLAYED_STEPS).round().astype(int).tolist()])


@dataclass
class _OpenLayer:
    signature: Signature
    kernels: int
    runs: list[KernelRun] = field(default_factory=list)


class LayerSampler:
    """Lets through the layers that have to be replayed and keeps what stands for the others in `skipped`; with
    `standing_in` they go through too, each kernel as one that takes its twin's time."""

    def __init__(self, standing_in: bool = False) -> None:
        self._standing_in = standing_in
        self.skipped: list[tuple[KernelHeader, KernelRun]] = []
        self._open: dict[tuple[int, int], _OpenLayer] = {}
        self._last: dict[Signature, list[KernelRun]] = {}
        self._converged: dict[Signature, list[KernelRun]] = {}

    def filter(self, kernels: Iterable[TracedKernel]) -> Iterator[TracedKernel | StandIn]:
        """Yield the kernels to replay; a layer's fate is decided when its first kernel is asked for."""
        for (step, layer), members in groupby(kernels, key=lambda k: (k.header.step, k.header.layer)):
            group = list(members)
            signature = tuple(kernel.header.signature for kernel in group)
            twin = self._converged.get(signature) if layer >= 0 else None
            if twin and self._standing_in:
                for kernel, run in zip(group, twin, strict=True):
                    yield StandIn(kernel.header, run, kernel.index)
                continue
            if twin:
                self.skipped.extend((kernel.header, run) for kernel, run in zip(group, twin, strict=True))
                continue
            self._open[step, layer] = _OpenLayer(signature, len(group))
            yield from group

    def observe(self, run: KernelRun) -> None:
        """Take note of a kernel that has ended."""
        place = (run.header.step, run.header.layer)
        layer = self._open.get(place)
        if layer is None:
            return  # a twin stands for it
        layer.runs.append(run)
        if len(layer.runs) == layer.kernels:
            del self._open[place]
            before = self._last.get(layer.signature)
            if before and _agree(before, layer.runs):
                self._converged[layer.signature] = layer.runs
            self._last[layer.signature] = layer.runs


def _agree(before: list[KernelRun], after: list[KernelRun]) -> bool:
    """Return whether two layers took the same time and moved the same bytes, within TOLERANCE."""
    times = [(sum(run.end_ps - run.ready_ps for run in runs)) for runs in (before, after)]
    totals = [counter.combine(run.counters for run in runs) for runs in (before, after)]
    values = np.array([[time, *total[list(_COMPARED)]] for time, total in zip(times, totals, strict=True)], float)
    difference = np.abs(values[1] - values[0])
    # hits and misses are parts of one whole: a small part may differ by much of itself
    scale = np.array(
        [
            values[0, 0],
            *np.full(2, values[:, 1:3].sum() / 2),
            *np.full(2, values[:, 3:5].sum() / 2),
            values[0, 5],
            values[0, 6],
        ]
    )
    return bool((difference <= TOLERANCE * np.maximum(scale, 1)).all())
