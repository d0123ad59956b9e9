"""What would help a run, in the words of every report."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.report import values
from simulator.report.values import Result

NOTE = (
    "An endless L2 begins as empty or warm as that of the run; hits of L2 and balance have no size to be 10 % larger.  "
    "Savings do not add up; below 2 % they may be chance, since kernels then meet in another order."
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


def cost(result: Result) -> str:
    """Return a sentence on how long the replays took."""
    rows = (result.get("what_if") or {}).get("resources") or ()
    times = [row.get(f"{key}_replay_s") for row in rows for key in ("ideal", "more")]
    known = [time_s for time_s in times if time_s is not None]
    if not known:
        return ""
    spread = f"{values.time(min(known))} to {values.time(max(known))}"
    return f"{len(known)} replays, each {spread} on this machine, {values.time(sum(known))} together."


def effects(result: Result) -> list[Effect]:
    """Return what each resource is worth, the one that would help most first; none unless that was asked."""
    found = (result.get("what_if") or {}).get("resources") or ()
    keys = ("resource", "question", "ideal_time_s", "ideal_saving", "more_saving")
    return [Effect(*(row[key] for key in keys)) for row in found if row["ideal_saving"] is not None]
