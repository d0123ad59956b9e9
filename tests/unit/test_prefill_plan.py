"""Which kernel attends a prompt, and do its splits and the kernels around it touch what they should, once?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lowering_bench import SCALARS, assert_header, coverage, device, only, records_of, total_bytes, uniform

from simulator.hardware import Dtype
from simulator.lowering.elementwise import KvWrite
from simulator.lowering.implementation import Backend, Framework, Implementation, implementations
from simulator.lowering.key_tiles import Operands
from simulator.lowering.layout import Matrix, panel_bytes_of
from simulator.lowering.prefill import half_softmax_cycles, lower_prefill, step_cycles
from simulator.lowering.prefill_call import lower_cache_write
from simulator.lowering.prefill_plan import prefill_plan, query_tiles_of, shared_bytes
from simulator.trace.record import Op, TracedKernel
from simulator.workload import AttentionShape

QUERY, OUTPUT, KEY, VALUE, TABLE, WORKSPACE, NEW, SLOTS = (place << 36 for place in range(1, 9))


def shape_of(length: int, heads: int, kv_heads: int, head_dim: int = 128, **changes: Any) -> AttentionShape:
    values = {
        "batch": 1,
        "query_len": length,
        "kv_len": length,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "kv_dtype": Dtype.BF16,
        "activation_dtype": Dtype.BF16,
        "page_tokens": 64,
    }
    return AttentionShape(**values | changes)


def lowered(
    shape: AttentionShape, on: str, framework: Framework, scalars: Implementation | None = None
) -> list[TracedKernel]:
    tokens, width = shape.batch * shape.query_len, shape.head_dim * 2
    matrices = (Matrix(place, tokens, shape.heads * width, panel_bytes_of(width)) for place in (QUERY, OUTPUT))
    operands = Operands(*matrices, KEY, VALUE, TABLE, WORKSPACE)
    scalars = scalars or implementations(framework).prefill_attention
    return list(lower_prefill(shape, operands, device(on), scalars, 0, framework=framework))


@pytest.mark.parametrize(
    ("on", "framework", "shape", "kernel"),
    [
        ("h100-sxm", Framework.VLLM, shape_of(2048, 32, 8), " fa3 128x128"),
        ("h100-sxm", Framework.VLLM, shape_of(2048, 32, 8, 64, window=128), " fa3 192x160"),
        ("h100-sxm", Framework.VLLM, shape_of(2048, 32, 8, kv_dtype=Dtype.FP8), " fa3 128x160"),
        ("h100-sxm", Framework.SGLANG, shape_of(2048, 32, 8, 512), " triton 32x64"),
        ("h100-sxm", Framework.TRTLLM, shape_of(2048, 32, 8, 64), " fmha 128x256"),
        ("a100-sxm-80gb", Framework.VLLM, shape_of(2048, 32, 8), " fa2 split 64x128"),
        ("a100-sxm-80gb", Framework.SGLANG, shape_of(2048, 32, 8), " fa3 128x64"),
        ("a100-sxm-80gb", Framework.TRTLLM, shape_of(2048, 32, 8), " fmha 64x128"),
        ("a100-sxm-80gb", Framework.TRTLLM, shape_of(64, 32, 8), " fmha 64x32"),
        ("l40s", Framework.TRTLLM, shape_of(2048, 32, 8), " fmha 64x32"),
        ("rtx-pro-6000", Framework.TRTLLM, shape_of(1, 32, 8), " fmha ws 64x128"),
        ("rtx-pro-6000", Framework.TRTLLM, shape_of(2048, 32, 8, 256), " fmha ws 64x128"),
        ("rtx-pro-6000", Framework.TRTLLM, shape_of(2048, 32, 8, window=512), " fmha 64x32"),
        ("rtx-pro-6000", Framework.TRTLLM, shape_of(2048, 32, 8, 64), " fmha 64x32"),
        ("l40s", Framework.SGLANG, shape_of(2048, 32, 8, 64), " triton 64x128"),
        ("l40s", Framework.VLLM, shape_of(2048, 32, 8, kv_dtype=Dtype.FP8), " flashinfer 128x64"),
        ("b200-sxm", Framework.VLLM, shape_of(2048, 32, 8), " trtllm-gen 256x128"),
        ("b200-sxm", Framework.SGLANG, shape_of(2048, 32, 8, 192), " triton 64x64"),
        ("b200-sxm", Framework.SGLANG, shape_of(2048, 32, 8, 256, kv_dtype=Dtype.FP8), " triton 64x64"),
        ("h100-sxm", Framework.SGLANG, shape_of(2048, 32, 8, 256, window=512), " triton 64x64"),
        ("b200-sxm", Framework.SGLANG, shape_of(2048, 32, 8, kv_dtype=Dtype.FP8), " cutlass 256x128"),
        ("b200-sxm", Framework.SGLANG, shape_of(2048, 32, 8), " trtllm-gen 256x128"),
        ("b200-sxm", Framework.SGLANG, shape_of(1, 32, 8), " trtllm-gen 256x128"),
        ("b200-sxm", Framework.TRTLLM, shape_of(1, 32, 8, 256), " trtllm-gen 128x128"),
        ("b200-sxm", Framework.VLLM, shape_of(1, 32, 8), " trtllm-gen 16x128"),  # its decode kernel
        ("b200-sxm", Framework.VLLM, shape_of(2048, 36, 12, 192, kv_dtype=Dtype.FP8), " triton unified 15x32"),
        ("l40s", Framework.VLLM, shape_of(2048, 24, 1, 192, kv_dtype=Dtype.FP8), " triton unified 24x32"),
        ("h100-sxm", Framework.VLLM, shape_of(2048, 32, 8, 192, kv_dtype=Dtype.FP8), " fa3 128x160"),
        ("h100-sxm", Framework.VLLM, shape_of(16, 32, 8), " fa3 64x128"),  # 16 tokens of 4 heads: one warp group
        ("h100-sxm", Framework.VLLM, shape_of(17, 32, 8), " fa3 128x128"),
    ],
)
def test_a_kernel_for_each_framework_and_device(
    on: str, framework: Framework, shape: AttentionShape, kernel: str
) -> None:
    plan = prefill_plan(shape, device(on), framework)
    assert f"{plan.name} {plan.queries}x{plan.keys}" == kernel


@pytest.mark.parametrize(
    ("on", "shape", "backend", "name"),
    [
        ("b200-sxm", shape_of(2048, 32, 8), Backend.FLASHINFER, " cutlass"),
        ("b200-sxm", shape_of(2048, 32, 8, 256), Backend.TRITON, " triton"),
        ("rtx-pro-6000", shape_of(2048, 40, 8), Backend.TRITON, " triton"),
        ("rtx-pro-6000", shape_of(2048, 40, 8, window=128), Backend.FLASHINFER, " flashinfer"),
        ("h100-sxm", shape_of(2048, 32, 8), Backend.AUTO, " fa3"),
    ],
)
def test_sglang_runs_what_it_was_told(on: str, shape: AttentionShape, backend: Backend, name: str) -> None:
    assert prefill_plan(shape, device(on), Framework.SGLANG, backend).name == name


def test_flashinfer_tile_fills_half_an_sm() -> None:
    """Head size 128 on an L40S (100 KiB): half is 50 KiB, less 128 queries of 256 B leaves 18 KiB for K and V, 512 B a
    key: 36 keys, two steps of 16."""
    plan = prefill_plan(shape_of(1024, 32, 8), device("l40s"), Framework.SGLANG)
    assert (plan.queries, plan.keys) == (128, 32)


def test_flash_attention_3_has_an_a100_sm_to_itself() -> None:
    """128 queries and two stages of 64 keys and 64 values, 256 B each, are 96 KiB of an SM's 164."""
    ampere, shape = device("a100-sxm-80gb"), shape_of(2048, 32, 8)
    plan = prefill_plan(shape, ampere, Framework.SGLANG)
    assert shared_bytes(shape, plan, ampere) == 96 << 10


