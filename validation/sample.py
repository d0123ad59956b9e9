"""Transcribe measured rows: python validation/sample.py (needs pip install "tierscope[validation]").

calibration_sample.csv: of the calibration rows (A100 and H100 rows with crc32(case key) % 10 == 0) up to
CALIBRATION_LONGEST_S, at most ROWS per GPU, framework, family and element type, evenly over their times.
rows/kernels.csv: the small set that `tierscope validate --transcribed` takes, a draw of TRANSCRIBED rows of each suite
up to LONGEST_S, over all GPUs, calibration and test rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simulator.validation.kernels import database, transcribed
from simulator.validation.kernels.rows import CALIBRATION, MeasuredRow, Selection, select
from simulator.validation.kernels.suite import SUITES, KernelSuite

ROWS = 60
TRANSCRIBED = 120
LONGEST_S = 3e-4
CALIBRATION_LONGEST_S = 1e-3
HERE = Path(__file__).parent
VERSIONS = {
    "a100-sxm-80gb": {"sglang": "0.5.10", "trtllm": "1.0.0", "vllm": "0.14.0"},
    "h100-sxm": {"sglang": "0.5.14", "trtllm": "1.3.0rc20", "vllm": "0.24.0"},
}
SHAPE = (
    *("m", "n", "k", "dtype", "weight_copies", "batch", "kv_len", "seq_len", "heads", "kv_heads", "head_dim"),
    *("kv_dtype", "page_tokens", "window"),
)
TIES = ("m", "n", "k", "batch", "heads", "kv_heads", "head_dim", "window", "kv_len", "seq_len")
COLUMNS = ["kernel", "hardware", "framework", "version", *SHAPE, "measured_s"]


def calibration_rows(suite: KernelSuite, source: database.Database) -> list[MeasuredRow]:
    """Return the calibration rows of the pinned versions."""
    rows, _ = select(suite, source, Selection(devices=tuple(VERSIONS)))
    return [row for row in rows if row.set == CALIBRATION and VERSIONS[row.device][row.framework] == row.version]


def values(row: MeasuredRow) -> dict[str, Any]:
    """Return a row in the columns of the calibration files."""
    case = row.case.model_dump(mode="json")
    own = {"kernel": row.case.kernel, "hardware": row.device, "framework": row.framework, "version": row.version}
    return own | {name: case[name] for name in SHAPE if name in case} | {"measured_s": f"{row.measured_s:.4g}"}


def by_framework(rows: Iterable[MeasuredRow]) -> list[list[dict[str, Any]]]:
    """Return the rows of each GPU, framework and element type, the shortest first."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.device, row.framework, row.dtype), []).append(values(row))
    for group in groups.values():
        group.sort(key=lambda row: (float(row["measured_s"]), [str(row.get(name)) for name in TIES]))
    return [groups[name] for name in sorted(groups)]


def thinned(groups: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return at most ROWS of each group, evenly over their times, none longer than CALIBRATION_LONGEST_S."""
    chosen = []
    for rows in groups:
        group = [row for row in rows if float(row["measured_s"]) <= CALIBRATION_LONGEST_S]
        step = max(1, len(group) / ROWS)
        chosen += [group[int(i * step)] for i in range(min(ROWS, len(group)))]
    return chosen


def write(target: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header."""
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write the two files."""
    source = database.installed()
    sample: list[dict[str, Any]] = []
    small: list[dict[str, Any]] = []
    for suite in SUITES.values():
        sample += thinned(by_framework(calibration_rows(suite, source)))
        drawn, _ = select(suite, source, Selection(sample=TRANSCRIBED, longest_s=LONGEST_S))
        small += [transcribed.to_csv_values(row, f"{database.SOURCE} {row.source}") for row in drawn]
    write(HERE / "calibration_sample.csv", COLUMNS, sample)
    write(HERE / "rows" / transcribed.FILE, transcribed.COLUMNS, small)


if __name__ == "__main__":
    main()
