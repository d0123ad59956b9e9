"""The same kernel again, on tensors that lie elsewhere: its records are made once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from simulator.lowering.program import CHUNK_RECORDS
from simulator.trace.record import Records, TensorRange, TracedKernel

Moves = Sequence[tuple[TensorRange, int]]
"""Tensors, and the addresses where they begin instead."""


def kept(kernel: TracedKernel) -> TracedKernel:
    """Return a kernel whose records are held once they are made, if they are no more than a chunk."""
    return replace(kernel, chunks=tuple(kernel.chunks)) if kernel.header.records <= CHUNK_RECORDS else kernel


def moved(kernel: TracedKernel, moves: Moves) -> TracedKernel:
    """Return a kernel that does the same with some tensors elsewhere."""
    return replace(kernel, chunks=_Moved(kernel.chunks, moves))


@dataclass(frozen=True)
class _Moved:
    chunks: Iterable[Records]
    moves: Moves

    def __iter__(self) -> Iterator[Records]:
        for chunk in self.chunks:
            address = chunk.address.copy()
            for tensor, start in self.moves:
                inside = (chunk.address >= tensor.address) & (chunk.address < tensor.address + tensor.bytes)
                address += inside * (start - tensor.address)
            yield replace(chunk, address=address)
