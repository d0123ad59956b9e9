"""The report of the kernel suites (``tierscope.accuracy/1``) as tables, and those as text, CSV or Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simulator import units
from simulator.report.accuracy_summary import ALL, CALIBRATION, PUBLISHED, TEST, summary
from simulator.report.sheet import Sheet, markdown, render_sheet
from simulator.report.values import DASH

Report = Mapping[str, Any]
Suite = Mapping[str, Any]
Cell = Mapping[str, Any]

VERDICTS = {True: "ok", False: "OUT", None: ""}
HOW_TO_READ = (
    "Errors are |predicted / measured - 1| of the time of one call; bias is the median of predicted / measured less 1. "
    "The roofline moves every operand once and does the FLOPs at the peak rate; the line is t0 + c x roofline time, "
    "the two numbers fitted to the very rows of its cell (for rows bound by memory: t0 + bytes / bandwidth), of "
    "others: to the other rows of the cell, for each of them, as a line does on what it has not seen. Limits stand for "
    "bf16 test rows. Calibration rows are those of A100 and H100 with crc32(row) % 10 = 0; every other row is test "
    "data."
)
WORST_NOTE = (
    "By the ratio of predicted to measured time. A known gap is the entry of DEVIATIONS.md that speaks of such rows "
    "being off in this direction; without one the cause is not known."
)
CSV_COLUMNS = (
    "suite", "source", "hardware", "framework", "version", "set", "dtype", "case", "bytes", "measured_s", "predicted_s",
    "ratio", "roofline_s", "l2_hit_rate", "dram_bytes", "limiter", "known_gap",
)  # fmt: skip


CELL_COLUMNS = (
    *("hardware", "framework", "type", ">rows", ">mean error", ">median", ">bias", ">P90", ">roofline", ">line"),
    *(">of others", ">limit", ""),
)
CELL_DETAILS = (">of others", ">line", ">P90", ">roofline", ">median", ">limit", ">rows", ">bias")


def sheets(suite: Suite, *, brief: bool = False) -> Iterator[Sheet]:
    """Yield the tables of one suite; `brief` ones leave out parts without a limit and what one GPU gains."""
    limited = {cell["part"] for cell in suite["cells"] if cell["target"] is not None}
    for part in suite["parts"]:
        if brief and limited and part not in limited:
            continue
        for kind in (TEST, CALIBRATION):
            cells = [cell for cell in suite["cells"] if (cell["part"], cell["set"]) == (part, kind)]
            if cells:
                rows = [_cell(cell) for cell in cells]
                yield Sheet(f"{part}: {kind} rows", "", CELL_COLUMNS, rows, CELL_DETAILS)
    if suite["counterfactuals"]:
        found = suite["counterfactuals"]
        yield _counterfactuals(
            [row for row in found if not brief or (row["part"] in limited and row["hardware"] == ALL)]
        )
    yield Sheet(
        f"The {len(suite['worst'])} rows furthest off",
        WORST_NOTE,
        (
            *("hardware", "framework", "type", "set", "shape", ">measured", ">predicted", ">ratio", "limiter"),
            "known gap",
        ),
        [_worst(point) for point in suite["worst"]],
    )
    yield from unpredicted(suite)


def unpredicted(suite: Suite) -> Iterator[Sheet]:
    """Yield the tables of rows that were not predicted, with the reasons; none where there are none."""
    reasons = [(reason, f"{count:,}") for reason, count in suite["counts"]["reasons"].items()]
    if reasons:
        yield Sheet("Rows left out", "Every row of a file that is not here was usable.", ("reason", ">rows"), reasons)
    if suite["failed"]:
        failed = [(each["source"], each["error"]) for each in suite["failed"]]
        yield Sheet("Rows that could not be predicted", "", ("row", "why"), failed)


OVERVIEW_DETAILS = (">test cells better than their line", ">not drawn", ">cells within their limit")


def overview(report: Report) -> Sheet:
    """Return the table of rows and verdicts by suite."""
    rows = []
    for suite in report["suites"]:
        counts, judged = suite["counts"], [c for c in suite["cells"] if c["within_target"] is not None]
        lined = [cell for cell in suite["cells"] if cell["set"] == TEST and cell["beats_line"] is not None]
        numbers = (counts[name] for name in ("in_files", "left_out", "not_drawn", "failed", "predicted"))
        within = f"{sum(cell['within_target'] for cell in judged)} of {len(judged)}"
        beaten = f"{sum(cell['beats_line'] for cell in lined)} of {len(lined)}"
        rows.append((suite["suite"], *(f"{number:,}" for number in numbers), within, beaten))
    columns = (
        *("suite", ">rows in files", ">left out", ">not drawn", ">failed", ">predicted", ">cells within their limit"),
        ">test cells better than their line",
    )
    return Sheet("Suites", "", columns, rows, OVERVIEW_DETAILS)


def glance(report: Report) -> Iterator[Sheet]:
    """Yield the tables that come first: mean errors, rows and verdicts."""
    cells = [cell for suite in report["suites"] for cell in suite["cells"]]
    tested, calibrated = summary(cells, TEST), summary(cells, CALIBRATION)
    yield from (sheet for sheet in (tested, overview(report), calibrated) if sheet.rows)


def gate_sheet(worse: Sequence[Cell]) -> Sheet:
    """Return the table of committed cells that got worse."""
    columns = (
        *("suite", "part", "set", "hardware", "framework", "type", ">committed", ">tolerance", ">now", "why"),
    )  # fmt: skip
    rows = [
        (
            *(cell[name] for name in ("suite", "part", "set", "hardware", "framework", "dtype")),
            *(_percent(cell[name]) for name in ("mape", "tolerance", "now")),
            cell["why"],
        )
        for cell in worse
    ]
    return Sheet("Cells that are not as committed", "", columns, rows)


def render(report: Report, width: int = 140, *, color: bool = False) -> str:
    """Return errors at a glance, those of every cell and what was not predicted, as text of at most `width` columns."""
    parts = [render_sheet(sheet, width, color=color) for sheet in glance(report)]
    for suite in report["suites"]:
        for sheet in sheets(suite):
            if sheet.columns == CELL_COLUMNS or sheet.columns == COUNTERFACTUAL_COLUMNS:
                parts.append(_of(suite, render_sheet(sheet, width, color=color)))
        parts += [_of(suite, render_sheet(sheet, width, color=color)) for sheet in unpredicted(suite)]
        parts += [f"{suite['suite']}: {note}\n" for note in suite["notes"]]
    return "\n".join(parts)


def _of(suite: Suite, table: str) -> str:
    return f"{suite['suite']}, {table[0].lower()}{table[1:]}"


def to_csv(report: Report) -> str:
    """Return one row per predicted kernel; its shape is `case`, written as ``name=value`` joined by spaces."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for suite in report["suites"]:
        for point in suite["points"]:
            plain = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in point.items()}
            writer.writerow(plain | {"suite": suite["suite"], "case": shape(point)})
    return out.getvalue()


