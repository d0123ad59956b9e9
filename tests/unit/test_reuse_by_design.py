"""Is reuse what the order of CTAs makes it: grouped or row-major tiles of a product, sequences that share a prefix?"""

from __future__ import annotations

import dataclasses
from unittest.mock import patch

import pytest
from lowering_bench import SCALARS, device, matrices

from simulator.analysis.hits import HitExplainer, Hits
from simulator.analysis.locality import Locality, locality
from simulator.analysis.order import Order
from simulator.hardware import Dtype
from simulator.lowering import attention, gemm, key_tiles
from simulator.lowering.gemm import Operands
from simulator.lowering.layout import Matrix, allocate
from simulator.lowering.tiling import Tiling
from simulator.memory import Device
from simulator.run.cases import GemmCase
from simulator.run.predict import predict
from simulator.system import run_stream
from simulator.trace.record import Op, TracedKernel, TraceHeader
from simulator.workload import AttentionShape, GemmShape, Tensor, TensorClass
from simulator.workload.protocol import CacheState

BLOCK = 128  # rows of a tile; 64 columns of bf16 are 128 bytes, so that a block of either operand is 16 KiB
BLOCK_BYTES = 128 * BLOCK


def first_ctas(kernel: TracedKernel, count: int) -> TracedKernel:
    """Return the loads of the first CTAs of a kernel."""
    (chunk,) = kernel.chunks
    chunk = chunk[(chunk.requester < count) & (chunk.op == Op.READ)]
    header = dataclasses.replace(kernel.header, requesters=count, records=len(chunk))
    return TracedKernel(header, (chunk,))


def nine_blocks(raster_rows: int) -> Locality:
    """Return the locality of the first nine tiles of a product of 9 x 9 blocks by 9 x 9 blocks."""
    shape = GemmShape(9 * BLOCK, 9 * BLOCK, 9 * 64, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    x, w, y = matrices((shape.m, 2 * shape.k), (shape.n, 2 * shape.k), (shape.m, 2 * shape.n))
    with patch.object(gemm, "choose", lambda *_: Tiling(BLOCK, BLOCK, 1, 4, 1, 256)):
        (kernel,) = gemm.lower(
            shape, Operands(x, w, y, None, 9 << 32), device(), SCALARS.gemm, 0, raster_rows=raster_rows
        )
    return locality(TraceHeader(), [first_ctas(kernel, 9)], Order(), {"tile": BLOCK_BYTES})


@pytest.mark.parametrize(("raster_rows", "loads"), [(1, 90), (3, 54)])
def test_the_first_nine_blocks_of_the_triton_tutorial(raster_rows: int, loads: int) -> None:
    """Row-major: 9 blocks of one row of A and all 81 of B.  Three by three: three rows of A, three columns of B, 27
    blocks each (triton-lang.org, tutorial 03, L2 cache optimizations)."""
    (tile,) = nine_blocks(raster_rows).reuse
    assert tile.accesses == 9 * 9 * 2
    assert tile.footprint_bytes == loads * BLOCK_BYTES
    assert tile.curve.miss_ratio[-1] * tile.accesses == pytest.approx(loads)


def test_a_grouped_raster_hits_more_at_full_size() -> None:
    """Operands of 128 MiB each and an L2 of 50: a wave of 132 tiles reads 2 + 64 of their strips, or 8 + 17."""
    rates = {
        rows: predict(
            GemmCase(m=8192, n=8192, k=2048, tile_m=128, tile_n=128, raster_rows=rows, cache=CacheState.COLD), device()
        ).l2_read_hit_rate
        for rows in (1, 8)
    }
    assert rates[8] is not None and rates[1] is not None
    assert rates[8] > rates[1]


def shared_prefix(sharers: int, batch: int = 16, kv_len: int = 4096) -> Hits:
    """Return the explained hits of decode attention in which `sharers` sequences in a row read one cache, cold."""
    shape = AttentionShape(batch, 1, kv_len, 32, 8, 128, Dtype.BF16, Dtype.BF16, page_tokens=64, kv_sharers=sharers)
    width = shape.head_dim * 2
    size = batch // sharers * shape.kv_stride_tokens * shape.kv_token_bytes
    tensors = [Tensor(name, size, TensorClass.KV) for name in ("k", "v")]
    tensors += [Tensor(name, batch * 32 * width, TensorClass.ACTIVATIONS) for name in ("q", "out")]
    tensors += [
        Tensor("pages", batch * kv_len, TensorClass.METADATA),
        Tensor("room", 64 << 20, TensorClass.ACTIVATIONS),
    ]
    at = allocate(tensors)
    operands = key_tiles.Operands(
        query=Matrix(at["q"], batch, 32 * width, 128),
        output=Matrix(at["out"], batch, 32 * width, 128),
        key=at["k"],
        value=at["v"],
        block_table=at["pages"],
        workspace=at["room"],
    )
    explainer = HitExplainer(TraceHeader(tensors=tuple(at.ranges.values())))
    kernels = attention.lower_decode(shape, operands, device(), SCALARS.decode_attention, 0)
    run_stream(Device(device(), observer=explainer), kernels)
    return explainer.finish()


@pytest.mark.parametrize("sharers", [1, 2, 4, 8])
def test_a_shared_prefix_hits_all_but_once(sharers: int) -> None:
    """R sequences that read one cache side by side fetch it once: of its reads (R - 1) / R hit."""
    found = shared_prefix(sharers)
    reads = [row.reads for row in found.kernels if row.tensor_class == "kv"]
    hit, asked = sum(r.hit_bytes for r in reads), sum(r.asked_bytes for r in reads)
    assert asked == 16 * 4096 * 8 * 128 * 2 * 2
    assert hit / asked == pytest.approx((sharers - 1) / sharers, abs=0.01)
    assert sum(r.compulsory_bytes for r in reads) == asked // sharers
