"""Which tiles a library cuts a product into, and what their CTAs cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.hardware import Dtype, load
from simulator.lowering.implementation import implementations
from simulator.lowering.tiling import (
    TILE_STAGES,
    Pinned,
    Tiling,
    choose,
    overhead_ps,
    step_cycles,
    warmup_ps,
)
from simulator.run.cases import GemmCase
from simulator.run.predict import predict
from simulator.trace.record import TracedKernel
from simulator.workload import GemmShape

SCALARS = implementations().gemm.model_copy(update={"matrix_efficiency": 0.9})
TILE = Tiling(tile_m=128, tile_n=128, split=1, stages=4, cluster=1, threads=384)


def shape(m: int, n: int, k: int = 4096) -> GemmShape:
    return GemmShape(m, n, k, Dtype.BF16, Dtype.BF16, Dtype.BF16, False)


def test_power_limits_all_sms_together() -> None:
    """132 tiles keep every SM of an H100 busy: 3040 FLOPs a cycle each; 66 leave half of them idle: 90 % of 4096."""
    device = load("h100-sxm").spec
    flops = 2 * 128 * 128 * 64
    assert step_cycles(shape(128, 132 * 128), TILE, device, SCALARS) == -(-flops // 3040)
    assert step_cycles(shape(128, 66 * 128), TILE, device, SCALARS) == pytest.approx(flops / (0.9 * 4096), abs=1)


def test_without_a_sustained_rate_the_peak_counts() -> None:
    device = load("l40").spec
    assert device.sm.sustained_tensor_flops_per_clock is None
    assert step_cycles(shape(128, 142 * 128), TILE, device, SCALARS) == pytest.approx(
        2 * 128 * 128 * 64 / (0.9 * 512), rel=1e-3
    )


def test_set_up_and_end_take_cycles() -> None:
    """1 us at 2 GHz is 1010 ns at 1.98 GHz; 16384 outputs, 64 a cycle, are 256 cycles, 129 ns.  On an A100 they take
    1024 cycles in shared memory and 512 to L2, those of 8 rows 32."""
    scalars = SCALARS.model_copy(update={"prologue_ps": 1_000_000})
    hopper, ampere = load("h100-sxm").spec, load("a100-sxm-80gb").spec
    assert overhead_ps(8, TILE, hopper, scalars) == pytest.approx(1_010_101 + 129_293, abs=2)
    assert overhead_ps(128, TILE, ampere, scalars) == pytest.approx(1_418_439 + 1536 / 1410e6 * 1e12, abs=2)
    assert overhead_ps(8, TILE, ampere, scalars) == pytest.approx(1_418_439 + 1056 / 1410e6 * 1e12, abs=2)
    assert warmup_ps(load("h100-sxm").spec, SCALARS.model_copy(update={"warmup_cycles": 1980})) == 1_000_000


def test_warps_that_load_their_operands_wait_for_shared_memory() -> None:
    """A stage of 64x64 on an A100: 64 columns, 256 cycles of products; each warp of 64x32 reads 96 rows of 128 bytes,
    two of them, and copies write 128 rows: 320 x 128 / 128 = 320 cycles.  A stage of 256x128, 16 warps' reads of 64
    rows a side, 2048 cycles of products, hardly waits."""
    device = load("a100-sxm-80gb").spec
    device = device.model_copy(update={"sm": device.sm.model_copy(update={"sustained_tensor_flops_per_clock": None})})
    scalars = SCALARS.model_copy(update={"matrix_efficiency": 1.0})
    small, large = replace(TILE, tile_m=64, tile_n=64), replace(TILE, tile_m=128, tile_n=256)
    assert step_cycles(shape(64, 64), small, device, scalars) == pytest.approx((256**4 + 320**4) ** 0.25, abs=1)
    assert step_cycles(shape(128, 256), large, device, scalars) == pytest.approx((2048**4 + 1408**4) ** 0.25, abs=1)


def test_64_rows_of_one_sm_use_half_of_a_matrix_unit_with_tensor_memory() -> None:
    """A stage of 128 fp8 columns of 64x64 outputs is 2^20 operations, at 16384 a clock 64 cycles; on half of the path
    128, as many as 128 rows of 128 bytes take from shared memory at 128 bytes a clock."""
    tile = replace(TILE, tile_m=64, tile_n=64)
    few = GemmShape(64, 64, 4096, Dtype.FP8, Dtype.FP8, Dtype.BF16, False)
    device, scalars = load("b200-sxm").spec, SCALARS.model_copy(update={"matrix_efficiency": 1.0})
    assert step_cycles(few, tile, device, scalars) == 64
    assert step_cycles(few, replace(tile, half_path=True), device, scalars) == pytest.approx(128 * 2**0.25, abs=1)


def test_a_split_that_moves_more_than_it_saves_is_not_taken() -> None:
    """161 x 6144 partial sums in fp32 are 4 MB a share, beside 63 MB of weights: four cost more than they save."""
    assert choose(shape(161, 6144, 5120), load("h100-sxm").spec, SCALARS).split <= 2


@pytest.mark.parametrize("m", [1, 80, 4096])
def test_kernels_before_bulk_copies_are_those_seen(m: int) -> None:
    chosen = choose(shape(m, 5120), load("a100-sxm-80gb").spec, SCALARS)
    assert chosen.stages <= TILE_STAGES[chosen.tile_n, chosen.tile_m]


def test_accumulators_fit_registers_or_tensor_memory() -> None:
    """A large product takes tiles that its accumulators leave room for: 320 x 128 in registers, on data-centre
    Blackwell 256 x 256 in tensor memory, which its kernels' names show (nvjet_tst_256x256_64x4_2x2_2cta)."""
    for name, most in (("h100-sxm", 320 * 128), ("b200-sxm", 256 * 256)):
        chosen = choose(shape(8192, 8192, 8192), load(name).spec, SCALARS)
        assert 256 * 128 <= chosen.tile_m * chosen.tile_n <= most
    assert chosen.tile_m * chosen.tile_n > 320 * 128


