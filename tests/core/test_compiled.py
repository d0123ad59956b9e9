"""Where machine code is kept, and that what is changed of the compiler stays in the core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from simulator.core import compiled


@pytest.mark.parametrize(("named", "kept"), [("", "tierscope"), ("elsewhere", "elsewhere")])
def test_an_empty_cache_folder_is_none(named: str, kept: str) -> None:
    """numba itself takes the empty name for one, and then keeps nothing."""
    code = "import numba; import simulator.core.compiled; print(numba.config.CACHE_DIR)"
    environment = os.environ | {"NUMBA_CACHE_DIR": named}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert kept in done.stdout


def test_code_that_no_run_has_used_for_a_month_is_removed(tmp_path: Path) -> None:
    """Once, when there is none of this version yet; a run that finds its own says that it is used."""
    root = tmp_path / "tierscope"
    old, kept, validate = (root / name for name in ("0123456789abcdef", "fedcba9876543210", "validate"))
    long_ago = time.time() - compiled.UNUSED_S - 60
    for folder in (old, kept, validate):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    for folder in (old, validate):
        os.utime(folder, (long_ago, long_ago))
    code = "import numba; import simulator.core.compiled; print(numba.config.CACHE_DIR)"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert sorted(folder.name for folder in root.iterdir()) == ["fedcba9876543210", "validate"]
    own = Path(done.stdout.strip())
    own.mkdir()
    os.utime(own, (long_ago, long_ago))
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert time.time() - own.stat().st_mtime < 60


@numba.njit
def place(words, number):  # type: ignore[no-untyped-def]
    """Do what nobody in the core means, under the name of a function that exists there."""
    return words[number]


def test_other_peoples_functions_are_left_alone() -> None:
    assert place(np.arange(5), -2) == 3


WITH_OTHER_INTERNALS = """
from numba.core import codegen
from numba.np import arrayobj

places = [(arrayobj, "fix_integer_index"), (codegen.JITCPUCodegen, "set_env")]
places += [(codegen.JITCodeLibrary, name) for name in ("_optimize_final_module", "_finalize_final_module")]
for of, name in places[{first}:{last}]:
    setattr(of, name, lambda *arguments, before=getattr(of, name): before(*arguments))
found = [getattr(of, name) for of, name in places]

import numpy as np
from simulator.core.compiled import compiled, small_function

@small_function
def word(words, number):
    return words[number]

def double(words, number):
    return 2 * word(words, number)

double.__module__ = "simulator.core.double"
print([getattr(of, name) is before for (of, name), before in zip(places, found)])
print(compiled(double)(np.arange(5), 3))
"""
"""A program that uses the decorators of the core under a numba some of whose internals take other arguments."""


@pytest.mark.parametrize(
    ("first", "last", "left"), [(0, 0, []), (0, 1, [0]), (1, 2, [1, 2, 3]), (2, 3, [1, 2, 3]), (3, 4, [1, 2, 3])]
)
def test_internals_of_another_numba_are_left_alone(first: int, last: int, left: list[int], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WITH_OTHER_INTERNALS.format(first=first, last=last))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str([place in left for place in range(4)]), "6"]


def test_a_numba_without_them_is_left_alone() -> None:
    codegen, arrayobj = SimpleNamespace(JITCPUCodegen=None), SimpleNamespace()
    compiled._translate_once(codegen)
    compiled._index_from_the_front(arrayobj)
    compiled._index_from_the_front(None)
    assert (vars(codegen), vars(arrayobj)) == ({"JITCPUCodegen": None}, {})
