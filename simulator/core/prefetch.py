"""Asking the processor for a cache line of the state before it is needed."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from simulator.core.layout import Int64Array


def prefetch(m: Int64Array, place: int) -> None:
    """Bring the cache line of a word of the state near; changes nothing."""


@intrinsic
def _prefetch(typing_context, words, place):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        to_write, near, data = (ir.Constant(number, value) for value in (1, 3, 1))
        builder.call(function, [address, to_write, near, data])
        return context.get_dummy_value()

    return types.void(words, types.int64), generate


@overload(prefetch, inline="always")
def _compiled_prefetch(m, place):  # type: ignore[no-untyped-def]
    def implementation(m, place):  # type: ignore[no-untyped-def]
        _prefetch(m, place)

    return implementation
