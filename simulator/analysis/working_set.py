"""Working sets (Denning 1968): how much is touched in a window of accesses, on average and as time goes by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.reuse_count import bin_edges

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def mean_working_set(gaps: Int64Array, accesses: int, footprint: int) -> tuple[Int64Array, FloatArray]:
    """Return window lengths (accesses) and the distinct units in a window, averaged over all windows of that length.

    A unit is absent from x - w of the windows of w accesses for every gap x > w between two of its accesses, before the
    first and after the last (Xiang et al. 2011, equation 2).  `gaps` (bins, 2) has number and sum of the gaps in each
    bin of `bin_edges`, so that the result is exact at the windows given, which are beginnings of bins.
    """
    edges = bin_edges()
    windows = np.append(edges[(edges >= 1) & (edges < accesses)], accesses)
    beyond = np.cumsum(gaps[::-1], axis=0)[::-1]
    number, total = beyond[np.searchsorted(edges, windows)].T.astype(float)
    return windows, footprint - np.maximum(total - windows * number, 0) / (accesses - windows + 1)
