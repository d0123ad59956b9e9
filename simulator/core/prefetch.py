"""Asking the processor for a cache line of the state before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from simulator.core.layout import Int64Array


def prefetch(m: Int64Array, place: int) -> None:
    """Bring the cache line of a word of the state, to be written soon, into the nearest cache; changes nothing."""


def prefetch_early(m: Int64Array, place: int) -> None:
    """Bring the cache line of a word, needed an event later, into the cache after that, which holds what hundreds of
    lines take; changes nothing."""


def _prefetching(to_write: int, near: int) -> Any:
    """Return a function of an array and an index for compiled code, which asks for the cache line there."""

    @intrinsic
    def ask(typing_context, words, place):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
            builder.call(function, [address, *(ir.Constant(number, value) for value in (to_write, near, 1))])
            return context.get_dummy_value()

        return types.void(words, types.int64), generate

    return ask


_prefetch, _prefetch_early = _prefetching(1, 3), _prefetching(0, 2)


@overload(prefetch, inline="always")
def _compiled_prefetch(m, place):  # type: ignore[no-untyped-def]
    def implementation(m, place):  # type: ignore[no-untyped-def]
        _prefetch(m, place)

    return implementation


@overload(prefetch_early, inline="always")
def _compiled_prefetch_early(m, place):  # type: ignore[no-untyped-def]
    def implementation(m, place):  # type: ignore[no-untyped-def]
        _prefetch_early(m, place)

    return implementation
