"""How long does a step of a prompt take on data-centre Blackwell, and in which order do its CTAs take their tiles?"""

from __future__ import annotations

import numpy as np
import pytest

from simulator import hardware
from simulator.hardware import Dtype, Hardware
from simulator.lowering.implementation import Backend, Framework, implementations
from simulator.lowering.key_tiles import Operands
from simulator.lowering.layout import Matrix
from simulator.lowering.prefill import lower_prefill
from simulator.lowering.prefill_chain import chained_cycles
from simulator.lowering.prefill_plan import prefill_plan
from simulator.trace.record import Op, Records
from simulator.workload.operators import AttentionShape

HANDED = 5 * 111


def shape_of(head_dim: int, kv_dtype: Dtype = Dtype.BF16, tokens: int = 2048, heads: int = 8) -> AttentionShape:
    return AttentionShape(1, tokens, tokens, heads, heads, head_dim, kv_dtype, Dtype.BF16)


def device(name: str) -> Hardware:
    return hardware.load(name).spec


def slowest(*cycles: float) -> float:
    return float(sum(each**4 for each in cycles) ** 0.25)


@pytest.mark.parametrize(
    ("name", "head_dim", "dtype", "exponentials", "conversions", "products"),
    [
        ("b200-sxm", 128, Dtype.BF16, 1024, 8192 / 62, 1024),  # 16384 scores, 16 a clock; 2 x 8 instructions of 64
        ("b200-sxm", 128, Dtype.FP8, 1024, 8192 / 32, 512),
        ("b300-sxm", 64, Dtype.BF16, 512, 8192 / 62, 4 * 64 + 8 * 44),  # 64 columns take an instruction's least time
    ],
)
def test_two_tiles_take_turns(
    name: str, head_dim: int, dtype: Dtype, exponentials: float, conversions: float, products: float
) -> None:
    """Two tiles of 128 rows share softmax and matrix units; either waits for its own products and softmax in turn.
    With one CTA at work power does not limit; a step alone is both tiles' products and softmax, one after the other."""
    shape = shape_of(head_dim, dtype)
    plan = prefill_plan(shape, device(name), Framework.TRTLLM)
    softmax = slowest(exponentials, conversions) + 155
    step, longer = chained_cycles(shape, plan, 1, device(name))
    assert step == pytest.approx(slowest(2 * products, 2 * softmax, softmax + products + HANDED))
    assert step + longer == pytest.approx(2 * (products + softmax) + HANDED)


def test_one_tile_multiplies_its_next_scores_meanwhile() -> None:
    """Head size 256: 128 rows, two products of 16 x 64 and 8 x 128 cycles, which its turns do not include."""
    shape, blackwell = shape_of(256), device("b200-sxm")
    plan = prefill_plan(shape, blackwell, Framework.TRTLLM)
    softmax = slowest(1024, 8192 / 62) + 155
    step, _ = chained_cycles(shape, plan, 1, blackwell)
    assert step == pytest.approx(slowest(2048, softmax, softmax + HANDED))


def test_power_slows_products_of_all_sms() -> None:
    """A B200 keeps up 6000 of 8192 FLOPs per clock where all of its 148 SMs multiply."""
    shape, blackwell = shape_of(256), device("b200-sxm")
    plan = prefill_plan(shape, blackwell, Framework.TRTLLM)
    softmax = slowest(1024, 8192 / 62) + 155
    step, _ = chained_cycles(shape, plan, 148, blackwell)
    assert step == pytest.approx(slowest(2048 * 8192 / 6000, softmax, softmax + HANDED))


@pytest.mark.parametrize(
    ("backend", "first"),
    [(Backend.AUTO, [3] * 148), (Backend.FLASHINFER, [0, 1, 2, 3] * 37)],  # the heaviest; as they come, head by head
)
def test_order_of_tiles(backend: Backend, first: list[int]) -> None:
    """Tiles of 256 rows that the 148 CTAs of a B200 take first, of 160 heads with four tiles each."""
    shape = shape_of(128, tokens=1024, heads=160)
    query, output = (Matrix(place, 1024, 160 * 128 * 2, 128) for place in (0, 1 << 32))
    operands = Operands(query, output, 2 << 32, 3 << 32, None, 4 << 32)
    scalars = implementations(Framework.SGLANG).prefill_attention
    (kernel,) = lower_prefill(
        shape, operands, device("b200-sxm"), scalars, 0, framework=Framework.SGLANG, backend=backend
    )
    records = Records.concatenate(kernel.chunks)
    written = records[records.op == Op.WRITE]
    begins = np.unique(written.requester, return_index=True)[1]
    rows = (written.address[begins] - output.address) // 128 % 1024
    assert (rows // 256).tolist() == first
