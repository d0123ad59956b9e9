"""Spreading numbers evenly over sets, slices, channels and partitions."""

from __future__ import annotations

from simulator.core.bitwise import unseen
from simulator.core.compiled import small_function

BITS = 0x7FFFFFFF


@small_function
def mix(x: int, size: int) -> int:
    """Return a hash of a non-negative integer, uniform over 0 <= hash < `size` < 2^31 (Fibonacci hashing)."""
    x = ((x & BITS) * 0x9E3779B1) & unseen(BITS)
    return (((x ^ (x >> 15)) & BITS) * (size & BITS)) >> 31


@small_function
def divided(number: int, size: int, inverse: float) -> tuple[int, int]:
    """Return number // size, below 2^31, and number % size, for 0 <= number < 2^52, given `inverse` = 1 / size (a
    division takes 15 cycles)."""
    quotient = int(number * inverse)
    rest = number - (quotient & BITS) * (size & BITS)
    if rest >= size:
        return quotient + 1, rest - size
    if rest < 0:
        return quotient - 1, rest + size
    return quotient, rest


@small_function
def quotient_of(number: int, size: int, inverse: float) -> int:
    """Return the first of what `divided` does."""
    return divided(number, size, inverse)[0]


@small_function
def dealt(number: int, size: int, inverse: float) -> tuple[int, int]:
    """Return number // size, as `divided`, and the slot of `number` when each run of `size` numbers is dealt once to
    all slots, from a hashed start."""
    quotient, rest = divided(number, size, inverse)
    slot = rest + mix(quotient, size)
    return quotient, slot - size if slot >= size else slot


@small_function
def unrotated(slot: int, quotient: int, size: int) -> int:
    """Return the number that `dealt` puts into a slot."""
    place = slot - mix(quotient, size)
    return quotient * size + (place + size if place < 0 else place)


@small_function
def scrambled(number: int) -> int:
    """Return a 31-bit pseudo-random number drawn by its place in a sequence."""
    number = (((number ^ (number >> 15)) & BITS) * 0x2C1B3C6D) & unseen(BITS)
    number = (((number ^ (number >> 12)) & BITS) * 0x297A2D39) & unseen(BITS)
    return number ^ (number >> 15)
