"""All-reduce among the GPUs of a machine, each joined to each by a switch: NCCL's rings, and one-shot kernels.

Latencies and efficiencies are those by which NCCL itself chooses (src/graph/tuning.cc: base latencies 6.6, 14.0 and
8.4 us, 0.6, 1.9 and 3.4 us a step over NVLink; src/graph/topo.h: 20.6 of 25 GB/s of an NVLink 4 reach the data), and
so is the number of steps of a ring, 2 (n - 1).
"""

from __future__ import annotations

from typing import NamedTuple

from simulator.units import PS_PER_S

DELIVERED = 0.824  # of a link's rate, 20.6 / 25
HOP_PS = 600_000  # of a store to a peer's memory that the peer sees


class Protocol(NamedTuple):
    """A ring protocol: what it costs at all, a step, and which part of the bandwidth is data."""

    base_ps: int
    step_ps: int
    efficiency: float


LL = Protocol(6_600_000, 600_000, 0.5)  # 4 bytes of data with 4 of flag
LL128 = Protocol(14_000_000, 1_900_000, 120 / 128)
SIMPLE = Protocol(8_400_000, 3_400_000, 1.0)


def ring_ps(size: int, gpus: int, link_bytes_per_s: float) -> float:
    """Return the time (ps) of NCCL's ring all-reduce of `size` bytes under the protocol that is fastest.

    `link_bytes_per_s` is what a GPU sends at most.  Each byte crosses a GPU's link 2 (n - 1) / n times.
    """
    if gpus == 1:
        return 0.0
    crossed = 2 * (gpus - 1) / gpus * size * PS_PER_S / (DELIVERED * link_bytes_per_s)
    return min(p.base_ps + 2 * (gpus - 1) * p.step_ps + crossed / p.efficiency for p in (LL, LL128, SIMPLE))


def one_shot_ps(size: int, gpus: int, link_bytes_per_s: float, start_ps: float) -> float:
    """Return the time (ps) of a one-shot all-reduce: a barrier, then every GPU reads the `size` bytes of each other.

    As vLLM's custom_all_reduce.cuh and TensorRT-LLM's customAllReduceKernels.cu do with small messages; `start_ps` is
    a kernel's launch and start.  The barrier and the read are a hop there and a hop back each.
    """
    if gpus == 1:
        return 0.0
    return start_ps + 4 * HOP_PS + (gpus - 1) * size * PS_PER_S / (DELIVERED * link_bytes_per_s)


def serving_ps(size: int, gpus: int, link_bytes_per_s: float, start_ps: float) -> float:
    """Return the time (ps) of the faster of the two, as serving engines choose by size."""
    return min(ring_ps(size, gpus, link_bytes_per_s), one_shot_ps(size, gpus, link_bytes_per_s, start_ps))
