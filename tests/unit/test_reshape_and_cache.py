"""Does a CTA of vLLM's kernel that stores K and V take its SM for what its warps issue?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from lowering_bench import SCALARS, device, only, records_of

from simulator.hardware import Dtype
from simulator.lowering.elementwise import KvWrite
from simulator.lowering.implementation import Framework
from simulator.lowering.prefill_call import lower_cache_write
from simulator.lowering.reshape_and_cache import Issued, reshape_and_cache
from simulator.trace.record import Op
from simulator.workload import AttentionShape

SHAPE = AttentionShape(1, 4, 4, 8, 1, 128, Dtype.BF16, Dtype.BF16, page_tokens=64)


@pytest.mark.parametrize(("on", "cycles"), [("a100-sxm-80gb", 26), ("b200-sxm", 26), ("rtx-pro-6000", 17)])
def test_integers_take_two_cycles_and_special_ones_eight(on: str, cycles: int) -> None:
    """Ten instructions, one of them special: 9 x 2 + 8; consumer Blackwell issues an integer instruction a cycle."""
    assert Issued(10, 1).cycles(device(on)) == cycles


@pytest.mark.parametrize(
    ("on", "kv_heads", "dtype", "threads", "cycles"),
    [
        # 4 warps, of which one has the 16 vectors: three issue 252 cycles each and one 328; 138 before V, 34 after
        ("h100-sxm", 1, Dtype.BF16, 128, (271, 34, 8)),
        # 16 warps, 1024 vectors: each copies twice; 16 x 328, 16 x (138 + 26), 16 x (34 + 26), of four schedulers
        ("h100-sxm", 64, Dtype.BF16, 512, (1312, 656, 240)),
        # 8 of 16 warps have a head; the others issue 200 cycles, they 282, 72 and 28
        ("b200-sxm", 8, Dtype.BF16, 512, (964, 144, 56)),
        # each warp has four heads: 84 cycles more for K and for V of three
        ("b200-sxm", 64, Dtype.BF16, 512, (1128, 1296, 1120)),
        # 24 divisions, checks and conversions for each of K and V: 248, 286; 414 and 390 of the one warp that casts
        ("h100-sxm", 1, Dtype.FP8, 128, (243, 103, 97)),
    ],
)
def test_what_warps_issue_is_the_sms(
    on: str, kv_heads: int, dtype: Dtype, threads: int, cycles: tuple[int, int, int]
) -> None:
    how = reshape_and_cache(replace(SHAPE, heads=64, kv_heads=kv_heads, kv_dtype=dtype), device(on))
    assert (how.threads, how.cycles) == (threads, cycles)


def test_a_token_is_a_cta_that_waits_for_its_slot_then_k_then_v() -> None:
    """512 KV heads: more than one piece of K, of which the first alone stands for what is issued."""
    shape = replace(SHAPE, heads=512, kv_heads=512)
    write = KvWrite(1, 0, 4, 1 << 36, 4 * 2 * 512 * 256, 2 << 36, 3 << 36, 4 << 36)
    kernel = next(lower_cache_write(shape, write, 0, Framework.VLLM, device("h100-sxm"), SCALARS.prefill_attention))
    records = records_of(kernel)
    assert kernel.header.prologue_ps == 0
    assert set(records.requester.tolist()) == set(range(4))
    reads = only(records, Op.READ)
    assert len(reads) > 3 * 4
    taken = reads[reads.requester == 0].compute_cycles
    assert tuple(taken[taken > 0].tolist()) == reshape_and_cache(shape, device("h100-sxm")).cycles
