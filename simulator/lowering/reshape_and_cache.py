"""vLLM's kernel that stores K and V: a CTA a token, whose warps issue more than they move.

csrc/cache_kernels.cu (reshape_and_cache_flash_kernel, of 0.14.0 and 0.24.0 alike): threads for each element of K, 512
at most, each of which divides the slot by the page size and adds up six addresses; 16 bytes a thread are then copied,
so that most warps have done so for nothing.  Where the heads of a page lie apart (HND, as FlashInfer has its cache) a
warp copies a head.  It waits for the slot, copies K, then V.

What a warp issues was counted in the machine code that nvcc 13.0 makes of that source for sm_80, sm_90 (the same but
for one instruction) and sm_100, along the way that aligned rows take, with division by the scale where it casts.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_tile import BLACKWELL, CONSUMER_BLACKWELL, HOPPER, SCHEDULERS
from simulator.lowering.elementwise import KvWriteKernel
from simulator.lowering.implementation import Framework
from simulator.workload.operators import AttentionShape

MOST_THREADS = 512
VECTOR = 8  # elements that a thread copies at once
WARP = 32


@dataclass(frozen=True, slots=True)
class Issued:
    """Instructions, and how many of them are taken to run on the special units: reciprocals, checks of a division,
    conversions."""

    instructions: int
    special: int

    def cycles(self, hardware: Hardware) -> int:
        """Return the cycles of one scheduler, which has a fourth of an SM's warps, 16 lanes for integers and 4 for what
        is special (CUDA C++ Programming Guide, throughput of native arithmetic instructions: 64 and 16 results a clock
        and SM); consumer Blackwell has twice as many for integers (RTX Blackwell GPU Architecture white paper)."""
        each = 1 if hardware.compute_capability >= CONSUMER_BLACKWELL else 2
        return self.instructions * each + self.special * (8 - each)


@dataclass(frozen=True, slots=True)
class Warps:
    """What a warp issues: one without elements; one with, before K, before V and to its end; each further time round,
    for K and for V."""

    idle: Issued
    slot: Issued
    key: Issued
    value: Issued
    again: Issued


TOGETHER = Warps(Issued(117, 3), Issued(146, 6), Issued(60, 3), Issued(17, 0), Issued(13, 0))
TOGETHER_CAST = Warps(Issued(115, 3), Issued(105, 3), Issued(135, 24), Issued(123, 24), Issued(113, 24))
APART = Warps(Issued(91, 3), Issued(132, 3), Issued(36, 0), Issued(14, 0), Issued(42, 0))
APART_CAST = Warps(Issued(84, 3), Issued(134, 3), Issued(148, 24), Issued(133, 24), Issued(157, 24))


def reshape_and_cache(shape: AttentionShape, hardware: Hardware) -> KvWriteKernel:
    """Return how the kernel stores the new K and V of a shape."""
    narrow, apart = shape.kv_dtype is Dtype.FP8, heads_apart(shape, hardware, Framework.VLLM)
    row = shape.kv_heads * shape.head_dim
    threads = min(row, MOST_THREADS)
    warps = -(-threads // WARP)
    if apart:
        busy, again = min(shape.kv_heads, warps), -(-shape.kv_heads // warps) - 1
    else:
        busy, again = -(-min(row // VECTOR, threads) // WARP), -(-row // VECTOR // threads) - 1
    issued = (APART_CAST if narrow else APART) if apart else TOGETHER_CAST if narrow else TOGETHER
    idle, slot, key, value, more = (
        each.cycles(hardware) for each in (issued.idle, issued.slot, issued.key, issued.value, issued.again)
    )
    cycles = (
        ((warps - busy) * idle + busy * slot) // SCHEDULERS,
        busy * (key + again * more) // SCHEDULERS,
        busy * (value + again * more) // SCHEDULERS,
    )
    registers = 40 if hardware.compute_capability >= BLACKWELL else 56
    return KvWriteKernel("reshape_and_cache", 1, threads, registers, in_turn=True, cycles=cycles)


def heads_apart(shape: AttentionShape, hardware: Hardware, framework: Framework) -> bool:
    """Return whether a page has its heads one after the other: TensorRT-LLM's, and vLLM's where it runs FlashInfer."""
    if framework is not Framework.VLLM:
        return framework is Framework.TRTLLM
    capability = hardware.compute_capability
    generated = BLACKWELL <= capability < CONSUMER_BLACKWELL
    return generated or (shape.kv_dtype is Dtype.FP8 and capability != HOPPER)
