"""The command line as its users meet it: a process of its own, its output and its messages kept apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120

SMALL = ("run", "--model", "gpt2", "--hardware", "a100-sxm-80gb", "--phase", "decode", "--context", "64")
PLACED = (*SMALL, "--placement", "weights=dram:layers[3:6]", "--placement", "kv=ssd:layers[0:2]")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; fails when anything else is there."""
        assert self.code == 0, self.err
        tree = json.loads(self.out)
        assert isinstance(tree, dict)
        return tree


Command = Callable[..., Finished]


def environment() -> dict[str, str]:
    """Return variables with which Python finds this tierscope from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def start(folder: Path, *arguments: object, stdout: Any = subprocess.PIPE, **variables: str) -> Finished:
    """Run tierscope in `folder`, in a Python started for it, and wait for its end."""
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *map(str, arguments)],
        cwd=folder,
        env=environment() | variables,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
    )
    return Finished(done.returncode, done.stdout or "", done.stderr)


def without_time_stamp(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without when it was made."""
    return result | {"provenance": result["provenance"] | {"created": None}}
