"""How far measured times of one product lie apart."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

DISTANCE = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "noise.py"))["distance"]


def test_rows_lie_apart_from_the_median_of_their_shape() -> None:
    """10, 11 and 14 lie 1, 0 and 3 elevenths from 11, three equal times nowhere; two rows of a shape say nothing."""
    shapes = np.array([1, 1, 1, 2, 2, 2, 3, 3])
    times = np.array([10.0, 14.0, 11.0, 5.0, 5.0, 5.0, 1.0, 9.0])
    assert DISTANCE(shapes, times) == pytest.approx(4 / 11 / 6)


def test_without_three_rows_of_a_shape_there_is_no_distance() -> None:
    assert math.isnan(DISTANCE(np.array([1, 1, 2]), np.array([1.0, 2.0, 3.0])))
