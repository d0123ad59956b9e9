"""The kernel suites of tierscope validate."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from simulator.cli.checkpoint import open_checkpoint, say_what_is_left
from simulator.cli.options import check_outputs, output, processes
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.validation.kernels.accuracy import Plan
    from simulator.validation.kernels.checkpoint import Checkpoint

OUT_OF_TOLERANCE = 1
DEFAULT_SAMPLE = 1000
PAGE, HTML_PAGE, PLOTS = "REPORT.md", "REPORT.html", "plots"

KERNEL_SUITES = ("gemm", "decode-attention", "prefill-attention")
FRAMEWORKS = ("vllm", "sglang", "trtllm")
MECHANISMS = ("l2", "in-flight", "launch", "waves", "partitions")
ALL = "all"

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class KernelOptions:
    """What the command line says of a run of kernel suites; `sample` None: every row."""

    suites: tuple[str, ...]
    devices: tuple[str, ...]
    frameworks: tuple[str, ...]
    overrides: tuple[str, ...]
    without: tuple[str, ...]
    without_sample: int | None
    sample: int | None
    part_sample: int
    seed: int
    longest: str | None
    jobs: int
    checkpoint: Path | None
    transcribed: bool
    database: Path | None
    gate: Path | None
    write_gate: Path | None
    form: str
    target: Path | None
    folder: Path | None


def kernel_options(function: F) -> F:
    """Add the options of kernel suites; `kernel_choice` reads them."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--framework", multiple=True, type=click.Choice(FRAMEWORKS), help="Only this framework's rows."),
        click.option(
            "--sample",
            type=click.IntRange(1),
            metavar="N",
            help=f"Draw N rows a suite, evenly over GPUs, frameworks, types and sizes [default: {DEFAULT_SAMPLE}].",
        ),
        click.option(
            "--part-sample",
            type=click.IntRange(1),
            metavar="N",
            help="Draw N more rows where a limit stands for a small part of a suite (gemm: m <= 64, weights over 4 MB);"
            " they count in that part alone.",
        ),
        click.option("--all", "every", is_flag=True, help="Every row."),
        click.option("--seed", type=click.IntRange(0), metavar="N", help="Seed of the draw [default: 0]."),
        click.option("--longest", metavar="TIME", help='Only rows measured to take at most this, such as "1 ms".'),
        click.option(
            "--without",
            multiple=True,
            type=click.Choice([*MECHANISMS, ALL]),
            help="Predict the same rows once more with this mechanism switched off.  May be given again.",
        ),
        click.option(
            "--without-sample",
            type=click.IntRange(1),
            metavar="N",
            help="Switch mechanisms off for N of the rows drawn a suite [default: all].",
        ),
        click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes [default: as many as processors]."),
        click.option("--checkpoint", type=path, help="Keep predictions in this file and go on from it."),
        click.option("--transcribed", is_flag=True, help="Take the few rows that ship instead of the database."),
        click.option("--database", type=path, help="A folder with <gpu>/<family>/<framework>/<version> tables."),
        click.option("--gate", type=path, help="Exit with 1 only where a cell is worse than this file says."),
        click.option("--write-gate", type=path, help="Write the errors of all cells into this file."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def kernel_choice(suites: tuple[str, ...], common: Json, kernel: Json) -> KernelOptions:
    """Return the options given; raises ConfigError where two exclude each other."""
    if kernel["every"] and kernel["sample"] is not None:
        raise ConfigError("--sample and --all exclude each other; give one")
    if kernel["part_sample"] is not None and (kernel["every"] or kernel["transcribed"]):
        raise ConfigError("--part-sample draws from the database; leave out --all and --transcribed")
    if kernel["without_sample"] is not None and not kernel["without"]:
        raise ConfigError("--without-sample needs --without; say which mechanisms to switch off")
    return KernelOptions(
        suites=suites,
        **common,
        frameworks=kernel["framework"],
        without=MECHANISMS if ALL in kernel["without"] else tuple(dict.fromkeys(kernel["without"])),
        without_sample=kernel["without_sample"],
        sample=None if kernel["every"] else kernel["sample"] or DEFAULT_SAMPLE,
        part_sample=kernel["part_sample"] or 0,
        seed=kernel["seed"] or 0,
        longest=kernel["longest"],
        jobs=processes(kernel["jobs"]),
        checkpoint=kernel["checkpoint"],
        transcribed=kernel["transcribed"],
        database=kernel["database"],
        gate=kernel["gate"],
        write_gate=kernel["write_gate"],
    )


def validate_kernels(options: KernelOptions) -> int:
    """Predict, judge, print and write; return the exit code."""
    from simulator.cli.progress import working
    from simulator.validation.kernels import accuracy, gate

    check_outputs(options.target, options.write_gate, options.checkpoint)
    committed = gate.read(options.gate) if options.gate else None
    with working("reading the measured rows"):
        todo = _plan(options)
    if committed is not None and options.gate is not None:
        gate.check_same_run(committed, accuracy.describe(todo), options.gate)
    if options.folder is not None:
        _prepare(options.folder)
    files = todo.files()
    if files and options.checkpoint:
        raise ConfigError(f"--checkpoint keeps predictions by the name of a device; leave it out with {files[0][0]}")
    with open_checkpoint(options.checkpoint, [accuracy.describe(todo), sorted(todo.rows), files]) as checkpoint:
        _predict(todo, checkpoint, options.jobs)
        report = accuracy.report(todo, checkpoint)
    worse = gate.compare(committed, report) if committed is not None else None
    if worse is not None:
        report["passed"] = not worse
        report["gate"] = {"file": str(options.gate), "worse": worse}
    _emit(report, options)
    if options.write_gate is not None:
        previous = gate.read(options.write_gate) if _is_filled(options.write_gate) else None
        output(gate.to_json(gate.committed(report, previous)), options.write_gate)
    return 0 if report["passed"] else OUT_OF_TOLERANCE


def _plan(options: KernelOptions) -> Plan:
    from simulator import units
    from simulator.validation.kernels import accuracy, database, transcribed
    from simulator.validation.kernels.rows import Selection

    if options.transcribed and options.database:
        raise ConfigError("--transcribed and --database exclude each other; give one")
    longest_s = None
    if options.longest is not None:
        try:
            longest_s = units.parse_quantity(options.longest, units.TIME) / units.PS_PER_S
        except ValueError as error:
            raise ConfigError(f"--longest: {error}") from error
        if longest_s <= 0:
            raise ConfigError(f"--longest: must be positive (given {options.longest})")
    selection = Selection(
        options.sample, options.seed, options.devices, options.frameworks, longest_s, options.part_sample
    )
    if options.transcribed:
        source: database.Database | Path = transcribed.path()
    else:
        source = database.at(options.database) if options.database else database.installed()
    return accuracy.plan(options.suites, selection, source, options.overrides, options.without, options.without_sample)


def _predict(todo: Plan, checkpoint: Checkpoint, jobs: int) -> None:
    """Make the predictions that the checkpoint lacks, showing progress."""
    from simulator.cli.progress import row_progress
    from simulator.validation.kernels import accuracy

    missing = len(todo.missing(checkpoint))
    if not missing:
        return
    say_what_is_left(checkpoint, missing)
    with row_progress(", ".join(todo.rows), 1.0) as advance:
        accuracy.run(todo, checkpoint, jobs, advance)


def _prepare(folder: Path) -> None:
    """Make the folder of the report, and refuse before any work is done one that cannot be written to."""
    from simulator.report.files import make_folder

    make_folder(folder / PLOTS)
    check_outputs(folder / PAGE, folder / HTML_PAGE, folder / PLOTS / "plot.svg")


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _emit(report: Json, options: KernelOptions) -> None:
    """Print the report in the form asked for, and write its pages."""
    from simulator.report import accuracy, sheet, text

    if options.folder is not None:
        _write(report, options.folder, command_line(options))
    if options.form == "table":
        terminal = options.target is None and sys.stdout.isatty()
        width = shutil.get_terminal_size((160, 40)).columns if terminal else 160
        rendered = accuracy.render(report, width, color=terminal)
        worse = report.get("gate", {}).get("worse")
        if worse:
            rendered += "\n" + sheet.render_sheet(accuracy.gate_sheet(worse), width, color=terminal)
        output(rendered, options.target)
    else:
        output(text.to_json(report) if options.form == "json" else accuracy.to_csv(report), options.target)


def command_line(options: KernelOptions) -> str:
    """Return the command that makes the report again."""
    words = ["tierscope validate", *options.suites]
    words += [f"--hardware {name}" for name in options.devices]
    words += [f"--framework {name}" for name in options.frameworks]
    words += ["--all"] if options.sample is None else [f"--sample {options.sample}", f"--seed {options.seed}"]
    words += [f"--part-sample {options.part_sample}"] if options.part_sample else []
    words += [f'--longest "{options.longest}"'] if options.longest else []
    words += ["--transcribed"] if options.transcribed else []
    words += [f'--set "{change}"' for change in options.overrides]
    words += ["--without all"] if options.without == MECHANISMS else [f"--without {name}" for name in options.without]
    words += [f"--without-sample {options.without_sample}"] if options.without_sample else []
    words += [f"--report {options.folder.name}"] if options.folder else []
    return " ".join(words)


def _write(report: Json, folder: Path, command: str) -> None:
    """Write the Markdown and HTML pages of a report, and a plot for each suite and GPU."""
    from simulator.report import accuracy, accuracy_page
    from simulator.report.files import write_text

    plots: dict[tuple[str, str], str] = {}
    for suite in report["suites"]:
        for device, plot in accuracy_page.plots_of(suite, words=False):
            plots[suite["suite"], device] = f"{PLOTS}/{suite['suite']}-{device}.svg"
            write_text(folder / plots[suite["suite"], device], plot)
    write_text(folder / PAGE, accuracy.to_markdown(report, command, plots))
    write_text(folder / HTML_PAGE, accuracy_page.render(report, command))
