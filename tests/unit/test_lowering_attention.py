"""Do attention kernels read each key and value they see as often as their tiles say, and write each result once?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowering_bench import SCALARS, assert_header, coverage, device, only, records_of, total_bytes, uniform
from numpy.typing import NDArray

from simulator.hardware import Dtype
from simulator.lowering.attention import lower_decode
from simulator.lowering.decode_flash import fa2_splits, flash_tile
from simulator.lowering.implementation import Framework
from simulator.lowering.key_tiles import Operands
from simulator.lowering.layout import Matrix, panel_bytes_of
from simulator.lowering.prefill import deal, lower_prefill
from simulator.lowering.prefill_plan import prefill_plan
from simulator.trace.record import Op, Records, TracedKernel
from simulator.workload import AttentionShape

QUERY, OUTPUT, KEY, VALUE, TABLE, WORKSPACE = (place << 36 for place in range(1, 7))
DEVICES = ["h100-sxm", "a100-sxm-80gb"]  # FlashAttention-3 and -2
HEAD_DIMS = [64, 80, 96, 128, 256]
PAGES = [16, 48, 64, None]


def shape_of(**changes: Any) -> AttentionShape:
    values = {
        "batch": 1,
        "query_len": 1,
        "kv_len": 100,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 64,
        "kv_dtype": Dtype.BF16,
        "activation_dtype": Dtype.BF16,
        "page_tokens": 16,
    }
    return AttentionShape(**values | changes)


def operands_of(shape: AttentionShape) -> Operands:
    tokens, width = shape.batch * shape.query_len, shape.head_dim * shape.activation_dtype.bytes
    result = result_width(shape)
    return Operands(
        query=Matrix(QUERY, tokens, shape.heads * width, panel_bytes_of(width)),
        output=Matrix(OUTPUT, tokens, shape.heads * result, panel_bytes_of(result)),
        key=KEY,
        value=VALUE,
        block_table=TABLE if shape.page_tokens else None,
        workspace=WORKSPACE,
    )


def result_width(shape: AttentionShape) -> int:
    """Return the bytes of a head's result: in fp8 where K and V are, and a head is then whole sectors."""
    narrow = shape.kv_dtype is Dtype.FP8 and shape.head_dim % 32 == 0
    return shape.head_dim * (1 if narrow else 2)


def decoded(shape: AttentionShape, on: str) -> list[TracedKernel]:
    return list(lower_decode(shape, operands_of(shape), device(on), SCALARS.decode_attention, 0))


def prefilled(shape: AttentionShape, on: str, framework: Framework = Framework.GENERIC) -> TracedKernel:
    """Return the main kernel."""
    scalars = SCALARS.prefill_attention
    kernels = lower_prefill(shape, operands_of(shape), device(on), scalars, 0, framework=framework)
    return next(kernel for kernel in kernels if kernel.header.name.startswith("prefill"))


def token_counts(records: Records, base: int, shape: AttentionShape) -> NDArray[np.int64]:
    """Return how often each (sequence, KV head, token) is read; the layout is written anew, token by token.

    Storage is [page][head][token in page][head_dim]; every byte of a row must be read equally often.
    """
    page = shape.page_tokens or shape.kv_stride_tokens
    pages = shape.kv_stride_tokens // page
    row = shape.head_dim * shape.kv_dtype.bytes
    counts = coverage(records, base, shape.batch * pages * shape.kv_heads * page * row)
    rows = counts.reshape(shape.batch, pages, shape.kv_heads, page, row)
    assert (rows == rows[..., :1]).all()
    return rows[..., 0].transpose(0, 2, 1, 3).reshape(shape.batch, shape.kv_heads, pages * page)


@st.composite
def decodes(draw: st.DrawFn) -> AttentionShape:
    kv_heads, group = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 4, 7, 80]))
    return shape_of(
        batch=draw(st.integers(1, 3)),
        kv_len=draw(st.integers(1, 1500)),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from(HEAD_DIMS)),
        kv_dtype=draw(st.sampled_from([Dtype.BF16, Dtype.FP8])),
        window=draw(st.sampled_from([None, 1, 100, 512])),
        page_tokens=draw(st.sampled_from(PAGES)),
    )


