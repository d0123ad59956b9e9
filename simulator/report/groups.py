"""Kernels added up by operator class or by name: where the time of a run goes."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simulator.report.values import Result, at, ratio, total

Kernel = Mapping[str, Any]

BETWEEN, COPIES = "between kernels", "waiting for copies"
LEAST_SHARE = 0.0005
"""Part of the run time that is shown as 0.1 %."""


@dataclass(frozen=True)
class KernelGroup:
    """Kernels under one label, those of steps that were not replayed included.

    Every quantity is null when it is null in all of them.
    """

    label: str
    kernels: Sequence[Kernel]
    weights: Sequence[float]  # launches that each stands for, see `step_weights`

    @property
    def operator(self) -> str | None:
        """Operator class of the first kernel."""
        operator: str | None = self.kernels[0]["operator"]
        return operator

    @cached_property
    def time_s(self) -> float:
        """Time of all launches; a null time counts as zero."""
        return self.total("time_s") or 0.0

    @cached_property
    def launches(self) -> int:
        """How often kernels under this label were launched."""
        return round(sum(self.weights))

    @property
    def mean_time_s(self) -> float:
        """Mean time of a launch."""
        return self.time_s / sum(self.weights)

    @cached_property
    def asked_bytes(self) -> float | None:
        """Bytes that the records ask L2 for, read and written."""
        return self.total("read_bytes", "write_bytes")

    @cached_property
    def flops(self) -> float | None:
        """Floating-point operations, a multiply-add being two."""
        return self.total("flops")

    @cached_property
    def l2_bytes(self) -> float | None:
        """Bytes that L2 sends to the SMs and takes from them: what L1 answers is not among them."""
        return self.total("l2_read_bytes", "write_bytes")

    @cached_property
    def dram_bytes(self) -> float | None:
        """Bytes read from and written to device memory."""
        return self.total("dram_read_bytes", "dram_write_bytes")

    @property
    def dram_bandwidth_bytes_per_s(self) -> float | None:
        """Device-memory traffic over kernel time."""
        return ratio(self.dram_bytes, self.time_s)

    @property
    def flops_per_s(self) -> float | None:
        """Floating-point operations over kernel time."""
        return ratio(self.flops, self.time_s)

    @property
    def arithmetic_intensity(self) -> float | None:
        """Floating-point operations per byte of device-memory traffic."""
        return ratio(self.flops, self.dram_bytes)

    @cached_property
    def l2_hit_rate(self) -> float | None:
        """Mean L2 hit rate of the launches, weighted by the bytes they asked of L2."""
        pairs = [
            (k["l2_hit_rate"], (total((k["read_bytes"], k["write_bytes"])) or 0) * weight)
            for k, weight in zip(self.kernels, self.weights, strict=True)
        ]
        known = [(rate, weight) for rate, weight in pairs if rate is not None]
        return ratio(sum(rate * weight for rate, weight in known), sum(weight for _, weight in known))

    @cached_property
    def ctas(self) -> tuple[int, int] | None:
        """Smallest and largest grid among the launches."""
        grids = [kernel["ctas"] for kernel in self.kernels if kernel["ctas"] is not None]
        return (min(grids), max(grids)) if grids else None

    @cached_property
    def time_by_limiter(self) -> dict[str | None, float]:
        """Time of the launches by what limited them, longest first; the key None is "not known"."""
        times: dict[str | None, float] = defaultdict(float)
        for kernel, weight in zip(self.kernels, self.weights, strict=True):
            times[kernel["limiter"]] += (kernel["time_s"] or 0.0) * weight
        return dict(sorted(times.items(), key=lambda item: -item[1]))

    @property
    def limiter(self) -> str | None:
        """What limited the launches for most of their time."""
        return next(iter(self.time_by_limiter))

    def mean(self, key: str) -> float | None:
        """Return the mean of a quantity of the launches, weighted by their time."""
        rows = zip(self.kernels, self.weights, strict=True)
        known = [(k[key], (k["time_s"] or 0.0) * weight) for k, weight in rows if k[key] is not None]
        return ratio(sum(value * time_s for value, time_s in known), sum(time_s for _, time_s in known))

    def total(self, *keys: str) -> float | None:
        """Return the sum of some quantities over all launches."""
        pairs = zip(self.kernels, self.weights, strict=True)
        return total(None if k[key] is None else k[key] * weight for k, weight in pairs for key in keys)


@dataclass(frozen=True)
class TimeBudget:
    """How the run time divides: `kernel_s` in kernels, `gap_s` in launches and waits between them."""

    total_s: float
    kernel_s: float

    @property
    def gap_s(self) -> float:
        """Time in which no kernel ran; zero when kernels overlap by more than the gaps."""
        return self.total_s - self.kernel_s

    def share(self, time_s: float) -> float | None:
        """Return the fraction of the budget that `time_s` is, or None for an empty run."""
        return ratio(time_s, self.total_s)


def step_weights(result: Result) -> dict[int | None, float]:
    """Return how many steps each replayed one stands for.

    Of a long generation some decode steps are replayed, and those between them interpolated linearly, as the totals of
    the run are.
    """
    steps = sorted({kernel["step"] for kernel in result["kernels"] or () if kernel["step"] is not None})
    missing = at(result, "provenance", "interpolated_steps") or 0
    weights: dict[int | None, float] = dict.fromkeys(steps, 1.0) | {None: 1.0}
    decoded = [step for step in steps if step > 0]
    if not missing or not decoded:
        return weights
    for step in range(1, len(steps) + missing):
        if step not in weights:
            after = bisect(decoded, step)
            low, high = decoded[max(after - 1, 0)], decoded[min(after, len(decoded) - 1)]
            part = (step - low) / (high - low) if high > low else 0.0
            weights[low] += 1 - part
            weights[high] += part
    return weights


def kernel_time(result: Result) -> float:
    """Return the time of all kernels added up, in seconds."""
    weights = step_weights(result)
    return sum((kernel["time_s"] or 0.0) * weights[kernel["step"]] for kernel in result["kernels"] or ())


def time_budget(result: Result) -> TimeBudget:
    """Return the time that shares are taken of: the run time, or the kernel time when kernels overlap beyond it."""
    kernel_s = kernel_time(result)
    return TimeBudget(max(at(result, "summary", "time_s") or 0.0, kernel_s), kernel_s)


def gaps(result: Result) -> dict[str, float]:
    """Return the times in which no kernel ran (seconds) that can be told from none, the waiting for copies apart."""
    budget = time_budget(result)
    exposed_s = at(result, "tiers", "link", "exposed_s") or 0.0
    parts = {COPIES: exposed_s, BETWEEN: budget.gap_s - exposed_s}
    return {label: time_s for label, time_s in parts.items() if (budget.share(time_s) or 0.0) >= LEAST_SHARE}


def by_operator(result: Result) -> list[KernelGroup]:
    """Return the kernels by operator class, the longest class first."""
    return _grouped(result, lambda kernel: kernel["operator"] or "unnamed")


def by_name(result: Result) -> list[KernelGroup]:
    """Return the kernels by name, the longest first; the layer number in a name is read as ``*``."""
    return _grouped(result, _name_over_layers)


def _grouped(result: Result, label: Callable[[Kernel], str]) -> list[KernelGroup]:
    weights = step_weights(result)
    members: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in result["kernels"] or ():
        members[label(kernel)].append(kernel)
    groups = [KernelGroup(name, kernels, [weights[k["step"]] for k in kernels]) for name, kernels in members.items()]
    return sorted(groups, key=lambda group: -group.time_s)


def _name_over_layers(kernel: Kernel) -> str:
    name = kernel["name"] or "unnamed"
    if kernel["layer"] is None:
        return str(name)
    layer = str(kernel["layer"])
    return ".".join("*" if part == layer else part for part in name.split("."))