def test_flashinfer_splits_until_two_ctas_an_sm_run() -> None:
    """1024 tokens of 8 heads are 64 tiles; 2 x 142 places take ceil(1024 / chunk) <= 4 of each: chunks of 256 keys."""
    plan = prefill_plan(shape_of(1024, 8, 1), device("l40s"), Framework.SGLANG)
    assert (plan.chunk, plan.splits) == (256, 4)


@pytest.mark.parametrize(
    ("shape", "splits"),
    [
        # 43 tiles a sequence: 0.33 and 0.65 of a wave, 0.98 at 3; but both sequences have 43 x 64 x 2 steps, 46 an SM
        # with the margin of 10 %: 64 steps in 2
        (shape_of(8192, 1, 1, 64, batch=2), 2),
        (shape_of(8192, 32, 8), 1),  # 8 x 256 tiles fill the SMs
        (shape_of(512, 1, 1), 1),  # four key tiles
        (shape_of(8192, 1, 1, window=128), 1),  # two key tiles seen
    ],
)
def test_flash_attention_3_splits_what_leaves_sms_idle(shape: AttentionShape, splits: int) -> None:
    assert prefill_plan(shape, device("h100-sxm"), Framework.VLLM).splits == splits


@pytest.mark.parametrize(
    ("on", "framework", "shape"),
    [
        ("h100-sxm", Framework.VLLM, shape_of(1500, 3, 1, batch=2)),
        ("l40s", Framework.SGLANG, shape_of(700, 6, 2)),
        ("l40s", Framework.SGLANG, shape_of(700, 6, 2, window=200, causal=True)),
    ],
)
def test_splits_share_the_keys_and_are_added_up_once(on: str, framework: Framework, shape: AttentionShape) -> None:
    """Every tile's keys are read by one split each, whose partial rows (and log-sum-exp) the combination reads once."""
    main, combination = lowered(shape, on, framework)
    plan = prefill_plan(shape, device(on), framework)
    assert plan.splits > 1
    for kernel in (main, combination):
        assert_header(kernel)
    group = shape.heads // shape.kv_heads
    seen = 0
    for tile in range(query_tiles_of(shape, plan)):
        last = min((tile + 1) * plan.queries, shape.query_len * group) - 1
        first = 0 if shape.window is None else max(0, tile * plan.queries // group - shape.window + 1)
        end = min(-(-(last // group + 1) // plan.keys) * plan.keys, shape.kv_len)
        seen += end - first // plan.keys * plan.keys
    records = records_of(main)
    keys = only(records, Op.READ)
    keys = keys[(keys.address >= KEY) & (keys.address < VALUE)]
    assert total_bytes(keys) == seen * shape.batch * shape.kv_heads * shape.head_dim * 2
    written = only(records, Op.WRITE)
    added = records_of(combination)
    assert total_bytes(only(added, Op.READ)) == total_bytes(written)
    extent = int((written.address + written.row_bytes).max()) - WORKSPACE
    assert (coverage(written, WORKSPACE, extent) == coverage(only(added, Op.READ), WORKSPACE, extent)).all()
    result = shape.batch * shape.query_len * shape.heads * shape.head_dim * 2
    assert uniform(coverage(only(added, Op.WRITE), OUTPUT, result), 1)
    assert np.unique(added.requester).tolist() == list(range(combination.header.requesters))


def test_one_token_changes_places_with_its_heads() -> None:
    """FlashAttention-2 copies q before and the result after when each of 4 sequences has one token of 2 KV heads."""
    kernels = lowered(shape_of(1, 8, 2, batch=4), "a100-sxm-80gb", Framework.VLLM)
    assert [kernel.header.name for kernel in kernels] == ["copy", "prefill attention fa2 split 64x128", "copy"]
    assert [int(records_of(kernel).kernel[0]) for kernel in kernels] == [0, 1, 2]
    size = 4 * 8 * 128 * 2
    assert uniform(coverage(only(records_of(kernels[0]), Op.READ), QUERY, size), 1)
    assert uniform(coverage(only(records_of(kernels[2]), Op.WRITE), OUTPUT, size), 1)


@pytest.mark.parametrize(
    ("framework", "head_dim", "names"),
    [
        (Framework.VLLM, 128, ["reshape_and_cache"]),
        (Framework.SGLANG, 128, ["store_cache"]),
        (Framework.SGLANG, 192, ["copy", "copy", "index_put", "index_put"]),
        (Framework.TRTLLM, 128, ["sequence offsets", "rope and kv_write"]),
    ],
)
def test_new_keys_and_values_are_written_once(framework: Framework, head_dim: int, names: list[str]) -> None:
    """Whole pages, so that K and V are filled without gaps; TensorRT-LLM writes q and K back too."""
    shape = shape_of(128, 4, 2, head_dim, batch=3)
    size = 3 * 128 * 2 * head_dim * 2
    queries = 2 * size if framework is Framework.TRTLLM else 0
    write = KvWrite(3, 0, 128, NEW, 2 * size + queries, SLOTS, KEY, VALUE)
    kernels = list(lower_cache_write(shape, write, 0, framework, device("h100-sxm"), SCALARS.prefill_attention))
    assert [kernel.header.name for kernel in kernels] == names
    assert [int(records_of(kernel).kernel[0]) for kernel in kernels] == list(range(len(names)))
    for base in (KEY, VALUE):
        written = sum(coverage(only(records_of(kernel), Op.WRITE), base, size) for kernel in kernels)
        assert uniform(np.asarray(written), 1)
    read = sum(coverage(only(records_of(kernel), Op.READ), NEW, 2 * size + queries) for kernel in kernels)
    assert uniform(np.asarray(read), 1)
    back = sum(coverage(only(records_of(kernel), Op.WRITE), NEW, size + queries) for kernel in kernels)
    assert uniform(np.asarray(back), 1 if queries else 0)


def test_a_cta_that_loads_by_a_warp_of_its_own_has_an_sm_to_itself() -> None:
    """sm_120 under TensorRT-LLM: 64 queries and two tiles of 128 keys, 80 of 99 KiB."""
    shape, on = shape_of(2048, 32, 8), device("rtx-pro-6000")
    plan = prefill_plan(shape, on, Framework.TRTLLM)
    assert shared_bytes(shape, plan, on) == 80 << 10
    assert 2 * shared_bytes(shape, plan, on) > on.sm.shared_memory_bytes
    assert plan.serial


def test_sequences_begin_where_the_tokens_of_those_before_end() -> None:
    """TensorRT-LLM: a CTA for each of 3 sequences; together they read their lengths and write an offset a token."""
    write = KvWrite(3, 0, 128, NEW, 3 * 128 * 8 * 256, SLOTS, KEY, VALUE)
    shape = shape_of(128, 4, 2, batch=3)
    scalars = SCALARS.prefill_attention
    records = records_of(next(lower_cache_write(shape, write, 0, Framework.TRTLLM, device("l40s"), scalars)))
    assert set(records.requester.tolist()) == {0, 1, 2}
    assert total_bytes(only(records, Op.WRITE)) == 3 * 128 * 4
    assert total_bytes(only(records, Op.READ)) == 32  # 12 bytes, a sector


@pytest.mark.parametrize(
    ("on", "changes", "once"),
    [
        ("h100-sxm", {}, False),
        ("h100-sxm", {"head_dim": 64}, True),
        ("h100-sxm", {"kv_dtype": Dtype.FP8}, True),
        ("l40s", {"head_dim": 64}, False),
        ("b200-sxm", {"head_dim": 64}, False),
    ],
)
def test_what_kernels_for_hopper_take_once(on: str, changes: dict[str, Any], once: bool) -> None:
    header = lowered(replace(shape_of(2048, 32, 8), **changes), on, Framework.TRTLLM)[0].header
    cycles = once * implementations(Framework.TRTLLM).prefill_attention.warmup_cycles
    assert header.warmup_ps == cycles * 10**12 // device(on).sm.clock_hz
    assert header.run_bytes == 64 * changes.get("head_dim", 128) * (1 if "kv_dtype" in changes else 2)


@pytest.mark.parametrize(
    ("on", "framework", "changes", "tokens"),
    [
        ("h100-sxm", Framework.VLLM, {}, 1),
        ("h100-sxm", Framework.VLLM, {"kv_heads": 1}, 64),
        ("b200-sxm", Framework.VLLM, {}, 64),  # FlashInfer's pages hold head by head
        ("b200-sxm", Framework.SGLANG, {}, 1),
        ("l40s", Framework.VLLM, {"kv_dtype": Dtype.FP8}, 64),
        ("l40s", Framework.TRTLLM, {}, 64),
    ],
)
def test_tokens_of_a_head_that_lie_together(
    on: str, framework: Framework, changes: dict[str, Any], tokens: int
) -> None:
    shape = replace(shape_of(2048, 32, 8), **changes)
    header = lowered(shape, on, framework)[-1].header
    assert header.run_bytes == tokens * shape.head_dim * shape.kv_dtype.bytes


@pytest.mark.parametrize(
    ("on", "head_dim", "length", "cycles"),
    [
        # shuffles and bit operations of FlashInfer's source, by each of four warps, or once where warps share keys
        ("l40s", 128, 2048, 4 * (5 / 32 + 25 / 64) / 8),
        ("l40s", 128, 4, (5 / 32 + 25 / 64) / 8),
        ("l40s", 192, 2048, (2 / 16 + 2 / 128) / 2),  # Triton: two conversions and two instructions for a pair
        ("h100-sxm", 128, 2048, 0),
    ],
)
def test_numbers_of_an_fp8_cache_are_converted(on: str, head_dim: int, length: int, cycles: float) -> None:
    """Half of a step multiplies keys or values of a tile, each number of which is converted first."""
    shape, hardware = shape_of(length, 8, 2, head_dim, kv_dtype=Dtype.FP8), device(on)
    plan = prefill_plan(shape, hardware, Framework.VLLM)
    assert plan.conversion_cycles == pytest.approx(cycles)
    without = replace(plan, conversion_cycles=0)
    scalars = SCALARS.prefill_attention
    more = step_cycles(shape, plan, hardware, scalars) - step_cycles(shape, without, hardware, scalars)
    assert more == pytest.approx(plan.keys * head_dim * cycles, abs=1)


@pytest.mark.parametrize(
    ("head_dim", "length", "dtype", "more"),
    [(128, 2048, Dtype.FP8, 1000), (128, 2048, Dtype.BF16, 0), (64, 2048, Dtype.FP8, 0), (128, 16, Dtype.FP8, 0)],
)
def test_a_tile_of_two_warp_groups_in_fp8_takes_longer(head_dim: int, length: int, dtype: Dtype, more: int) -> None:
    """128 rows; not the 192 of head size 64, nor the 64 of short prompts of head size 128."""
    shape = shape_of(length, 4, 2, head_dim, kv_dtype=dtype)
    cycles = []
    for each in (0, 1000):
        scalars = SCALARS.prefill_attention.model_copy(update={"item_cycles": each})
        records = records_of(lowered(shape, "h100-sxm", Framework.VLLM, scalars)[0])
        queries = records[(records.address >= QUERY) & (records.address < OUTPUT) & (records.requester == 0)]
        cycles.append(int(queries.compute_cycles[0]))
    assert cycles[1] - cycles[0] == more


def test_triton_finds_tiles_before_the_window_masked() -> None:
    """Tile 15 of 64 queries with a window of 256 begins at key 704 of 960: eleven tiles of 64 keys are not read, but
    each takes half a cycle for 4096 scores; the five that are read take that too, half with K and half with V."""
    shape, hopper = shape_of(1024, 1, 1, 256, window=256), device("h100-sxm")
    plan = prefill_plan(shape, hopper, Framework.SGLANG)
    assert (plan.queries, plan.keys, plan.masks_window) == (64, 64, True)
    records = records_of(lowered(shape, "h100-sxm", Framework.SGLANG)[0])
    reads = only(records, Op.READ)
    queries = reads[(reads.address >= QUERY) & (reads.address < OUTPUT) & (reads.requester == 15)]
    assert int(queries.compute_cycles.sum()) == 11 * 2048
    keys = reads[(reads.address >= KEY) & (reads.address < VALUE) & (reads.requester == 15)]
    assert total_bytes(keys) == (1024 - 704) * 256 * 2
    scalars = implementations(Framework.SGLANG).prefill_attention
    unmasked = step_cycles(shape, replace(plan, masks_window=False), hopper, scalars)
    assert step_cycles(shape, plan, hopper, scalars) == unmasked + 1024


@pytest.mark.parametrize(
    ("on", "head_dim", "window", "spills"),
    [
        ("h100-sxm", 256, 512, True),  # 2 x 64 outputs, 24 scores, 64 of q and K, 16 of the mask: 232 words a thread
        ("l40s", 64, 128, True),  # 2 x 32, 96, 48, 64: 272
        ("l40s", 64, None, False),  # 32, 96, 48: 176
        ("rtx-pro-6000", 256, 512, True),
        ("b200-sxm", 256, 512, False),  # outputs in tensor memory
    ],
)
def test_a_window_keeps_two_outputs(on: str, head_dim: int, window: int | None, spills: bool) -> None:
    kv_dtype = Dtype.FP8 if on == "b200-sxm" else Dtype.BF16
    shape = shape_of(1024, 8, 8, head_dim, window=window, kv_dtype=kv_dtype)
    assert prefill_plan(shape, device(on), Framework.SGLANG).spills == spills


@pytest.mark.parametrize(
    ("framework", "order"),
    [
        (Framework.VLLM, ["000", "001", "010", "011", "100", "101", "110", "111"]),  # num_m_block, b, h
        (Framework.SGLANG, ["000", "010", "100", "110", "001", "011", "101", "111"]),  # batch, heads, tiles
        (Framework.TRTLLM, ["000", "001", "100", "101", "010", "011", "110", "111"]),  # steps, h, b
    ],
)
def test_tiles_in_the_order_of_the_grid(framework: Framework, order: list[str]) -> None:
    """Head, sequence and tile that each CTA writes: two of each, tiles of 64 rows of 128 bytes."""
    shape = shape_of(128, 2, 2, 64, batch=2)
    written = only(records_of(lowered(shape, "l40s", framework)[0]), Op.WRITE)
    tile = (written.address - OUTPUT) // (64 * 128)
    assert [f"{number:03b}" for number in tile[np.argsort(written.requester)]] == order


def test_products_hide_softmax_as_the_kernel_lets_them() -> None:
    """128 x 128 scores on an H100: half of 16384 x (1/16 + 4/128) = 768 cycles of softmax; a product of 2 x 128 x 128 x
    128 FLOPs is 1024 cycles at the peak."""
    scalars = SCALARS.prefill_attention.model_copy(update={"matrix_efficiency": 0.5, "softmax_exposed": 0.25})
    shape, hopper = shape_of(2048, 32, 8), device("h100-sxm")
    plan = prefill_plan(shape, hopper, Framework.VLLM)
    assert half_softmax_cycles(plan, hopper) == 768
    assert step_cycles(shape, plan, hopper, scalars) == 2048 + 192
