"""Which small kernels stand around decode attention, by framework, device and shape?"""

from __future__ import annotations

from typing import Any

import pytest
from lowering_bench import assert_header, device
from test_lowering_attention import shape_of

from simulator.hardware import Dtype
from simulator.lowering.decode_call import Around, Buffers, Small, kernels_around, lower_small
from simulator.lowering.elementwise import KvWrite, KvWriteKernel, lower_kv_write
from simulator.lowering.implementation import Framework
from simulator.lowering.layout import KvLayout

AT = Buffers(query=1 << 32, output=2 << 32, new=3 << 32, scratch=4 << 32)
FP8 = {"kv_dtype": Dtype.FP8}
SCALED = ["clear scale", "maximum", "cast", "scale", "scale", "scale"]


def around(on: str, framework: Framework, **changes: Any) -> Around:
    """Return what stands around a Llama-like layer with some of its shape changed."""
    usual = {"batch": 16, "kv_len": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "page_tokens": 64}
    return kernels_around(shape_of(**usual | changes), AT, device(on), framework)


@pytest.mark.parametrize(
    ("on", "framework", "changes", "names"),
    [
        ("h100-sxm", Framework.GENERIC, {}, []),
        ("h100-sxm", Framework.VLLM, FP8, ["store"]),
        ("l40s", Framework.VLLM, {}, ["store", "copy", "*", "copy"]),
        ("l40s", Framework.VLLM, {"batch": 1}, ["store", "*", "copy"]),  # groups are in order as they are
        ("l40s", Framework.VLLM, {"kv_heads": 1}, ["store", "*", "copy"]),
        ("l40s", Framework.VLLM, {"kv_heads": 32}, ["store"]),  # nothing to swap
        ("l40s", Framework.VLLM, {"window": 512}, ["store"]),
        ("l40s", Framework.VLLM, {"window": 8192}, ["store"]),  # none, also where the window covers all keys
        ("l40s", Framework.VLLM, FP8, ["store", "*", "scale"]),  # FlashInfer
        ("h100-sxm", Framework.SGLANG, {}, ["store", "plan splits"]),
        ("h100-sxm", Framework.SGLANG, FP8, ["cast", "cast", "store", "cast", "plan splits"]),
        ("h100-sxm", Framework.SGLANG, {"head_dim": 192}, ["copy", "copy", "store", "store", "plan splits"]),
        ("l40s", Framework.SGLANG, FP8, ["cast", "cast", "store"]),  # queries stay in 16 bits
        ("b200-sxm", Framework.SGLANG, FP8, ["store", *SCALED]),  # K and V are cast where they are stored
        ("h100-sxm", Framework.TRTLLM, {}, ["store"]),
        ("h100-sxm", Framework.TRTLLM, FP8, []),  # XQA stores what it gets
        ("h100-sxm", Framework.TRTLLM, FP8 | {"head_dim": 64}, ["store"]),  # but not with attention sinks
        ("h100-sxm", Framework.TRTLLM, {"kv_heads": 32}, []),  # so does masked attention
        ("l40s", Framework.TRTLLM, FP8, ["store"]),
        ("b200-sxm", Framework.TRTLLM, {}, ["store"]),
        ("b200-sxm", Framework.TRTLLM, {"head_dim": 512}, ["store"]),
        ("b200-sxm", Framework.TRTLLM, FP8 | {"head_dim": 512}, ["cast", "cast", "store", "cast"]),  # by FlashInfer
        ("b200-sxm", Framework.TRTLLM, FP8, ["store"]),
    ],
)
def test_the_kernels_around_attention(on: str, framework: Framework, changes: dict[str, Any], names: list[str]) -> None:
    found = around(on, framework, **changes)
    launched = [small.name for small in found.first] + ["store"] * found.stores
    launched += [small.name for small in found.before]
    after = [small.name for small in found.after]
    assert launched + ["*"] * bool(after) + after == names


