"""tierscope validate."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from simulator.cli.checkpoint import open_checkpoint, say_what_is_left
from simulator.cli.options import check_outputs, format_options, output, override_option, processes
from simulator.cli.validate_kernels import KERNEL_SUITES, kernel_choice, kernel_options, validate_kernels
from simulator.errors import ConfigError

OUT_OF_TOLERANCE = 1
MICROBENCHMARKS = "microbenchmarks"
HIT_RATES = "hit-rates"
SERVING = "serving-decode"
OWN_REPORTS = (MICROBENCHMARKS, HIT_RATES, SERVING)
PLOTS = "plots"


@click.command()
@click.argument("suites", metavar="[SUITE]...", nargs=-1, type=click.Choice([*OWN_REPORTS, *KERNEL_SUITES]))
@click.option("--only", multiple=True, metavar="BENCHMARK", help="Only this microbenchmark.  May be given again.")
@click.option(
    "--hardware",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Only this device.  May be given again.  Kernel suites take a TOML file too: it describes the GPU whose "
    "folder of the database has its name.",
)
@override_option
@format_options
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    help="Also write pages into this directory and plots into plots/ in it: microbenchmarks.md, or REPORT.md and "
    "REPORT.html of kernel suites.",
)
@kernel_options
def validate(
    suites: tuple[str, ...],
    only: tuple[str, ...],
    devices: tuple[str, ...],
    overrides: tuple[str, ...],
    form: str,
    target: Path | None,
    folder: Path | None,
    **kernel: Any,
) -> int:
    """Compare predictions with measurements; exits with 1 where one is out of its tolerance.

    microbenchmarks (the default): the curves of public microbenchmarks, from hardware parameters alone.

    serving-decode: time per output token of serving engines, tensor parallelism included; about ten minutes.

    hit-rates: L2 hit rates and DRAM sectors of single kernels against hardware counters.

    gemm, decode-attention, prefill-attention: kernel times measured under serving frameworks, from the optional
    dependencies "validation", or with --transcribed the few rows that ship.  tierscope list suites lists all suites.
    """
    own = next((suite for suite in OWN_REPORTS if suite in suites), None if suites else MICROBENCHMARKS)
    if own is not None:
        for_all = {name: kernel.pop(name) for name in ("jobs", "checkpoint", "every")}
        given = [name for name, value in kernel.items() if not (value is None or value is False or value == ())]
        if len(set(suites)) > 1:
            raise ConfigError(f"suite {own}: has a report of its own; name it alone")
        if given:
            option = given[0].replace("_", "-")
            raise ConfigError(f"suite {own}: --{option} is for kernel suites; name one of them")
        if only and own != MICROBENCHMARKS:
            raise ConfigError(f"--only is for microbenchmarks; {own} takes --hardware")
        run = Run(own, only, devices, overrides, for_all["checkpoint"], processes(for_all["jobs"]))
        return _own_report(run, form, target, folder)
    if only:
        raise ConfigError("--only is for microbenchmarks; kernel suites take --hardware and --framework")
    common = {"devices": devices, "overrides": overrides, "form": form, "target": target, "folder": folder}
    return validate_kernels(kernel_choice(tuple(dict.fromkeys(suites)), common, kernel))


@dataclass(frozen=True)
class Run:
    """What the command line says of a run of a suite with a report of its own."""

    suite: str
    only: tuple[str, ...]
    devices: tuple[str, ...]
    overrides: tuple[str, ...]
    checkpoint: Path | None
    jobs: int

    @property
    def command(self) -> str:
        """The command that makes the report again."""
        chosen = [*(f"--only {name}" for name in self.only), *(f"--hardware {name}" for name in self.devices)]
        return " ".join(["tierscope validate", self.suite, *chosen, *(f'--set "{each}"' for each in self.overrides)])


def _own_report(run: Run, form: str, target: Path | None, folder: Path | None) -> int:
    from simulator.report import text, validation

    check_outputs(target, run.checkpoint)
    if folder is not None:
        _prepare(folder, run.suite)
    report = _report(run)
    if folder is not None:
        _write(report, folder, f"{run.command} --report {folder.name}")
    if form == "table":
        terminal = target is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((140, 40)).columns if terminal else 140
        output(validation.render(report, width, color=terminal), target)
    else:
        output(text.to_json(report) if form == "json" else validation.to_csv(report), target)
    return 0 if report["passed"] else OUT_OF_TOLERANCE


def _report(run: Run) -> dict[str, Any]:
    """Return the report of a suite, of which what a checkpoint has is not worked out again."""
    from simulator.cli.progress import row_progress
    from simulator.validation import hit_rates, serving, suites
    from simulator.validation.kept import kept

    chosen: Any
    compare: Any
    if run.suite == MICROBENCHMARKS:
        chosen, compare = suites.select(run.only, run.devices), suites.microbenchmarks
    elif run.suite == HIT_RATES:
        chosen, compare = hit_rates.select(run.devices), hit_rates.hit_rates
    else:
        chosen, compare = serving.select(run.devices), serving.serving_decode
    identity = [run.suite, run.only, run.devices, run.overrides]
    with open_checkpoint(run.checkpoint, identity) as checkpoint, row_progress(run.suite, 1.0) as advance:
        announce = partial(say_what_is_left, checkpoint)
        solve = partial(kept, checkpoint=checkpoint, workers=run.jobs, announce=announce, advance=advance)
        report: dict[str, Any] = compare(chosen, run.overrides, solve)
    if run.suite == SERVING:
        click.echo(report["note"], err=True)
    return report


def _prepare(folder: Path, suite: str) -> None:
    """Make the folder of plots, and refuse before any work is done one that cannot be written to."""
    from simulator.report.files import make_folder

    make_folder(folder / PLOTS)
    check_outputs(folder / f"{suite}.md", folder / PLOTS / "plot.svg")


def _write(report: dict[str, Any], folder: Path, command: str) -> None:
    """Write the page of a report and a plot for each benchmark on each device."""
    from simulator.report import curve_svg, validation
    from simulator.report.files import write_text

    plots: dict[tuple[str, str], str] = {}
    for curve in report["curves"]:
        key = (curve["benchmark"], curve["hardware"])
        if key in plots:
            continue
        together = [other for other in report["curves"] if (other["benchmark"], other["hardware"]) == key]
        plots[key] = f"{PLOTS}/{key[0]}-{key[1]}.svg"
        write_text(folder / plots[key], curve_svg.render(f"{curve['title']}, {curve['gpu']}", together))
    write_text(folder / f"{report['suite']}.md", validation.to_markdown(report, command, plots))
