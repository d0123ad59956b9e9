"""Sums of the entries after one in a small block of an array, each as one vector instruction or a few.

As a loop with a condition they take 75 ns for the three of a reuse distance, since the compiler widens all to 64 bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

BYTES, WORDS = 64, 32
"""Entries of a block of bytes, and of one of 32-bit words."""


def bytes_after(array: NDArray[Any], place: int) -> int:
    """Return the sum of the entries after `place` in its block of BYTES (at most 2^15) of an array of bytes."""
    return int(array[place + 1 : (place // BYTES + 1) * BYTES].sum())


def words_after(array: NDArray[Any], place: int) -> int:
    """Return the sum of the entries after `place` in its block of WORDS of an array of 32-bit words."""
    return int(array[place + 1 : (place // WORDS + 1) * WORDS].sum())


def _intrinsic(count: int, bits: int, sum_bits: int):  # type: ignore[no-untyped-def]
    """Return an intrinsic that adds up the entries after a place in its block of `count`, each of `bits`."""

    @intrinsic
    def after(typing_context, array, place):  # type: ignore[no-untyped-def]
        signature = types.int64(array, types.int64)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            source = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            wide, narrow = ir.IntType(64), ir.IntType(bits)
            vector, sums = ir.VectorType(narrow, count), ir.VectorType(ir.IntType(sum_bits), count)
            first = builder.and_(arguments[1], ir.Constant(wide, -count))
            loaded = builder.load(builder.bitcast(builder.gep(source.data, [first]), vector.as_pointer()))
            loaded.align = 1
            offset = builder.trunc(builder.and_(arguments[1], ir.Constant(wide, count - 1)), narrow)
            undefined = ir.Constant(vector, ir.Undefined)
            splat = builder.insert_element(undefined, offset, ir.Constant(ir.IntType(32), 0))
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
            splat = builder.shuffle_vector(splat, undefined, everywhere)
            later = builder.icmp_unsigned(">", ir.Constant(vector, list(range(count))), splat)
            kept = builder.select(later, loaded, ir.Constant(vector, [0] * count))
            if sum_bits > bits:
                kept = builder.zext(kept, sums)
            name = f"llvm.vector.reduce.add.v{count}i{sum_bits}"
            reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(sum_bits), [sums]), name)
            return builder.zext(builder.call(reduce, [kept]), wide)

        return signature, generate

    return after


_bytes_after = _intrinsic(BYTES, 8, 16)
_words_after = _intrinsic(WORDS, 32, 32)


@overload(bytes_after, inline="always")
def _compiled_bytes_after(array, place):  # type: ignore[no-untyped-def]
    def implementation(array, place):  # type: ignore[no-untyped-def]
        return _bytes_after(array, place)

    return implementation


@overload(words_after, inline="always")
def _compiled_words_after(array, place):  # type: ignore[no-untyped-def]
    def implementation(array, place):  # type: ignore[no-untyped-def]
        return _words_after(array, place)

    return implementation
