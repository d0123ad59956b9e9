"""Do fp8 products take the tiles that the frameworks' dispatch files name?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.hardware import Dtype, load
from simulator.lowering.cutlass import cutlass_kernel
from simulator.lowering.implementation import Framework, implementations
from simulator.lowering.tiling import CHOSEN, choose
from simulator.workload import GemmShape


@pytest.mark.parametrize(
    ("framework", "capability", "m", "n", "tile", "cluster"),
    [
        (Framework.VLLM, 90, 16, 65536, (16, 64), 1),
        (Framework.VLLM, 90, 17, 1280, (16, 64), 4),
        (Framework.VLLM, 90, 17, 1281, (64, 64), 1),
        (Framework.VLLM, 90, 65, 32, (64, 128), 2),
        (Framework.VLLM, 90, 129, 32, (128, 128), 2),
        (Framework.VLLM, 89, 16, 8192, (16, 64), 1),
        (Framework.VLLM, 89, 16, 8193, (16, 128), 1),
        (Framework.VLLM, 89, 257, 8192, (256, 128), 1),
        (Framework.VLLM, 103, 16, 4096, (32, 64), 1),
        (Framework.VLLM, 120, 33, 4096, (64, 64), 1),
        (Framework.SGLANG, 90, 1, 4096, (16, 64), 1),
        (Framework.SGLANG, 90, 129, 4096, (128, 128), 2),
        (Framework.SGLANG, 89, 65, 16385, (32, 64), 1),
        (Framework.SGLANG, 120, 1, 64, (128, 128), 1),
        (Framework.SGLANG, 120, 129, 64, (128, 128), 1),
    ],
)
def test_tiles_are_those_of_the_sources(
    framework: Framework, capability: int, m: int, n: int, tile: tuple[int, int], cluster: int
) -> None:
    kernel = cutlass_kernel(framework, capability, m, n)
    assert (kernel.tile_m, kernel.tile_n) == tile
    assert kernel.cluster == cluster


@pytest.mark.parametrize(
    ("framework", "capability", "most"),
    [
        (Framework.VLLM, 89, 1 << 16),
        (Framework.VLLM, 90, 64),
        (Framework.VLLM, 100, 0),
        (Framework.VLLM, 120, 0),
        (Framework.SGLANG, 89, 1 << 16),
        (Framework.SGLANG, 90, 64),
        (Framework.SGLANG, 103, 0),
    ],
)
def test_ctas_of_one_tile_are_those_of_kernels_that_do_not_stay(
    framework: Framework, capability: int, most: int
) -> None:
    assert all(cutlass_kernel(framework, capability, m, 4096).sets_up_each for m in {min(1, most), most} - {0})
    assert not cutlass_kernel(framework, capability, most + 1, 4096).sets_up_each or capability == 89


@pytest.mark.parametrize(("framework", "capability"), [(Framework.TRTLLM, 90), (Framework.VLLM, 80)])
def test_elsewhere_a_library_chooses(framework: Framework, capability: int) -> None:
    assert cutlass_kernel(framework, capability, 64, 4096) == CHOSEN


@given(
    framework=st.sampled_from([Framework.VLLM, Framework.SGLANG]),
    name=st.sampled_from(["l40s", "h100-sxm", "b200-sxm", "b300-sxm", "rtx-pro-6000"]),
    m=st.integers(1, 1 << 16),
    n=st.integers(1, 1 << 17),
)
def test_every_product_has_a_kernel_that_fits_its_device(framework: Framework, name: str, m: int, n: int) -> None:
    device = load(name).spec
    kernel = cutlass_kernel(framework, device.compute_capability, m, n)
    shape = GemmShape(m, n, 4096, Dtype.FP8, Dtype.FP8, Dtype.BF16, False)
    tiling = choose(shape, device, implementations(framework).gemm, kernel)
    assert (tiling.tile_m, tiling.tile_n, tiling.split) == (kernel.tile_m, kernel.tile_n, 1)
    assert -(-m // tiling.tile_m) % tiling.cluster == 0
