"""A result as tables for a terminal: the headline, the tiers, time by operator class, the longest kernels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.report import concurrency, groups, headline, hits_table, ledger, values, what_if
from simulator.report.columns import Column, fitting
from simulator.report.groups import KernelGroup, TimeBudget
from simulator.report.values import Result, at, plain, ratio, total

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

TOP_KERNELS = 8
TOP_PARTS = 7  # of the ledger
BAR_CELLS = 10
FIGURE_GAP = "   "
_EIGHTHS = " ▏▎▍▌▋▊▉"


def render(result: Result, console_width: int = 100, *, color: bool = False) -> str:
    """Return the result as tables of at most `console_width` columns, ending in a newline.

    With `color` the text has ANSI styles, for a terminal that shows them; without, it is plain.
    """
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=console_width,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
        highlight=False,
        emoji=False,
    )
    for part in _parts(result, console_width):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def _parts(result: Result, width: int) -> Iterable[Table | Text | str]:
    yield from _headline(result, width)
    yield ""
    yield _tiers(result, width)
    yield ""
    yield _in_flight(result, width)
    if ledger.parts(result):
        yield ""
        yield _ledger(result, width)
    else:
        yield from _waits(result)
    yield ""
    yield _operators(result, width)
    yield ""
    yield _kernels(result, width)
    yield ""
    if what_if.effects(result):
        yield _what_if(result, width)
        yield what_if.NOTE
        yield what_if.cost(result)
        yield ""
    if result.get("hits"):
        yield from hits_table.tables(result["hits"])
    yield from _footer(result)


def _headline(result: Result, width: int) -> Iterable[Text]:
    from rich.text import Text

    yield Text(headline.title(result), style="bold")
    if phrases := headline.circumstances(result):
        yield Text(" · ".join(phrases), style="dim")
    yield Text()
    line = Text()
    for figure in headline.figures(result):
        words = Text.assemble((f"{figure.label} ", "dim"), (figure.value, "bold"))
        if line and line.cell_len + len(FIGURE_GAP) + words.cell_len > width:
            yield line
            line = Text()
        line = Text.assemble(line, FIGURE_GAP if line else "", words)
    yield line


def _footer(result: Result) -> Iterable[Text]:
    from rich.text import Text

    verdict = headline.verdict(result)
    if verdict is not None:
        yield Text(verdict)
    yield Text(headline.exactness(result), style="dim")


def _tiers(result: Result, width: int) -> Table:
    columns = (
        Column("Memory", "left"),
        Column("read"),
        Column("written", detail=2),
        Column("hit rate"),
        Column("bandwidth"),
        Column("of peak", detail=3),
        Column("utilization", detail=1),
    )
    names = {"sram": "SMs (L1)", "l2": "L2", "hbm": headline.memory_name(result), "dram": "host DRAM"}
    if not values.is_unused(at(result, "tiers", "link")):
        names = {**names, "link": "link to host"}
    if not values.is_unused(at(result, "tiers", "ssd")):
        names = {**names, "ssd": "SSD"}
    time_s = at(result, "summary", "time_s")
    rows = [_tier(name, at(result, "tiers", key), time_s) for key, name in names.items()]
    if values.is_unused(at(result, "tiers", "dram")):
        rows[list(names).index("dram")][1] = "not used"
    return _table(columns, rows, width)


def _tier(name: str, tier: Mapping[str, Any] | None, time_s: float | None) -> list[str]:
    if tier is None or values.is_unused(tier):
        return [name, *[values.DASH] * 6]
    bandwidth = tier.get("bandwidth_bytes_per_s", ratio(total((tier["read_bytes"], tier["write_bytes"])), time_s))
    return [
        name,
        values.size(tier["read_bytes"]),
        values.size(tier["write_bytes"]),
        _hit_rate(tier),
        values.rate(bandwidth),
        values.percent(_share_of_peak(tier, bandwidth)),
        values.percent(tier["utilization"]),
    ]


def _share_of_peak(tier: Mapping[str, Any], bandwidth: float | None) -> float | None:
    """Return the share of the peak; where reads and writes have a peak each, that of the busier direction."""
    if "write_peak_bandwidth_bytes_per_s" in tier:
        share: float | None = tier["utilization"]
        return share
    return ratio(bandwidth, tier["peak_bandwidth_bytes_per_s"])


def _hit_rate(tier: Mapping[str, Any]) -> str:
    if "hit_rate" in tier:
        return values.percent(tier["hit_rate"])
    if "row_hits" not in tier:
        return values.DASH
    rows = total((tier["row_hits"], tier["row_misses"], tier["row_conflicts"]))
    share = ratio(tier["row_hits"], rows)
    return values.DASH if share is None else f"rows {values.percent(share)}"


def _in_flight(result: Result, width: int) -> Table:
    columns = (
        Column("In flight", "left"),
        Column("mean"),
        Column("peak", detail=2),
        Column("limit", detail=1),
        Column("needed"),
        Column("latency"),
        Column("bandwidth", detail=3),
        Column("requests", detail=4),
        Column("peak requests", detail=5),
    )
    return _table(columns, [list(row) for row in concurrency.levels(result)], width)


def _waits(result: Result) -> Iterable[Text]:
    from rich.text import Text

    if sentence := concurrency.waits(result):
        yield Text(sentence, style="dim")


def _ledger(result: Result, width: int) -> Table:
    columns = (
        Column("SM time", "left"),
        Column("time"),
        Column("share"),
        Column("", "left", detail=2, style="cyan"),
        Column("", "left", detail=1, style="dim"),
    )
    parts = ledger.parts(result)
    rows = [
        [part.name, values.time(part.time_s), values.percent(part.share), bar(part.share), part.meaning]
        for part in parts[:TOP_PARTS]
    ]
    time_s, share = sum(part.time_s for part in parts[TOP_PARTS:]), sum(part.share for part in parts[TOP_PARTS:])
    if share >= groups.LEAST_SHARE:
        rows.append(["other", values.time(time_s), values.percent(share), bar(share), "in --format json"])
    return _table(columns, rows, width)


def _what_if(result: Result, width: int) -> Table:
    columns = (
        Column("What if", "left"),
        Column("ideal"),
        Column("saves"),
        Column("", "left", detail=2, style="cyan"),
        Column("10 % saves"),
        Column("", "left", detail=1, style="dim"),
    )
    rows = [
        [
            plain(effect.resource),
            values.time(effect.ideal_time_s),
            values.percent(effect.ideal_saving),
            bar(effect.ideal_saving),
            values.percent(effect.more_saving),
            plain(effect.question),
        ]
        for effect in what_if.effects(result)
    ]
    return _table(columns, rows, width)


def _operators(result: Result, width: int) -> Table:
    columns = (
        Column("Operator", "left"),
        Column("time"),
        Column("share"),
        Column("", "left", detail=4, style="cyan"),
        Column("launches", detail=2),
        Column("DRAM bytes", detail=3),
        Column("DRAM bandwidth", detail=1),
        Column("limiter", "left"),
    )
    budget = groups.time_budget(result)
    rows = [_operator(group, budget) for group in groups.by_operator(result)]
    rows += [_gap(label, time_s, budget) for label, time_s in groups.gaps(result).items()]
    return _table(columns, rows, width)


def _operator(group: KernelGroup, budget: TimeBudget) -> list[str]:
    share = budget.share(group.time_s)
    return [
        plain(group.label).replace("_", " "),
        values.time(group.time_s),
        values.percent(share),
        bar(share),
        values.count(group.launches),
        values.size(group.dram_bytes),
        values.rate(group.dram_bandwidth_bytes_per_s),
        plain(group.limiter),
    ]


def _gap(label: str, time_s: float, budget: TimeBudget) -> list[str]:
    share = budget.share(time_s)
    return [label, values.time(time_s), values.percent(share), bar(share), "", "", "", ""]


def _kernels(result: Result, width: int) -> Table:
    columns = (
        Column("Longest kernels", "left"),
        Column("time"),
        Column("share"),
        Column("launches", detail=2),
        Column("mean", detail=3),
        Column("CTAs", detail=4),
        Column("L2 hits", detail=1),
        Column("DRAM bandwidth", detail=5),
        Column("limiter", "left"),
    )
    budget = groups.time_budget(result)
    return _table(columns, [_kernel(group, budget) for group in groups.by_name(result)[:TOP_KERNELS]], width)


def _kernel(group: KernelGroup, budget: TimeBudget) -> list[str]:
    return [
        plain(group.label),
        values.time(group.time_s),
        values.percent(budget.share(group.time_s)),
        values.count(group.launches),
        values.time(group.mean_time_s),
        grid(group),
        values.percent(group.l2_hit_rate),
        values.rate(group.dram_bandwidth_bytes_per_s),
        plain(group.limiter),
    ]


def grid(group: KernelGroup) -> str:
    """Return the CTAs of a launch of the group, as a range when the launches differ."""
    if group.ctas is None:
        return values.DASH
    least, most = group.ctas
    return values.count(least) if least == most else f"{values.count(least)}{values.DASH}{values.count(most)}"


def bar(share: float | None) -> str:
    """Return a bar of block characters, `BAR_CELLS` cells long for a share of one."""
    eighths = round(8 * BAR_CELLS * min(max(share or 0.0, 0.0), 1.0))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = fitting(columns, rows, width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", border_style="dim", padding=(0, 1, 0, 0))
    for index, cells in kept.items():
        column = columns[index]
        table.add_column(column.name, justify=column.justify, width=cells, no_wrap=True, style=column.style)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in kept))
    return table
