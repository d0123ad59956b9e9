"""How long is a piece of work of the generated kernels on its way from keys to result?"""

from __future__ import annotations

import pytest
from lowering_bench import device
from test_lowering_attention import shape_of

from simulator.hardware import Dtype
from simulator.lowering.decode_chain import ending_cycles, product_cycles
from simulator.lowering.decode_plan import decode_plan
from simulator.lowering.implementation import Framework

HANDED = 5 * 111
"""Keys, scores, weights, outputs and the room for these."""


def cycles(heads: int, head_dim: int, dtype: Dtype) -> tuple[int, int]:
    """Return the cycles of products and of what follows, under vLLM on a B200, one KV head, steps of 256 keys."""
    shape = shape_of(batch=512, kv_len=64, heads=heads, kv_heads=1, head_dim=head_dim, page_tokens=64, kv_dtype=dtype)
    tile = decode_plan(shape, device("b200-sxm"), Framework.VLLM).tile
    return product_cycles(shape, tile), ending_cycles(tile, device("b200-sxm"))


@pytest.mark.parametrize(
    ("heads", "head_dim", "dtype", "instructions", "softmax"),
    [
        # two halves of 128 keys x 4 instructions of 16 columns, one of 64 outputs x 16 of 16 keys; 256 x 8 exponentials
        # at 16 a clock; twice five shuffles of 8 warps x 8 columns, and an exchange of 59
        (8, 64, Dtype.BF16, 2 * 4 + 16, 128 + 2 * (5 * 8 * 8 + 59)),
        (8, 64, Dtype.FP8, 2 * 2 + 8, 128 + 2 * (5 * 8 * 8 + 59)),
        (1, 128, Dtype.BF16, 2 * 8 + 16, 128 + 2 * (5 * 8 * 8 + 59)),
        (8, 256, Dtype.BF16, 2 * 16 + 2 * 16, 128 + 2 * (5 * 8 * 8 + 59)),
        (12, 64, Dtype.BF16, 2 * 4 + 16, 256 + 2 * (5 * 16 * 8 + 59)),
        (20, 64, Dtype.FP8, 2 * 2 + 8, 512 + 2 * (5 * 32 * 8 + 59)),
    ],
)
def test_up_to_32_queries_are_columns(heads: int, head_dim: int, dtype: Dtype, instructions: int, softmax: int) -> None:
    assert cycles(heads, head_dim, dtype) == (44 * instructions, HANDED + softmax)


def test_more_queries_are_rows() -> None:
    """64 rows: 2 x 8 instructions of 128 keys, 64 cycles each, 16 of 128 outputs; each thread has a row of its own."""
    assert cycles(64, 128, Dtype.BF16) == (64 * (2 * 8 + 16), HANDED + 64 * 256 // 16)
