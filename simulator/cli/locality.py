"""tierscope trace locality."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simulator.cli.options import check_figures, check_outputs, format_options, output, override_option, write_files
from simulator.errors import ConfigError, TraceError

if TYPE_CHECKING:
    from simulator.analysis.locality import Locality
    from simulator.hardware import Hardware
    from simulator.run.execute import Prepared
    from simulator.run.result import Json
    from simulator.trace.record import TraceHeader

ANALYSIS = ("reuse_count.count_visits", "the analysis of locality", "ten seconds")
GRANULARITIES = ("sector", "line", "tile")


@click.command("locality")
@click.argument("trace_file", metavar="TRACE", type=click.Path(path_type=Path))
@click.option(
    "--kernel",
    metavar="NAME",
    help="Only kernels of this name, its first words, or this operator (* and ? match), as if alone.",
)
@click.option(
    "--granularity", "chosen", type=click.Choice(GRANULARITIES), multiple=True, help="May be repeated.  [default: all]"
)
@click.option("--tile", metavar="BYTES", default="4 KiB", show_default=True, help="Size of a tile, a power of two.")
@click.option(
    "--sample",
    metavar="RATE",
    default="auto",
    show_default=True,
    help="Part of the pages to look at, such as 0.01; exact: all; auto: all while that is quick.",
)
@click.option(
    "--order",
    type=click.Choice(["waves", "program"]),
    help="Resident CTAs in turn, or CTA after CTA.  [default: waves where a device is known]",
)
@click.option("--hardware", metavar="NAME", help="Whose SMs take the CTAs.  [default: the trace's own]")
@override_option
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write miss ratios, reuse distances and working sets into this folder, as SVG and PNG.",
)
@format_options
def locality_command(
    trace_file: Path,
    kernel: str | None,
    chosen: tuple[str, ...],
    tile: str,
    sample: str,
    order: str | None,
    hardware: str | None,
    overrides: tuple[str, ...],
    figures: Path | None,
    form: str,
    target: Path | None,
) -> None:
    """Print how local the accesses of a trace are.

    Reuse distances by tensor and kernel class, miss ratios of every capacity, working sets, sharing between CTAs, SMs
    and kernels, sectors used per line, strides.  Nothing is timed.
    """
    check_outputs(target)
    if figures is not None:
        check_figures(figures)
    units = _units(chosen or GRANULARITIES, tile)
    rate = _rate(sample)
    from simulator.analysis.locality import locality
    from simulator.analysis.locality_result import locality_result
    from simulator.analysis.order import Order
    from simulator.cli.progress import announce_compilation, record_progress
    from simulator.report import locality_table, text
    from simulator.trace import parquet

    header, read = parquet.read(trace_file)
    device = _device(trace_file, header, hardware, overrides)
    if order == "waves" and device is None:
        raise ConfigError(f"{trace_file}: names no device, so CTAs cannot be dealt to SMs; add --hardware NAME")
    kernels = list(read)
    total_bytes = sum(each.header.read_bytes + each.header.write_bytes for each in kernels)
    taken = Order(None if order == "program" else device)
    announce_compilation(*ANALYSIS)
    with record_progress("records", sum(each.header.records for each in kernels)) as progress, _named(trace_file):
        found = locality(header, kernels, taken, units, total_bytes, rate, kernel, progress)
    _check(trace_file, found)
    result = locality_result(found)
    if figures is not None:
        from simulator.report.figures import export

        write_files(figures, export.locality_files(result))
    if form == "json":
        rendered = text.to_json(result)
    elif form == "csv":
        rendered = locality_table.to_csv(result)
    else:
        rendered = locality_table.render(result, device.l2.size_bytes if device else None)
    output(rendered, target)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let faults of a trace begin with its name."""
    try:
        yield
    except TraceError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise TraceError(f"{prefix}{error}") from error


def _check(path: Path, found: Locality) -> None:
    """Raise TraceError where there is nothing to say about reuse."""
    if all(entry.accesses < 2 for entry in found.reuse):
        raise TraceError(f"{path}: holds a single access, which nothing can reuse; write at least two records")
    if not all(entry.footprint_bytes for entry in found.reuse):
        raise TraceError(f"{path}: no page is in the sample; raise --sample, or write --sample exact")


def locality_of(prepared: Prepared) -> Json:
    """Return the locality of a run, for its report."""
    from simulator.analysis.run_locality import run_locality
    from simulator.cli.progress import announce_compilation

    announce_compilation(*ANALYSIS)
    return run_locality(prepared)


def _units(chosen: tuple[str, ...], tile: str) -> dict[str, int]:
    """Return the bytes of each granularity asked for, in order of size."""
    from simulator.units import BYTES, parse_quantity

    try:
        size = parse_quantity(tile, BYTES)
    except ValueError as error:
        raise ConfigError(f"--tile: {error}") from error
    if size & (size - 1) or not 128 <= size <= 1 << 30:
        raise ConfigError(f"--tile {tile!r}: write a power of two from 128 B to 1 GiB")
    sizes = {"sector": 32, "line": 128, "tile": size}
    return {name: sizes[name] for name in GRANULARITIES if name in chosen}


def _rate(sample: str) -> float | None:
    """Return the sampling rate, None where it is to be found."""
    if sample in ("auto", "exact"):
        return None if sample == "auto" else 1.0
    try:
        rate = float(sample)
    except ValueError:
        rate = 0.0
    if not 2**-12 <= rate <= 1:
        raise ConfigError(f"--sample {sample!r}: write auto, exact, or a rate from 0.00025 to 1")
    return rate


def _device(path: Path, header: TraceHeader, name: str | None, overrides: tuple[str, ...]) -> Hardware | None:
    """Return the device named, or else the one the trace was generated for, if any."""
    from simulator import config, hardware

    if name is not None:
        return hardware.load(name, overrides).spec
    if overrides:
        raise ConfigError("--set needs --hardware NAME to change")
    if not header.hardware:
        return None
    try:
        return config.build(hardware.Hardware, header.hardware, f"{path}: metadata key hardware")
    except ConfigError as error:
        raise TraceError(f"{error}; name a device with --hardware") from error
