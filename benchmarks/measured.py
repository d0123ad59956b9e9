"""What a measurement is, and how times are taken."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Line:
    """One measurement; `good` is None where there is no budget."""

    what: str
    value: str
    budget: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Ended:
    """A command that has run: wall time (s) and peak memory (bytes)."""

    wall_s: float
    peak_bytes: int


def command(*arguments: str, cache: str | None = None, may_miss: bool = False) -> Ended:
    """Run tierscope in a process of its own; fails when it does, unless it only says that a limit was missed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = cache
        environment.pop("NUMBA_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "simulator", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not (may_miss and process.returncode == 1):
            errors.seek(0)
            sys.exit(f"tierscope {' '.join(arguments)}: exit {process.returncode}\n{errors.read().decode()}")
    scale = 1 if sys.platform == "darwin" else 1024  # KiB, but bytes on macOS
    return Ended(wall, usage.ru_maxrss * scale)


def best(action: Callable[[], float], times: int) -> float:
    """Return the least of several measured times."""
    return min(action() for _ in range(times))


def clock_hz() -> float:
    """Return the clock of this processor, the nominal one where the present one is not told."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return float("nan")
    mhz = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if "cpu MHz" in line]
    return float(mhz[0]) * 1e6 if mhz else float("nan")


def rate_of(lines: int, seconds: float) -> str:
    """Return a rate in lines per second."""
    return f"{lines / seconds / 1e6:,.1f} M lines/s"
