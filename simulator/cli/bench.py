"""tierscope bench."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.cli.options import check_outputs, format_options, hardware_options, output
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.hardware import Hardware
    from simulator.run.bench import Benchmark, Variant

Json = dict[str, Any]
NAMES = ("latency", "bandwidth", "stream", "small-kernels", "copy")
MOST_PLACES = 60  # of a curve measured at more, evenly over them


@click.command()
@click.argument("name", metavar="|".join(NAMES), type=click.Choice(NAMES))
@hardware_options
@click.option("--variant", "variants", multiple=True, metavar="NAME", help="Only this curve.  May be given again.")
@click.option("--sizes", metavar="LIST", help="Where to run it: 32KiB,1MiB,64MiB; stream: threads per CTA, 64,256.")
@click.option(
    "--points", type=click.IntRange(2, 1000), help="That many places, equally spaced, instead of the measured ones."
)
@click.option(
    "--measured",
    "own",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="A curve of your own (columns variant,x,value) to run beside, in place of those that ship.",
)
@format_options
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw it, over the measured curve, in this HTML file."
)
def bench(
    name: str,
    hardware: str | None,
    overrides: tuple[str, ...],
    variants: tuple[str, ...],
    sizes: str | None,
    points: int | None,
    own: Path | None,
    form: str,
    target: Path | None,
    plot: Path | None,
) -> None:
    """Run a public microbenchmark on a device.

    latency: pointer chase.  bandwidth: every SM over the same buffer, and all SMs over one.  stream: stream kernels
    against resident threads.  small-kernels: one kernel over and over.  copy: between host and device (another host:
    --set host.kind=NAME).  Runs at the sizes that were measured, on this device or by you (--measured), where any were.
    """
    if hardware is None:
        raise ConfigError("no hardware given; add --hardware NAME (tierscope list hardware)")
    if sizes is not None and points is not None:
        raise ConfigError("--sizes and --points exclude each other; give one of them")
    from simulator import hardware as devices
    from simulator.run.bench import BENCHMARKS
    from simulator.validation import measured, own_curves

    device = devices.load(hardware, overrides)
    benchmark = BENCHMARKS[name]
    chosen = [benchmark.variant(variant) for variant in variants] or list(benchmark.variants)
    known = own_curves.read(own, benchmark, chosen, device.spec) if own else measured.curves(name, hardware)
    if not variants and known:
        chosen = [variant for variant in chosen if variant.name in known]
    check_outputs(target, plot)
    places = {v.name: _places(benchmark, device.spec, sizes, points, known.get(v.name)) for v in chosen}
    result = {
        "schema": "tierscope.bench/1",
        "benchmark": name,
        "title": benchmark.title,
        "hardware": hardware,
        "hardware_name": device.spec.name,
        "overrides": list(overrides),
        "x_name": benchmark.x_name,
        "x_unit": benchmark.x_unit,
        "unit": benchmark.unit,
        "curves": _curves(name, device.spec, chosen, places, known),
    }
    _emit(result, form, target, plot)


def _curves(
    name: str, device: Hardware, chosen: Iterable[Variant], places: Mapping[str, list[float]], known: Mapping[str, Any]
) -> list[Json]:
    """Run the variants chosen at their places, showing progress."""
    from simulator.cli.progress import row_progress

    curves = []
    with row_progress(name, sum(len(xs) for xs in places.values())) as advance:
        for variant in chosen:
            predicted = []
            for point in variant.measure(device, places[variant.name]):
                predicted.append([point.x, point.value])
                advance()
            curves.append(_curve(variant.name, predicted, known.get(variant.name)))
    return curves


def _emit(result: Json, form: str, target: Path | None, plot: Path | None) -> None:
    """Draw the curves if asked to, and print them in the form asked for."""
    from simulator.report import bench as report
    from simulator.report import text
    from simulator.report.files import write_text

    if plot is not None:
        write_text(plot, report.page(result))
    if form == "table":
        terminal = target is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 40)).columns if terminal else 160
        output(report.render(result, width, color=terminal), target)
    else:
        output(text.to_json(result) if form == "json" else report.to_csv(result), target)


def _places(benchmark: Benchmark, hardware: Hardware, sizes: str | None, points: int | None, curve: Any) -> list[float]:
    """Return where to run a benchmark: as asked, else where it was measured, else over the whole range."""
    from simulator.run.bench import check_x, parse_x

    xs: Iterable[float]
    if sizes is not None:
        xs = sorted({parse_x(benchmark, part) for part in sizes.split(",")})
    elif points is None and curve is not None:
        step = max(1.0, len(curve.points) / MOST_PLACES)
        xs = [curve.points[int(place * step)][0] for place in range(min(len(curve.points), MOST_PLACES))]
    else:
        xs = benchmark.default_x(hardware, points or 40)
    xs = list(xs)
    for x in xs:
        check_x(benchmark, hardware, x)
    return xs


def _curve(variant: str, predicted: list[list[float]], curve: Any) -> Json:
    from simulator.validation.metrics import mean_error

    found = {} if curve is None else dict(curve.points)
    both = [(x, value, found[x]) for x, value in predicted if x in found]
    ours, theirs = [(x, value) for x, value, _ in both], [(x, value) for x, _, value in both]
    return {
        "variant": variant,
        "predicted": predicted,
        "measured": [list(point) for point in found.items()],
        "mean_error": mean_error(ours, theirs) if both else None,
        "source": None if curve is None else curve.source,
    }
