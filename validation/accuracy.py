"""How far predictions are from measurements: python validation/accuracy.py [--update]

Prints, as Markdown, the error over the calibration sample and the focus rows beside the roofline's.  With --update the
table of validation/README.md is replaced.  All rows are calibration rows: this is the error where scalars were fitted,
not a test result.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean, median

from simulator import hardware
from simulator.hardware import Dtype, Hardware
from simulator.run.cases import KINDS, DecodeAttentionCase, GemmCase, PrefillAttentionCase
from simulator.run.predict import predict
from simulator.theory.roofline import roofline_time_s

HERE = Path(__file__).parent
README = HERE / "README.md"
NOT_IN_CASE = ("kernel", "hardware", "version", "measured_s")


def least_bytes(case: GemmCase | DecodeAttentionCase | PrefillAttentionCase) -> int:
    """Return the bytes a call has to move at least: every operand once."""
    if isinstance(case, GemmCase):
        size = case.dtype.bytes
        return size * (case.m * case.k + case.n * case.k + case.m * case.n)
    shape = case.shape()
    activations = 2 * shape.batch * shape.query_len * shape.heads * shape.head_dim * shape.activation_dtype.bytes
    return activations + 2 * shape.batch * (shape.kv_len - shape.first_key) * shape.kv_token_bytes


def rows(path: Path) -> Iterator[tuple[dict[str, str], float, float]]:
    """Yield each row with predicted / measured and roofline / measured."""
    devices: dict[str, Hardware] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            device = devices.setdefault(row["hardware"], hardware.load(row["hardware"]).spec)
            kind = KINDS[row["kernel"]]
            case = kind.model_validate({k: v for k, v in row.items() if v and k not in NOT_IN_CASE})
            measured = float(row["measured_s"])
            peak = device.tensor_flops_per_s(case.dtype if isinstance(case, GemmCase) else Dtype.BF16)
            bound = roofline_time_s(case.shape().flops, least_bytes(case), peak, device.hbm.peak_bytes_per_s)
            yield row, predict(case, device).time_s / measured, bound / measured


def error(ratios: Iterable[float]) -> str:
    """Return the mean absolute error of ratios to the measured value."""
    return f"{100 * mean(abs(ratio - 1) for ratio in ratios):.1f} %"


def kernel_table() -> Iterator[str]:
    """Yield the table of the calibration sample and the focus rows."""
    yield "| rows | GPU | framework | type | rows | error | median predicted / measured | roofline's error |"
    yield "|---|---|---|---|---|---|---|---|"
    cells: dict[tuple[str, str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row, ours, bound in rows(HERE / "calibration_sample.csv"):
        cells[row["kernel"], row["hardware"], row["framework"], row["kv_dtype"] or row["dtype"]].append((ours, bound))
    for row, ours, bound in rows(HERE / "h100_focus.csv"):
        name = "gemm, m = 1 (all)" if row["kernel"] == "gemm" else "decode_attention, 32/8 heads of 128 (all)"
        cells[name, row["hardware"], row["framework"], "bf16"].append((ours, bound))
    for (kernel, device, framework, dtype), pairs in cells.items():
        ours = [pair[0] for pair in pairs]
        yield (
            f"| {kernel} | {device} | {framework} | {dtype} | {len(pairs)} | {error(ours)} | {median(ours):.2f} | "
            f"{error(pair[1] for pair in pairs)} |"
        )


def main() -> None:
    """Print the table; with --update, put it into README.md."""
    table = "\n".join(kernel_table())
    print(table)
    if "--update" in sys.argv[1:]:
        head, _, rest = README.read_text(encoding="utf-8").partition("<!-- begin kernels -->")
        _, _, tail = rest.partition("<!-- end kernels -->")
        text = f"{head}<!-- begin kernels -->\n{table}\n<!-- end kernels -->{tail}"
        README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
