"""Where tensors lie in device memory, and in which order their bytes are stored.

A matrix is stored in *panels*: vertical strips of 128 bytes, each holding its rows one after the other.  This
relabels the lines of the row-major matrix that a real kernel reads, one for one, so that a tile (some rows of some
panels) is a few long runs.  Nothing is lost by it where caches and channels hash their addresses, as GPUs do; what is
idealised is said in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.trace.record import TensorRange
from simulator.workload import Tensor

PANEL_BYTES = 128
SECTOR_BYTES = 32
ALIGNMENT = 2 << 20
"""Tensors start on 2-MiB pages, as large device allocations do."""

GROUP_ROWS = 32
"""Rows of a panel that share a tag in the core as long as they are touched together (see core/line_groups.py)."""

SMALL_ALIGNMENT = 64 << 10
GUARD_BYTES = 64 << 10
"""Left free after each tensor: a row that is not whole sectors is padded, which its size does not count."""

FIRST_ADDRESS = 1 << 32


class Runs(NamedTuple):
    """Tiles as `rows` runs of `row_bytes`, `row_stride` apart, the first at `address`; arrays of one shape."""

    address: NDArray[np.int64]
    rows: NDArray[np.int64]
    row_bytes: NDArray[np.int64]
    row_stride: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A stored matrix of `rows` rows of `row_bytes` bytes, in panels of `panel_bytes`.

    `row_step` and `row_offset` select every row_step-th stored row from row_offset on (the last tokens of a batch).
    A panel takes up `pitch_rows` rows, which need not all hold data (0: as many as are stored).
    """

    address: int
    rows: int
    row_bytes: int
    panel_bytes: int
    row_step: int = 1
    row_offset: int = 0
    pitch_rows: int = 0

    def tile(self, row: ArrayLike, rows: ArrayLike, byte: ArrayLike, size: ArrayLike) -> Runs:
        """Return rows [row, row + rows) of columns [byte, byte + size) in bytes; `byte` and `size` whole panels.

        Arguments broadcast together.  Rows of a strided selection are runs of their own, so only a panel at a time
        may then be asked for.
        """
        row, rows, byte, size = np.broadcast_arrays(*(np.asarray(x, np.int64) for x in (row, rows, byte, size)))
        panel = byte // self.panel_bytes
        panels = -(-size // self.panel_bytes)
        stored_rows = self.pitch_rows or self.rows * self.row_step
        start = self.address + panel * stored_rows * self.panel_bytes
        if self.row_step > 1:
            start = start + (row * self.row_step + self.row_offset) * self.panel_bytes
            stride = np.full_like(row, self.row_step * self.panel_bytes)
            return Runs(start, rows * panels, np.full_like(row, self.panel_bytes), stride)
        whole = (rows == stored_rows) & (panels > 1)  # all rows of neighbouring panels are one run
        run = rows * self.panel_bytes
        return Runs(
            start + row * self.panel_bytes,
            np.where(whole, 1, panels),
            np.where(whole, run * panels, run),
            np.full_like(row, stored_rows * self.panel_bytes),
        )


@dataclass(frozen=True, slots=True)
class KvLayout:
    """How K (and V) of a layer are stored: per sequence whole pages, in a page one KV head after the other, in a head
    one token after the other.  A contiguous cache is one page of `capacity` tokens per sequence."""

    heads: int
    row_bytes: int  # of one token of one head
    page_tokens: int
    capacity: int  # tokens per sequence, whole pages

    @property
    def head_stride(self) -> int:
        """Bytes from one head to the next within a page."""
        return self.page_tokens * self.row_bytes

    @property
    def page_stride(self) -> int:
        """Bytes from one page of a sequence to the next."""
        return self.heads * self.head_stride

    def offset(self, sequence: ArrayLike, head: ArrayLike, token: ArrayLike) -> NDArray[np.int64]:
        """Return the byte offset of a token of a head; arguments broadcast."""
        page, slot = np.divmod(np.asarray(token, np.int64), self.page_tokens)
        pages = np.asarray(sequence, np.int64) * (self.capacity // self.page_tokens) + page
        place = pages * self.page_stride + np.asarray(head, np.int64) * self.head_stride + slot * self.row_bytes
        return np.asarray(place, np.int64)


def pitch_of(rows: int) -> int:
    """Return the rows that a panel of `rows` rows takes up where panels are to start with a group of lines: a tile is
    then whole groups, which replay in one step each (three times faster for the 4353 rows of a prompt of that length).
    Panels of few rows follow one another without a gap."""
    return -(-rows // GROUP_ROWS) * GROUP_ROWS if rows >= 2 * GROUP_ROWS else rows


def panel_bytes_of(row_bytes: int) -> int:
    """Return the panel width for rows of `row_bytes`: 128 where they are whole lines, else what divides them, but
    never less than a sector (a row is then padded to whole sectors)."""
    return gcd(-(-row_bytes // SECTOR_BYTES) * SECTOR_BYTES, PANEL_BYTES)


@dataclass(frozen=True)
class AddressMap:
    """The address range of every tensor by name."""

    ranges: dict[str, TensorRange]

    def __getitem__(self, name: str) -> int:
        return self.ranges[name].address


def allocate(tensors: Iterable[Tensor], guard_bytes: int = GUARD_BYTES) -> AddressMap:
    """Place tensors one after the other, large ones on 2-MiB boundaries, with so many bytes left free after each: none
    where sizes count all padding.  Those of whole pages then follow one another without a hole, as PyTorch's allocator
    has it (large blocks are memory of their own, rounded up to 2 MiB: kRoundLarge of CUDACachingAllocator)."""
    ranges: dict[str, TensorRange] = {}
    free = FIRST_ADDRESS
    for tensor in tensors:
        alignment = ALIGNMENT if tensor.bytes >= ALIGNMENT else SMALL_ALIGNMENT
        free = -(-free // alignment) * alignment
        padded = -(-tensor.bytes // PANEL_BYTES) * PANEL_BYTES
        ranges[tensor.name] = TensorRange(tensor.name, str(tensor.tensor_class), free, padded)
        free += padded + guard_bytes
    return AddressMap(ranges)
