"""How far measured times of one product lie apart: python validation/noise.py

Products of up to 8 rows differ in nothing that a kernel's tiles would show, nor do those of 9 to 16.  Per GPU and
framework this prints the mean distance of their measured times from the median of the same n and k, over bf16 products
with weights over 4 MB: what no prediction that knows n and k alone comes below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.validation.kernels import database
from simulator.validation.kernels.suite import SUITES, description_of

ALIKE = ((2, 8), (9, 16))  # rows of x
LEAST_ROWS = 3  # of a product, to have a median
WEIGHT_BYTES = 4e6


def distance(shapes: NDArray[np.int64], times: NDArray[np.float64]) -> float:
    """Return the mean of |time / median of its shape - 1| over shapes ([rows], a number each) of three rows and more;
    NaN where there are none."""
    apart = [
        np.abs(same / np.median(same) - 1)
        for shape in np.unique(shapes)
        if len(same := times[shapes == shape]) >= LEAST_ROWS
    ]
    return float(np.mean(np.concatenate(apart))) if apart else float("nan")


def distances(table: database.Table) -> list[float]:
    """Return the distance of each of `ALIKE` in a table of products."""
    columns = database.read(table)
    m, n, k, times = (columns.numbers(name) for name in ("m", "n", "k", "latency"))
    usable = columns.equal("gemm_dtype", "bfloat16") & (2 * n * k > WEIGHT_BYTES) & (times > 0)
    shapes = (n * 2**32 + k).astype(np.int64)
    alike = [usable & (m >= low) & (m <= high) for low, high in ALIKE]
    return [distance(shapes[rows], times[rows]) for rows in alike]


def main() -> None:
    """Print a line per table that has such products."""
    suite = SUITES["gemm"]
    for table in database.installed().tables(suite.family, suite.file):
        found = distances(table) if description_of(table.gpu) else []
        known = [(rows, share) for rows, share in zip(ALIKE, found, strict=False) if not np.isnan(share)]
        if known:
            parts = ", ".join(f"m {low} to {high} {share:.1%}" for (low, high), share in known)
            print(f"{table.gpu:20s} {table.framework:7s} {table.version:12s} {parts}")


if __name__ == "__main__":
    main()
