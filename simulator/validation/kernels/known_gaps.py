"""Which entry of validation/DEVIATIONS.md speaks of a row, if one does, in the direction in which it is off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from simulator import hardware
from simulator.run.cases import DecodeAttentionCase, GemmCase, KernelCase, PrefillAttentionCase
from simulator.validation.kernels.rows import MeasuredRow

HOPPER = ("h100-sxm", "h200-sxm")
BLACKWELL = ("b200-sxm", "b300-sxm", "gb200", "gb300")  # of data centres
LARGE_FLOPS = 10**11
NEARLY_L2 = (0.75, 1.1)  # of L2, by the copies of a weight
PAGES_PER_WAY = ("l40s", "rtx-pro-6000")  # a way of L2 is some pages
NARROW, FEW_OUTPUTS = 64, 2048  # rows and columns of a product


@dataclass(frozen=True)
class KnownGap:
    """An entry: its number, what it says in short, whether it makes predictions too fast, the kernels it is about, and
    the rows."""

    number: int
    words: str
    too_fast: bool
    kernel: type[KernelCase]
    concerns: Callable[[MeasuredRow], bool]


def known_gap(row: MeasuredRow, ratio: float) -> str:
    """Return the number and the words of the first entry that speaks of a row with this predicted / measured; or ""."""
    for gap in KNOWN_GAPS:
        if isinstance(row.case, gap.kernel) and (ratio < 1) == gap.too_fast and gap.concerns(row):
            return f"{gap.number}: {gap.words}"
    return ""


def _product(row: MeasuredRow) -> GemmCase:
    assert isinstance(row.case, GemmCase)
    return row.case


@cache
def _l2_bytes(description: str) -> int:
    return hardware.load(description).spec.l2.size_bytes


def _nearly_fills_l2(row: MeasuredRow) -> bool:
    if row.device not in PAGES_PER_WAY:
        return False
    share = _product(row).weight_copies * _product(row).weight_bytes / _l2_bytes(row.description)
    return NEARLY_L2[0] < share < NEARLY_L2[1]


def _decode(row: MeasuredRow) -> DecodeAttentionCase:
    assert isinstance(row.case, DecodeAttentionCase)
    return row.case


def _prompt(row: MeasuredRow) -> PrefillAttentionCase:
    assert isinstance(row.case, PrefillAttentionCase)
    return row.case


KNOWN_GAPS = (
    KnownGap(27, "copies that nearly fill L2", True, GemmCase, _nearly_fills_l2),
    KnownGap(27, "copies that nearly fill L2", False, GemmCase, _nearly_fills_l2),
    KnownGap(
        6,
        "cuBLAS's gemv",
        True,
        GemmCase,
        lambda row: row.device in PAGES_PER_WAY and _product(row).m == 1,
    ),
    KnownGap(
        6,
        "few outputs on Blackwell",
        True,
        GemmCase,
        lambda row: row.device in BLACKWELL and _product(row).m <= NARROW and _product(row).n <= FEW_OUTPUTS,
    ),
    KnownGap(
        4,
        "the clock does not throttle",
        True,
        GemmCase,
        lambda row: row.device == "l40s" and _product(row).shape().flops > LARGE_FLOPS,
    ),
    KnownGap(
        6,
        "k is split where the library does not",
        True,
        GemmCase,
        lambda row: (row.device, row.framework) == ("l40s", "trtllm") and 1536 <= _product(row).n <= 2048,
    ),
    KnownGap(
        18,
        "fp8 products run bf16's tiles",
        True,
        GemmCase,
        lambda row: (row.framework, row.dtype) == ("trtllm", "fp8"),
    ),
    KnownGap(
        5,
        "FlashAttention-4 beyond 992 sequences",
        True,
        DecodeAttentionCase,
        lambda row: row.framework == "vllm" and _decode(row).head_dim == 512 and _decode(row).batch > 992,
    ),
    KnownGap(
        23,
        "fp8 under SGLang on Blackwell",
        True,
        DecodeAttentionCase,
        lambda row: row.device in BLACKWELL and (row.framework, row.dtype) == ("sglang", "fp8"),
    ),
    KnownGap(
        29,
        "Triton's kernel, spilled",
        True,
        PrefillAttentionCase,
        lambda row: row.device in HOPPER and row.framework == "sglang" and _prompt(row).head_dim == 256,
    ),
    KnownGap(
        30,
        "what TensorRT-LLM does besides",
        True,
        PrefillAttentionCase,
        lambda row: row.framework == "trtllm" and (_prompt(row).head_dim != 128 or row.dtype == "fp8"),
    ),
    KnownGap(
        31,
        "FlashAttention-3 in fp8, short prompts",
        True,
        PrefillAttentionCase,
        lambda row: (
            row.device in HOPPER
            and (row.dtype, _prompt(row).head_dim) == ("fp8", 128)
            and 64 <= _prompt(row).seq_len <= 256
        ),
    ),
)
"""The more particular first."""
