"""A simulated and a real profile side by side: which kernels belong together, and by how much each metric differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from simulator.report import headline
from simulator.report.ncu.metrics import METRICS, PROFILER_HABITS, Device, values_of
from simulator.report.ncu.profile import ProfiledKernel, ProfileError
from simulator.report.values import Result, ratio

Json = dict[str, Any]
Values = dict[str, float | None]

MOST_NAMED = 5  # kernels, in a message


@dataclass(frozen=True)
class Side:
    """Launches of one kernel, here or in the profile: its name and the metrics of each launch."""

    name: str
    launches: Sequence[Values]

    def mean(self, metric: str) -> float | None:
        """Return the mean over the launches that have the metric."""
        known = [value for launch in self.launches if (value := launch.get(metric)) is not None]
        return fmean(known) if known else None


def compare(result: Result, profile: Sequence[ProfiledKernel], where: str, chosen: Sequence[str] = ()) -> Json:
    """Return both sides of every kernel and the ratio, simulated over profiled, of every metric that both have.

    Kernels named by `chosen` (``OURS=THEIRS``, parts of names) are compared by the means over their launches; without,
    kernels belong together by name where all names of the profile are in the run, else by order.  Raises ProfileError,
    naming the profile `where`, when that leaves open which belong together.
    """
    device = Device.of(result)
    ours = [Side(str(kernel["name"]), [values_of(kernel, device)]) for kernel in result["kernels"] or ()]
    theirs = [Side(kernel.name, [kernel.metrics]) for kernel in profile]
    if chosen:
        by, pairs = "--kernel", [_chosen(text, ours, theirs, where) for text in chosen]
    elif {side.name for side in theirs} <= {side.name for side in ours}:
        by, pairs = "name", list(_by_name(ours, theirs))
    elif len(ours) == len(theirs):
        by, pairs = "order", list(zip(ours, theirs, strict=True))
    else:
        raise ProfileError(
            f"{where}: {len(theirs)} kernels ({_names(theirs)}) where the run has {len(ours)} ({_names(ours)}): say "
            "which belong together with --kernel OURS=THEIRS, parts of their names"
        )
    kernels = [_pair(ours, theirs) for ours, theirs in pairs]
    return {
        "schema": "tierscope.ncu-comparison/1",
        "run": headline.title(result),
        "profile": where,
        "matched_by": by,
        "kernels": kernels,
        "metrics": list(_over_kernels(kernels)),
        "left_out": {
            "simulated": len(ours) - sum(len(side.launches) for side, _ in pairs),
            "profiled": len(theirs) - sum(len(side.launches) for _, side in pairs),
        },
        "note": PROFILER_HABITS,
    }


def _chosen(text: str, ours: Sequence[Side], theirs: Sequence[Side], where: str) -> tuple[Side, Side]:
    left, _, right = text.partition("=")
    return _part(left, ours, "the run"), _part(right or left, theirs, where)


def _part(words: str, sides: Sequence[Side], where: str) -> Side:
    """Return the kernels whose names have `words` in them as one side; raises ProfileError when there is none."""
    members = [side for side in sides if words.strip().lower() in side.name.lower()]
    if not members or not words.strip():
        raise ProfileError(f"--kernel {words.strip()!r}: no such kernel in {where}; it has {_names(sides)}")
    return Side(_names(members), [launch for side in members for launch in side.launches])


def _names(sides: Iterable[Side]) -> str:
    names = list(dict.fromkeys(side.name for side in sides))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _by_name(ours: Sequence[Side], theirs: Sequence[Side]) -> Iterable[tuple[Side, Side]]:
    """Yield the n-th launch of each name here with the n-th in the profile, as far as both go."""
    waiting = defaultdict(list)
    for side in reversed(ours):
        waiting[side.name].append(side)
    for side in theirs:
        if waiting[side.name]:
            yield waiting[side.name].pop(), side


def _pair(ours: Side, theirs: Side) -> Json:
    both = ((metric, ours.mean(metric.name), theirs.mean(metric.name)) for metric in METRICS)
    return {
        "simulated": ours.name,
        "simulated_launches": len(ours.launches),
        "profiled": theirs.name,
        "profiled_launches": len(theirs.launches),
        "metrics": [
            {
                "name": metric.name,
                "unit": metric.unit,
                "profiled": real,
                "simulated": here,
                "difference": here - real,
                "ratio": ratio(here, real),
            }
            for metric, here, real in both
            if here is not None and real is not None
        ],
    }


def _over_kernels(kernels: Sequence[Json]) -> Iterable[Json]:
    """Yield for each metric the median ratio and the mean of how far ratios are from one."""
    for metric in METRICS:
        rows = [row for kernel in kernels for row in kernel["metrics"] if row["name"] == metric.name]
        ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
        if rows:
            yield {
                "name": metric.name,
                "unit": metric.unit,
                "kernels": len(rows),
                "median_ratio": median(ratios) if ratios else None,
                "mean_absolute_error": fmean(abs(each - 1) for each in ratios) if ratios else None,
                "mean_absolute_difference": fmean(abs(row["difference"]) for row in rows),
            }
