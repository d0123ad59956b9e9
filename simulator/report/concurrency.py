"""What was in flight and where requests waited, in the words of every report."""

from __future__ import annotations

from simulator.report import headline, values
from simulator.report.values import Result, at

HOW_TO_READ = (
    "Mean bytes in flight are bandwidth times mean latency (Little's law); between L2 and memory more, up to several "
    "times where few are in flight, as MSHRs are given free in the order they were taken.  Needed is what the "
    "bandwidth of the slower of L2 and memory takes at the unloaded latency: with less in flight, latency bounds the "
    "run; with much more, requests only queue.  Peak and limit of the SMs are those of one SM; a record counts from "
    "its first request, which leaves when half of it fits or nothing else is in flight, so that the peak may pass the"
    " limit by half a record, with at most as many bytes as an SM may have in flight.  A request to the SMs is a "
    "record, which several lanes of a warp or a whole tile may be, between L2 and memory a line.  How busy DRAM is is"
    " an upper bound, since opening rows counts beside transfers."
)


def levels(result: Result) -> list[tuple[str, ...]]:
    """Return for the SMs and for L2: name, mean, peak, limit and needed bytes, latency, bandwidth, requests, their
    peak."""
    names = {"sm": "to the SMs", "l2": f"between L2 and {headline.memory_name(result)}"}
    return [_level(name, result, key) for key, name in names.items()]


def _level(name: str, result: Result, key: str) -> tuple[str, ...]:
    level = at(result, "concurrency", key)
    limit = "limit_bytes_per_sm" if key == "sm" else "limit_bytes"
    per_sm = " per SM" if key == "sm" else ""
    return (
        name,
        values.size(at(level, "mean_bytes")),
        _with(values.size(at(level, "peak_bytes")), per_sm),
        _with(values.size(at(level, limit)), per_sm),
        values.size(at(level, "needed_bytes")),
        values.time(at(level, "mean_latency_s")),
        values.rate(at(level, "bandwidth_bytes_per_s")),
        values.short_count(at(level, "mean_requests")),
        _with(values.short_count(at(level, "peak_requests")), per_sm),
    )


def _with(text: str, unit: str) -> str:
    return text if text == values.DASH else text + unit


def waits(result: Result) -> str | None:
    """Return a sentence on where requests waited, or None where none did."""
    places = {
        "sm_full_s": "room in their SM",
        "mshr_full_s": "an MSHR",
        "write_queue_full_s": "full write queues of the memory",
    }
    known = {words: at(result, "concurrency", "waits", key) for key, words in places.items()}
    waited = [f"{values.time(time_s)} for {words}" for words, time_s in known.items() if time_s]
    return f"Requests waited, all added up: {', '.join(waited)}." if waited else None


def servers(result: Result) -> list[tuple[str, str, float]]:
    """Return name, text and share of the time that each server was busy, the busiest first."""
    busy = at(result, "concurrency", "busy") or {}
    known = [(name, share) for name, share in busy.items() if share]
    return [(name, values.percent(share), share) for name, share in sorted(known, key=lambda item: -item[1])]
