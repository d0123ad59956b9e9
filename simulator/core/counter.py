"""Index of each counter of a kernel.  The core only ever adds to them, but for the peaks, of which the largest
counts, and what is kept as a difference."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

READ_SECTOR_HITS = 0
READ_SECTOR_MISSES = 1
WRITE_SECTOR_HITS = 2
WRITE_SECTOR_MISSES = 3
MERGES = 4  # sectors that hit a line still on its way from memory
WRITEBACK_SECTORS = 5
DRAM_READ_BYTES = 6
DRAM_WRITE_BYTES = 7
ROW_HITS = 8  # accesses of the least transfer size
ROW_MISSES = 9
ROW_CONFLICTS = 10
SM_READ_BYTES = 11
SM_WRITE_BYTES = 12
COMPUTE_CYCLES = 13
OUTSTANDING = 14  # sum of bytes x latency of reads, in byte x 1024 ps
DRAM_BUSY_PS = 15  # summed over channels
L2_BUSY_TICKS = 16
PORT_BUSY_TICKS = 17  # summed over SMs
RECORDS = 18
LINES = 19  # line lookups, a group counting for all its lines
L1_SECTOR_HITS = 20
L1_SECTOR_MISSES = 21
FAR_SECTORS = 22  # read across partitions
CROSS_BYTES = 23
SLICE_BUSY_TICKS = 24  # summed over slices, of accesses to parts of line groups
MISS_OUTSTANDING = 25  # sum of bytes x latency of what goes from and to DRAM, in byte x 1024 ps
REQUEST_OUTSTANDING = 26  # sum of latencies of read records, in 1024 ps
MSHR_FULL_PS = 27  # that misses waited for an MSHR
ROOM_WAIT_PS = 28  # that requesters waited until their SM might have more bytes in flight
L1_BUSY_TICKS = 29  # summed over SMs
CROSS_BUSY_TICKS = 30  # summed over the links between partitions
READ_RECORDS = 31
WRITE_QUEUE_FULL_PS = 32  # that full write queues of DRAM took to drain, summed over them
L2_READ_BYTES = 33  # to SMs, what L1 answered not counted
MISS_REQUESTS = 34  # lines read from and written to DRAM, however many of their sectors
MISS_REQUEST_OUTSTANDING = 35  # sum of their latencies, in 1024 ps

SINGLE = {name: value for name, value in list(globals().items()) if isinstance(value, int)}
"""Counters that are one number each, by name."""

# What a queue held: for each queue a block of counters of its bytes in flight, and one of its requests.  The latter's
# integral and histogram are by how much they differ from those of a request for each LINE bytes, since whole lines are
# nearly all there is: read them through `held_requests` and `time_by_requests`.
HELD = 0  # integral over time, in byte x 1024 ps
PEAK = 1
HISTOGRAM = 2  # time (ps) by whole LINEs, or requests, held: 0, 1, 2 or 3, less than 8, 16 ... 2^33
HISTOGRAM_BINS = 34
LINE_SHIFT = 7
LINE = 1 << LINE_SHIFT
REQUESTS = HISTOGRAM + HISTOGRAM_BINS  # where the block of the requests begins
QUEUE_WORDS = 2 * REQUESTS

SM_QUEUE = 36  # to the SMs, summed over them; the peak is that of one SM; a request is a record
MISS_QUEUE = SM_QUEUE + QUEUE_WORDS  # from and to DRAM; a request is a line

# Where the time of the SMs went, in ps summed over SMs (see core/ledger.py): first what the latency of a record is made
# of, queues before the unloaded latency, then what else an SM does.
LEDGER = MISS_QUEUE + QUEUE_WORDS
SM_PORT = 0  # from L2, or that of L1
L2_BANDWIDTH = 1
PARTITION_LINK = 2
MSHR = 3
DRAM_BANDWIDTH = 4
ROW_CONFLICT = 5
REFRESH = 6
DRAM_LATENCY = 7
QUEUES = DRAM_LATENCY
CACHE_LATENCY = 8
BYTES_IN_FLIGHT = 9
COMPUTE = PARTS = 10
DEPENDENCY = 11  # on earlier records of the CTA
CTA_START = 12
TAIL = 13
UNUSED = 14  # no CTA for the SM
LEDGER_WORDS = 15
COUNT = LEDGER + LEDGER_WORDS
SINGLE |= {
    "SM_HELD": SM_QUEUE + HELD,
    "SM_PEAK_BYTES": SM_QUEUE + PEAK,
    "SM_PEAK_REQUESTS": SM_QUEUE + REQUESTS + PEAK,
    "MISS_HELD": MISS_QUEUE + HELD,
    "MISS_PEAK_BYTES": MISS_QUEUE + PEAK,
    "MISS_PEAK_REQUESTS": MISS_QUEUE + REQUESTS + PEAK,
}
PEAKS = [queue + block + PEAK for queue in (SM_QUEUE, MISS_QUEUE) for block in (0, REQUESTS)]


def combine(rows: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the counters of several kernels together: sums, and of the peaks the largest."""
    table = np.array([*rows, np.zeros(COUNT, np.int64)])
    total: NDArray[np.int64] = table.sum(axis=0)
    total[PEAKS] = table[:, PEAKS].max(axis=0)
    return total


def held_requests(counters: NDArray[np.int64], queue: int) -> float:
    """Return the integral over time of the requests that a queue held, in 1024 ps."""
    return int(counters[queue + HELD] + counters[queue + REQUESTS + HELD]) / LINE


def time_by_bytes(counters: NDArray[np.int64], queue: int) -> NDArray[np.int64]:
    """Return the time (ps) that a queue held less than LINE bytes or nothing, less than 2, 4, 8 ... LINE bytes."""
    return counters[queue + HISTOGRAM : queue + REQUESTS]


def time_by_requests(counters: NDArray[np.int64], queue: int) -> NDArray[np.int64]:
    """Return the time (ps) that a queue held no request, less than 2, 4, 8 ... requests."""
    block = queue + REQUESTS
    return time_by_bytes(counters, queue) + counters[block + HISTOGRAM : block + REQUESTS]
