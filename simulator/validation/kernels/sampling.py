"""Drawing rows: an equal share of every stratum, and within a stratum evenly over the rows in order of size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified(strata: NDArray[np.int64], sizes: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the places of at most `count` of the rows, ascending; `strata` and `sizes` have one value a row.

    Strata get equal shares; what a small one cannot use goes to the others.  Within a stratum every row is as likely
    as another, and the chosen ones follow its distribution of sizes (systematic sampling from a random start), so
    that a mean over them estimates the mean over the stratum.
    """
    draw = np.random.default_rng(seed)
    names, populations = np.unique(strata, return_counts=True)
    quotas = _quotas(populations, min(count, len(strata)), draw)
    chosen = [np.empty(0, np.int64)]
    for name, quota in zip(names, quotas, strict=True):
        rows = draw.permutation(np.flatnonzero(strata == name))
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        places = (np.arange(quota) + draw.random()) * len(rows) / max(1, quota)
        chosen.append(rows[places.astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def _quotas(populations: NDArray[np.int64], count: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return how many of each stratum are drawn, `count` in all; what does not divide evenly is rounded at random."""
    quotas = np.zeros(len(populations), np.int64)
    order = draw.permutation(len(populations))
    order = order[np.argsort(populations[order], kind="stable")]
    left = count
    for place, stratum in enumerate(order):
        others = len(order) - place
        quotas[stratum] = min(populations[stratum], (left + draw.integers(others)) // others)
        left -= int(quotas[stratum])
    return quotas
