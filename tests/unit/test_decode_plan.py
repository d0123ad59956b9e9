"""Does each framework decode with its own kernel, cut as that kernel cuts its work, reading and writing as it does?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from lowering_bench import SCALARS, coverage, device, only, records_of, total_bytes, uniform
from test_lowering_attention import (
    KEY,
    OUTPUT,
    QUERY,
    VALUE,
    WORKSPACE,
    decodes,
    operands_of,
    result_width,
    shape_of,
    token_counts,
)

from simulator.hardware import Dtype
from simulator.lowering.attention import lower_decode, softmax_cycles
from simulator.lowering.decode_plan import Plan, decode_plan
from simulator.lowering.decode_tile import step_of
from simulator.lowering.implementation import Backend, Framework, Implementation
from simulator.trace.record import Op, TracedKernel
from simulator.workload import AttentionShape

RUNS = [
    ("h100-sxm", Framework.TRTLLM),
    ("l40s", Framework.SGLANG),
    ("l40s", Framework.VLLM),
    ("b200-sxm", Framework.VLLM),
    ("rtx-pro-6000", Framework.SGLANG),
    ("a100-sxm-80gb", Framework.SGLANG),
]


def plan(on: str, framework: Framework, **changes: Any) -> Plan:
    """Return the plan of a Llama-like layer with some of its shape changed."""
    usual = {"batch": 16, "kv_len": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "page_tokens": 64}
    return decode_plan(shape_of(**usual | changes), device(on), framework)


@pytest.mark.parametrize(
    ("on", "framework", "changes", "name"),
    [
        ("h100-sxm", Framework.GENERIC, {}, " fa3"),
        ("b200-sxm", Framework.GENERIC, {}, " fa3"),
        ("h100-sxm", Framework.VLLM, {"kv_dtype": Dtype.FP8}, " fa3"),
        ("l40s", Framework.VLLM, {}, ""),
        ("l40s", Framework.VLLM, {"kv_dtype": Dtype.FP8}, " flashinfer"),
        ("l40s", Framework.VLLM, {"kv_dtype": Dtype.FP8, "head_dim": 192}, " triton"),
        ("b200-sxm", Framework.VLLM, {"kv_dtype": Dtype.FP8, "head_dim": 192}, " triton"),
        ("h100-sxm", Framework.VLLM, {"head_dim": 512}, " fa4"),
        ("b200-sxm", Framework.VLLM, {}, " trtllm-gen"),
        ("h100-sxm", Framework.SGLANG, {}, " fa3"),
        ("h100-sxm", Framework.SGLANG, {"head_dim": 256, "window": 512}, " triton"),
        ("a100-sxm-80gb", Framework.SGLANG, {}, " fa3"),
        ("l40s", Framework.SGLANG, {}, " flashinfer"),
        ("l40s", Framework.SGLANG, {"head_dim": 64}, " triton"),
        ("rtx-pro-6000", Framework.SGLANG, {"window": 512}, " triton"),
        ("rtx-pro-6000", Framework.SGLANG, {"heads": 40}, " triton"),  # groups of 5
        ("l40s", Framework.SGLANG, {"heads": 40}, " flashinfer"),
        ("b200-sxm", Framework.SGLANG, {"head_dim": 192}, " triton"),
        ("b200-sxm", Framework.TRTLLM, {"head_dim": 256}, " trtllm-gen"),
        ("b200-sxm", Framework.TRTLLM, {"head_dim": 256, "window": 512}, " trtllm-gen"),
        ("b200-sxm", Framework.TRTLLM, {"head_dim": 512, "heads": 320}, " trtllm-gen"),  # also with 40 of a group
        ("b300-sxm", Framework.TRTLLM, {}, " trtllm-gen"),
        ("b300-sxm", Framework.TRTLLM, {"heads": 16, "kv_heads": 1}, " trtllm-gen"),
        ("b300-sxm", Framework.TRTLLM, {"heads": 32, "kv_heads": 1}, " trtllm-gen"),  # 32 of a group at most
        ("b300-sxm", Framework.TRTLLM, {"heads": 64, "kv_heads": 1}, " masked"),
        ("h100-sxm", Framework.TRTLLM, {}, " XQA"),
        ("h100-sxm", Framework.TRTLLM, {"heads": 8}, " masked"),  # as many KV heads
        ("h100-sxm", Framework.TRTLLM, {"heads": 64, "kv_heads": 1}, " masked"),  # 64 of a group are too many
        ("h100-sxm", Framework.TRTLLM, {"batch": 1, "kv_len": 64}, " masked"),  # 8 blocks of 33 at least
        (
            "h100-sxm",
            Framework.TRTLLM,
            {"batch": 1, "kv_len": 64, "kv_dtype": Dtype.FP8},
            " XQA",
        ),  # of which none is asked
        ("l40s", Framework.TRTLLM, {"batch": 1, "kv_len": 64, "kv_dtype": Dtype.FP8}, " XQA"),
        ("l40s", Framework.TRTLLM, {"heads": 8, "kv_dtype": Dtype.FP8}, " masked"),
        ("rtx-pro-6000", Framework.TRTLLM, {}, " XQA"),
    ],
)
def test_the_kernel_of_each_framework(on: str, framework: Framework, changes: dict[str, Any], name: str) -> None:
    assert plan(on, framework, **changes).name == name


@pytest.mark.parametrize(
    ("batch", "kv_len", "splits"),
    [
        (1, 4096, 16),  # 32 blocks of 128 keys, the square root of 8 x 32: 16
        (1, 1024, 8),  # 8 blocks, and as many by the root
        (64, 4096, 2),  # 16 blocks would be 7.8 waves of 132 a KV head's eight: 62; 8 waves leave 2
        (512, 4096, 1),
    ],
)
def test_blocks_of_xqa_by_hand(batch: int, kv_len: int, splits: int) -> None:
    """Eight KV heads on an H100; key tiles of 64, so that 16 splits take four each."""
    found = plan("h100-sxm", Framework.TRTLLM, batch=batch, kv_len=kv_len, heads=64)
    assert (found.name, found.splits) == (" XQA", splits)


@pytest.mark.parametrize("on", ["l40s", "rtx-pro-6000", "h100-sxm"])
def test_xqa_splits_an_fp8_cache_on_hopper_alone(on: str) -> None:
    """64 blocks of 128 keys, 23 by the root of 8 x 64; on Hopper 128 tiles of 64 keys make 22 splits of six."""
    bf16, fp8 = (plan(on, Framework.TRTLLM, batch=1, kv_len=8192, kv_dtype=d) for d in (Dtype.BF16, Dtype.FP8))
    assert (bf16.splits, fp8.splits) == (23, 22 if on == "h100-sxm" else 1)


def test_splits_of_triton_by_hand() -> None:
    """RTX PRO 6000, 188 SMs: 8192 keys give 188 x log2(128) = 1316 slots; a grid of batch x 8 head groups."""
    usual = {"kv_len": 8192, "head_dim": 64}
    assert plan("rtx-pro-6000", Framework.SGLANG, batch=1, **usual).splits == 8  # the most
    assert plan("rtx-pro-6000", Framework.SGLANG, batch=32, **usual).splits == 6  # 1316 / 256, rounded up
    assert plan("rtx-pro-6000", Framework.SGLANG, batch=512, **usual).splits == 1


@pytest.mark.parametrize("batch", [1, 3, 16, 100])
def test_flashinfer_fills_one_wave_and_no_more(batch: int) -> None:
    """On an L40S, tiles of 64 keys in two stages: 36 KiB of 100 with their queries, two CTAs an SM and 142 SMs."""
    found = plan("l40s", Framework.SGLANG, batch=batch, kv_len=16384)
    ctas = batch * 8 * found.splits
    assert ctas <= 2 * 142 or found.splits == 1
    assert ctas > 142 or found.splits * 128 >= 16384 / 2


@pytest.mark.parametrize(("on", "framework"), RUNS)
@settings(max_examples=25, deadline=None)
@given(shape=decodes())
def test_each_key_is_read_once_per_query_tile(on: str, framework: Framework, shape: AttentionShape) -> None:
    """The first kernel reads each visible key and value as often as there are query tiles, whatever the splits.

    A generated kernel walks whole steps: the rest of the last one comes from the sequence's own last page, and where
    there is no page more, from the first of all.
    """
    chosen = decode_plan(shape, device(on), framework)
    main = next(
        iter(lower_decode(shape, operands_of(shape), device(on), SCALARS.decode_attention, 0, None, 0, framework))
    )
    query_tiles = -(-(shape.heads // shape.kv_heads) // chosen.tile.queries)
    step = step_of(chosen.tile)
    aligned = chosen.tile.window_keys or step
    begin, end = shape.first_key // aligned * aligned, shape.kv_len
    if chosen.tile.step_keys and shape.page_tokens is not None:
        end = begin - (begin - shape.kv_len) // step * step
    expected = np.zeros((shape.batch, shape.kv_heads, shape.kv_stride_tokens), np.int64)
    expected[..., begin:end] = query_tiles
    if end > shape.kv_stride_tokens:
        assert shape.page_tokens is not None
        box, keys = min(shape.page_tokens, chosen.tile.keys), chosen.tile.keys
        tiles = range(begin, end, keys)
        boxes = sum(max(0, start + keys - max(start, shape.kv_stride_tokens)) // box for start in tiles)
        expected[0, :, :box] += shape.batch * query_tiles * boxes
    reads = only(records_of(main), Op.READ)
    reads = reads[(reads.address >= KEY) & (reads.address < VALUE + (1 << 36))]
    for base in (KEY, VALUE):
        assert (token_counts(reads, base, shape) == expected).all()


def test_a_generated_kernel_loads_whole_steps_by_hand() -> None:
    """300 sequences of 65 keys in two pages of 64 on a B200, head size 128: of a step of 256 keys, two tiles of 128,
    the first is the two pages, the second the first page of all twice.  A CTA an SM takes two or three of them, and
    waits for its output at the last one alone."""
    shape = shape_of(batch=300, kv_len=65, heads=4, kv_heads=1, head_dim=128, page_tokens=64)
    on = device("b200-sxm")
    (main,) = lower_decode(shape, operands_of(shape), on, SCALARS.decode_attention, 0, None, 0, Framework.VLLM)
    assert (main.header.requesters, main.header.stages) == (148, 4 + 3)  # 128 KiB: K and V of a step; what is beside
    records = records_of(main)
    keys = records[(records.address >= KEY) & (records.address < VALUE) & (records.requester == 3)]
    page = 64 * 128 * 2
    assert keys.address.tolist() == [KEY + 2 * 3 * page, KEY, KEY + 2 * 151 * page, KEY, KEY + 2 * 299 * page, KEY]
    assert (keys.rows == 2).all() and (keys.row_bytes == page).all()
    assert keys.row_stride.tolist() == 3 * [page, 0]
    writes = only(records[records.requester == 3], Op.WRITE)
    assert writes.barrier.tolist() == [0, 0, 1]
    ending = 5 * 111 + 256 * 8 // 16 + 2 * (5 * 8 * 8 + 59)  # as in test_decode_chain
    assert writes.compute_cycles.tolist() == 3 * [ending]


def test_what_adds_up_parts_sets_up_once_at_each_place() -> None:
    """FlashAttention-2 on an A100, 3000 cycles of 1.41 GHz: attention in each CTA, the combination in its first."""
    shape = shape_of(batch=1, kv_len=4096, heads=8, kv_heads=1, head_dim=128, page_tokens=64)
    scalars = SCALARS.decode_attention.model_copy(update={"prologue_cycles": 3000, "prologue_ps": 0})
    on = device("a100-sxm-80gb")
    main, combination = lower_decode(shape, operands_of(shape), on, scalars, 0, None, 0, Framework.VLLM)
    set_up = round(3000 * 1e12 / on.sm.clock_hz)
    assert (main.header.prologue_ps, main.header.warmup_ps) == (set_up, 0)
    assert (combination.header.prologue_ps, combination.header.warmup_ps) == (0, set_up)


def test_the_last_split_adds_up_the_others() -> None:
    """XQA: every split writes its partial rows, the last one reads them all and writes the result; no second kernel."""
    shape = shape_of(batch=2, kv_len=2048, heads=32, kv_heads=4, head_dim=128, page_tokens=64)
    on = device("h100-sxm")
    chosen = decode_plan(shape, on, Framework.TRTLLM)
    (main,) = lower_decode(shape, operands_of(shape), on, SCALARS.decode_attention, 0, None, 0, Framework.TRTLLM)
    assert chosen.splits > 1
    records = records_of(main)
    partial = chosen.splits * 2 * 32 * 129 * 4
    result = 2 * 32 * result_width(shape)
    for op in (Op.READ, Op.WRITE):
        assert uniform(coverage(only(records, op), WORKSPACE, partial), 1)
    writes = only(records, Op.WRITE)
    assert uniform(coverage(writes, OUTPUT, result), 1)
    assert total_bytes(writes) == partial + result


def test_the_last_cta_of_xqa_reads_partial_rows_as_its_warps_hold_them() -> None:
    """11 splits, head size 128: two groups of warps, so that it waits at every second part; before that each CTA asks
    whether it is the last, and that reads 11 maxima, eight at a time."""
    main = main_kernel("h100-sxm", Framework.TRTLLM, batch=1, kv_len=2048)
    splits = plan("h100-sxm", Framework.TRTLLM, batch=1, kv_len=2048).splits
    assert splits == 11  # the root of 8 x 16; of eight tiles, so that three have none
    records = records_of(main)
    reads = only(records[(records.address >= WORKSPACE)], Op.READ)
    last = reads[reads.requester == splits - 1]
    assert [int(waits) for waits in last.barrier] == [1, 1, 1] + [1, 0] * 5 + [1]
    assert set(last.compute_cycles[3:]) == {(29 + 3 * 16 * 64 // 32) // 2}  # a load, and three steps for 32 elements
    assert len(reads[reads.requester == 0]) == 1


def test_xqa_for_hopper_has_four_parts_in_shared_memory_at_once() -> None:
    """Ten parts after the question who is last, of which it waits for the first of each four; it reads no maxima."""
    shape: dict[str, Any] = {"batch": 1, "kv_len": 640, "kv_dtype": Dtype.FP8}
    splits = plan("h100-sxm", Framework.TRTLLM, **shape).splits
    records = records_of(main_kernel("h100-sxm", Framework.TRTLLM, **shape))
    reads = only(records[(records.address >= WORKSPACE)], Op.READ)
    last = reads[reads.requester == splits - 1]
    assert [int(waits) for waits in last.barrier] == [1] + [int(part % 4 == 0) for part in range(splits)]
    assert set(last.compute_cycles[1:]) == {111 + 29}  # handed over, and loaded by the warp of its query head


def test_sequences_of_a_head_stand_together_where_the_grid_has_them_so() -> None:
    """FlashInfer's grid counts requests fastest: CTAs 0 to 15 are the 16 sequences of KV head 0; Triton's likewise."""
    shape = shape_of(batch=16, kv_len=64, heads=32, kv_heads=8, head_dim=128, page_tokens=64)
    on = device("rtx-pro-6000")
    (main,) = lower_decode(shape, operands_of(shape), on, SCALARS.decode_attention, 0, None, 0, Framework.SGLANG)
    reads = only(records_of(main), Op.READ)
    keys = reads[(reads.address >= KEY) & (reads.address < VALUE)]
    sequence, head = np.divmod((keys.address - KEY) // (64 * 128 * 2), 8)
    assert sequence[:16].tolist() == list(range(16))
    assert head[:16].tolist() == [0] * 16


def test_masked_attention_reads_the_cache_for_each_query_head() -> None:
    """Two KV heads of 40 query heads each: 40 CTAs read each."""
    shape = shape_of(batch=8, kv_len=256, heads=80, kv_heads=2, head_dim=64, page_tokens=64)
    assert decode_plan(shape, device("h100-sxm"), Framework.TRTLLM).name == " masked"
    (main,) = lower_decode(
        shape, operands_of(shape), device("h100-sxm"), SCALARS.decode_attention, 0, None, 0, Framework.TRTLLM
    )
    reads = only(records_of(main), Op.READ)
    keys = reads[(reads.address >= KEY) & (reads.address < VALUE)]
    assert total_bytes(keys) == 40 * 8 * 256 * 2 * 64 * 2


@pytest.mark.parametrize(
    ("framework", "batch", "kv_len", "window", "splits", "combined"),
    [
        (Framework.VLLM, 16, 64, None, 1, True),  # bound of 32: the second kernel is launched anyway
        (Framework.SGLANG, 16, 512, None, 1, False),  # four key tiles of 128 are never split
        (Framework.SGLANG, 1, 8192, None, 13, True),  # 64 tiles x 8 heads x 1.1 / 132: five tiles an SM
        (Framework.VLLM, 1, 8192, None, 13, True),
        (Framework.SGLANG, 64, 8192, None, 1, True),  # four heads' worth an SM; the bound does not know the batch
        (Framework.VLLM, 2000, 8192, None, 1, False),  # over 992 sequences nothing is planned, and 16,000 are enough
        (Framework.VLLM, 1, 8192, 256, 2, True),  # 13 by the whole sequence; in the window are two tiles
    ],
)
def test_splits_of_flash_attention_3_by_hand(
    framework: Framework, batch: int, kv_len: int, window: int | None, splits: int, combined: bool
) -> None:
    """Eight KV heads on an H100 with 132 SMs."""
    found = plan("h100-sxm", framework, batch=batch, kv_len=kv_len, window=window)
    assert (found.splits, found.always_combined) == (splits, combined)


@pytest.mark.parametrize(
    ("batch", "kv_len", "heads", "rows", "splits"),
    [
        (1, 1024, 32, 8, 2),  # two of 512 keys at least
        (1, 65536, 32, 8, 18),  # 148 SMs / 8
        (16, 65536, 32, 8, 1),
        (1, 65536, 96, 16, 18),  # 12 query heads a KV head
        (1, 65536, 320, 64, 18),
    ],
)
def test_splits_of_the_generated_kernels_by_hand(batch: int, kv_len: int, heads: int, rows: int, splits: int) -> None:
    """Eight KV heads on a B200 with 148 SMs."""
    found = plan("b200-sxm", Framework.SGLANG, batch=batch, kv_len=kv_len, heads=heads)
    assert (found.tile.queries, found.splits) == (rows, splits)


@pytest.mark.parametrize(
    ("batch", "kv_len", "threads", "splits"),
    [
        (1, 64, 1024, 1),  # 32 heads leave SMs free, but one loop of 1024 threads takes 512 keys
        (1, 4096, 1024, 5),  # the 100 other SMs let each head have five
        (8, 4096, 512, 2),  # 256 CTAs: two an SM, 264 places
        (64, 4096, 256, 1),
    ],
)
def test_masked_attention_grows_its_ctas_first(batch: int, kv_len: int, threads: int, splits: int) -> None:
    """32 heads of their own on an H100, whose registers let 32 warps be on an SM."""
    found = plan("h100-sxm", Framework.TRTLLM, batch=batch, kv_len=kv_len, kv_heads=32)
    assert (found.name, found.tile.threads, found.splits) == (" masked", threads, splits)


def test_xqa_launches_ctas_that_a_window_leaves_without_keys() -> None:
    """mha.cu on an H100: 64 blocks by history, 23 by the root; the window reaches into two tiles of 256 keys, the
    others read and write no more than queries and a partial row."""
    shape = shape_of(batch=1, kv_len=8192, heads=8, kv_heads=1, head_dim=128, page_tokens=64, window=384)
    on = device("h100-sxm")
    (main,) = lower_decode(shape, operands_of(shape), on, SCALARS.decode_attention, 0, None, 0, Framework.TRTLLM)
    assert main.header.requesters == decode_plan(shape, on, Framework.TRTLLM).splits == 23
    reads = only(records_of(main), Op.READ)
    keys = reads[(reads.address >= KEY) & (reads.address < VALUE)]
    assert len(np.unique(keys.requester)) == 2


@pytest.mark.parametrize(
    ("heads", "head_dim", "threads", "keys"),
    [(8, 128, 128, 32), (16, 128, 128, 8), (24, 128, 96, 6), (8, 256, 128, 16), (24, 256, 96, 3), (8, 512, 128, 16)],
)
def test_flashinfer_decodes_small_groups_on_the_vector_units(
    heads: int, head_dim: int, threads: int, keys: int
) -> None:
    """A row of threads takes a head at 16 bytes each: 128 elements are 16 threads, and 128 threads 8 rows.  A group of
    one takes four keys a row, others one, shared by the rows of a group: 3 heads leave room for 2 x 3 rows of 16."""
    small = plan("l40s", Framework.SGLANG, heads=heads, head_dim=head_dim)
    assert (small.name, small.tile.matrix) == (" flashinfer", False)
    assert (small.tile.queries, small.tile.threads, small.tile.keys) == (heads // 8, threads, keys)
    for change in ({"heads": 32}, {"kv_dtype": Dtype.FP8}):  # groups of four, fp8: matrix units
        assert plan("l40s", Framework.SGLANG, **{"heads": heads, "head_dim": head_dim} | change).tile.matrix
    assert plan("l40s", Framework.VLLM, heads=heads, head_dim=128, kv_dtype=Dtype.FP8).tile.matrix


def test_flashinfer_on_the_vector_units_fills_one_wave() -> None:
    """Groups of two: 9 CTAs an SM by registers (56 x 128 threads), 1278 on 142 SMs, for 2 x 8 pieces of work: 79 splits
    of 4096 keys would be short of 128 keys each, so 32 are made; 16 x 8 pieces leave room for 9.  A profile
    of 8 sequences of 6144 keys on an RTX 5060 Ti has a grid of 40 x 8."""
    assert plan("l40s", Framework.SGLANG, heads=16, batch=2).splits == 32
    assert plan("l40s", Framework.SGLANG, heads=16, batch=16).splits == 9
    assert plan("l40s", Framework.SGLANG, heads=16, batch=256).splits == 1
    assert plan("rtx-5060-ti", Framework.SGLANG, heads=16, batch=8, kv_len=6144).splits == 5


@pytest.mark.parametrize(
    ("on", "changes", "keys"),
    [
        ("l40s", {}, 64),  # 100 KiB: 2 x (4 + 32) leave one step of four warps' 16 keys
        ("l40s", {"kv_dtype": Dtype.FP8}, 128),
        ("l40s", {"head_dim": 256}, 64),  # 8 + 64: one CTA
        ("l40s", {"heads": 256}, 64),  # 32 rows: warps share 64 rows, 16 + 4 x 8 KiB
        ("l40s", {"heads": 1024, "kv_dtype": Dtype.FP8}, 64),  # 128 rows: 32 + 4 x 4 KiB
    ],
)
def test_tiles_of_flashinfer_leave_room_for_two_ctas(on: str, changes: dict[str, Any], keys: int) -> None:
    """A step of 16 keys and head size 128 takes 8 KiB of K and V in 16 bits."""
    assert plan(on, Framework.SGLANG, **changes).tile.keys == keys


def test_flashinfer_adds_parts_up_where_vllm_may_capture_a_graph() -> None:
    for batch, combined in ((512, True), (513, False)):
        assert plan("l40s", Framework.VLLM, kv_dtype=Dtype.FP8, batch=batch).always_combined is combined
        assert not plan("l40s", Framework.SGLANG, kv_dtype=Dtype.FP8, batch=batch).always_combined


@pytest.mark.parametrize(
    ("backend", "changes", "name"),
    [
        (Backend.AUTO, {}, " trtllm-gen"),
        (Backend.FLASHINFER, {}, " flashinfer"),
        (Backend.TRITON, {"head_dim": 256}, " triton"),
        (Backend.AUTO, {"head_dim": 256, "heads": 64}, " trtllm-gen"),
        (Backend.AUTO, {"head_dim": 256, "heads": 48}, " triton"),  # groups of six: Qwen3.5
        (Backend.AUTO, {"head_dim": 256, "heads": 48, "window": 512}, " trtllm-gen"),
    ],
)
def test_sglang_decodes_with_the_backend_it_was_told(backend: Backend, changes: dict[str, Any], name: str) -> None:
    usual = {"batch": 16, "kv_len": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "page_tokens": 64}
    assert decode_plan(shape_of(**usual | changes), device("b200-sxm"), Framework.SGLANG, backend).name == name


def main_kernel(on: str, framework: Framework, **changes: Any) -> TracedKernel:
    """Return the first kernel of decode attention of a Llama-like layer with some of its shape changed."""
    usual = {"batch": 4, "kv_len": 64, "heads": 32, "kv_heads": 8, "head_dim": 128, "page_tokens": 64}
    shape = shape_of(**usual | changes)
    scalars = Implementation(
        prologue_cycles=990,
        warmup_cycles=1980,
        item_cycles=198,
        query_cycles=2.0,
        other_registers=40,
        replay_ps=0,
        matrix_efficiency=0.5,
    )
    return next(iter(lower_decode(shape, operands_of(shape), device(on), scalars, 0, None, 0, framework)))


def test_persistent_ctas_set_up_for_their_first_work_alone() -> None:
    """990 cycles at 1980 MHz are 0.5 us; XQA's CTAs are launched for one piece of work each, persistent ones
    take 0.1 us of each besides."""
    persistent = main_kernel("h100-sxm", Framework.SGLANG).header
    assert (persistent.prologue_ps, persistent.warmup_ps) == (100_000, 1_500_000)
    launched = main_kernel("h100-sxm", Framework.TRTLLM, batch=64).header
    assert (launched.prologue_ps, launched.warmup_ps) == (500_000, 1_000_000)


def test_pages_of_heads_are_longer_runs_than_rows_of_tokens() -> None:
    """SGLang's pages hold the 256 bytes of each head token by token, TensorRT-LLM's 64 tokens of a head together."""
    assert main_kernel("h100-sxm", Framework.SGLANG).header.run_bytes == 256
    assert main_kernel("h100-sxm", Framework.SGLANG, kv_heads=1).header.run_bytes == 64 * 256
    assert main_kernel("h100-sxm", Framework.TRTLLM, batch=64).header.run_bytes == 64 * 256


def test_a_tile_that_crosses_pages_is_one_load() -> None:
    """Tiles of 160 keys over pages of 64: the parts after the first of a tile join it."""
    records = records_of(main_kernel("h100-sxm", Framework.SGLANG, kv_len=320, kv_dtype=Dtype.FP8, kv_heads=32))
    mine = records[(records.requester == 0) & (records.op == Op.READ)]
    keys = mine[(mine.address >= KEY) & (mine.address < VALUE)]
    assert (keys.rows * keys.row_bytes // 128).tolist() == [128, 32, 32, 128]  # 2 pages, half; half, 2 pages
    assert keys.joined.tolist() == [0, 1, 0, 1]


def test_triton_waits_for_the_places_of_its_tokens() -> None:
    """Each tile of 32 keys begins with 128 bytes of indices, and its keys wait for them."""
    records = records_of(main_kernel("b200-sxm", Framework.SGLANG, head_dim=192, kv_len=64))
    mine = records[(records.requester == 0) & (records.op == Op.READ)]
    places = np.flatnonzero((mine.address >= WORKSPACE) & (mine.row_bytes == 128))
    assert len(places) == 1  # two splits of a tile
    assert mine.barrier[places].all() and mine.barrier[places + 1].all()
    assert KEY <= mine.address[places[0] + 1] < VALUE


def test_triton_waits_for_its_own_products_by_hand() -> None:
    """Head size 192 is multiplied as 256: 16 products of 16 columns of 33 cycles each on an H100, 21 on a B200, and
    five exchanges of 59, over the products of K and of V.  Ungrouped heads run on the vector units."""
    shape = shape_of(batch=1, kv_len=64, heads=32, kv_heads=8, head_dim=192, page_tokens=64)
    devices = ("h100-sxm", "b200-sxm")
    waits = {on: decode_plan(shape, device(on), Framework.SGLANG, Backend.TRITON).tile for on in devices}
    assert waits["h100-sxm"].waiting_cycles == (16 * 33 + 5 * 59) // 2
    assert waits["b200-sxm"].waiting_cycles == (16 * 21 + 5 * 59) // 2
    assert {tile.padded_head for tile in waits.values()} == {256}
    alone = replace(shape, heads=8)
    assert decode_plan(alone, device("h100-sxm"), Framework.SGLANG, Backend.TRITON).tile.waiting_cycles == 0


def test_flash_attention_2_reads_a_window_for_each_query_head() -> None:
    found = plan("l40s", Framework.VLLM, window=128)
    assert (found.tile.queries, found.tile.padded_rows, found.splits) == (1, 64, 1)
    assert main_kernel("l40s", Framework.VLLM, window=32).header.requesters == 4 * 32
    assert main_kernel("l40s", Framework.VLLM, window=128).header.requesters == 4 * 32  # though it covers all 64 keys
    assert main_kernel("l40s", Framework.VLLM).header.requesters == 4 * 8


def cycles_of(on: str, framework: Framework, **changes: Any) -> int:
    """Return the cycles that the first CTA computes."""
    records = records_of(main_kernel(on, framework, **changes))
    return int(records[records.requester == 0].compute_cycles.sum())


def test_one_warp_a_scheduler_waits_for_each_step() -> None:
    """64 rows by 128 keys of 128 elements: products, the loads of four warps, and the softmax."""
    products, loads = 2 * 64 * 128 * 128 / 1024, 4 * 128 * 256 / 128
    exponentials, others = 64 * 128 / 16, 4 * 64 * 128 / 128
    expected = 2 * (products + loads) + exponentials + others
    assert cycles_of("l40s", Framework.VLLM, kv_len=128, window=128) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(("on", "head_dim", "unit"), [
    ("h100-sxm", 64, 256),  # four groups of warps, 64 values each
    ("h100-sxm", 128, 128),
    ("h100-sxm", 256, 64),  # one group, whose four warps have 64 columns each
    ("l40s", 64, 128),  # two groups share 64 values
    ("l40s", 128, 64),
    ("l40s", 256, 64),
])  # fmt: skip
def test_xqa_multiplies_what_its_warps_have_at_once(on: str, head_dim: int, unit: int) -> None:
    """Four warps multiply 64 keys each at once, so that few cost as much as 256; of the values those that are there."""
    few, whole = (cycles_of(on, Framework.TRTLLM, batch=64, kv_len=n, head_dim=head_dim) for n in (16, 256))
    assert few == pytest.approx(whole * (1 + unit / 256) / 2, rel=0.02)
    narrow, wide = (cycles_of(on, Framework.TRTLLM, batch=64, kv_len=16, head_dim=d) for d in (192, 256))
    assert narrow == pytest.approx(wide, rel=0.02)


def test_a_warp_of_xqa_multiplies_as_fast_on_every_device() -> None:
    """One after the other, whatever the matrix units could do beside them: 33 cycles for 16 x 8 x 16 multiply-adds."""
    for on, peak in (("a100-sxm-80gb", 2048), ("h100-sxm", 4096), ("l40s", 1024)):
        tile = plan(on, Framework.TRTLLM, batch=64, kv_len=256).tile
        assert tile.matrix_share * peak == pytest.approx(4 * 2 * 16 * 8 * 16 / 33)
        assert not tile.spills


def test_xqa_for_hopper_turns_its_queries() -> None:
    """Eight rows, of which four are queries, times 128 at two cycles each."""
    records = records_of(main_kernel("h100-sxm", Framework.TRTLLM, kv_dtype=Dtype.FP8))
    queries = records[(records.requester == 0) & (records.op == Op.READ) & (records.compute_cycles > 0)]
    assert queries.compute_cycles[0] == 8 * 128 * 2


@pytest.mark.parametrize(
    ("head_dim", "heads", "registers", "reads"),
    [
        (128, 8 * 4, 8 + 8 + 40, 1),  # four heads in two reads, hidden beside those of page number and keys
        (256, 8 * 16, 32 + 16 + 40, 6),
        (192, 8 * 16, 32 + 16 + 40, 6),  # padded to 256
        (64, 8 * 32, 16 + 4 + 40, 1),  # attention sinks: turned before
    ],
)
def test_xqa_for_hopper_gets_two_queries_after_the_other(head_dim: int, heads: int, registers: int, reads: int) -> None:
    """Outputs of a thread, an operand of the values, the rest; and each read of two heads waits for the one before."""
    main = main_kernel("h100-sxm", Framework.TRTLLM, head_dim=head_dim, heads=heads, kv_dtype=Dtype.FP8)
    assert main.header.registers == registers
    records = only(records_of(main), Op.READ)
    mine = records[(records.requester == 0) & (records.address >= QUERY) & (records.address < QUERY + (1 << 30))]
    assert len(mine) == reads
    assert mine.barrier.all()
    assert int((mine.rows * mine.row_bytes).sum()) == heads // 8 * head_dim * 2


def test_values_may_be_narrower_than_keys() -> None:
    """SGLang's head size 192 has values of 128."""
    records = only(records_of(main_kernel("h100-sxm", Framework.SGLANG, head_dim=192)), Op.READ)
    mine = records[records.requester == 0]
    keys, values = (mine[(mine.address >= low) & (mine.address < low + (1 << 30))] for low in (KEY, VALUE))
    assert (int((keys.rows * keys.row_bytes).sum()), int((values.rows * values.row_bytes).sum())) == (
        64 * 384,
        64 * 256,
    )


