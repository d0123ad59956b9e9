"""Where the time of the SMs went, in the words of every report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulator.report import groups
from simulator.report.values import Result, at

HOW_TO_READ = (
    "Every picosecond of every SM is counted once, so that the parts add up to the run time.  A wait for memory is "
    "shared out among what made up the latency of the record waited for: queues at servers, and the unloaded latency.  "
    "Where the SM could have had more in flight but for its own limit, or for a barrier, the unloaded part stands "
    "under that."
)

WORDS = {
    "compute_s": ("computing", "tensor cores and ALUs have work"),
    "dram_bandwidth_s": ("DRAM bandwidth", "queue for the data bus, and the transfer"),
    "row_conflicts_s": ("row conflicts", "another row of the bank to be closed first"),
    "refresh_s": ("refresh", "the bank or channel is being refreshed"),
    "dram_latency_s": ("DRAM latency", "unloaded, with a row to open"),
    "mshrs_s": ("MSHRs", "all misses that L2 can have on their way are"),
    "l2_bandwidth_s": ("L2 bandwidth", "queue for a slice, or for all of them"),
    "partition_link_s": ("L2 partition link", "queue for the link between partitions"),
    "sm_port_s": ("SM port", "queue for the port from L2, or that of L1"),
    "cache_latency_s": ("cache latency", "L2 or L1, unloaded; the other partition"),
    "bytes_in_flight_s": ("bytes in flight", "the SM has as much on its way as it may"),
    "dependency_s": ("dependency", "barrier: earlier records of the CTA"),
    "cta_start_s": ("CTA start", "prologue of CTAs"),
    "tail_s": ("tail", "no CTA is left for the SM, others still run"),
    "unused_s": ("too few CTAs", "the kernel has none for the SM"),
    "launch_s": ("launch", "no kernel runs: launch, or host"),
    "copies_s": ("copies", "no kernel runs: tensors come from host or SSD"),
}
"""Label and meaning of each part, by key of the result, in the order of stacked bars."""


@dataclass(frozen=True)
class Part:
    """One part of a ledger: its seconds, averaged over the SMs, and its share of the whole."""

    key: str
    label: str
    meaning: str
    time_s: float
    share: float


def parts(ledger: Mapping[str, float | None] | None) -> list[Part]:
    """Return the parts of a ledger that are not zero, the longest first; none where there is no ledger."""
    known = {key: time_s for key, time_s in (ledger or {}).items() if time_s and key in WORDS}
    whole = sum(known.values())
    longest = sorted(known.items(), key=lambda item: -item[1])
    return [Part(key, *WORDS[key], time_s, time_s / whole) for key, time_s in longest]


def of_run(result: Result) -> list[Part]:
    """Return the ledger of a run."""
    return parts(at(result, "ledger"))


def by_operator(result: Result) -> list[tuple[str, list[Part]]]:
    """Return the ledger of each operator class, the longest class first; kernels between replayed steps are not in."""
    return [(group.label, parts(_summed(group.kernels))) for group in groups.by_operator(result)]


def _summed(kernels: Iterable[Mapping[str, object]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for kernel in kernels:
        its = kernel.get("ledger")
        for key, time_s in (its if isinstance(its, Mapping) else {}).items():
            total[key] += time_s or 0.0
    return total
