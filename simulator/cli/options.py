"""Options that several commands share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from simulator.run.result import Json

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
    """Add --format, --output, --report and --counters."""
    function = click.option(
        "--counters",
        type=click.Path(path_type=Path),
        help="Also write the counters of every kernel to this CSV file, named and laid out as by ncu --csv --page raw "
        "(tierscope list counters).",
    )(function)
    function = click.option(
        "--report", type=click.Path(path_type=Path), help="Also write a self-contained HTML report to this file."
    )(function)
    function = click.option(
        "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output."
    )(function)
    return _format_option(function)


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


def check_outputs(*paths: Path | None) -> None:
    """Refuse, before any work is done, paths that cannot be written; raises ConfigError."""
    from simulator.report.files import check_writable

    for path in paths:
        if path is not None:
            check_writable(path)


def emit(result: Json, form: str, target: Path | None, report: Path | None, counters: Path | None) -> None:
    """Print or write a result in the form asked for, the HTML report and the counters."""
    from simulator.report import html, table, text
    from simulator.report.files import write_text

    if form == "json":
        rendered = text.to_json(result)
    elif form == "csv":
        rendered = text.to_csv(result)
    else:
        terminal = target is None and sys.stdout.isatty()
        rendered = table.render(
            result, shutil.get_terminal_size((100, 40)).columns if terminal else 100, color=terminal
        )
    if report is not None:
        write_text(report, html.render(result))
    if counters is not None:
        from simulator.report.ncu import page

        write_text(counters, page.to_csv(result))
    output(rendered, target)