@pytest.mark.parametrize("on", DEVICES)
@settings(max_examples=60, deadline=None)
@given(shape=decodes())
def test_decode_reads_each_visible_key_once_per_query_tile(on: str, shape: AttentionShape) -> None:
    """Visible: from the first key of the window, rounded down to a tile, to the last."""
    main = decoded(shape, on)[0]
    tile = flash_tile(shape, device(on))
    apart = on == "a100-sxm-80gb" and shape.window is not None  # FlashAttention-2 packs no heads then
    query_tiles = -(-(shape.heads // shape.kv_heads) // (1 if apart else tile.queries))
    expected = np.zeros(shape.kv_stride_tokens, np.int64)
    expected[shape.first_key // tile.keys * tile.keys : shape.kv_len] = query_tiles
    reads = only(records_of(main), Op.READ)
    for base in (KEY, VALUE):
        assert (token_counts(reads, base, shape) == expected).all()


@pytest.mark.parametrize("on", DEVICES)
@settings(max_examples=60, deadline=None)
@given(shape=decodes())
def test_decode_reads_queries_and_writes_results_once(on: str, shape: AttentionShape) -> None:
    """With the keys split, every split reads the queries and writes a partial row (its log-sum-exp with it), which
    the combination reads."""
    main, *rest = decoded(shape, on)
    for kernel in (main, *rest):
        assert_header(kernel)
    records = records_of(main)
    reads, writes = only(records, Op.READ), only(records, Op.WRITE)
    size = shape.batch * shape.heads * shape.head_dim * 2
    queries = coverage(reads, QUERY, size)
    splits = int(queries[0])
    assert uniform(queries, splits)
    table = total_bytes(reads[(reads.address >= TABLE) & (reads.address < WORKSPACE)])
    assert total_bytes(reads[reads.address < KEY]) == splits * size
    assert (table > 0) == (shape.page_tokens is not None)
    result = shape.batch * shape.heads * result_width(shape)
    if splits == 1:
        assert all(len(only(records_of(kernel), Op.WRITE)) == 0 for kernel in rest)  # launched, with nothing to add
        assert uniform(coverage(writes, OUTPUT, result), 1)
        assert total_bytes(writes) == result
        return
    partial = splits * shape.batch * shape.heads * (shape.head_dim + 1) * 4
    assert uniform(coverage(writes, WORKSPACE, partial), 1)
    assert total_bytes(writes) == partial
    (combination,) = rest
    combined = records_of(combination)
    combined_reads = only(combined, Op.READ)
    parts = combined_reads[combined_reads.address < WORKSPACE + partial]  # beyond: lengths, to find its tile by
    assert uniform(coverage(parts, WORKSPACE, partial), 1)
    assert total_bytes(parts) == partial
    assert uniform(coverage(only(combined, Op.WRITE), OUTPUT, result), 1)
    assert total_bytes(only(combined, Op.WRITE)) == result


def test_flash_attention_3_walks_the_batch_by_hand() -> None:
    """256 sequences of one KV head on 132 SMs: the CTA of sequence 200 comes from 68, that is from the third group of
    31 to the seventh; the first 132 come from sequence 0.  The combination has a CTA for each tile and sequence (8
    heads are one tile) and 256 to spare, each of which steps from group to group of 32 to its sequence, or the last."""
    shape = shape_of(batch=256, kv_len=64, heads=8, kv_heads=1, head_dim=128, page_tokens=64)
    main, combination = lower_decode(
        shape, operands_of(shape), device("h100-sxm"), SCALARS.decode_attention, 0, framework=Framework.VLLM
    )

    def steps(kernel: TracedKernel, ctas: int) -> list[int]:
        records = only(records_of(kernel), Op.READ)
        scans = records[(records.address >= WORKSPACE) & (records.row_bytes == 128)]
        return list(np.bincount(scans.requester, minlength=ctas))

    walked = steps(main, 256)
    assert [walked[i] for i in (0, 30, 31, 131, 132, 200, 255)] == [0, 0, 1, 4, 4, 4, 5]
    assert steps(combination, 512) == [i // 32 + 1 for i in range(256)] + [8] * 256


@settings(max_examples=60, deadline=None)
@given(shape=decodes())
def test_the_block_table_is_read_where_the_pages_are(shape: AttentionShape) -> None:
    """4 bytes a page: each sequence's entries from the first visible page to the last, and nothing outside the
    table."""
    main = decoded(shape, "h100-sxm")[0]
    reads = only(records_of(main), Op.READ)
    table = reads[(reads.address >= TABLE) & (reads.address < WORKSPACE)]
    if shape.page_tokens is None:
        assert len(table) == 0
        return
    pages = shape.kv_stride_tokens // shape.page_tokens
    counts = coverage(table, TABLE, shape.batch * pages * 4).reshape(shape.batch, pages, 4)
    assert (counts[:, shape.first_key // shape.page_tokens :] > 0).all()
    assert table.address.min() >= TABLE
    assert (table.address + table.row_bytes).max() <= TABLE + shape.batch * pages * 4
    assert (table.address % 32 == 0).all()


KERNELS = [  # packed and persistent; a tile a CTA; packed; two tiles a CTA
    ("h100-sxm", Framework.VLLM),
    ("a100-sxm-80gb", Framework.TRTLLM),
    ("a100-sxm-80gb", Framework.SGLANG),
    ("b200-sxm", Framework.VLLM),
]


@pytest.mark.parametrize(("on", "framework"), KERNELS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_prefill_reads_what_each_query_tile_sees(on: str, framework: Framework, data: st.DataObject) -> None:
    """A tile of causal attention loads keys from the window of its first row up to its last row's, in whole tiles as
    far as there are keys: the mask hides some after they came.

    The query heads of a group are rows of one tile, token by token, or each reads the keys for itself."""
    draw = data.draw
    kv_heads, group = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 3]))
    shape = shape_of(
        batch=draw(st.integers(1, 2)),
        query_len=(length := draw(st.integers(2, 400))),
        kv_len=length + draw(st.sampled_from([0, 0, 37])),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from(HEAD_DIMS)),
        kv_dtype=draw(st.sampled_from([Dtype.BF16, Dtype.FP8])),
        causal=draw(st.booleans()),
        window=draw(st.sampled_from([None, 100])),
        page_tokens=draw(st.sampled_from(PAGES)),
    )
    kernel = prefilled(shape, on, framework)
    assert_header(kernel)
    plan = prefill_plan(shape, device(on), framework)
    past = shape.kv_len - shape.query_len
    expected = np.zeros(shape.kv_stride_tokens, np.int64)
    packed = group if plan.packed else 1
    splits = []  # of the keys of each row; those that would have none do not load the queries
    for row in range(0, shape.query_len * packed, plan.queries):
        top = min(row + plan.queries, shape.query_len * packed) - 1
        last = past + top // packed + 1 if shape.causal else shape.kv_len
        first = 0
        if shape.window is not None:
            first = max(0, past + row // packed - shape.window + 1) // plan.keys * plan.keys
        last = min(-(-last // plan.keys) * plan.keys, shape.kv_len)
        expected[first:last] += group // packed
        tiles = -(-(last - first) // plan.keys)
        splits += [-(-tiles // -(-tiles // plan.splits))] * (min(row + plan.queries, shape.query_len * packed) - row)
    records = records_of(kernel)
    for base in (KEY, VALUE):
        assert (token_counts(only(records, Op.READ), base, shape) == expected).all()
    rows = shape.batch * shape.query_len * shape.heads
    result = rows * result_width(shape)
    loaded = np.sort(coverage(only(records, Op.READ), QUERY, rows * shape.head_dim * 2))
    assert (loaded == np.repeat(np.sort(splits), len(loaded) // len(splits))).all()
    if plan.splits > 1:
        return  # a second kernel adds up the parts
    assert uniform(coverage(only(records, Op.WRITE), OUTPUT, result), 1)
    assert total_bytes(only(records, Op.WRITE)) == result


def test_work_goes_to_the_first_to_be_idle() -> None:
    """Two hands, 5 4 3 2 2: the first takes 5, the second 4 and then 3 (at 4), the first 2 (at 5) and 2 (at 7)."""
    assert deal(np.array([5, 4, 3, 2, 2]), 2).tolist() == [0, 1, 1, 0, 0]
    assert deal(np.array([3, 3, 3]), 2).tolist() == [0, 1, 0]


def test_a_persistent_kernel_has_a_cta_per_sm() -> None:
    """132 CTAs take the 320 tiles of 8 sequences of 40 x 128 rows, the heaviest first: CTA 0 starts with the last rows
    of the first sequence."""
    shape = shape_of(batch=8, query_len=640, kv_len=640, heads=8, kv_heads=1, head_dim=128, page_tokens=64)
    kernel = prefilled(shape, "h100-sxm", Framework.SGLANG)
    assert kernel.header.requesters == 132
    records = records_of(kernel)
    first = records[(records.requester == 0) & (records.address >= QUERY) & (records.address < OUTPUT)][:1]
    assert (first.address[0] - QUERY) // (8 * 256) == 640 - 128 // 8


def test_causal_tiles_by_hand() -> None:
    """300 tokens, head size 128 on an H100: query tiles of 128 rows and key tiles of 128, the longest first.

    Rows 256-299 see 300 keys (tiles of 128, 128, 44), rows 128-255 see 256 (two tiles), rows 0-127 see 128 (one).
    Each key tile is followed by its values.
    """
    shape = shape_of(query_len=300, kv_len=300, heads=1, kv_heads=1, head_dim=128, page_tokens=None)
    reads = only(records_of(prefilled(shape, "h100-sxm")), Op.READ)  # 132 SMs: each tile has one to itself
    tiles = reads[reads.address >= KEY]
    first_key = (tiles.address % (1 << 36)) // 256
    got = list(zip(tiles.requester.tolist(), first_key.tolist(), (tiles.row_bytes // 256).tolist(), strict=True))
    expected = [
        (cta, start, size)
        for cta, start, size in [(0, 0, 128), (0, 128, 128), (0, 256, 44), (1, 0, 128), (1, 128, 128), (2, 0, 128)]
        for _ in "kv"
    ]
    assert got == expected
    assert (tiles.address >= VALUE).tolist() == [False, True] * 6


def test_pages_cut_a_tile_into_runs() -> None:
    """Pages of 48 tokens, two KV heads, tile of 128 keys: keys 0-127 are two whole pages and 32 rows of the third;
    keys 128-199 are its other 16 rows, the fourth page and 8 rows of the fifth."""
    shape = shape_of(kv_len=200, heads=2, kv_heads=2, head_dim=128, page_tokens=48, batch=70)
    tile = flash_tile(shape, device("h100-sxm"))
    assert tile.keys == 128
    reads = only(records_of(decoded(shape, "h100-sxm")[0]), Op.READ)
    keys = reads[(reads.requester == 1) & (reads.address >= KEY) & (reads.address < VALUE)]  # sequence 0, head 1
    page, row = 48 * 256, 256
    got = list(zip((keys.address - KEY).tolist(), keys.rows.tolist(), keys.row_bytes.tolist(), strict=True))
    head_1 = page
    assert got == [
        (head_1, 2, page),
        (2 * 2 * page + head_1, 1, 32 * row),
        (2 * 2 * page + head_1 + 32 * row, 1, 16 * row),
        (3 * 2 * page + head_1, 1, page),
        (4 * 2 * page + head_1, 1, 8 * row),
    ]
    assert keys.row_stride[0] == 2 * page


@pytest.mark.parametrize(
    ("work", "slots", "key_tiles", "splits"),
    [
        (
            8,
            216,
            32,
            16,
        ),  # efficiency s / 27: 1, 2, 3, ... 11 -> 0.41, 16 -> 0.59 (best), 32 wraps: fewest >= 0.85 best
        (100, 216, 10, 2),  # 0.46, 0.93, 0.69, 0.93, 0.77, 0.93: the first at 0.93
        (172, 216, 64, 5),  # just below 0.8 of the slots: 0.796, 0.796, 0.796, 0.796, 0.995 at 5
        (173, 216, 64, 1),  # 0.8 of the slots: not split
        (1, 216, 1, 1),  # one tile cannot be split
        (1, 216, 300, 100),  # 300 tiles in at most 128 splits: 128 is not eligible (3 a split, as 100), 100 is best
        (2, 4, 8, 2),  # two waves of four would do no better than one of four
    ],
)
def test_fa2_splits_by_hand(work: int, slots: int, key_tiles: int, splits: int) -> None:
    """num_splits_heuristic of FlashAttention-2: splits that shorten the longest share, the fewest within 15 % of the
    best wave efficiency."""
    assert fa2_splits(work, slots, key_tiles) == splits


def test_multi_head_attention_is_not_split_by_fa2() -> None:
    """The split kernel is taken for packed query groups only."""
    long = shape_of(kv_len=8000, heads=8, kv_heads=8)
    assert len(decoded(long, "a100-sxm-80gb")) == 1
    assert len(decoded(shape_of(kv_len=8000, heads=8, kv_heads=2), "a100-sxm-80gb")) == 2
    assert len(decoded(long, "h100-sxm")) == 2


def test_a_tile_is_cut_down_to_shared_memory() -> None:
    """Head size 512 fits no device at the usual tile; whatever is chosen fits, and covers the keys all the same."""
    shape = shape_of(head_dim=512, kv_len=333)
    for on in (*DEVICES, "v100-sxm-32gb"):
        main = decoded(shape, on)[0]
        sm = device(on).sm
        assert main.header.shared_bytes + sm.cta_reserved_bytes <= sm.shared_memory_bytes
        assert token_counts(only(records_of(main), Op.READ), KEY, shape)[0, 0, :333].tolist() == [1] * 333


def test_decode_work_is_one_pair_of_products_per_tile() -> None:
    """Each K tile is computed on (Q K^T), then its V tile (P V): cycles on the last record of each, none elsewhere."""
    shape = shape_of(kv_len=200, head_dim=128, page_tokens=48, batch=70)
    records = records_of(decoded(shape, "h100-sxm")[0])
    own = records[records.requester == 0]
    tiles = -(-200 // flash_tile(shape, device()).keys)
    assert (own.compute_cycles > 0).sum() == 2 * tiles
    assert len(set(own.compute_cycles[own.compute_cycles > 0].tolist())) == 1
