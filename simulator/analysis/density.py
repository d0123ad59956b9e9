"""How densely lines are used, and in which strides CTAs walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.analysis.order import Ctas, Program
from simulator.core import spatial
from simulator.core.reuse_count import Space
from simulator.core.spatial import LINE_SECTORS, STRIDE_BINS, count_spatial
from simulator.trace.record import Records


@dataclass(frozen=True)
class LineUse:
    """Lines that runs of bytes touched, by how many of their sectors each time: `lines[i]` with i + 1 sectors."""

    kernel_class: str
    tensor_class: str
    lines: tuple[int, ...]

    @property
    def sectors_per_line(self) -> float:
        """Mean sectors used of a line touched."""
        return sum((i + 1) * count for i, count in enumerate(self.lines)) / sum(self.lines)


@dataclass(frozen=True)
class Stride:
    """Steps between consecutive runs of one CTA in one tensor class.

    `kind` is "sequential" (begins where the one before ended), "same" (begins where it began), "forward" or
    "backward", the last two by less than `below_bytes`.
    """

    tensor_class: str
    kind: str
    below_bytes: int | None
    steps: int


@dataclass(frozen=True)
class Density:
    """Use of lines by kernel class and tensor class, and strides by tensor class."""

    line_use: tuple[LineUse, ...]
    strides: tuple[Stride, ...]


class DensityCounter:
    """Takes the records of CTAs; of a trace that is sampled at 1 / 2^shift, those of one CTA in 2^shift."""

    def __init__(self, space: Space, kernel_classes: int, tensor_classes: int) -> None:
        self._space = space
        self._classes = (kernel_classes, tensor_classes)
        self._last = np.zeros(tensor_classes * 2, np.int64)
        self._touched = np.zeros(kernel_classes * tensor_classes * (LINE_SECTORS + 1), np.int64)
        self._strides = np.zeros(tensor_classes * STRIDE_BINS, np.int64)
        self._ctas = 0

    def add(self, program: Program, kernel_class: int) -> None:
        """Count the records of some CTAs of a kernel."""
        count_spatial(
            program.words,
            program.ctas.starts,
            self._space,
            kernel_class,
            self._classes[1],
            self._last,
            self._touched,
            self._strides,
        )

    def sample(self, chunk: Records, ctas: Ctas, kernel_class: int, shift: int) -> None:
        """Count the records of one in 2^shift of some CTAs of a kernel."""
        chosen = ctas.one_in(chunk, 1 << shift, self._ctas)
        self._ctas += len(ctas.requesters)
        if chosen is not None:
            self.add(Program.of(*chosen), kernel_class)

    def finish(self, kernel_names: Sequence[str], tensor_names: Sequence[str]) -> Density:
        """Return what was counted."""
        touched = self._touched.reshape(*self._classes, LINE_SECTORS + 1)[:, :, 1:]
        use = [
            LineUse(kernel, tensor, tuple(touched[i, j].tolist()))
            for i, kernel in enumerate(kernel_names)
            for j, tensor in enumerate(tensor_names)
            if touched[i, j].any()
        ]
        strides = self._strides.reshape(-1, STRIDE_BINS)
        return Density(
            tuple(use),
            tuple(
                Stride(tensor, *_meaning(place), int(strides[j, place]))
                for j, tensor in enumerate(tensor_names)
                for place in np.flatnonzero(strides[j]).tolist()
            ),
        )


def _meaning(place: int) -> tuple[str, int | None]:
    """Return kind and bound of a bin of strides."""
    if place == spatial.SEQUENTIAL:
        return "sequential", None
    if place == spatial.SAME:
        return "same", None
    if place < spatial.BACKWARD:
        return "forward", 1 << (place - spatial.FORWARD)
    return "backward", 1 << (place - spatial.BACKWARD)
