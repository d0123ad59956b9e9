"""Which tile each framework's fp8 product takes: CUTLASS kernels chosen by the shape and the compute capability.

- vLLM: csrc/quantization/w8a8/cutlass, scaled_mm_c2x_sm89_fp8_dispatch.cuh, c3x/scaled_mm_sm90_fp8_dispatch.cuh and
  those of sm100 and sm120
- SGLang: sgl-kernel/csrc/gemm/fp8_gemm_kernel.cu, its dispatch of sm89, sm100 and sm120; of sm90 since pull request
  25532 csrc/cutlass_extensions/gemm/fp8_gemm_sm90_dispatch.cuh, whose kernels are vLLM's

On sm_100 tiles of 128 and 256 rows in clusters of two are halves of one product of two SMs; here stands the half of
one SM.  Clusters that share the input, and not the weight, are left out: inputs are small where they do.
"""

from __future__ import annotations

from simulator.lowering.implementation import Framework
from simulator.lowering.tiling import CHOSEN, Pinned

ANY = 1 << 62
FILL = 16  # stages: as many as fit
Rules = tuple[tuple[int, tuple[tuple[int, Pinned], ...]], ...]
"""Up to so many rows of x: up to so many outputs: the kernel (rows of x and of w, stages of 128 bytes, cluster)."""


def _alone(tile_m: int, tile_n: int, cluster: int = 1) -> tuple[tuple[int, Pinned], ...]:
    return ((ANY, Pinned(tile_m, tile_n, FILL, cluster)),)


VLLM: dict[int, Rules] = {
    89: (
        (16, ((8192, Pinned(16, 64, 5, 1)), (16384, Pinned(16, 128, 2, 1)), (ANY, Pinned(32, 64, 5, 1)))),
        (32, ((8192, Pinned(32, 64, 5, 1)), (16384, Pinned(32, 128, 4, 1)), (ANY, Pinned(32, 64, 5, 1)))),
        (64, ((8192, Pinned(64, 64, 5, 1)), (16384, Pinned(64, 128, 3, 1)), (ANY, Pinned(64, 64, 5, 1)))),
        (128, ((8192, Pinned(64, 128, 3, 1)), (16384, Pinned(128, 128, 2, 1)), (ANY, Pinned(128, 64, 3, 1)))),
        (256, ((4096, Pinned(64, 128, 3, 1)), (ANY, Pinned(128, 128, 2, 1)))),
        (ANY, ((4096, Pinned(128, 128, 2, 1)), (8192, Pinned(256, 128, 2, 1)), (ANY, Pinned(128, 128, 2, 1)))),
    ),
    90: (
        (16, _alone(16, 64)),
        (64, ((1280, Pinned(16, 64, FILL, 4)), (ANY, Pinned(64, 64, FILL, 1)))),
        (128, _alone(64, 128, 2)),
        (ANY, _alone(128, 128, 2)),
    ),
    100: ((16, _alone(32, 64)), (64, _alone(64, 64)), (256, _alone(64, 128, 2)), (ANY, _alone(128, 128, 2))),
    120: ((16, _alone(16, 64)), (32, _alone(32, 64)), (256, _alone(64, 64)), (ANY, _alone(128, 128))),
}

SGLANG: dict[int, Rules] = {
    89: (
        (1, ((8192, Pinned(16, 64, 7, 1)), (ANY, Pinned(32, 64, 5, 1)))),
        (16, ((8192, Pinned(16, 64, 4, 1)), (16384, Pinned(32, 64, 5, 1)), (ANY, Pinned(16, 64, 7, 1)))),
        (64, ((16384, Pinned(32, 64, 7, 1)), (ANY, Pinned(16, 64, 7, 1)))),
        (128, ((8192, Pinned(64, 64, 4, 1)), (16384, Pinned(64, 64, 5, 1)), (ANY, Pinned(32, 64, 5, 1)))),
        (256, ((8192, Pinned(128, 64, 2, 1)), (16384, Pinned(64, 128, 3, 1)), (ANY, Pinned(128, 64, 4, 1)))),
        (ANY, ((ANY, Pinned(128, 128, 2, 1)),)),
    ),
    90: VLLM[90],
    100: (
        (64, ((ANY, Pinned(64, 64, FILL, 1, half_path=True)),)),
        (256, _alone(64, 128, 2)),
        (ANY, _alone(128, 128, 2)),
    ),
    120: ((ANY, _alone(128, 128)),),
}
OF_A_TILE = {Framework.VLLM: {89: ANY, 90: 64}, Framework.SGLANG: {89: ANY, 90: 64}}
"""Up to so many rows of x each tile has a CTA of its own: kernels of CUTLASS 2 (sm_89), and of those of sm_90 the ones
that are scheduled as KernelTmaWarpSpecialized; the others' CTAs stay and take one tile after the other."""

_RULES = {Framework.VLLM: VLLM, Framework.SGLANG: SGLANG}


def cutlass_kernel(framework: Framework, compute_capability: int, m: int, n: int) -> Pinned:
    """Return the kernel of an fp8 product of `m` rows and `n` outputs; `CHOSEN` where a library chooses, as for
    TensorRT-LLM and before sm_89.  Between capabilities the kernels are those of the next lower one."""
    rules = _RULES.get(framework, {})
    known = [capability for capability in rules if capability <= compute_capability]
    if not known:
        return CHOSEN
    columns = next(columns for most, columns in rules[max(known)] if m <= most)
    kernel = next(kernel for most, kernel in columns if n <= most)
    return kernel._replace(sets_up_each=m <= OF_A_TILE[framework].get(max(known), 0))
