"""The report of the kernel suites as one offline page: tables that sort, and a plot for each suite and GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.report import accuracy, accuracy_svg, html
from simulator.report.accuracy_summary import PUBLISHED

Report = Mapping[str, Any]


def render(report: Report, command: str) -> str:
    """Return the page; `command` writes it anew."""
    return html.template("accuracy.html").render(
        title="Predicted beside measured kernel times",
        circumstances=accuracy.circumstances(report),
        command=command,
        how_to_read=f"{accuracy.HOW_TO_READ} {PUBLISHED}",
        glance=list(accuracy.glance(report)),
        suites=[
            {
                "name": suite["suite"],
                "title": suite["title"],
                "notes": suite["notes"],
                "sheets": list(accuracy.sheets(suite)),
                "plots": list(plots_of(suite, words=True)),
            }
            for suite in report["suites"]
        ],
        figures_json="{}",
        style=html.resource("page.css"),
        script=html.resource("page.js"),
    )


def plots_of(suite: Mapping[str, Any], *, words: bool) -> Iterator[tuple[str, str]]:
    """Yield each GPU of a suite with the plot of its rows."""
    for device in dict.fromkeys(sorted(point["hardware"] for point in suite["points"])):
        points = [point for point in suite["points"] if point["hardware"] == device]
        yield device, accuracy_svg.render(f"{suite['title']}, {device}", points, words=words)
