"""Runs side by side: what they were given, what came out, and what moved the time of each class of kernels.

The time of a class is a product of factors, such as launches x bytes asked for per launch x part of them that comes
from memory x time per byte of memory.  Its change is divided among them by logarithmic means (LMDI: Ang 2005, Energy
Policy 33, eq. 4): the parts add up to the change, and none is left over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from simulator.report import groups, headline, values
from simulator.report.groups import BETWEEN, COPIES, KernelGroup
from simulator.report.hardware_table import leaves
from simulator.report.values import Result, at, ratio, total

Json = dict[str, Any]


@dataclass(frozen=True)
class Quantity:
    """One number of a run; `write` shows it."""

    name: str
    label: str
    unit: str
    of: Callable[[Result], float | None]
    write: Callable[[float | None], str]


def _summary(key: str) -> Callable[[Result], float | None]:
    return lambda result: at(result, "summary", key)


def _tier(*keys: str) -> Callable[[Result], float | None]:
    return lambda result: at(result, "tiers", *keys)


def _flight(*keys: str) -> Callable[[Result], float | None]:
    return lambda result: at(result, "concurrency", *keys)


def _rows_hit(result: Result) -> float | None:
    tier = at(result, "tiers", "hbm") or {}
    return ratio(tier.get("row_hits"), total(tier.get(key) for key in ("row_hits", "row_misses", "row_conflicts")))


QUANTITIES = (
    Quantity("time_s", "time", "s", _summary("time_s"), values.time),
    Quantity("ttft_s", "time to first token", "s", _summary("ttft_s"), values.time),
    Quantity("tpot_s", "time per output token", "s", _summary("tpot_s"), values.time),
    Quantity(
        "tokens_per_s",
        "throughput",
        "1/s",
        _summary("tokens_per_s"),
        lambda value: values.number(value, "tokens/s"),
    ),
    Quantity("flops", "flops", "flop", _summary("flops"), lambda value: values.quantity(value, "flop")),
    Quantity("l2_read_bytes", "bytes from L2 to the SMs", "B", _tier("l2", "read_bytes"), values.size),
    Quantity("l1_hit_rate", "L1 hit rate", "", _tier("sram", "hit_rate"), values.percent),
    Quantity("l2_hit_rate", "L2 hit rate", "", _tier("l2", "hit_rate"), values.percent),
    Quantity("dram_bytes", "DRAM traffic", "B", _summary("dram_bytes"), values.size),
    Quantity("dram_bytes_per_s", "DRAM bandwidth", "B/s", _tier("hbm", "bandwidth_bytes_per_s"), values.rate),
    Quantity("dram_utilization", "of its peak", "", _tier("hbm", "utilization"), values.percent),
    Quantity("row_hit_rate", "DRAM row hits", "", _rows_hit, values.percent),
    Quantity("outstanding_bytes", "in flight to the SMs", "B", _flight("sm", "mean_bytes"), values.size),
    Quantity("needed_bytes", "needed in flight", "B", _flight("sm", "needed_bytes"), values.size),
    Quantity("latency_s", "mean latency", "s", _flight("sm", "mean_latency_s"), values.time),
    Quantity("link_read_bytes", "copied in over the link", "B", _tier("link", "read_bytes"), values.size),
    Quantity("exposed_s", COPIES, "s", _tier("link", "exposed_s"), values.time),
    Quantity("energy_j", "energy", "J", _summary("energy_j"), values.energy),
)


def compare(results: Sequence[Result], sources: Sequence[str]) -> Json:
    """Return the runs side by side; changes are against the first."""
    return {
        "schema": "tierscope.comparison/1",
        "runs": [_run(result, source) for result, source in zip(results, sources, strict=True)],
        "configuration": list(_configuration(results)),
        "quantities": list(_quantities(results)),
        "classes": [_class_of(label, results) for label in _labels(results)],
        "changes": [_change(results[0], result) for result in results[1:]],
        "ledger": list(_ledger(results)),
    }


def _run(result: Result, source: str) -> Json:
    return {
        "source": source,
        "title": headline.title(result),
        "circumstances": headline.circumstances(result),
        "limiter": at(result, "summary", "limiter"),
        "exactness": headline.exactness(result),
        "config_sha256": at(result, "provenance", "config_sha256"),
    }


def _configuration(results: Sequence[Result]) -> Iterator[Json]:
    """Yield the keys of the resolved configuration in which the runs differ; a missing key is null."""
    settings = [dict(leaves(result["config"] or {})) for result in results]
    for key in dict.fromkeys(chain.from_iterable(settings)):
        given = [setting.get(key) for setting in settings]
        if any(value != given[0] for value in given):
            yield {"key": key, "values": given}


def _quantities(results: Sequence[Result]) -> Iterator[Json]:
    for quantity in QUANTITIES:
        found = [quantity.of(result) for result in results]
        if any(value is not None for value in found):
            first = found[0]
            yield {
                "name": quantity.name,
                "unit": quantity.unit,
                "values": found,
                "deltas": [None if value is None or first is None else value - first for value in found],
                "ratios": [ratio(value, first) for value in found],
            }


def _labels(results: Sequence[Result]) -> list[str]:
    """Return the classes of kernels in any of the runs, those that take longest in the first."""
    return list(dict.fromkeys(group.label for result in results for group in groups.by_operator(result)))


def _find(result: Result, label: str) -> KernelGroup | None:
    return next((group for group in groups.by_operator(result) if group.label == label), None)


def _class_of(label: str, results: Sequence[Result]) -> Json:
    return {"operator": label, "runs": [_described(_find(result, label)) for result in results]}


def _described(group: KernelGroup | None) -> Json | None:
    if group is None:
        return None
    return {
        "time_s": group.time_s,
        "launches": group.launches,
        "flops": group.flops,
        "asked_bytes": group.asked_bytes,
        "dram_bytes": group.dram_bytes,
        "l2_hit_rate": group.l2_hit_rate,
        "dram_bytes_per_s": group.dram_bandwidth_bytes_per_s,
        "flops_per_s": group.flops_per_s,
        "limiter": group.limiter,
    }


def _ledger(results: Sequence[Result]) -> Iterator[Json]:
    """Yield what SMs did and waited for in any of the runs, the largest part first; null where there is no ledger."""
    ledgers = [result.get("ledger") or {} for result in results]
    keys = dict.fromkeys(key for ledger in ledgers for key, seconds in ledger.items() if seconds)
    for key in sorted(keys, key=lambda key: -max(ledger.get(key) or 0.0 for ledger in ledgers)):
        found = [ledger.get(key) for ledger in ledgers]
        first = found[0]
        deltas = [None if value is None or first is None else value - first for value in found]
        yield {"part": key, "values": found, "deltas": deltas}


# What moved the time


def _change(first: Result, other: Result) -> Json:
    """Return the change of the run time and its parts: classes of kernels, copies and gaps; they add up to it."""
    parts = [_part(label, _find(first, label), _find(other, label)) for label in _labels((first, other))]
    parts += list(_gaps(first, other))
    before, after = at(first, "summary", "time_s"), at(other, "summary", "time_s")
    delta = None if before is None or after is None else after - before
    for part in parts:
        part["share_of_change"] = ratio(part["delta_s"], delta)
    return {
        "delta_s": delta,
        "ratio": ratio(after, before),
        "parts": sorted(parts, key=lambda part: -abs(part["delta_s"])),
    }


def _part(label: str, before: KernelGroup | None, after: KernelGroup | None) -> Json:
    start, end = (group.time_s if group else 0.0 for group in (before, after))
    causes = list(_causes(before, after)) if before and after else []
    limiters = [group.limiter if group else None for group in (before, after)]
    return {"part": label, "times_s": [start, end], "delta_s": end - start, "causes": causes, "limiters": limiters}


def _gaps(first: Result, other: Result) -> Iterator[Json]:
    """Yield the change of the time in which no kernel ran; below zero where kernels overlap by more."""
    copies, gaps = [], []
    for result in (first, other):
        exposed = at(result, "tiers", "link", "exposed_s") or 0.0
        copies.append(exposed)
        gaps.append((at(result, "summary", "time_s") or 0.0) - groups.kernel_time(result) - exposed)
    for label, (start, end) in ((COPIES, copies), (BETWEEN, gaps)):
        if start or end:
            yield {
                "part": label,
                "times_s": [start, end],
                "delta_s": round(end - start, 12),  # whole picoseconds: the rest is the rounding of sums
                "causes": [],
                "limiters": [None, None],
            }


Factor = tuple[str, str, float]  # name, unit and value


def _causes(before: KernelGroup, after: KernelGroup) -> Iterator[Json]:
    """Yield what each factor of the time contributed to its change, the largest first; nothing where one is zero."""
    pairs = list(zip(_factors(before, after, 0), _factors(before, after, 1), strict=True))
    start, end = before.time_s, after.time_s
    if start <= 0 or end <= 0:
        return
    mean = start if math.isclose(start, end) else (end - start) / math.log(end / start)
    causes = [
        {"cause": name, "unit": unit, "values": [old, new], "delta_s": mean * math.log(new / old)}
        for (name, unit, old), (_, _, new) in pairs
    ]
    yield from sorted(causes, key=lambda cause: -abs(cause["delta_s"]))  # type: ignore[arg-type]


def _factors(before: KernelGroup, after: KernelGroup, place: int) -> list[Factor]:
    """Return the factors whose product is the time of one of the two groups: those that fit what limits both."""
    both = (before, after)
    group = both[place]
    launches = sum(group.weights)
    asked, fetched, flops = group.asked_bytes or 0.0, group.dram_bytes or 0.0, group.flops or 0.0
    factors: list[Factor] = [("launches", "", launches)]
    if all(each.limiter == "compute" and each.flops for each in both):
        return [*factors, ("flops per launch", "flop", flops / launches), ("time per flop", "s", group.time_s / flops)]
    if all(each.limiter == "launch" for each in both) or not all(each.asked_bytes for each in both):
        return [*factors, ("time per launch", "s", group.time_s / launches)]
    factors.append(("bytes asked for per launch", "B", asked / launches))
    if not all(each.dram_bytes for each in both):
        return [*factors, ("time per byte asked for", "s", group.time_s / asked)]
    return [
        *factors,
        ("part of them that DRAM moves", "", fetched / asked),
        ("time per DRAM byte", "s", group.time_s / fetched),
    ]
