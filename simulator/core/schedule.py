"""CTAs on SMs: which waits, which fits, which is next."""

from __future__ import annotations

from simulator.core import scalar
from simulator.core.compiled import called, inlined
from simulator.core.heap import push
from simulator.core.state import CONTEXT_BITS, MAX_STAGES, Int64Array, Parameters, State


@called
def place(s: State, p: Parameters, first: Int64Array, sm: int, now: int) -> bool:
    """Place the next waiting CTA that fits on one SM, oldest kernel first; return whether there was one."""
    for order in range(s.scalars[scalar.KERNELS]):
        k = s.launch_order[order]
        waiting = s.kernel_pending[k] < s.kernel_last[k]
        if not waiting and s.kernel_more[k] and fits(s, p, k, sm):
            return False  # its next chunk comes before any younger kernel
        if waiting and fits(s, p, k, sm):
            cta = s.kernel_pending[k]
            s.kernel_pending[k] = cta + 1
            s.kernel_live[k] += 1
            s.room[sm] -= s.kernel_weight[k]
            s.residents[sm] += 1
            s.scalars[scalar.FREE] -= 1
            context = s.free_contexts[s.scalars[scalar.FREE]]
            start = now + s.kernel_prologue[k]
            s.context_next[context] = first[cta]
            s.context_end[context] = first[cta + 1]
            s.context_sm[context] = sm
            s.context_kernel[context] = k
            s.context_done[context] = start
            s.context_buffer[context] = 0
            for stage in range(s.kernel_stages[k]):
                s.context_ring[context * MAX_STAGES + stage] = start
            push(s.heap, s.scalars[scalar.HEAP], start << CONTEXT_BITS | context)
            s.scalars[scalar.HEAP] += 1
            return True
    return False


@inlined
def fits(s: State, p: Parameters, k: int, sm: int) -> bool:
    """Return whether a CTA of kernel slot `k` has room on an SM, and a context is left for it."""
    return s.room[sm] >= s.kernel_weight[k] and s.residents[sm] < p.sm_ctas and s.scalars[scalar.FREE] > 0


@called
def place_all(s: State, p: Parameters, first: Int64Array, now: int) -> None:
    """Deal waiting CTAs to the SMs in turn, one each a round, until none fits."""
    idle = 0
    while idle < p.sms:
        sm = s.scalars[scalar.NEXT_SM]
        idle = 0 if place(s, p, first, sm, now) else idle + 1
        s.scalars[scalar.NEXT_SM] = (sm + 1) % p.sms


@called
def starved(s: State, p: Parameters) -> int:
    """Return the slot of a kernel that has room on an SM and no CTA left of the chunk it was given, or -1."""
    for order in range(s.scalars[scalar.KERNELS]):
        k = s.launch_order[order]
        if s.kernel_more[k] and s.kernel_pending[k] == s.kernel_last[k]:
            for sm in range(p.sms):
                if fits(s, p, k, sm):
                    return k
    return -1


@called
def ended(s: State) -> int:
    """Return the slot of a kernel that has nothing left to do, or -1."""
    for order in range(s.scalars[scalar.KERNELS]):
        k = s.launch_order[order]
        if s.kernel_live[k] == 0 and s.kernel_pending[k] == s.kernel_last[k] and not s.kernel_more[k]:
            return k
    return -1
