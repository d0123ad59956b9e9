"""tierscope trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.locality import locality_command
from simulator.cli.options import check_outputs, hardware_options
from simulator.cli.run import build_request, workload_options


@click.group()
def trace() -> None:
    """Write and look into memory-access traces."""


@trace.command("generate")
@click.argument("run_file", required=False, metavar="[RUN.toml]")
@workload_options
@hardware_options
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Parquet file to write.")
def generate_command(run_file: str | None, output: Path, **options: Any) -> None:
    """Write the trace of a run as Parquet, all layers and steps of it."""
    request = build_request(run_file, options)
    check_outputs(output)
    from simulator.cli.progress import kernel_progress
    from simulator.run.execute import prepare
    from simulator.trace import parquet

    prepared = prepare(request)
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        parquet.write(output, prepared.trace.header, prepared.trace.kernels(None), progress)


@trace.command("info")
@click.argument("trace_file", metavar="TRACE", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def info_command(trace_file: Path, form: str) -> None:
    """Print what a trace holds: records, bytes per tensor class, footprint, reads and writes."""
    from simulator.report import trace_table
    from simulator.trace import parquet
    from simulator.trace.info import summarise

    header, kernels = parquet.read(trace_file)
    summary = summarise(header, kernels)
    rendered = trace_table.to_json(summary) if form == "json" else trace_table.render(summary)
    click.echo(rendered, nl=not rendered.endswith("\n"))


trace.add_command(locality_command)
