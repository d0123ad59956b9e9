"""What would help a run, in the words of every report."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.report.values import Result

HOW_TO_READ = (
    "Each line is the run replayed, kernels unchanged, with one resource ideal or 10 % larger (faster, shorter).  "
    "Savings do not add up: what one resource hides, another may lay bare.  Differences below 2 % may be chance, since "
    "kernels then meet in another order."
)


@dataclass(frozen=True)
class Effect:
    """What a resource is worth: the run time with it ideal, and the share of the run time saved by that and by 10 %
    more of it (None where it has no size)."""

    resource: str
    question: str
    ideal_time_s: float
    ideal_saving: float
    more_saving: float | None


def effects(result: Result) -> list[Effect]:
    """Return what each resource is worth, the one that would help most first; none unless that was asked."""
    found = (result.get("what_if") or {}).get("resources") or ()
    keys = ("resource", "question", "ideal_time_s", "ideal_saving", "more_saving")
    return [Effect(*(row[key] for key in keys)) for row in found if row["ideal_saving"] is not None]
