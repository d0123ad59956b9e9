"""What is in flight: a queue of bytes that leave once they have arrived, oldest first, and a count of how much.

A queue is a header of five words and room for pairs of words, a time and what arrives then.  It begins again at the
front of its room when what is left of it can be moved there cheaply, so that short queues stay in the processor's
cache.
"""

from __future__ import annotations

from simulator.core import counter
from simulator.core.bitwise import length
from simulator.core.compiled import called, small_function
from simulator.core.layout import Int64Array

HEAD, TAIL, TURN, HELD, SINCE = 0, 1, 2, 3, 4
"""First entry and end, the end at which to begin again at the front, what is held, and since when (ps)."""

REQUESTS_SHIFT = 40
BYTES = (1 << REQUESTS_SHIFT) - 1
"""What an entry is or a queue holds is one word: bytes, less than 2^40, and above them requests, less than 2^23."""

FIRST_TURN = 32


@small_function
def note_held(m: Int64Array, queue: int, counters: int, now: int) -> None:
    """Count what a queue has held from its last change to `now`, in the block of counters at `counters`."""
    since = m[queue + SINCE]
    elapsed = now - since
    if elapsed <= 0:  # as of most lines that are asked for together
        return
    held = m[queue + HELD]
    size, requests = held & BYTES, held >> REQUESTS_SHIFT
    lines = size >> counter.LINE_SHIFT
    m[queue + SINCE] = now
    m[counters + counter.HELD] += (size * elapsed) >> 10
    m[counters + counter.HISTOGRAM + length(lines)] += elapsed
    beyond = (requests << counter.LINE_SHIFT) - size
    if beyond != 0:  # counting requests by themselves cost 4 % of a replay of 64-KiB tiles
        block = counters + counter.REQUESTS
        m[block + counter.HELD] += (beyond * elapsed) >> 10
        m[block + counter.HISTOGRAM + length(requests)] += elapsed
        m[block + counter.HISTOGRAM + length(lines)] -= elapsed


@small_function
def drop_oldest(m: Int64Array, queue: int, entries: int, counters: int) -> None:
    """Take the oldest entry off a queue, when it arrived."""
    head = m[queue + HEAD]
    note_held(m, queue, counters, m[entries + 2 * head])
    m[queue + HELD] -= m[entries + 2 * head + 1]
    m[queue + HEAD] = head + 1


@called
def drop_arrived(m: Int64Array, queue: int, entries: int, counters: int, now: int) -> None:
    """Take off a queue what has arrived by `now`, up to the first that has not, and count what it held until then."""
    while m[queue + HEAD] < m[queue + TAIL] and m[entries + 2 * m[queue + HEAD]] <= now:
        drop_oldest(m, queue, entries, counters)
    note_held(m, queue, counters, now)


@small_function
def oldest(m: Int64Array, queue: int, entries: int, never: int) -> int:
    """Return when the oldest entry arrives, `never` if there is none (ps)."""
    head = m[queue + HEAD]
    return m[entries + 2 * head] if head < m[queue + TAIL] else never


@small_function
def oldest_bytes(m: Int64Array, queue: int, entries: int) -> int:
    """Return the bytes of the oldest entry, of which there is one."""
    return m[entries + 2 * m[queue + HEAD] + 1] & BYTES


@small_function
def is_crowded(m: Int64Array, queue: int, room: int) -> bool:
    """Return whether half of the `room` entries are taken."""
    return 2 * (m[queue + TAIL] - m[queue + HEAD]) >= room


@small_function
def bytes_held(m: Int64Array, queue: int) -> int:
    """Return the bytes that a queue holds."""
    return m[queue + HELD] & BYTES


@small_function
def requests_held(m: Int64Array, queue: int) -> int:
    """Return the requests that a queue holds."""
    return m[queue + HELD] >> REQUESTS_SHIFT


@small_function
def entry_of(size: int, requests: int) -> int:
    """Return the word that stands for `size` bytes of some requests."""
    return size + (requests << REQUESTS_SHIFT)


@small_function
def enter(m: Int64Array, queue: int, entries: int, counters: int, room: int, entry: int, now: int, until: int) -> None:
    """Put what arrives at `until` into a queue, a word of `entry_of` or a sum of such."""
    note_held(m, queue, counters, now)
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
    m[entries + 2 * tail + 1] = entry
    m[queue + TAIL] = tail + 1
    held = m[queue + HELD] + entry
    m[queue + HELD] = held
    m[counters + counter.PEAK] = max(m[counters + counter.PEAK], held & BYTES)
    peak = counters + counter.REQUESTS + counter.PEAK
    if held >> REQUESTS_SHIFT > m[peak]:
        m[peak] = held >> REQUESTS_SHIFT
