"""Closed forms that predict what the simulator simulates: the second opinion of tests and reports.

Nothing here imports the model.  Rates are in bytes or FLOPs per second; times in picoseconds unless named `_s`.
"""

from simulator.theory.caches import cyclic_lru_hit_ratio, cyclic_random_hit_ratio
from simulator.theory.littles_law import bandwidth_bound, outstanding_bytes
from simulator.theory.queueing import md1_mean_wait
from simulator.theory.roofline import arithmetic_intensity, attainable_flops_per_s, ridge_point, roofline_time_s
from simulator.theory.streaming import achievable_bandwidth, stream_time_ps
from simulator.theory.transfer import overlapped_ps, pipelined_copy_ps, staged_copy_ps

__all__ = [
    "achievable_bandwidth",
    "arithmetic_intensity",
    "attainable_flops_per_s",
    "bandwidth_bound",
    "cyclic_lru_hit_ratio",
    "cyclic_random_hit_ratio",
    "md1_mean_wait",
    "outstanding_bytes",
    "overlapped_ps",
    "pipelined_copy_ps",
    "ridge_point",
    "roofline_time_s",
    "staged_copy_ps",
    "stream_time_ps",
]
