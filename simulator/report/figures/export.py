"""Every figure of a result as files for print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.report import memory_chart
from simulator.report.figures import catalog, static
from simulator.report.values import Result


def files(result: Result) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each figure that has anything to show, as SVG and as PNG."""
    row, _ = memory_chart.charts(result)
    for form in static.FORMATS:
        yield f"memory.{form}", static.render_chart(row, form)
    for picture in catalog.PICTURES:
        yield from _drawn(picture, result)


def locality_files(found: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the same of the figures of a locality (``tierscope.locality/1``)."""
    for picture in catalog.PICTURES:
        if picture.section == catalog.LOCALITY:
            yield from _drawn(picture, {"locality": found})


def _drawn(picture: catalog.Picture, result: Result) -> Iterator[tuple[str, bytes]]:
    figure = picture.draw(result)
    if figure is not None:
        for form in static.FORMATS:
            yield f"{picture.key}.{form}", static.render(figure, picture.legend(result), form)
