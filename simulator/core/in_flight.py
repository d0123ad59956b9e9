"""What is in flight: a queue of bytes that leave once they have arrived, oldest first, and a count of how much.

A queue is a header of four words and room for pairs of words, a time and a size.  It begins again at the front of its
room when what is left of it can be moved there cheaply, so that short queues stay in the processor's cache.
"""

from __future__ import annotations

from simulator.core import counter
from simulator.core.bitwise import length
from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array

HEAD, TAIL, TURN, BYTES = 0, 1, 2, 3
"""First entry and end, the end at which to begin again at the front, and the bytes held."""

FIRST_TURN = 32


@small_function
def drop_oldest(m: Int64Array, queue: int, entries: int) -> None:
    """Take the oldest entry off a queue."""
    head = m[queue + HEAD]
    m[queue + BYTES] -= m[entries + 2 * head + 1]
    m[queue + HEAD] = head + 1


@small_function
def oldest(m: Int64Array, queue: int, entries: int, never: int) -> int:
    """Return when the oldest entry arrives, `never` if there is none (ps)."""
    head = m[queue + HEAD]
    return m[entries + 2 * head] if head < m[queue + TAIL] else never


@small_function
def is_full(m: Int64Array, queue: int, room: int, size: int, limit: int) -> bool:
    """Return whether `size` more bytes would be beyond `limit`, or half of the `room` entries are taken."""
    return m[queue + BYTES] + size > limit or 2 * (m[queue + TAIL] - m[queue + HEAD]) >= room


@small_function
def enter(m: Int64Array, queue: int, entries: int, room: int, size: int, until: int) -> int:
    """Put `size` bytes that arrive at `until` into a queue; return the bytes in flight with them."""
    tail = m[queue + TAIL]
    if tail == m[queue + TURN]:
        head = m[queue + HEAD]
        if 2 * (tail - head) > tail and tail < room:
            m[queue + TURN] = 2 * tail
        else:
            for word in range(2 * (tail - head)):
                m[entries + word] = m[entries + 2 * head + word]
            tail -= head
            m[queue + HEAD] = 0
    m[entries + 2 * tail] = until
    m[entries + 2 * tail + 1] = size
    m[queue + TAIL] = tail + 1
    held = m[queue + BYTES] + size
    m[queue + BYTES] = held
    return held


@small_function
def note_in_flight(m: Int64Array, counters: int, histogram: int, peak: int, size: int) -> None:
    """Count `size` bytes in flight in a histogram and a peak of the kernel whose counters begin at `counters`."""
    place = min(length(size >> counter.HISTOGRAM_FIRST), counter.HISTOGRAM_BINS - 1)
    m[counters + histogram + place] += 1
    m[counters + peak] = max(m[counters + peak], size)
