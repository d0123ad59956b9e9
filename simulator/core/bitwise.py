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


LOW = 0xFFFFFFFF
"""Mask of the lower half of a word: a product of two words so masked takes one instruction in vector code, not three,
as long as the compiler may not leave the masks out again."""


def unseen(number: int) -> int:
    """Return a number that the compiler does not know, so that it drops nothing in view of it."""
    return number


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


@intrinsic
def _unseen(typing_context, number):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        same = builder.asm(ir.FunctionType(word, [word]), "", "=r,0", arguments, side_effect=False)
        for attribute in ("readnone", "nounwind"):  # so that loops do it once
            same.attributes.add(attribute)
        return same

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


@overload(unseen, inline="always")
def _compiled_unseen(number):  # type: ignore[no-untyped-def]
    def implementation(number):  # type: ignore[no-untyped-def]
        return _unseen(number)

    return implementation