def test_flash_attention_4_launches_splits_without_keys() -> None:
    assert main_kernel("h100-sxm", Framework.VLLM, head_dim=512).header.requesters == 4 * 8 * 32


@pytest.mark.parametrize("on", ["l40s", "rtx-pro-6000"])
def test_a_warp_alone_adds_what_it_converts(on: str) -> None:
    """FlashInfer, 256 keys and values of 128 numbers: five shuffles and 25 operations on bits for four of each."""
    plain, fp8 = (cycles_of(on, Framework.SGLANG, batch=256, kv_len=256, kv_dtype=d) for d in (Dtype.BF16, Dtype.FP8))
    assert fp8 - plain == pytest.approx(256 * 128 * (5 / 32 + 25 / 64) / 4, rel=0.02)


@pytest.mark.parametrize(("on", "conversions"), [("l40s", 16), ("rtx-pro-6000", 64)])
def test_warps_that_share_a_scheduler_convert_beside_products(on: str, conversions: int) -> None:
    """XQA, 16 rows by 256 keys of 128 numbers, of which a pair takes four conversions: the slowest part counts most.
    Each of four warps multiplies 64 keys by 64 instructions, one every 33 cycles."""
    products, loads = 64 * 33 / 0.5, 256 * 256 / 128 / 0.5
    softmax = [16 * 256 / 16 / 2, 4 * 16 * 256 / 128 / 2]
    parts = [products, loads, *softmax, 256 * 128 * (4 / conversions + 2 / 128) / 2]
    expected = 2 * math.hypot(*(part**2 for part in parts)) ** 0.5
    found = cycles_of(on, Framework.TRTLLM, batch=64, kv_len=256, kv_dtype=Dtype.FP8)
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("on", "cycles"), [("l40s", 53 / 64), ("rtx-pro-6000", 1 / 64 + 2 / 128)])
def test_masked_attention_converts_without_an_instruction_where_it_runs_code_of_sm_86(on: str, cycles: float) -> None:
    """One CTA, 256 keys and values of 128 numbers, of which a pair takes 53 instructions there."""
    shape = {"batch": 256, "heads": 8, "kv_len": 256}
    plain, fp8 = (cycles_of(on, Framework.TRTLLM, **shape, kv_dtype=d) for d in (Dtype.BF16, Dtype.FP8))
    assert fp8 - plain == pytest.approx(2 * 256 * 128 * cycles / 2, rel=0.02)


