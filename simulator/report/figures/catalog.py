"""Every figure of a report in its order: its name, what draws it, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simulator.report.figures import hits, in_flight, ledger, locality, over_time, roofline, time_bars, what_if
from simulator.report.figures.style import Figure, LegendEntry
from simulator.report.ledger import HOW_TO_READ
from simulator.report.values import Result

LOCALITY = "Locality"
"""Section of the figures that need nothing but a locality."""


def _nothing(result: Result) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Picture:
    """One figure: `draw` returns None where the result has nothing to draw, and then `empty` is said, if anything.

    `section` is the heading of the page it stands under; `wide` ones take its whole width.  `left_out` names what is
    not shown.
    """

    key: str
    section: str
    title: str
    draw: Callable[[Result], Figure | None]
    legend: Callable[[Result], Sequence[LegendEntry]]
    caption: str
    empty: str = ""
    wide: bool = field(default=False, kw_only=True)
    left_out: Callable[[Result], Sequence[str]] = field(default=_nothing, kw_only=True)

    def explained(self, result: Result) -> str:
        """Return the caption, with what is not shown."""
        missing = self.left_out(result)
        return f"{self.caption} Not shown: {', '.join(missing)}." if missing else self.caption


def _roofline(level: roofline.Level, title: str, caption: str) -> Picture:
    return Picture(
        f"roofline-{level.key}",
        "Roofline",
        title,
        lambda result: roofline.draw(result, level),
        lambda result: roofline.legend(result, level),
        caption,
    )


PICTURES = (
    Picture(
        "time",
        "Time",
        "Time by operator",
        time_bars.draw,
        time_bars.legend,
        "A bar is the time in all kernels of an operator class, split by what limited each kernel; the bars, with "
        "the times between kernels, add up to the run. Click a bar to see that class alone.",
        "No kernel took any time.",
        wide=True,
    ),
    Picture(
        "ledger",
        "Time",
        "What the SMs did and waited for",
        ledger.draw_run,
        lambda result: (),
        HOW_TO_READ,
    ),
    Picture(
        "ledger-kernels",
        "Time",
        "The same in the longest kernels",
        ledger.draw_kernels,
        ledger.kernels_legend,
        "How the time of each kernel divides, all its launches together. Click a bar to see that kernel alone.",
    ),
    Picture(
        "what-if",
        "Time",
        "What would help",
        what_if.draw,
        what_if.legend,
        "The run again with one resource changed at a time, the kernels staying as they are: how much less time it "
        "takes when the resource costs nothing, and when there is a little more of it (balance and hits of L2 have no "
        "size to be larger). An endless L2 begins as empty or warm as that of the run. Savings do not add up: behind "
        "one limit stands the next. A bar to the left costs time: with more in flight, say, caches lose lines sooner.",
        wide=True,
    ),
    Picture(
        "bandwidth",
        "Time",
        "Bandwidth over time",
        over_time.draw_bandwidth,
        over_time.bandwidth_legend,
        "Each kernel at its mean, in launch order; drag across a part to look closer, double-click to see all.",
        wide=True,
    ),
    Picture(
        "flight",
        "Time",
        "Bytes in flight over time",
        over_time.draw_flight,
        over_time.flight_legend,
        "What the SMs had in flight, and what the bandwidth of the slower of L2 and memory needs at the unloaded "
        "latency, each kernel at its mean.",
        wide=True,
    ),
    Picture(
        "roofline-dram",
        "Roofline",
        "At device memory",
        roofline.draw,
        roofline.legend,
        "Each dot is an operator class, its size growing with its share of the time; the diamond is the whole run, "
        "launches included. A dot on a sloped line moves DRAM bytes as fast as that line allows; a dot on the flat "
        "line computes at the peak. The distance below the line is what latency, launches or lack of concurrency "
        "cost. The L2 line is the ceiling if the same bytes came from L2.",
        "No operator has both flops and DRAM traffic, so there is no roofline.",
        wide=True,
        left_out=lambda result: roofline.points(result)[1],
    ),
    _roofline(
        roofline.L2,
        "At L2",
        "The same dots over the bytes that L2 sends to the SMs and takes from them. A dot stands to the left of its "
        "place at device memory by the bytes that hit in L2.",
    ),
    _roofline(
        roofline.SM,
        "At the SMs",
        "The same dots over the bytes that SMs ask for, what L1 answers included; the ceiling is their ports.",
    ),
    _roofline(
        roofline.LINK, "At the link to the host", "The whole run, over the bytes that were copied in from the host."
    ),
    Picture(
        "hits",
        "Cache hits",
        "Why reads missed",
        hits.draw,
        hits.legend,
        "Of each tier all bytes read, then by tensor class, then by kernel: those that hit, and those that missed "
        "because they were touched for the first time (compulsory), because more was touched since than a fully "
        "associative LRU cache of that size holds (capacity), or in spite of that (conflict: sets, replacement, "
        "hints, copies in two partitions). Device memory misses what is copied in for kernels from the tiers below: "
        "the first time (compulsory), or since its buffer went to later layers (capacity). Timed passes alone.",
        wide=True,
    ),
    Picture(
        "miss-ratio",
        LOCALITY,
        "Miss ratio by capacity",
        locality.draw_miss_ratio,
        locality.miss_ratio_legend,
        "What a fully associative LRU cache of each capacity would miss. The diamond is what the simulated L2 "
        "missed, which has sets, partitions and hints, and sees the accesses in the order in which they come in "
        "time.",
    ),
    Picture(
        "working-set",
        LOCALITY,
        "Working set",
        locality.draw_working_set,
        locality.working_set_legend,
        "How many distinct bytes so many bytes of accesses touch on average. Where a curve is flat, data are used "
        "again; on the diagonal nothing is.",
    ),
    Picture(
        "reuse-tensor",
        LOCALITY,
        "Reuse distance by tensor",
        locality.draw_by_tensor,
        locality.by_tensor_legend,
        "Accesses by how many distinct bytes were touched since the last one to the same data. What stands to the "
        "left of a cache's size can hit in it; a first touch never does.",
    ),
    Picture(
        "reuse-kernel",
        LOCALITY,
        "Reuse distance by kernel class",
        locality.draw_by_kernel,
        locality.by_kernel_legend,
        "The same accesses by the class of the kernel that makes them.",
    ),
    Picture(
        "fresh",
        LOCALITY,
        "What is new as the run goes on",
        locality.draw_fresh,
        locality.fresh_legend,
        "Distinct bytes touched in each part of the accesses, and those among them that had never been touched before.",
        wide=True,
    ),
    Picture(
        "needed",
        "Concurrency",
        "In flight against needed",
        in_flight.draw_needed,
        in_flight.needed_legend,
        "Each dot is a kernel. To the left of 1 it has fewer bytes in flight than the bandwidth of the slower of L2 "
        "and memory needs, and latency bounds it: on the line at the unloaded latency, below it at a longer one. To "
        "the right of 1 there is enough in flight, and more only queues.",
    ),
    Picture(
        "filled",
        "Concurrency",
        "How full the queues were",
        in_flight.draw_bytes,
        in_flight.filled_legend,
        "For how much of the time so many bytes were on their way to one SM, and between L2 and memory; for the rest"
        " there was nothing.",
    ),
    Picture(
        "filled-requests",
        "Concurrency",
        "How many requests the queues held",
        in_flight.draw_requests,
        in_flight.filled_legend,
        "For how much of the time so many records were on their way to one SM, and lines between L2 and memory; for"
        " the rest there were none.",
    ),
)


def drawn(result: Result) -> dict[str, Figure | None]:
    """Return every figure by key; None where there is nothing to draw."""
    return {picture.key: picture.draw(result) for picture in PICTURES}
