"""tierscope predict."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.cli.options import check_outputs, hardware_options, processes
from simulator.errors import ConfigError

BAD_ROWS = 2


@click.command()
@click.argument("cases", metavar="CASES.csv", type=click.Path(path_type=Path))
@hardware_options
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes [default: as many as processors].")
def predict(
    cases: Path, hardware: str | None, overrides: tuple[str, ...], output: Path | None, jobs: int | None
) -> int:
    """Predict one kernel per CSV row: gemm, decode_attention or prefill_attention.

    Writes the same rows with time_s, l2_hit_rate, dram_read_bytes, dram_write_bytes, limiter and error.  A row that
    cannot be predicted says why in `error` and on standard error; the others are predicted all the same, and the exit
    code is 2.
    """
    if hardware is None:
        raise ConfigError("no hardware given; add --hardware NAME (tierscope list hardware)")
    from simulator import hardware as devices
    from simulator.cli.progress import row_progress
    from simulator.report.files import write_text
    from simulator.report.predictions import to_csv
    from simulator.run.cases import read_cases
    from simulator.run.pool import predict_rows

    devices.load(hardware, overrides)
    check_outputs(output)
    columns, read = read_cases(cases)
    rows = list(read)
    with row_progress("predicting", 1.0) as advance:
        predicted = list(predict_rows(rows, hardware, overrides, processes(jobs), advance))
    rendered = to_csv(columns, predicted)
    if output is not None:
        write_text(output, rendered)
    else:
        click.echo(rendered, nl=False)
    bad = [(row.line, error) for row, _, error in predicted if error]
    for line, error in bad:
        click.echo(f"tierscope: {cases}: line {line}: {error}", err=True)
    return BAD_ROWS if bad else 0
