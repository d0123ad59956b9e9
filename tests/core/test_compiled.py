"""Where machine code is kept, and that what is changed of the compiler stays in the core."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import simulator.core.compiled  # noqa: F401


@pytest.mark.parametrize(("named", "kept"), [("", "tierscope"), ("elsewhere", "elsewhere")])
def test_an_empty_cache_folder_is_none(named: str, kept: str) -> None:
    """numba itself takes the empty name for one, and then keeps nothing."""
    code = "import numba; import simulator.core.compiled; print(numba.config.CACHE_DIR)"
    environment = os.environ | {"NUMBA_CACHE_DIR": named}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert kept in done.stdout


@numba.njit
def place(words, number):  # type: ignore[no-untyped-def]
    """Do what nobody in the core means, under the name of a function that exists there."""
    return words[number]


def test_other_peoples_functions_are_left_alone() -> None:
    assert place(np.arange(5), -2) == 3
