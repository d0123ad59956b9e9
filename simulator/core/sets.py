"""One set of a sectored cache: tags, the order in which its ways were used, and what is known of each line.

A set is a record of 32 words.  Two 32-bit tags share a word, so that comparing all 16 is one vector instruction
(written as a loop it is not vectorised and three times slower).  The order of up to 16 ways is one word of 4-bit way
numbers, the most recently used in the lowest four bits.  Valid and dirty sectors are words of four bits a way.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array

WAYS = 16
"""Ways a set has room for; a cache with fewer never names the others."""

ORDER = 8  # ways by last use, or what core/replacement.py keeps
VALID = 9
DIRTY = 10
PERSISTING = 11  # mask of the ways to be evicted last
LATEST = 12  # no fill arrives later
READY = 16  # of each way: when the fill arrives
SET_WORDS = 32

MAX_SECTORS = 4
"""Sectors of a line."""

EMPTY, UNUSED = -1, -2
"""Tags of ways that hold nothing, and of ways the cache does not have."""

IDENTITY = 0x0123456789ABCDEF
"""The order of an unused set, for which way 0 comes first as victim."""


@small_function
def tag_of(m: Int64Array, place: int, way: int) -> int:
    """Return the tag of a way of the set at `place`."""
    half = (m[place + (way >> 1)] >> (32 * (way & 1))) & 0xFFFFFFFF
    return half - ((half & 0x80000000) << 1)


@small_function
def nibble(word: int, way: int) -> int:
    """Return the four bits of a way."""
    return (word >> (4 * way)) & 15


@small_function
def with_nibble(word: int, way: int, value: int) -> int:
    """Return the word with `value` as the four bits of a way."""
    return word ^ (np.int64(((word >> (4 * way)) ^ value) & 15) << (4 * way))


def find_way(m: Int64Array, place: int, tag: int) -> int:
    """Return the way of the set at `place` that holds `tag`, or 16."""
    tags = m[place : place + WAYS // 2].view(np.int32)
    return int(np.append(tags == tag, True).argmax())


@intrinsic
def _find_way(typing_context, words, place, tag):  # type: ignore[no-untyped-def]
    signature = types.int64(words, types.int64, types.int32)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
        vector = ir.VectorType(ir.IntType(32), WAYS)
        start = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        loaded = builder.load(start)
        loaded.align = 8
        splat = ir.Constant(vector, ir.Undefined)
        splat = builder.insert_element(splat, arguments[2], ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(
            splat, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), WAYS), [0] * WAYS)
        )
        equal = builder.bitcast(builder.icmp_signed("==", loaded, splat), ir.IntType(WAYS))
        wide = builder.or_(builder.zext(equal, ir.IntType(64)), ir.Constant(ir.IntType(64), 1 << WAYS))
        return builder.cttz(wide, ir.Constant(ir.IntType(1), 1))

    return signature, generate


@overload(find_way, inline="always")
def _compiled_find_way(m, place, tag):  # type: ignore[no-untyped-def]
    def implementation(m, place, tag):  # type: ignore[no-untyped-def]
        return _find_way(m, place, np.int32(tag))

    return implementation


def set_tag(m: Int64Array, place: int, way: int, tag: int) -> None:
    """Give a way of the set at `place` another tag."""
    m[place : place + WAYS // 2].view(np.int32)[way] = np.int64(tag).astype(np.int32)


@intrinsic
def _set_tag(typing_context, words, place, way, tag):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
        half = ir.IntType(32)
        start = builder.bitcast(builder.gep(array.data, [arguments[1]]), half.as_pointer())
        builder.store(arguments[3], builder.gep(start, [arguments[2]]))
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64, types.int32), generate


@overload(set_tag, inline="always")
def _compiled_set_tag(m, place, way, tag):  # type: ignore[no-untyped-def]
    def implementation(m, place, way, tag):  # type: ignore[no-untyped-def]
        _set_tag(m, place, way, np.int32(tag))

    return implementation


def touch(order: int, way: int) -> int:
    """Return the order word, as a signed integer, with `way` as the most recently used."""
    ways = [(int(order) >> 4 * place) & 15 for place in range(WAYS)]
    ways.remove(way)
    word = sum(used << 4 * place for place, used in enumerate([int(way), *ways]))
    return word - (1 << 64) if word >> 63 else word


@overload(touch, inline="always")
def _compiled_touch(order, way):  # type: ignore[no-untyped-def]
    def implementation(order, way):  # type: ignore[no-untyped-def]
        difference = order ^ (way * 0x1111111111111111)
        zero = (difference - 0x1111111111111111) & ~difference & -0x7777777777777778
        below = zero & -zero  # lowest zero nibble: where `way` stands
        through = (below << 1) - 1  # all bits up to and with that nibble
        return (order & ~through) | (((order << 4) | way) & through)

    return implementation


@small_function
def used_bits(ways: int) -> int:
    """Return the mask of the bits that the order of so many ways takes."""
    return (np.int64(1) << (4 * (ways - 1)) << 4) - 1  # all where there are 16


@small_function
def put_first(order: int, way: int, ways: int) -> int:
    """Return the order word with `way`, the last of `ways`, as the most recently used."""
    return ((order << 4) | way) & used_bits(ways)


@small_function
def least_recent(order: int, ways: int) -> int:
    """Return the way that was used longest ago, of a set with `ways` ways."""
    return (order >> (4 * (ways - 1))) & 15


def new_tags(ways: int) -> Int64Array:
    """Return the tags of an empty set with `ways` ways, two to a word."""
    return np.where(np.arange(WAYS) < WAYS - ways, UNUSED, EMPTY).astype(np.int32).view(np.int64)


@small_function
def take(m: Int64Array, place: int, way: int, tag: int, valid: int, ways: int) -> None:
    """Give the way of a set that was used longest ago another tag, of which the sectors `valid` come."""
    set_tag(m, place, way, tag)
    m[place + VALID] = with_nibble(m[place + VALID], way, valid)
    m[place + ORDER] = put_first(m[place + ORDER], way, ways)


def new_sets(count: int, ways: int, order: int) -> Int64Array:
    """Return `count` empty sets (count, SET_WORDS) with `ways` ways each, in the order `order`."""
    sets = np.zeros((count, SET_WORDS), np.int64)
    sets[:, :ORDER] = new_tags(ways)
    sets[:, ORDER] = order
    return sets
