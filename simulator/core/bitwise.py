"""Counting bits with the instruction there is for it."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


def ones(mask: int) -> int:
    """Return the number of ones in a mask."""
    return int(mask).bit_count()


def length(number: int) -> int:
    """Return how many bits a number that is not negative takes."""
    return int(number).bit_length()


@intrinsic
def _ones(typing_context, mask):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate


@intrinsic
def _length(typing_context, number):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.int64), generate


@overload(ones, inline="always")
def _compiled_ones(mask):  # type: ignore[no-untyped-def]
    def implementation(mask):  # type: ignore[no-untyped-def]
        return _ones(mask)

    return implementation


@overload(length, inline="always")
def _compiled_length(number):  # type: ignore[no-untyped-def]
    def implementation(number):  # type: ignore[no-untyped-def]
        return _length(number)

    return implementation
