"""A validation report (``tierscope.validation/1``) as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from simulator.report.sheet import Sheet, render_sheet, table_lines
from simulator.report.values import DASH

Report = Mapping[str, Any]
Check = Mapping[str, Any]

CSV_COLUMNS = (
    "gpu", "hardware", "benchmark", "variant", "quantity", "measured", "predicted", "unit", "error", "tolerance",
    "passed",
)  # fmt: skip
COLUMNS = ("hardware", "curve", "quantity", ">measured", ">predicted", ">error", ">limit", "")
DETAILS = (">predicted", ">measured", ">limit")
VERDICTS = {True: "ok", False: "OUT", None: ""}


def summary(report: Report) -> str:
    """Return how many checks are within their limits, those of devices whose curves were never used apart."""
    unseen = [check for check in report["checks"] if check.get("unseen")]
    seen = [check for check in report["checks"] if not check.get("unseen")]
    parts = [f"{_share(seen)} checks within their limits"] if seen or not unseen else []
    parts += [f"of devices whose curves were not used {_share(unseen)} checks within theirs"] if unseen else []
    changed = f" with {', '.join(report['overrides'])}" if report["overrides"] else ""
    text = "; ".join(parts) + changed + "."
    return text[0].upper() + text[1:]


def _share(checks: Iterable[Check]) -> str:
    judged = [check["passed"] for check in checks if check["passed"] is not None]
    return f"{sum(judged)} of {len(judged)}"


def render(report: Report, width: int = 120, *, color: bool = False) -> str:
    """Return the checks as a table of at most `width` columns, and how many are within their limits."""
    sheet = Sheet("", "", COLUMNS, [_cells(check) for check in report["checks"]], DETAILS)
    return render_sheet(sheet, width, color=color) + "\n" + summary(report) + "\n"


def to_csv(report: Report) -> str:
    """Return one row per check; an absent value is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for check in report["checks"]:
        writer.writerow({key: _plain(value) for key, value in check.items()})
    return out.getvalue()


def to_markdown(report: Report, command: str, plots: Mapping[tuple[str, str], str]) -> str:
    """Return the report as a page: what it is, the checks of each benchmark in a table, and its plots.

    `command` regenerates it; `plots` maps (benchmark, hardware) to the path of a plot.
    """
    return "\n".join(_page(report, command, plots)) + "\n"


def _page(report: Report, command: str, plots: Mapping[tuple[str, str], str]) -> Iterator[str]:
    yield f"# Suite {report['suite']}"
    yield ""
    yield f"Written by `{command}`. {summary(report)}"
    yield ""
    if note := report.get("note"):
        yield note
        yield ""
    yield "Mean errors are over the logarithm of x. A limit left out means that the number is only reported."
    yield "Errors of percentages are in points (pt)."
    for benchmark, unseen in dict.fromkeys(map(_section, report["checks"])):
        checks = [check for check in report["checks"] if _section(check) == (benchmark, unseen)]
        yield ""
        yield f"## {benchmark}, of devices whose curves were not used" if unseen else f"## {benchmark}"
        yield ""
        yield from table_lines(Sheet("", "", COLUMNS, [_cells(check) for check in checks]))
        for hardware in dict.fromkeys(check["hardware"] for check in checks):
            if path := plots.get((benchmark, hardware)):
                yield ""
                yield f"![{benchmark} on {hardware}]({path})"


def _section(check: Check) -> tuple[str, bool]:
    return check["benchmark"], check.get("unseen", False)


def _cells(check: Check) -> tuple[str, ...]:
    return (
        check["hardware"],
        f"{check['benchmark']}, {check['variant']}",
        check["quantity"],
        _value(check["measured"], check["unit"]),
        _value(check["predicted"], check["unit"]),
        _percent(check),
        "" if check["tolerance"] is None else f"{100 * check['tolerance']:.0f} {_error_unit(check)}",
        VERDICTS[check["passed"]],
    )


def _percent(check: Check) -> str:
    if check["error"] is None:
        return DASH
    signed = check["measured"] is not None  # a mean of absolute errors has no sign
    return f"{100 * check['error']:{'+' if signed else ''}.1f} {_error_unit(check)}"


def _error_unit(check: Check) -> str:
    """Return what an error is in: points where the quantity is itself a percentage."""
    return "pt" if check["unit"] == "%" else "%"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return DASH if unit else ""
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value
