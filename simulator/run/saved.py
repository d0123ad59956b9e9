"""What a profiler leaves in L2 before the kernel that it profiles.

With several passes over a kernel, Nsight Compute saves all memory that the kernel can access, in device memory where
that has room (Nsight Compute Profiling Guide, Kernel Replay), and finds out afterwards what the kernel wrote.  Without
a flush (`--cache-control none`) the kernel then finds what such a walk through its memory left: the end of it, and as
many bytes of the copy.  In which order allocations are walked is not documented; as keys and values are found again
though a larger workspace was allocated after them, the last allocation is taken to come first, and the small tensors,
which are allocated before, last.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from simulator.lowering.program import Launch, traced
from simulator.trace.record import Op, Records, TracedKernel

PIECE_BYTES = 4096

SMALL_TENSORS_BYTES = 2 << 20
"""The segment that PyTorch puts tensors of up to 1 MiB into (c10/cuda/CUDACachingAllocator, kSmallBuffer)."""


def saving(kernels: Iterable[TracedKernel]) -> TracedKernel:
    """Return a kernel of one CTA that copies all memory `kernels` touch, in pieces of 4 KiB by address, and then a
    segment of small tensors, to behind both."""
    touched = (_pieces(records) for kernel in kernels for records in kernel.chunks)
    pieces = np.unique(np.concatenate([np.unique(each) for each in touched]))
    pieces = np.append(pieces, pieces[-1] + 1 + np.arange(SMALL_TENSORS_BYTES // PIECE_BYTES))
    copies = pieces[-1] + 1 + np.arange(len(pieces))
    size = len(pieces) * PIECE_BYTES

    launch = Launch(threads=32, registers=32, shared_bytes=0, stages=16)
    records = Records.of(
        2 * len(pieces),
        op=np.tile([int(Op.READ), int(Op.WRITE)], len(pieces)),
        address=np.stack((pieces, copies), axis=1).reshape(-1) * PIECE_BYTES,
        row_bytes=np.full(2 * len(pieces), PIECE_BYTES),
    )
    return traced("save of memory", "copy", None, 0, launch, 0, (records,), 1, len(records), size, size)


def _pieces(records: Records) -> NDArray[np.int64]:
    """Return the pieces that records touch, some more than once."""
    rows = records.rows.astype(np.int64)
    row = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    start = np.repeat(records.address, rows) + row * np.repeat(records.row_stride, rows)
    last = start + np.repeat(records.row_bytes, rows) - 1
    first, last = start // PIECE_BYTES, last // PIECE_BYTES
    count = last - first + 1
    pieces: NDArray[np.int64] = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
    return pieces
