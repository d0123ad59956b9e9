"""The one decorator of compiled code, and where its machine code is kept.

Compiled code is cached between runs (a warm start costs 0.1 s instead of a minute).  numba notices a change of
the file a function stands in, not of the constants and helpers it takes from other files, so the cache folder is
named by a digest of all of core/.  numba's on-disk cache is not safe under concurrent writers: process pools compile
in the parent first and only read in the workers.  No fastmath: times are integers.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import binding

try:
    from numba.np import arrayobj
except ImportError:  # see `_takes`
    arrayobj = None

F = TypeVar("F", bound=Callable[..., Any])


def _cache_dir() -> Path:
    digest = hashlib.sha256(f"{numba.__version__} {Path(__file__).parent}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tierscope" / digest.hexdigest()[:16]


UNUSED_S = 30 * 24 * 3600
"""How long no run has used machine code of another version that is removed."""


def remove_unused(root: Path) -> None:
    """Remove the folders of machine code in `root` that no run has used for a month (of older versions, as a rule)."""
    for folder in root.glob("[0-9a-f]*"):
        with suppress(OSError):  # another process may have removed it
            if re.fullmatch("[0-9a-f]{16}", folder.name) and time.time() - folder.stat().st_mtime > UNUSED_S:
                shutil.rmtree(folder, ignore_errors=True)


if not os.environ.get("NUMBA_CACHE_DIR"):
    _folder = _cache_dir()
    numba.config.CACHE_DIR = str(_folder)
    if _folder.is_dir():
        with suppress(OSError):  # of somebody else, or read-only
            os.utime(_folder)
    else:
        remove_unused(_folder.parent)


def is_compiled(function: str = "replay.advance") -> bool:
    """Return whether the machine code of a function, by default the event loop, is in the cache (of this numba, these
    sources)."""
    return any(Path(numba.config.CACHE_DIR).rglob(f"{function}-*.nbi"))


_SETTINGS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
"""`_nrt` off: the core allocates nothing, and counting references to its array arguments cost a factor of eight
(1320 against 153 ns per line group)."""


_HELPERS: set[tuple[str, str]] = set()
_ENTRIES: set[tuple[str, str]] = set()
"""Name of each function, and how its name begins in machine code."""


def _mangled(*names: str) -> str:
    """Return how the names of what is called so begin in machine code."""
    return "_ZN" + "".join(f"{len(name)}{name}" for name in names)


_OURS = _mangled(*__name__.split(".")[:-1])
"""How the names of all functions of the core begin."""


def _names_of(function: F) -> tuple[str, str]:
    return function.__qualname__, _mangled(*function.__module__.split("."), function.__qualname__)


def _takes(of: Any, name: str, count: int) -> bool:
    """Return whether this numba has an internal function that takes `count` arguments: others go without the change."""
    function = getattr(of, name, None)
    return callable(function) and len(inspect.signature(function).parameters) == count


def _translate_once(codegen: Any) -> None:
    """Leave helpers as they are until they have been linked into the functions that Python calls.

    numba optimises each function together with all it calls, however deep, and makes machine code of it: ten levels of
    calls would be optimised ten times over (90 s instead of 20 s for the event loop), and machine code of what is never
    called takes half as long again as all the rest.  Without this everything works, but compiles slower.
    """
    library: Any = getattr(codegen, "JITCodeLibrary", None)
    generator: Any = getattr(codegen, "JITCPUCodegen", None)
    known = _takes(library, "_optimize_final_module", 1) and _takes(library, "_finalize_final_module", 1)
    if not known or not _takes(generator, "set_env", 3):
        return
    optimise, finish, set_env = library._optimize_final_module, library._finalize_final_module, generator.set_env

    def is_one(self: Any, of: set[tuple[str, str]]) -> bool:
        begins = tuple(mangled for name, mangled in of if name == self.name)
        return bool(begins) and any(each.name.startswith(begins) for each in self._final_module.functions)

    def is_helper(self: Any) -> bool:
        return is_one(self, _HELPERS) and not is_one(self, _ENTRIES)

    def optimise_unless_helper(self: Any) -> None:
        if is_helper(self):
            return
        if is_one(self, _ENTRIES):
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage.name == "linkonce_odr":
                    function.linkage = "internal"
        optimise(self)

    def finish_unless_helper(self: Any) -> None:
        if is_helper(self):
            self._finalized = True
        else:
            finish(self)

    def set_env_unless_helper(self: Any, name: str, env: Any) -> None:
        if self._engine.get_global_value_address(name):  # which a helper that nothing was made of has not
            set_env(self, name, env)

    library._optimize_final_module = optimise_unless_helper
    library._finalize_final_module = finish_unless_helper
    generator.set_env = set_env_unless_helper


_translate_once(numba.core.codegen)


def _widen_vectors() -> None:
    """Let vector code use 512 bits at once on processors that have them and keep their clock (those that have VBMI2).

    Its loops are short, eight times four or four times eight lines, and wait for chains of operations: half as many
    iterations take half as long (locating lines 11 -> 6 ns each).
    """
    with suppress(RuntimeError):  # a processor whose features LLVM does not know
        features = binding.get_host_cpu_features()
        if features.get("avx512vbmi2") and numba.config.CPU_NAME is None and numba.config.CPU_FEATURES is None:
            numba.config.CPU_NAME = binding.get_host_cpu_name()
            numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_widen_vectors()


def _index_from_the_front(arrayobj: Any) -> None:
    """Take indices in the functions of the core as they are: a negative one is a mistake here, not a place counted from
    the end, and asking at each access whether it is one takes three or four instructions, a third of the time.
    """
    if not _takes(arrayobj, "fix_integer_index", 5):
        return
    fix = arrayobj.fix_integer_index

    def unless_ours(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
        if builder.function.name.startswith(_OURS):
            return context.cast(builder, index, kind, numba.types.intp)
        return fix(context, builder, kind, index, size)

    arrayobj.fix_integer_index = unless_ours


_index_from_the_front(arrayobj)


def compiled(function: F) -> F:
    """Compile a function that Python calls."""
    _ENTRIES.add(_names_of(function))
    return cast(F, numba.njit(**_SETTINGS)(function))


def small_function(function: F) -> F:
    """Compile a function that takes few arrays: LLVM inlines it, which takes less time than numba's own inlining.

    It has no entry for Python, which dies when it calls it: only compiled code may."""
    _HELPERS.add(_names_of(function))
    settings = _SETTINGS | {"cache": False}
    return cast(F, numba.njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **settings)(function))


def called(function: F) -> F:
    """Compile a function that stays a call of its own, and that only compiled code may call (see `small_function`)."""
    _HELPERS.add(_names_of(function))
    settings = _SETTINGS | {"cache": False}
    return cast(F, numba.njit(forceinline=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, **settings)(function))
