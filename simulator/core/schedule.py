"""CTAs on SMs: which waits, which fits, which is next."""

from __future__ import annotations

from simulator.core import counter, scalar
from simulator.core.compiled import called, small_function
from simulator.core.heap import push, sift_down
from simulator.core.layout import (
    CONTEXT_BITS,
    CONTEXT_BUFFER,
    CONTEXT_DONE,
    CONTEXT_END,
    CONTEXT_KERNEL,
    CONTEXT_NEXT,
    CONTEXT_RING,
    CONTEXT_SM,
    CONTEXT_WAITS,
    KERNEL_ENDED,
    KERNEL_LAST,
    KERNEL_LIVE,
    KERNEL_MORE,
    KERNEL_PENDING,
    KERNEL_PLACED,
    KERNEL_PROLOGUE,
    KERNEL_STAGES,
    KERNEL_WARMUP,
    KERNEL_WAVE,
    KERNEL_WEIGHT,
    MAX_WAVES,
    SM_IDLE,
    SM_RESIDENTS,
    SM_ROOM,
    TICKS_PER_PS,
    WHY_TOTAL,
    Int64Array,
)
from simulator.core.ledger import FOR_START, idle, why_at
from simulator.core.places import context_at, kernel_at, sm_at
from simulator.core.state import Parameters


@called
def place(m: Int64Array, p: Parameters, first: Int64Array, sm: int, now: int) -> bool:
    """Place the next waiting CTA that fits on one SM, oldest kernel first; return whether there was one."""
    for order in range(m[scalar.KERNELS]):
        k = m[p.at.order + order]
        kernel = kernel_at(p, k)
        waiting = m[kernel + KERNEL_PENDING] < m[kernel + KERNEL_LAST]
        if not waiting and m[kernel + KERNEL_MORE] and fits(m, p, kernel, sm):
            return False  # its next chunk comes before any younger kernel
        if waiting and fits(m, p, kernel, sm):
            cta = m[kernel + KERNEL_PENDING]
            m[kernel + KERNEL_PENDING] = cta + 1
            m[kernel + KERNEL_LIVE] += 1
            placed = m[kernel + KERNEL_PLACED]
            m[kernel + KERNEL_PLACED] = placed + 1
            wave = placed // m[kernel + KERNEL_WAVE]
            if placed == wave * m[kernel + KERNEL_WAVE] and wave < MAX_WAVES:
                m[wave_at(p, k, wave)] = now
            there = sm_at(p, sm)
            if m[there + SM_RESIDENTS] == 0:
                idle(m, p, k, there, now)
            m[there + SM_ROOM] -= m[kernel + KERNEL_WEIGHT]
            m[there + SM_RESIDENTS] += 1
            m[scalar.FREE] -= 1
            number = m[p.at.free + m[scalar.FREE]]
            context = context_at(p, number)
            turn = max(now * TICKS_PER_PS, m[scalar.NEXT_CTA])
            m[scalar.NEXT_CTA] = turn + p.cta_interval_ticks
            start = turn // TICKS_PER_PS + m[kernel + KERNEL_PROLOGUE]
            if placed < m[kernel + KERNEL_WAVE]:
                start += m[kernel + KERNEL_WARMUP]
            m[context + CONTEXT_NEXT] = first[cta]
            m[context + CONTEXT_END] = first[cta + 1]
            m[context + CONTEXT_SM] = sm
            m[context + CONTEXT_KERNEL] = k
            m[context + CONTEXT_DONE] = start
            m[context + CONTEXT_BUFFER] = 0
            m[context + CONTEXT_WAITS] = FOR_START
            for stage in range(m[kernel + KERNEL_STAGES]):
                m[context + CONTEXT_RING + stage] = start
                m[why_at(p, number, stage) + WHY_TOTAL] = 0
            push(m, p.at.heap, m[scalar.HEAP], start << CONTEXT_BITS | number)
            m[scalar.HEAP] += 1
            return True
    return False


@small_function
def wave_at(p: Parameters, k: int, wave: int) -> int:
    """Return the place of the beginning and end of a wave of the CTAs of a kernel slot."""
    return p.at.waves + (k * MAX_WAVES + wave) * 2


@small_function
def fits(m: Int64Array, p: Parameters, kernel: int, sm: int) -> bool:
    """Return whether a CTA of the kernel at `kernel` has room on an SM, and a context is left for it."""
    there = sm_at(p, sm)
    enough = m[there + SM_ROOM] >= m[kernel + KERNEL_WEIGHT] and m[there + SM_RESIDENTS] < p.sm_ctas
    return enough and m[scalar.FREE] > 0


@called
def place_all(m: Int64Array, p: Parameters, first: Int64Array, now: int) -> None:
    """Deal waiting CTAs to the SMs in turn, one each a round, until none fits."""
    idle = 0
    while idle < p.sms:
        sm = m[scalar.NEXT_SM]
        idle = 0 if place(m, p, first, sm, now) else idle + 1
        m[scalar.NEXT_SM] = (sm + 1) % p.sms


@called
def leave(m: Int64Array, p: Parameters, number: int, now: int) -> None:
    """Take a CTA that has ended, whose event is the first, off its SM."""
    context = context_at(p, number)
    count = m[scalar.HEAP] - 1
    m[scalar.HEAP] = count
    sift_down(m, p.at.heap, count, m[p.at.heap + count])
    m[p.at.free + m[scalar.FREE]] = number
    m[scalar.FREE] += 1
    kernel = kernel_at(p, m[context + CONTEXT_KERNEL])
    sm = sm_at(p, m[context + CONTEXT_SM])
    m[sm + SM_ROOM] += m[kernel + KERNEL_WEIGHT]
    m[sm + SM_RESIDENTS] -= 1
    m[sm + SM_IDLE] = counter.TAIL
    wave = m[kernel + KERNEL_ENDED] // m[kernel + KERNEL_WAVE]
    m[wave_at(p, m[context + CONTEXT_KERNEL], min(wave, MAX_WAVES - 1)) + 1] = now
    m[kernel + KERNEL_ENDED] += 1
    m[kernel + KERNEL_LIVE] -= 1


@called
def starved(m: Int64Array, p: Parameters) -> int:
    """Return the slot of a kernel that has room on an SM and no CTA left of the chunk it was given, or -1."""
    for order in range(m[scalar.KERNELS]):
        k = m[p.at.order + order]
        kernel = kernel_at(p, k)
        if m[kernel + KERNEL_MORE] and m[kernel + KERNEL_PENDING] == m[kernel + KERNEL_LAST]:
            for sm in range(p.sms):
                if fits(m, p, kernel, sm):
                    return k
    return -1


@called
def is_over(m: Int64Array, p: Parameters, k: int) -> bool:
    """Return whether the kernel of a slot has nothing left to do."""
    kernel = kernel_at(p, k)
    waiting = m[kernel + KERNEL_PENDING] != m[kernel + KERNEL_LAST]
    return m[kernel + KERNEL_LIVE] == 0 and not waiting and not m[kernel + KERNEL_MORE]


@called
def ended(m: Int64Array, p: Parameters) -> int:
    """Return the slot of a kernel that has nothing left to do, or -1."""
    for order in range(m[scalar.KERNELS]):
        k = m[p.at.order + order]
        if is_over(m, p, k):
            return k
    return -1