def test_before_bulk_copies_k_is_not_split_where_whole_ctas_keep_up_with_dram() -> None:
    """On an L40S 32 CTAs multiply 64 rows in 14 us, the 16.8 MB of weights take 19.4: nothing is won.  16 CTAs of twice
    the k take longer than memory, as do the 32 on an A100, whose memory is 2.4 times as fast."""
    small, large = load("l40s").spec, load("a100-sxm-80gb").spec
    assert choose(shape(8, 2048, 4096), small, SCALARS).split == 1
    assert choose(shape(8, 1024, 8192), small, SCALARS).split > 2
    assert choose(shape(8, 2048, 4096), large, SCALARS).split > 2


def test_a_known_kernel_does_not_split() -> None:
    device = load("h100-sxm").spec
    assert choose(shape(8, 256, 65536), device, SCALARS).split > 1
    assert choose(shape(8, 256, 65536), device, SCALARS, Pinned(64, 64)).split == 1


def test_fp8_products_of_serving_engines_run_cutlass_tiles() -> None:
    names: list[str] = []

    def note(kernel: TracedKernel) -> TracedKernel:
        names.append(kernel.header.name)
        return kernel

    for framework in ("vllm", "trtllm"):
        case = GemmCase.model_validate({"m": 8, "n": 256, "k": 16384, "dtype": "fp8", "framework": framework})
        predict(case, load("h100-sxm").spec, reshape=note)
    assert names[:2] == ["quantise", "gemm 64x16x16"]
    assert any("split-K" in name for name in names[2:])


def test_a_gap_after_each_run_takes_the_data_bus() -> None:
    """128 bytes take 6.11 ns of an H100's channel; 2 ns after each make reading a large weight a third slower."""
    case = GemmCase.model_validate({"m": 1, "n": 16384, "k": 8192, "weight_copies": 1})
    device = load("h100-sxm").spec

    def with_gap(gap_ps: int) -> float:
        def change(kernel: TracedKernel) -> TracedKernel:
            return replace(kernel, header=replace(kernel.header, run_gap_ps=gap_ps))

        return predict(case, device, reshape=change).time_s

    assert 1.2 < with_gap(2000) / with_gap(0) < 1.4
