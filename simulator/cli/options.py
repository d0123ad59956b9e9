"""Options that several commands share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from simulator.run.result import Json
    from simulator.run.simulate import Outcome

F = TypeVar("F", bound=Callable[..., Any])


def hardware_options(function: F) -> F:
    """Add --hardware and --set."""
    return click.option(
        "--hardware", metavar="NAME", help="A shipped device (tierscope list hardware) or the path of a TOML file."
    )(override_option(function))


def override_option(function: F) -> F:
    """Add --set."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help='Override a key of the hardware description, such as l2.size="100 MiB". May be given again.',
    )(function)


def result_options(function: F) -> F:
    """Add --format, --output, --report, --timeline, --figures and --counters."""
    function = click.option(
        "--figures",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Also write every figure of the report into this folder, as SVG and PNG.",
    )(function)
    function = click.option(
        "--counters",
        type=click.Path(path_type=Path),
        help="Also write the counters of every kernel to this CSV file, named and laid out as by ncu --csv --page raw "
        "(tierscope list counters).",
    )(function)
    function = click.option(
        "--timeline",
        type=click.Path(path_type=Path),
        help="Also write a timeline to this file, for Perfetto (ui.perfetto.dev) or chrome://tracing.",
    )(function)
    function = click.option(
        "--report", type=click.Path(path_type=Path), help="Also write a self-contained HTML report to this file."
    )(function)
    function = click.option(
        "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output."
    )(function)
    return _format_option(function)


def processes(jobs: int | None) -> int:
    """Return how many processes --jobs asks for: as many as processors that may be used where it is left out."""
    return jobs or _processors()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # what taskset or a batch system leaves of the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def replay_options(function: F) -> F:
    """Add --exact, --what-if and --jobs."""
    exact = click.option(
        "--exact", is_flag=True, default=None, help="Replay every layer and step instead of extrapolating."
    )
    what_if = click.option(
        "--what-if",
        "ask",
        is_flag=True,
        help="Also replay with each resource made ideal, and 10 % larger: what would help, and by how much.",
    )
    jobs = click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="With --what-if: processes, where its replays take long.  [default: as many as processors]",
    )
    return exact(what_if(jobs(function)))


def format_options(function: F) -> F:
    """Add --format and --output, the latter as `target`."""
    return _format_option(
        click.option(
            "--output",
            "target",
            type=click.Path(path_type=Path),
            help="Write to this file instead of standard output.",
        )(function)
    )


def _format_option(function: F) -> F:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json", "csv"]),
        default="table",
        show_default=True,
        help="What to print.",
    )(function)


def output(rendered: str, target: Path | None) -> None:
    """Write text to a file, or print it."""
    from simulator.report.files import write_text

    if target is not None:
        write_text(target, rendered)
    else:
        click.echo(rendered, nl=not rendered.endswith("\n"))


def check_figures(folder: Path) -> None:
    """Refuse, before any work is done, a folder that cannot be written into, or figures that nothing here can draw;
    raises TierscopeError."""
    from importlib.util import find_spec

    from simulator.errors import ConfigError
    from simulator.report import files

    if find_spec("matplotlib") is None:
        raise ConfigError('--figures: matplotlib is not installed; add it: pip install "tierscope[figures]"')
    files.check_folder(folder)


def check_outputs(*paths: Path | None) -> None:
    """Refuse, before any work is done, paths that cannot be written, and one file for two outputs; raises
    TierscopeError."""
    from simulator.errors import ConfigError
    from simulator.report.files import check_writable

    named: set[Path] = set()
    for path in paths:
        if path is None:
            continue
        check_writable(path)
        place = path.resolve()
        if place in named:
            raise ConfigError(f"{path}: named for two outputs, of which one would replace the other; name another file")
        if place.is_file() or not place.exists():  # a terminal or pipe takes both
            named.add(place)


def write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files by name into a folder, which is made if need be."""
    from simulator.report.files import make_folder, write_bytes

    make_folder(folder)
    for name, content in files:
        write_bytes(folder / name, content)


@dataclass(frozen=True)
class Outputs:
    """Where a result goes, and in which form it is printed."""

    form: str
    output: Path | None
    report: Path | None
    timeline: Path | None
    figures: Path | None
    counters: Path | None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Outputs:
        """Return what the options of `result_options` say, and take them out of `options`."""
        return cls(**{each.name: options.pop(each.name) for each in fields(cls)})

    def check(self) -> None:
        """Refuse, before any work is done, places that cannot be written to; raises TierscopeError."""
        check_outputs(self.output, self.report, self.timeline, self.counters)
        if self.figures is not None:
            check_figures(self.figures)

    def emit(self, result: Json, locality: Callable[[], Json]) -> None:
        """Write the files asked for, then print the result or write it; `locality` is called for pictures alone."""
        from simulator.report.files import write_text

        pictured = result | {"locality": locality()} if self.report or self.figures else result
        if self.report is not None:
            from simulator.report import html

            write_text(self.report, html.render(pictured))
        if self.figures is not None:
            from simulator.report.figures import export

            write_files(self.figures, export.files(pictured))
        if self.counters is not None:
            from simulator.report.ncu import page

            write_text(self.counters, page.to_csv(result))
        output(self._rendered(result), self.output)

    def emit_timeline(self, result: Json, outcome: Outcome) -> None:
        """Write the timeline, if asked for."""
        if self.timeline is not None:
            from simulator.report import headline
            from simulator.report.files import write_text
            from simulator.run import timeline

            write_text(self.timeline, timeline.to_json(outcome, headline.title(result)))

    def _rendered(self, result: Json) -> str:
        from simulator.report import table, text

        if self.form == "json":
            return text.to_json(result)
        if self.form == "csv":
            return text.to_csv(result)
        terminal = self.output is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 40)).columns if terminal else 100
        return table.render(result, width, color=terminal)
