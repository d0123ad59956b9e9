"""What simple models say of the same rows: the roofline, and the best line of two parameters.

The line is ``t0 + c x roofline time``: for rows bound by memory, as nearly all of decode are, that is
``t0 + bytes / bandwidth``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.hardware import Dtype, Hardware
from simulator.run.cases import GemmCase, KernelCase
from simulator.theory.roofline import roofline_time_s

Floats = NDArray[np.float64]

SEARCH_STEPS = 100


def least_bytes(case: KernelCase) -> int:
    """Return the bytes a call has to move at least: every operand once."""
    if isinstance(case, GemmCase):
        shape = case.shape()
        operands = shape.m * shape.k * shape.activation_dtype.bytes + case.weight_bytes
        return operands + shape.m * shape.n * shape.output_dtype.bytes
    attention = case.shape()
    queries = attention.batch * attention.query_len * attention.heads * attention.head_dim
    keys = attention.batch * (attention.kv_len - attention.first_key)
    return 2 * queries * attention.activation_dtype.bytes + 2 * keys * attention.kv_token_bytes


def roofline_s(case: KernelCase, device: Hardware) -> float:
    """Return the roofline's time (s) of one call: all operands from device memory once, FLOPs at the peak rate."""
    rate = device.tensor_flops_per_s(case.dtype if isinstance(case, GemmCase) else Dtype.BF16)
    return roofline_time_s(case.shape().flops, least_bytes(case), rate, device.hbm.peak_bytes_per_s)


def best_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the (t0, c) for which the mean of |(t0 + c x) / y - 1| is least; all y positive.

    For a given c the best t0 is a weighted median, and what is left is convex in c: a ternary search finds it.
    """
    if len(x) == 1 or np.ptp(x) == 0:
        return _offset(x, y, 0.0), 0.0
    low, high = 0.0, float(np.max(y / x)) if np.all(x > 0) else float(np.max(y))
    for _ in range(SEARCH_STEPS):
        third = (high - low) / 3
        if _error(x, y, low + third) <= _error(x, y, high - third):
            high -= third
        else:
            low += third
    slope = (low + high) / 2
    return _offset(x, y, slope), slope


def line_error(x: Floats, y: Floats) -> float:
    """Return the mean absolute percentage error (as a share) of the best line on the rows it was fitted to."""
    offset, slope = best_line(x, y)
    return float(np.mean(np.abs((offset + slope * x) / y - 1)))


def _error(x: Floats, y: Floats, slope: float) -> float:
    return float(np.mean(np.abs((_offset(x, y, slope) + slope * x) / y - 1)))


def _offset(x: Floats, y: Floats, slope: float) -> float:
    """Return the weighted median of y - slope x, weights 1 / y."""
    rest = y - slope * x
    order = np.argsort(rest)
    weights = np.cumsum(1 / y[order])
    return float(rest[order][np.searchsorted(weights, weights[-1] / 2)])
