"""Where the time of the SMs went, in the words of every report."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.report.values import Result

HOW_TO_READ = (
    "Every picosecond of every SM is counted once, so that the parts add up to the run time.  A wait for memory is "
    "shared out among what made up the latency of the record waited for: queues at servers, and the unloaded latency.  "
    "Where the SM could have had more in flight but for its own limit, or for a barrier, the unloaded part stands "
    "under that."
)

MEANINGS = {
    "compute_s": "tensor cores and ALUs have work",
    "dram_bandwidth_s": "queue for the data bus, and the transfer",
    "row_conflicts_s": "another row of the bank to be closed first",
    "refresh_s": "the bank or channel is being refreshed",
    "dram_latency_s": "unloaded, with a row to open",
    "mshrs_s": "all misses that L2 can have on their way are",
    "l2_bandwidth_s": "queue for a slice, or for all of them",
    "partition_link_s": "queue for the link between partitions",
    "sm_port_s": "queue for the port from L2, or that of L1",
    "cache_latency_s": "L2 or L1, unloaded; the other partition",
    "bytes_in_flight_s": "the SM has as much on its way as it may",
    "dependency_s": "barrier: earlier records of the CTA",
    "cta_start_s": "prologue of CTAs",
    "tail_s": "no CTA is left for the SM, others still run",
    "unused_s": "the kernel has too few CTAs for the SM",
    "launch_s": "no kernel runs: launch, or host",
    "copies_s": "no kernel runs: tensors come from host or SSD",
}
"""What each part of a ledger means, by key of the result."""


@dataclass(frozen=True)
class Part:
    """One part of a ledger: its seconds, averaged over the SMs, and its share of the whole."""

    name: str
    meaning: str
    time_s: float
    share: float


def name_of(key: str) -> str:
    """Return the name of a part by its key."""
    return key.removesuffix("_s").replace("_", " ")


def parts(result: Result) -> list[Part]:
    """Return the parts of a run's ledger that are not zero, the longest first; none where it has no ledger."""
    known = {key: time_s for key, time_s in (result.get("ledger") or {}).items() if time_s and key in MEANINGS}
    whole = sum(known.values())
    longest = sorted(known.items(), key=lambda item: -item[1])
    return [Part(name_of(key), MEANINGS[key], time_s, time_s / whole) for key, time_s in longest]
