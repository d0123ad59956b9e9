"""tierscope replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.explain import explain_option, run_prepared
from simulator.cli.locality import locality_of
from simulator.cli.options import Outputs, hardware_options, processes, replay_options, result_options
from simulator.errors import ConfigError


@click.command()
@click.argument("trace_file", metavar="TRACE", type=click.Path(path_type=Path))
@hardware_options
@replay_options
@explain_option
@result_options
def replay(
    trace_file: Path,
    hardware: str | None,
    overrides: tuple[str, ...],
    exact: bool | None,
    ask: bool,
    jobs: int | None,
    explain: bool,
    **options: Any,
) -> None:
    """Replay a trace file (written by `trace generate`, or by hand) on a device."""
    if hardware is None:
        raise ConfigError("no hardware given; add --hardware NAME (tierscope list hardware)")
    from simulator import hardware as devices

    device = devices.load(hardware, overrides)
    outputs = Outputs.taken_from(options)
    outputs.check()
    from simulator.run.execute import prepare_replay

    prepared = prepare_replay(trace_file, device, bool(exact))
    result, outcome = run_prepared(prepared, explain, processes(jobs) if ask else 0, outputs.timeline is not None)
    outputs.emit(result, lambda: locality_of(prepared))
    outputs.emit_timeline(result, outcome)
