"""tierscope replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.locality import locality_of
from simulator.cli.options import Outputs, hardware_options, result_options
from simulator.errors import ConfigError


@click.command()
@click.argument("trace_file", metavar="TRACE", type=click.Path(path_type=Path))
@hardware_options
@click.option("--exact", is_flag=True, help="Replay every layer and step instead of extrapolating.")
@result_options
def replay(trace_file: Path, hardware: str | None, overrides: tuple[str, ...], exact: bool, **options: Any) -> None:
    """Replay a trace file (written by `trace generate`, or by hand) on a device."""
    if hardware is None:
        raise ConfigError("no hardware given; add --hardware NAME (tierscope list hardware)")
    from simulator import hardware as devices

    device = devices.load(hardware, overrides)
    outputs = Outputs.taken_from(options)
    outputs.check()
    from simulator.cli.progress import announce_compilation, kernel_progress
    from simulator.run.execute import execute, prepare_replay

    prepared = prepare_replay(trace_file, device, exact)
    announce_compilation()
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        result = execute(prepared, progress)
    outputs.emit(result, lambda: locality_of(prepared))
