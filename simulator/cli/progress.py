"""Progress on standard error, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulator.trace.record import KernelHeader

Update = Callable[[KernelHeader], None]


@contextmanager
def kernel_progress(layers: int, steps: int) -> Iterator[Update | None]:
    """Show how many of the layers of all steps have been replayed; yields what to call with each kernel's header."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("layers", total=max(1, layers * steps))

        def update(header: KernelHeader) -> None:
            progress.update(
                task, completed=header.step * layers + header.layer + 1, description=header.name[:36].ljust(36)
            )

        yield update


@contextmanager
def row_progress(description: str, total: float) -> Iterator[Callable[..., None]]:
    """Show how much of `total` is done; yields what to call after each row, with its part of the total unless 1."""
    announce_compilation()
    if not sys.stderr.isatty():
        yield lambda part=1.0: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda part=1.0: progress.advance(task, part)


@contextmanager
def record_progress(description: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Show how many of `total` records are done; yields what to call with each further number of them."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def working(description: str) -> Iterator[None]:
    """Show that something is done whose length is not known."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(description):
        yield


def announce_compilation(
    function: str = "replay.advance", what: str = "the memory core", duration: str = "about a minute"
) -> None:
    """Say so when `what`, with `function` as its largest part, has to be compiled first."""
    from simulator.core.compiled import is_compiled

    if not is_compiled(function):
        print(f"compiling {what} for this machine (once, {duration})", file=sys.stderr, flush=True)
