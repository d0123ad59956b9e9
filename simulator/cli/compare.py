"""tierscope compare."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from simulator.cli.options import check_outputs, format_options, output
from simulator.errors import ConfigError

if TYPE_CHECKING:
    from simulator.run.execute import Prepared
    from simulator.run.result import Json


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--ncu",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Lay a real profile beside one run: what ncu --csv printed, raw or details page.",
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="OURS[=THEIRS]",
    help="With --ncu: compare the kernels with these parts in their names, by the means over their launches. "
    "May be given again.",
)
@click.option("--exact", is_flag=True, help="Replay every layer and step instead of extrapolating.")
@format_options
def compare(
    runs: tuple[Path, ...],
    ncu: Path | None,
    kernels: tuple[str, ...],
    exact: bool,
    form: str,
    target: Path | None,
) -> None:
    """Lay runs side by side, with the causes of the difference, or a run beside a real profile.

    RUN is a RUN.toml, which is simulated, or a result that --format json wrote (FILE.json).
    """
    if ncu is None and len(runs) < 2:
        raise ConfigError("one run has nothing to be compared with; name another, or a profile with --ncu FILE.csv")
    if ncu is not None and len(runs) > 1:
        raise ConfigError(f"--ncu lays a profile beside one run, not {len(runs)}; name one")
    if kernels and ncu is None:
        raise ConfigError("--kernel chooses kernels of a profile; add --ncu FILE.csv, or leave it out")
    check_outputs(target)
    if ncu is not None:
        _beside_profile(runs[0], ncu, kernels, exact, form, target)
        return
    from simulator.report import comparison, comparison_table

    compared = comparison.compare(_results(runs, exact), [str(run) for run in runs])
    _emit(comparison_table, compared, form, target)


def _beside_profile(
    run: Path, ncu: Path, kernels: tuple[str, ...], exact: bool, form: str, target: Path | None
) -> None:
    from simulator.report.ncu import comparison, comparison_table, profile

    profiled = profile.read(ncu)
    compared = comparison.compare(_results((run,), exact)[0], profiled, str(ncu), kernels)
    _emit(comparison_table, compared, form, target)


def _emit(tables: ModuleType, compared: Json, form: str, target: Path | None) -> None:
    """Print or write a comparison in the form asked for, with the module that lays out its kind."""
    if form == "json":
        rendered = tables.to_json(compared)
    elif form == "csv":
        rendered = tables.to_csv(compared)
    else:
        rendered = tables.render(compared, _width(target), color=_colored(target))
    output(rendered, target)


def _results(runs: tuple[Path, ...], exact: bool) -> list[Json]:
    """Return the results of all runs; every file is read and checked before the first is simulated."""
    from simulator.report import stored

    known: list[Json | Prepared] = []
    for run in runs:
        known.append(dict(stored.read(run)) if stored.is_result(run) else _prepared(run, exact))
    return [each if isinstance(each, dict) else _simulated(each) for each in known]


def _prepared(run: Path, exact: bool) -> Prepared:
    from simulator.cli.run import build_request
    from simulator.run.execute import prepare

    return prepare(build_request(str(run), {"exact": exact or None}))


def _simulated(prepared: Prepared) -> Json:
    from simulator.cli.progress import announce_compilation, kernel_progress
    from simulator.run.execute import execute

    announce_compilation()
    with kernel_progress(prepared.layers, prepared.trace.steps) as progress:
        return execute(prepared, progress)


def _colored(target: Path | None) -> bool:
    return target is None and sys.stdout.isatty()


def _width(target: Path | None) -> int:
    return shutil.get_terminal_size((100, 40)).columns if _colored(target) else 100
