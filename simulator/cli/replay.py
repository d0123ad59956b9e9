"""tierscope replay."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.cli.options import check_outputs, emit, hardware_options, result_options
from simulator.errors import ConfigError


@click.command()
@click.argument("trace_file", metavar="TRACE", type=click.Path(path_type=Path))
@hardware_options
@click.option("--exact", is_flag=True, help="Replay every layer and step instead of extrapolating.")
@result_options
def replay(
    trace_file: Path,
    hardware: str | None,
    overrides: tuple[str, ...],
    exact: bool,
    form: str,
    output: Path | None,
    report: Path | None,
    counters: Path | None,
) -> None:
    """Replay a trace file (written by `trace generate`, or by hand) on a device."""
    if hardware is None:
        raise ConfigError("no hardware given; add --hardware NAME (tierscope list hardware)")
    from simulator import hardware as devices

    device = devices.load(hardware, overrides)
    check_outputs(output, report, counters)
    from simulator.cli.progress import announce_compilation, kernel_progress
    from simulator.run.execute import execute, prepare_replay

    prepared = prepare_replay(trace_file, device, exact)
    announce_compilation()
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        result = execute(prepared, progress)
    emit(result, form, output, report, counters)
