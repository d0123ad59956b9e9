"""Spreading numbers evenly over sets, slices, channels and partitions."""

from __future__ import annotations

from simulator.core.compiled import small_function


@small_function
def mix(x: int, size: int) -> int:
    """Return a hash of a non-negative integer, uniform over 0 <= hash < `size` < 2^31 (Fibonacci hashing)."""
    x = (x * 0x9E3779B1) & 0x7FFFFFFF
    return ((x ^ (x >> 15)) * size) >> 31


@small_function
def quotient_of(number: int, size: int, inverse: float) -> int:
    """Return number // size for 0 <= number < 2^52, given `inverse` = 1 / size (a division takes 15 cycles)."""
    quotient = int(number * inverse)
    rest = number - quotient * size
    if rest >= size:
        quotient += 1
    elif rest < 0:
        quotient -= 1
    return quotient


@small_function
def rotated(number: int, quotient: int, size: int) -> int:
    """Return the slot of `number` when each run of `size` numbers is dealt once to all slots, from a hashed start."""
    slot = number - quotient * size + mix(quotient, size)
    return slot - size if slot >= size else slot


@small_function
def unrotated(slot: int, quotient: int, size: int) -> int:
    """Return the number that `rotated` puts into a slot."""
    place = slot - mix(quotient, size)
    return quotient * size + (place + size if place < 0 else place)


@small_function
def scrambled(number: int) -> int:
    """Return a 31-bit pseudo-random number drawn by its place in a sequence."""
    number = ((number ^ (number >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    number = ((number ^ (number >> 12)) * 0x297A2D39) & 0x7FFFFFFF
    return number ^ (number >> 15)
