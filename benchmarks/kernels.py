"""Kernels that the sections replay, and the device they are replayed on."""

from __future__ import annotations

import itertools
import time

import numpy as np
from measured import best, clock_hz
from numpy.typing import NDArray

from simulator.hardware import load
from simulator.memory import Device
from simulator.trace.chunks import CHUNK_RECORDS
from simulator.trace.record import COLUMNS, KernelHeader, Op, Records, TracedKernel

KIB, MIB, GIB = 2**10, 2**20, 2**30
SECTOR, LINE = 32, 128
DECODE_8B = ("--model", "llama-3.1-8b", "--hardware", "h100-sxm", "--phase", "decode", "--context", "4096")
DECODE_70B = ("--model", "llama-3.1-70b", "--hardware", "b200-sxm", "--phase", "decode", "--context", "4096")


def reads(
    address: NDArray[np.int64],
    row_bytes: int,
    ctas: int,
    rows: int = 1,
    stride: int = 0,
    lanes: int = 1,
    through_l1: bool = False,
) -> TracedKernel:
    """Return a kernel that reads these addresses, dealt to its CTAs in equal runs, `lanes` of them at once."""
    count = len(address)
    values = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    values["requester"] = np.arange(count, dtype=np.int32) // -(-count // ctas)
    values["op"][:] = Op.READ
    values["address"] = address
    values["rows"][:] = rows
    values["row_bytes"][:] = row_bytes
    values["row_stride"][:] = stride
    values["joined"] = (np.arange(count) % lanes > 0).astype(np.uint8)
    values["through_l1"][:] = through_l1
    header = KernelHeader(
        name="benchmark",
        operator="benchmark",
        layer=-1,
        step=0,
        requesters=ctas,
        threads=128,
        shared_bytes=0,
        registers=0,
        stages=8,
        flops=0,
        records=count,
        read_bytes=count * rows * row_bytes,
        write_bytes=0,
    )
    return TracedKernel(header, (Records(**values),))


def device() -> Device:
    """Return a fresh H100 with the replacement policy and the single partition that the twins have."""
    return Device(load("h100-sxm", ["l2.replacement=lru", "l2.partitions=1"]).spec)


def replay(device: Device, kernel: TracedKernel, clock: int = 0) -> tuple[float, int, NDArray[np.int64]]:
    """Return the processor time (s), the simulated end (ps) and the counters of one kernel on a device."""
    begin = time.process_time()
    slot = device.launch(kernel)
    end, _ = device.advance(clock)
    spent = time.process_time() - begin
    return spent, end, device.retire(slot)


def in_chunks(kernel: TracedKernel) -> TracedKernel:
    """Return a kernel in pieces of about the size in which traces are read from a file."""
    (whole,) = kernel.chunks
    ctas = -(-kernel.header.requesters * CHUNK_RECORDS // len(whole))
    edges = np.flatnonzero(np.diff(whole.requester)) + 1
    bounds = [0, *edges[ctas - 1 :: ctas].tolist(), len(whole)]
    return TracedKernel(kernel.header, tuple(whole[first:last] for first, last in itertools.pairwise(bounds)))


def rate_of_accesses(kernel: TracedKernel, access_bytes: int, budget: float) -> tuple[str, bool]:
    """Return how many accesses of `access_bytes` a second a kernel's replay comes to, in words, and whether that meets
    the budget."""

    def timed() -> float:
        fresh = device()
        _, clock, _ = replay(fresh, kernel)  # warms L2 and brings its lines into the state they stay in
        return replay(fresh, kernel, clock)[0]

    seconds = best(timed, 3) * access_bytes / kernel.header.read_bytes
    shown = f"{1e-6 / seconds:.0f} M/s, {seconds * 1e9:.1f} ns, {seconds * clock_hz():.0f} cycles"
    return shown, bool(1 / seconds >= budget)
