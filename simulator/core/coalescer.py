"""The L2 request coalescer: SMs that share one and want a line that another has asked for wait for the same answer.

NVIDIA's Nsight Compute counts it as a unit of its own between L1 and L2 from Hopper on ("lrc").  Each remembers the
lines it last asked for, in a table without ways; it is asked for loads through L1 alone, whose SMs the model follows
line by line.
"""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import small_function
from simulator.core.layout import Int64Array
from simulator.core.sets import MAX_SECTORS
from simulator.core.state import COALESCER_LINES, Parameters

ASKED, READY, ENTRY_WORDS = 0, 1, 2
"""What an entry remembers: a line, as `request_of` it, and when that is ready in L2 (ps)."""


@small_function
def coalescer_at(p: Parameters, sm: int) -> int:
    """Return the place of the coalescer of an SM."""
    return p.at.coalescers + sm // p.coalescer_sms * COALESCER_LINES * ENTRY_WORDS


@small_function
def entry_in(coalescer: int, line: int) -> int:
    """Return the place of the entry of a line in the coalescer at `coalescer`."""
    return coalescer + (line & (COALESCER_LINES - 1)) * ENTRY_WORDS


@small_function
def request_of(line: int, mask: int) -> int:
    """Return the word that stands for the sectors `mask` of a line, never 0."""
    return (line + 1) << MAX_SECTORS | mask


@small_function
def has_asked(m: Int64Array, entry: int, request: int) -> bool:
    """Return whether what an entry remembers is the line of a request and has all its sectors."""
    other = m[entry + ASKED] ^ request
    return other & (request | -1 << MAX_SECTORS) == 0


@small_function
def keep(m: Int64Array, entry: int, request: int, ready: int) -> None:
    """Have an entry remember a request, ready in L2 at `ready` (ps)."""
    m[entry + ASKED] = request
    m[entry + READY] = ready


@small_function
def on_its_way(m: Int64Array, p: Parameters, sm: int, line: int, mask: int, now: int) -> int:
    """Return when the sectors `mask` of a line that another SM has asked for, not yet delivered, are ready in L2; -1
    where L2 has to be asked (ps)."""
    if p.coalescer_sms == 0:
        return -1
    entry = entry_in(coalescer_at(p, sm), line)
    asked = has_asked(m, entry, request_of(line, mask))
    return m[entry + READY] if asked and m[entry + READY] + p.l2_hit_ps > now else -1


@small_function
def joins(m: Int64Array, p: Parameters, sm: int, line: int, mask: int, size: int, loaded: int, now: int) -> bool:
    """Return whether the sectors `mask` of a line, `size` bytes, come with what another SM has asked for; the words
    `loaded` of the line in L1 and of the record then say when."""
    coming = on_its_way(m, p, sm, line, mask, now)
    if coming < 0:
        return False
    m[scalar.COALESCED] += size
    m[loaded] = max(m[loaded], coming + p.l2_hit_ps)
    m[scalar.LOADED] = max(m[scalar.LOADED], m[loaded])
    return True


@small_function
def remember(m: Int64Array, p: Parameters, sm: int, line: int, mask: int, ready: int) -> None:
    """Note a request that has gone to L2, whose answer is ready there at `ready` (ps)."""
    if p.coalescer_sms > 0:
        keep(m, entry_in(coalescer_at(p, sm), line), request_of(line, mask), ready)
