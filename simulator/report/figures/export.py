"""Every figure of a result as files for print."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.report import memory_chart
from simulator.report.figures import catalog, static
from simulator.report.values import Result


def files(result: Result) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each figure that has anything to show, as SVG and as PNG."""
    row, _ = memory_chart.charts(result)
    for form in static.FORMATS:
        yield f"memory.{form}", static.render_chart(row, form)
    for picture in catalog.PICTURES:
        figure = picture.draw(result)
        if figure is not None:
            for form in static.FORMATS:
                yield f"{picture.key}.{form}", static.render(figure, picture.legend(result), form)
