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

SEARCH_STEPS = 70
GOLDEN = (5**0.5 - 1) / 2


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
    """Return the (t0, c) for which the mean of |(t0 + c x) / y - 1| is least; all y positive."""
    offset, slope = best_lines(x[None], y[None])
    return float(offset[0]), float(slope[0])


def best_lines(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return t0 and c of the best line of each row of points, (lines, points); all y positive.

    For a given c the best t0 is a weighted median, and what is left is convex in c: a search by the golden section
    finds it.
    """
    low = np.zeros(len(x))
    high = np.max(y / np.where(x > 0, x, 1), axis=1) * (np.ptp(x, axis=1) > 0)
    step = GOLDEN * (high - low)
    left, right = high - step, low + step
    left_error, right_error = _errors(x, y, left), _errors(x, y, right)
    for _ in range(SEARCH_STEPS):
        lower = left_error <= right_error
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        step = GOLDEN * (high - low)
        probe = np.where(lower, high - step, low + step)
        probe_error = _errors(x, y, probe)
        left, right = np.where(lower, probe, right), np.where(lower, left, probe)
        left_error, right_error = (
            np.where(lower, probe_error, right_error),
            np.where(lower, left_error, probe_error),
        )
    slope = (low + high) / 2
    return _offsets(x, y, slope), slope


def line_error(x: Floats, y: Floats) -> float:
    """Return the mean absolute percentage error (as a share) of the best line on the rows it was fitted to."""
    offset, slope = best_line(x, y)
    return float(np.mean(np.abs((offset + slope * x) / y - 1)))


def line_of_others_error(x: Floats, y: Floats) -> float:
    """Return the mean absolute percentage error (as a share) of each row by the best line of the others."""
    others = ~np.eye(len(x), dtype=np.bool_)
    offset, slope = best_lines(*(np.tile(each, (len(x), 1))[others].reshape(len(x), -1) for each in (x, y)))
    return float(np.mean(np.abs((offset + slope * x) / y - 1)))


def _errors(x: Floats, y: Floats, slope: Floats) -> Floats:
    off = np.abs((_offsets(x, y, slope)[:, None] + slope[:, None] * x) / y - 1)
    return np.asarray(off.mean(axis=1), np.float64)


def _offsets(x: Floats, y: Floats, slope: Floats) -> Floats:
    """Return the weighted median of y - slope x, weights 1 / y."""
    rest = y - slope[:, None] * x
    order = np.argsort(rest, axis=1)
    weights = np.cumsum(np.take_along_axis(1 / y, order, axis=1), axis=1)
    middle = np.argmax(weights >= weights[:, -1:] / 2, axis=1)
    found: Floats = np.take_along_axis(rest, np.take_along_axis(order, middle[:, None], axis=1), axis=1)[:, 0]
    return found
