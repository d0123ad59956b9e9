"""Changes of a device, or of its kernels, that counterfactuals are made of.

They bypass the checks of a description on purpose: a latency of zero is no device, but a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simulator.hardware import Hardware
from simulator.trace.record import Records, TracedKernel

UNLIMITED_BYTES = 1 << 30
UNLIMITED_MSHRS = 1 << 20


def changed(hardware: Hardware, part: str, **values: Any) -> Hardware:
    """Return a device with keys of one of its parts replaced, such as those of `hbm`."""
    return hardware.model_copy(update={part: getattr(hardware, part).model_copy(update=values)})


def scaled(hardware: Hardware, part: str, factor: float, *keys: str) -> Hardware:
    """Return a device with integer keys of one of its parts multiplied, and rounded."""
    its = getattr(hardware, part)
    return changed(hardware, part, **{key: round(getattr(its, key) * factor) for key in keys})


def no_launch(hardware: Hardware) -> Hardware:
    """Return a device whose kernels follow each other at once."""
    return changed(hardware, "launch", graph_ps=0, stream_ps=0, replay_tick_ps=None)


def no_limits(hardware: Hardware) -> Hardware:
    """Return a device without limits of bytes in flight per SM or of misses on their way."""
    unlimited = changed(hardware, "sm", outstanding_bytes=UNLIMITED_BYTES)
    return changed(unlimited, "l2", mshrs=UNLIMITED_MSHRS)


def computing(kernel: TracedKernel, share: float) -> TracedKernel:
    """Return a kernel whose CTAs compute for `share` of their time."""
    return replace(kernel, chunks=_Scaled(kernel.chunks, share))


def starting(kernel: TracedKernel, share: float) -> TracedKernel:
    """Return a kernel whose CTAs take `share` of their prologue, and of what the first at each place take on top."""
    header = kernel.header
    prologue_ps, warmup_ps = int(header.prologue_ps * share), int(header.warmup_ps * share)
    header = replace(header, prologue_ps=prologue_ps, warmup_ps=warmup_ps)
    return replace(kernel, header=header)


class _Scaled:
    """Chunks of records whose compute cycles are multiplied by `share`."""

    def __init__(self, chunks: Iterable[Records], share: float) -> None:
        self._chunks, self._share = chunks, share

    def __iter__(self) -> Iterator[Records]:
        for chunk in self._chunks:
            cycles = np.rint(chunk.compute_cycles * self._share).astype(chunk.compute_cycles.dtype)
            yield replace(chunk, compute_cycles=cycles)
