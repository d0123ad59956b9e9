"""How long a step of a prompt's kernels takes on data-centre Blackwell, where scores, weights and outputs of 128 query
rows pass through tensor memory.

It takes as long as the slowest of what its tiles of 128 rows share, the matrix units and those of softmax, and of the
turns of one tile, from hand to hand of its warps.  The weights of 128 rows take the place of their scores (CUTLASS's
sm100_fmha_fwd_mainloop_tma_warpspecialized.hpp, whose P0 lies in S0), and 512 columns of tensor memory hold the outputs
and two tiles of scores: with two tiles of rows the next scores of either wait until its weights have been multiplied,
with one they are multiplied meanwhile.  What softmax takes is from b300_fp4_pv_analysis.md of
hao-ai-lab/flash-attention-fp4 (instruction rates and a cycle model of FlashAttention-4, on a GB300), in which
conversions of weights run beside exponentials.  That the generated kernels, which ship as binaries, do all this as
CUTLASS's is assumed, and that they pass a tile on as in decode attention (`decode_chain`).
"""

from __future__ import annotations

import numpy as np

from simulator.hardware import Dtype, Hardware
from simulator.lowering.decode_chain import (
    COLUMNS_PER_CLOCK,
    HAND_OVER_CYCLES,
    HAND_OVERS,
    INSTRUCTION_BYTES,
    INSTRUCTION_CYCLES,
    INSTRUCTION_ROWS,
)
from simulator.lowering.prefill_plan import PrefillPlan, product_dtype
from simulator.lowering.tiling import SHARPNESS, powered_rate
from simulator.workload.operators import AttentionShape

PAIRS_PER_CLOCK, NARROW_PAIRS_PER_CLOCK = 62, 32  # of weights converted to 16 and to 8 bits, of an SM
OTHER_CYCLES = 155  # of 128 x 128 scores: loads with maxima, sums, stores (150, 100 and 60 of two tiles at once)
OTHER_SCORES = 128 * 128


def chained_cycles(shape: AttentionShape, plan: PrefillPlan, ctas: int, hardware: Hardware) -> tuple[float, float]:
    """Return the SM cycles of a step with so many CTAs at a time, and how much longer one takes that is the first and
    last of a tile, in which nothing hides behind anything."""
    dtype, rows = product_dtype(shape, plan), min(plan.queries, INSTRUCTION_ROWS)
    tiles, scores = -(-plan.queries // rows), rows * plan.keys
    conversions = scores / 2 / (NARROW_PAIRS_PER_CLOCK if dtype is Dtype.FP8 else PAIRS_PER_CLOCK)
    softmax = _slowest(scores / hardware.sm.exponentials_per_clock, conversions) + OTHER_CYCLES * scores / OTHER_SCORES
    products = _product(plan.keys, shape.head_dim, dtype) + _product(shape.head_dim, plan.keys, dtype)
    peak: float = getattr(hardware.sm.tensor_flops_per_clock, dtype.value)
    products *= max(1, peak / powered_rate(dtype, ctas, hardware))
    handed = HAND_OVERS * HAND_OVER_CYCLES
    step = _slowest(tiles * products, tiles * softmax, softmax + handed + (products if tiles > 1 else 0))
    return step, max(0, tiles * (products + softmax) + handed - step)


def _product(columns: int, depth: int, dtype: Dtype) -> float:
    """Return the cycles of a product of 128 rows, by what an instruction takes."""
    return -(-depth * dtype.bytes // INSTRUCTION_BYTES) * max(INSTRUCTION_CYCLES, columns // COLUMNS_PER_CLOCK)


def _slowest(*cycles: float) -> float:
    return float(np.linalg.norm(cycles, SHARPNESS))