def test_four_warps_of_flashinfer_exchange_what_they_add_up() -> None:
    """64 rows of fp32 at head size 256 are 64 KiB, more than the 40 KiB of queries, K and V: one CTA fits an SM of 100
    KiB, where the plan counts on two.  Written once and read by each of the four, all twice for their banks."""
    tile = plan("l40s", Framework.SGLANG, head_dim=256, kv_dtype=Dtype.FP8).tile
    assert (tile.queries, tile.keys) == (16, 64)
    main = main_kernel("l40s", Framework.SGLANG, head_dim=256, kv_dtype=Dtype.FP8)
    assert main.header.shared_bytes == 64 * 1024
    writes = only(records_of(main), Op.WRITE)
    assert set(writes.compute_cycles) == {10 * 64 * 1024 // 128}
    wide = main_kernel("l40s", Framework.SGLANG, heads=8 * 32, head_dim=256, kv_dtype=Dtype.FP8)
    assert not only(records_of(wide), Op.WRITE).compute_cycles.any()  # rows of a group of 32 are dealt to the warps


def test_masked_attention_multiplies_all_keys_before_it_reads_a_value() -> None:
    """A CTA of 1024 threads walks 128 keys of 256 bytes in two tiles: K of both, then V of both, which waits.  A tile
    of 64 keys is a load of 16 bytes by each of 1024 threads: 54 instructions at 128 a clock are 432 cycles,
    beside those of the softmax."""
    kernel = main_kernel("h100-sxm", Framework.TRTLLM, batch=1, kv_len=128, kv_heads=32)
    records = records_of(kernel)
    mine = only(records[records.requester == 0], Op.READ)[-4:]
    assert [mine.address[i] < VALUE for i in range(4)] == [True, True, False, False]
    assert mine.barrier.tolist() == [0, 0, 1, 0]
    exponentials, others = softmax_cycles(64, device("h100-sxm"))
    assert set(mine.compute_cycles.tolist()) == {math.ceil(432 + (exponentials + others) / 2)}
    assert kernel.header.stages == 8  # eight times 16 bytes of each thread are on their way
