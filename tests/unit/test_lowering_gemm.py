"""Does a product's kernel read each operand byte exactly as often as its tiles say, and write the output once?"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_bench import (
    SCALARS,
    assert_header,
    coverage,
    device,
    matrices,
    only,
    padded,
    records_of,
    total_bytes,
    uniform,
)

from simulator.hardware import Dtype
from simulator.lowering import gemm
from simulator.lowering.gemm import Bias, Operands, Tiling
from simulator.lowering.layout import Matrix
from simulator.lowering.tiling import Pinned
from simulator.trace.record import Op, TracedKernel
from simulator.workload import GemmShape

DTYPES = [  # weight, input, output
    (Dtype.BF16, Dtype.BF16, Dtype.BF16),
    (Dtype.FP8, Dtype.BF16, Dtype.BF16),
    (Dtype.FP8, Dtype.FP8, Dtype.BF16),
    (Dtype.FP32, Dtype.FP32, Dtype.FP32),
    (Dtype.BF16, Dtype.FP8, Dtype.BF16),
    (Dtype.FP32, Dtype.FP8, Dtype.BF16),
]
WORKSPACE = 9 << 32
BIAS = 8 << 32


def tiling(tile_m: int = 64, tile_n: int = 64, split: int = 1, stages: int = 4, cluster: int = 1) -> Tiling:
    return Tiling(tile_m, tile_n, split, stages, cluster, 256)


def operands_of(shape: GemmShape, source: Matrix | None = None) -> Operands:
    x, w, y = matrices(
        (shape.m, shape.k * shape.activation_dtype.bytes),
        (shape.n, shape.k * shape.weight_dtype.bytes),
        (shape.m, shape.n * shape.output_dtype.bytes),
    )
    return Operands(source or x, w, y, Bias(BIAS, 2) if shape.bias else None, WORKSPACE)


def lowered(shape: GemmShape, operands: Operands, chosen: Tiling, on: str = "h100-sxm") -> list[TracedKernel]:
    with patch.object(gemm, "choose", lambda *_: chosen):
        return list(gemm.lower(shape, operands, device(on), SCALARS.gemm, 0))


@st.composite
def products(draw: st.DrawFn) -> tuple[GemmShape, Tiling]:
    """Return a small product, ragged or not, and a way to cut it."""
    weight, source, output = draw(st.sampled_from(DTYPES))
    whole = draw(st.booleans())
    m = draw(st.integers(1, 300))
    n = draw(st.integers(1, 10)) * 64 if whole else draw(st.integers(1, 600))
    k = draw(st.integers(1, 10)) * 64 if whole else draw(st.integers(1, 700))
    shape = GemmShape(m, n, k, weight, source, output, bias=draw(st.booleans()))
    tile_m, tile_n = draw(st.sampled_from([8, 24, 64, 128])), draw(st.sampled_from([64, 128, 192, 256]))
    even = -(-m // tile_m) % 2 == 0
    cluster = draw(st.sampled_from([1, 2])) if even and n % tile_n != 1 else 1
    return shape, tiling(tile_m, tile_n, draw(st.integers(1, 4)), draw(st.integers(2, 12)), cluster)


@settings(max_examples=150, deadline=None)
@given(case=products())
def test_each_byte_as_often_as_the_tiles_say(case: tuple[GemmShape, Tiling]) -> None:
    shape, cut = case
    operands = operands_of(shape)
    main, *reduction = lowered(shape, operands, cut)
    records = records_of(main)
    reads, writes = only(records, Op.READ), only(records, Op.WRITE)
    tiles_m, tiles_n = -(-shape.m // cut.tile_m), -(-shape.n // cut.tile_n)
    weight_bytes, source_bytes = shape.n * padded(operands.weight), shape.m * padded(operands.source)
    assert uniform(coverage(reads, operands.weight.address, weight_bytes), tiles_m // cut.cluster)
    assert uniform(coverage(reads, operands.source.address, source_bytes), tiles_n)
    expected = tiles_m // cut.cluster * weight_bytes + tiles_n * source_bytes
    if shape.bias and cut.split == 1:
        assert uniform(coverage(reads, BIAS, shape.n * 2), tiles_m)
        expected += tiles_m * shape.n * 2
    assert total_bytes(reads) == expected  # nothing else is read
    output_bytes, partial_bytes = shape.m * padded(operands.output), cut.split * shape.m * shape.n * 4
    if cut.split == 1:
        assert not reduction
        assert uniform(coverage(writes, operands.output.address, output_bytes), 1)
        assert total_bytes(writes) == output_bytes
    else:
        assert uniform(coverage(writes, WORKSPACE, partial_bytes), 1)
        assert total_bytes(writes) == partial_bytes
        (last,) = reduction
        added = records_of(last)
        assert uniform(coverage(only(added, Op.READ), WORKSPACE, partial_bytes), 1)
        assert uniform(coverage(only(added, Op.WRITE), operands.output.address, output_bytes), 1)
        assert total_bytes(only(added, Op.WRITE)) == output_bytes


@settings(max_examples=100, deadline=None)
@given(case=products())
def test_headers_count_their_records(case: tuple[GemmShape, Tiling]) -> None:
    shape, cut = case
    for kernel in lowered(shape, operands_of(shape), cut):
        assert_header(kernel)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 12),
    step=st.integers(2, 40),
    data=st.data(),
    n=st.integers(1, 4).map(lambda n: 64 * n),
    k=st.integers(1, 8).map(lambda k: 64 * k),
)
def test_some_rows_of_a_buffer(m: int, step: int, data: st.DataObject, n: int, k: int) -> None:
    """The output head of a prefill reads the last token of each sequence alone."""
    shape = GemmShape(m, n, k, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    offset = data.draw(st.integers(0, step - 1))
    operands = operands_of(shape, Matrix(1 << 32, m, k * 2, 128, step, offset))
    (kernel,) = lowered(shape, operands, tiling(8, 64))
    counts = coverage(only(records_of(kernel), Op.READ), 1 << 32, m * step * k * 2)
    touched = counts.reshape(k * 2 // 128, m * step, 128)  # panel, row, byte
    expected = np.zeros(m * step)
    expected[offset::step] = n // 64
    assert (touched == expected[None, :, None]).all()
    assert_header(kernel)


def test_tiles_go_down_eight_rows_then_one_column_on() -> None:
    """Ten tile rows by three tile columns, worked by hand: the first eight rows column by column, then the other two.

    An output tile is 64 bf16 columns, one panel; a panel holds the 80 rows, 8 a tile, at 128 bytes each.
    """
    shape = GemmShape(80, 192, 64, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    operands = operands_of(shape)
    (kernel,) = lowered(shape, operands, tiling(8, 64))
    written = only(records_of(kernel), Op.WRITE)
    column, row = np.divmod((written.address - operands.output.address) // 128, 80)
    order = list(zip((row // 8).tolist(), column.tolist(), strict=True))
    first = [(row, column) for column in range(3) for row in range(8)]
    assert order == [*first, (8, 0), (9, 0), (8, 1), (9, 1), (8, 2), (9, 2)]


def test_ctas_of_a_split_are_neighbours() -> None:
    """Two tiles, k = 256 in two shares of two 128-byte steps: CTA 0 and 1 have the first tile, 2 and 3 the second."""
    shape = GemmShape(8, 128, 256, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    operands = operands_of(shape)
    main, _ = lowered(shape, operands, tiling(8, 64, split=2, stages=2))
    reads = only(records_of(main), Op.READ)
    weight = reads[reads.address >= operands.weight.address]
    panel, row = np.divmod((weight.address - operands.weight.address) // 128, 128)
    assert weight.requester.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert panel.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert row.tolist() == [0, 0, 0, 0, 64, 64, 64, 64]


def test_a_cluster_shares_the_weight_tile() -> None:
    """Two CTAs, one weight tile of 64 rows: each fetches half."""
    shape = GemmShape(128, 64, 64, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    operands = operands_of(shape)
    (kernel,) = lowered(shape, operands, tiling(64, 64, cluster=2))
    reads = only(records_of(kernel), Op.READ)
    weight = reads[reads.address >= operands.weight.address]
    assert ((weight.address - operands.weight.address) // 128).tolist() == [0, 32]
    assert (weight.rows * weight.row_bytes).tolist() == [32 * 128] * 2


def test_the_input_is_computed_on_after_its_weight() -> None:
    """Records of a CTA come in pairs, weight then input; the pair's arithmetic follows the second; the store waits."""
    shape = GemmShape(8, 64, 512, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    (kernel,) = lowered(shape, operands_of(shape), tiling(8, 64, stages=2))
    records = records_of(kernel)
    reads = only(records, Op.READ)
    assert (reads.compute_cycles[::2] == 0).all()
    assert (reads.compute_cycles[1::2] > 0).all()
    assert records.barrier.tolist() == [0] * len(reads) + [1]


@pytest.mark.parametrize("name", ["h100-sxm", "a100-sxm-80gb", "l40s", "v100-sxm-32gb", "b200-sxm"])
@pytest.mark.parametrize("m", [1, 17, 128, 500])
def test_what_is_chosen_fits_and_covers(name: str, m: int) -> None:
    """Not a forced tiling: what the heuristic picks on each device keeps the same account."""
    shape = GemmShape(m, 768, 640, Dtype.BF16, Dtype.BF16, Dtype.BF16)
    operands = operands_of(shape)
    main, *_ = gemm.lower(shape, operands, device(name), SCALARS.gemm, 0)
    assert_header(main)
    counts = coverage(only(records_of(main), Op.READ), operands.weight.address, 768 * 1280)
    assert counts.min() == counts.max() >= 1
    assert main.header.shared_bytes + device(name).sm.cta_reserved_bytes <= device(name).sm.shared_memory_bytes


def test_a_cta_of_one_tile_sets_itself_up_as_the_first_of_its_place_does() -> None:
    shape = GemmShape(16, 8192, 4096, Dtype.FP8, Dtype.FP8, Dtype.BF16, False)
    scalars = SCALARS.gemm.model_copy(update={"warmup_cycles": 1980})
    headers = [
        next(gemm.lower(shape, operands_of(shape), device(), scalars, 0, pinned=Pinned(16, 64, 16, 1, each))).header
        for each in (False, True)
    ]
    stays, leaves = ((header.prologue_ps, header.warmup_ps) for header in headers)
    assert stays[1] == 1_000_000
    assert leaves == (stays[0] + 1_000_000, 0)
