"""Where machine code is kept."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("named", "kept"), [("", "tierscope"), ("elsewhere", "elsewhere")])
def test_an_empty_cache_folder_is_none(named: str, kept: str) -> None:
    """numba itself takes the empty name for one, and then keeps nothing."""
    code = "import numba; import simulator.core.compiled; print(numba.config.CACHE_DIR)"
    environment = os.environ | {"NUMBA_CACHE_DIR": named}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert kept in done.stdout
