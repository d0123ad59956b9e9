"""Counting bits and bytes with the instruction there is for it."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray


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


MOST_AGREEING = 64


def agreeing(values: NDArray[np.uint8], first: int, mask: int, value: int) -> int:
    """Return how many bytes, 64 at most, are `value` in the bits of `mask` from `first` on up to one that is not."""
    count = 0
    while count < MOST_AGREEING and values[first + count] & mask == value:
        count += 1
    return count


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


@intrinsic
def _agreeing(typing_context, values, first, mask, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
        vector = ir.VectorType(ir.IntType(8), MOST_AGREEING)
        here = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        masks, wanted = (_in_all(builder, word, vector) for word in arguments[2:])
        agree = builder.icmp_unsigned("==", builder.and_(builder.load(here, align=1), masks), wanted)
        others = builder.not_(builder.bitcast(agree, ir.IntType(MOST_AGREEING)))
        return builder.cttz(others, ir.Constant(ir.IntType(1), 0))

    return types.int64(values, types.int64, types.int64, types.int64), generate


def _in_all(builder: ir.IRBuilder, word: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Return a vector that has the lowest byte of a word everywhere."""
    lane = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), builder.trunc(word, vector.element), lane(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(lane, vector.count), None))


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


@overload(agreeing, inline="always")
def _compiled_agreeing(values, first, mask, value):  # type: ignore[no-untyped-def]
    def implementation(values, first, mask, value):  # type: ignore[no-untyped-def]
        return _agreeing(values, first, mask, value)

    return implementation