def to_markdown(report: Report, command: str, plots: Mapping[tuple[str, str], str]) -> str:
    """Return the report as a page; `command` writes it anew, `plots` maps (suite, hardware) to the path of a plot."""
    lines = ["# Predicted beside measured kernel times", "", f"Written by `{command}`. {circumstances(report)}", ""]
    lines += [HOW_TO_READ, "", PUBLISHED, "", "What is known to be missing: [DEVIATIONS.md](DEVIATIONS.md).", ""]
    for sheet in glance(report):
        lines += [*markdown(sheet, "##"), ""]
    for suite in report["suites"]:
        lines += ["", f"## {suite['suite']}: {suite['title']}"]
        lines += [line for note in suite["notes"] for line in ("", f"Note: {note.rstrip('.')}.")]
        for sheet in sheets(suite, brief=True):
            lines += ["", *markdown(sheet, "###")]
        shown = [(device, path) for (name, device), path in plots.items() if name == suite["suite"]]
        if shown:
            lines += ["", "### Plots", ""]
            lines += [f"![{suite['suite']} on {device}]({path})" for device, path in shown]
    return "\n".join(lines) + "\n"


def circumstances(report: Report) -> str:
    """Return a sentence on what the rows are and how they were predicted."""
    selection = report["selection"]
    drawn = (
        "every row"
        if selection["sample"] is None
        else f"{selection['sample']:,} rows a suite, seed {selection['seed']}"
    )
    if selection["part_sample"]:
        drawn += f", {selection['part_sample']:,} more where a limit stands for a small part of a suite"
    limits = [f"only {', '.join(selection[name])}" for name in ("hardware", "frameworks") if selection[name]]
    if selection["longest_s"] is not None:
        limits.append(f"up to {units.format_time(selection['longest_s'])}")
    changes = [f"with {', '.join(selection['overrides'])}"] if selection["overrides"] else []
    commit = report["provenance"]["commit"]
    made = f"Tierscope {report['provenance']['version']}" + (f" at {commit[:12]}" if commit else "")
    return f"{made}; rows of {selection['rows']}, {', '.join([drawn, *limits, *changes])}."


def shape(point: Mapping[str, Any]) -> str:
    """Return the shape of a case, such as ``m=1 n=4096 k=4096``; what is zero, as a window may be, is not said."""
    return " ".join(f"{name}={str(value).lower()}" for name, value in point["case"].items() if value != 0)


def _cell(cell: Cell) -> tuple[str, ...]:
    return (
        *(cell[name] for name in ("hardware", "framework", "dtype")),
        f"{cell['rows']:,}",
        _percent(cell["mape"]),
        _percent(cell["median"]),
        f"{100 * cell['bias']:+.1f} %",
        *(_percent(cell[name]) for name in ("p90", "roofline", "line", "line_of_others")),
        "" if cell["target"] is None else f"{100 * cell['target']:.0f} %",
        VERDICTS[cell["within_target"]],
    )


COUNTERFACTUAL_COLUMNS = (
    *("without", "part", "set", "hardware", ">rows", ">mean error", ">without it", ">it buys", ">median time"),
)


def _counterfactuals(found: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = [
        (
            *(row[name] for name in ("without", "part", "set", "hardware")),
            f"{row['rows']:,}",
            *(_percent(row[name]) for name in ("mape", "mape_without")),
            f"{100 * (row['mape_without'] - row['mape']):+.1f} points",
            f"x {row['median_time_ratio']:.3f}",
        )
        for row in found
    ]
    titles = dict.fromkeys(f"{row['without']} - {row['mechanism']}" for row in found)
    note = f"The same rows with one mechanism switched off: {'; '.join(titles)}."
    return Sheet("What each mechanism buys", note, COUNTERFACTUAL_COLUMNS, rows)


def _worst(point: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(point[name] for name in ("hardware", "framework", "dtype", "set")),
        shape(point),
        units.format_time(point["measured_s"]),
        units.format_time(point["predicted_s"]),
        f"{point['ratio']:.2f}",
        point["limiter"],
        point["known_gap"] or "not known",
    )


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"
