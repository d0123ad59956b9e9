"""How dense accesses are: sectors touched of each line they touch, and strides from one run of bytes to the next."""

from __future__ import annotations

from simulator.core.bitwise import length
from simulator.core.compiled import compiled, small_function
from simulator.core.layout import Int64Array
from simulator.core.program import ADDRESS, EXTENT, RECORD_WORDS, STRIDE, high, low
from simulator.core.reuse_count import Space, segment_of

SECTOR_SHIFT, LINE_SECTOR_BITS = 5, 2
LINE_SECTORS = 1 << LINE_SECTOR_BITS

SEQUENTIAL, SAME, FORWARD, BACKWARD = 0, 1, 2, 50
STRIDE_BINS = 98
"""Bins of strides: a run that begins where the one before ended, or began; then, forward and backward, distances
between beginnings of less than 2^i bytes at FORWARD + i and BACKWARD + i."""


@small_function
def add_lines(touched: Int64Array, cell: int, address: int, size: int) -> None:
    """Count the lines of a run by how many of their sectors it touches."""
    first = address >> SECTOR_SHIFT
    last = (address + size - 1) >> SECTOR_SHIFT
    lines = (last >> LINE_SECTOR_BITS) - (first >> LINE_SECTOR_BITS) + 1
    place = cell * (LINE_SECTORS + 1)
    if lines == 1:
        touched[place + last - first + 1] += 1
        return
    touched[place + LINE_SECTORS - (first & (LINE_SECTORS - 1))] += 1
    touched[place + (last & (LINE_SECTORS - 1)) + 1] += 1
    touched[place + LINE_SECTORS] += lines - 2


@small_function
def is_within(space: Space, address: int, segment: int) -> bool:
    """Return whether an address lies in a segment."""
    begun = space.bounds[segment] <= address
    return begun and (segment + 1 == len(space.bounds) or address < space.bounds[segment + 1])


@small_function
def stride_bin(start: int, before: int, before_end: int) -> int:
    """Return the bin of the step from one run to the next."""
    if start == before_end:
        return SEQUENTIAL
    if start == before:
        return SAME
    return FORWARD + length(start - before) if start > before else BACKWARD + length(before - start)


@compiled
def count_spatial(
    program: Int64Array,
    starts: Int64Array,
    space: Space,
    kernel_class: int,
    tensor_classes: int,
    last: Int64Array,
    touched: Int64Array,
    strides: Int64Array,
) -> None:
    """Count the records of some CTAs, each CTA's in its own order: `touched` (cells, LINE_SECTORS + 1) lines by sectors
    touched, `strides` (tensor classes, STRIDE_BINS) steps between runs of one CTA in one tensor class.

    `last` (tensor classes, 2) is room for where the last run began and ended.
    """
    segment = 0
    for cta in range(len(starts) - 1):
        for its in range(tensor_classes):
            last[2 * its] = -1
        for record in range(starts[cta], starts[cta + 1]):
            word = record * RECORD_WORDS
            address, stride = program[word + ADDRESS], program[word + STRIDE]
            rows, size = high(program[word + EXTENT]), low(program[word + EXTENT])
            if rows == 1 or stride == size:
                size *= rows
                rows = 1
            if not is_within(space, address, segment):
                segment = segment_of(space, address)
            its = space.classes[segment]
            for _ in range(rows):
                add_lines(touched, kernel_class * tensor_classes + its, address, size)
                if last[2 * its] >= 0:
                    strides[its * STRIDE_BINS + stride_bin(address, last[2 * its], last[2 * its + 1])] += 1
                last[2 * its] = address
                last[2 * its + 1] = address + size
                address += stride