def test_copies_between_strides_set_up() -> None:
    """16 x 32 x 128 elements, 512 a CTA, whose first take what they are told; a copy of a whole tensor, 2048 elements a
    CTA, takes nothing."""
    moved, whole = around("l40s", Framework.VLLM), around("l40s", Framework.VLLM, kv_heads=1)
    for small in (*moved.before, *moved.after):
        header = lower_small(small, 0, None, 0, set_up_ps=1000).header
        assert (header.requesters, header.warmup_ps) == (128, 1000)
    header = lower_small(whole.after[0], 0, None, 0, set_up_ps=1000).header
    assert (header.requesters, header.warmup_ps) == (32, 0)


def test_splits_are_planned_by_one_cta_that_sets_up() -> None:
    plan = around("h100-sxm", Framework.SGLANG, batch=4096).before[-1]
    assert (plan.name, plan.ctas, plan.sets_up) == ("plan splits", 1, True)


def test_a_cast_reads_twice_what_it_writes() -> None:
    """16 x 8 new rows of 128 elements: K and V of 32 KiB each, side by side; the query has 128 KiB."""
    found = around("h100-sxm", Framework.SGLANG, **FP8)
    key, value = found.first
    assert (key.source, key.read_bytes, key.write_bytes) == (AT.new, 32768, 16384)
    assert (value.source, value.read_bytes) == (AT.new + 32768, 32768)
    assert value.output == key.output + 16384
    assert (found.before[0].source, found.before[0].read_bytes) == (AT.query, 131072)


def test_a_query_is_cast_with_a_scale_of_its_own() -> None:
    """16 x 32 rows of 128 elements are 65536, an element a thread: 256 CTAs, all of which reduce into one scale."""
    found = around("b200-sxm", Framework.SGLANG, **FP8)
    clear, maximum, cast, *scalings = (lower_small(small, i, None, 0) for i, small in enumerate(found.before))
    for kernel in (clear, maximum, cast, *scalings):
        assert_header(kernel)
    assert (clear.header.read_bytes, clear.header.write_bytes) == (0, 32)
    assert (maximum.header.requesters, cast.header.requesters) == (256, 256)
    assert (maximum.header.read_bytes, maximum.header.write_bytes) == (131072, 256 * 32)
    assert (cast.header.read_bytes, cast.header.write_bytes) == (131072, 65536)
    assert {small.output for small in found.before} == {AT.scratch, AT.scratch + 65536}
    assert [small.sets_up for small in found.before] == [False, True, True, False, False, False]
    many = around("b200-sxm", Framework.SGLANG, **FP8 | {"batch": 1024})
    assert many.before[1].ctas == 1024


def test_xqa_has_its_queries_turned_where_k_and_v_are_stored() -> None:
    """16 x 32 rows of 128 elements are 128 KiB, read and written besides the new K and V of 64 KiB."""
    found = around("l40s", Framework.TRTLLM)
    assert found.query_bytes == 131072
    assert around("h100-sxm", Framework.TRTLLM, **FP8).query_bytes == 0
    write = KvWrite(16, 1023, 1, AT.new, 65536, AT.scratch, 1 << 40, 1 << 41)
    layout = KvLayout(8, 256, 64, 1024)
    plain, turning = (
        lower_kv_write(write, layout, 0, None, 0, KvWriteKernel(query=AT.query, query_bytes=size))
        for size in (0, found.query_bytes)
    )
    assert_header(turning)
    assert turning.header.read_bytes - plain.header.read_bytes == 131072
    assert turning.header.write_bytes - plain.header.write_bytes == 131072


@pytest.mark.parametrize("size", [4, 32, 4096, 5000, 1 << 20])
def test_a_small_kernel_moves_its_bytes_in_whole_sectors(size: int) -> None:
    kernel = lower_small(Small("copy", AT.query, size, AT.scratch, size), 0, None, 0)
    assert_header(kernel)
    sectors = -(-size // 32) * 32
    assert (kernel.header.read_bytes, kernel.header.write_bytes) == (sectors, sectors)
    assert kernel.header.requesters <= -(-size // 4096)
