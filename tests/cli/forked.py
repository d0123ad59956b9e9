"""The command line without its start: a process that has imported tierscope, and run once, forks for each command.

The fork is a process of its own, with its folder, its streams and its exit.  That each command imports what it needs
is what the README's lines show (`tests/docs`), for which Python starts anew.

As a script it takes commands, one JSON object a line, and answers with their exit codes.
"""

from __future__ import annotations

import gc
import io
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from commandline import SMALL, TIMEOUT_S, Finished, environment


class Forks:
    """The process that forks; it ends with the context."""

    def __init__(self, folder: Path) -> None:
        """Keep what commands print in files of `folder`."""
        self._streams = [folder / name for name in ("out", "err")]
        self._server = subprocess.Popen(
            [sys.executable, __file__], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def start(self, folder: Path, *arguments: object) -> Finished:
        """Run tierscope in `folder` and wait for its end."""
        command = {"folder": folder, "arguments": arguments, "streams": self._streams}
        assert self._server.stdin is not None and self._server.stdout is not None
        print(json.dumps(command, default=str), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return Finished(code, *(path.read_text(encoding="utf-8") for path in self._streams))


def serve() -> None:
    """Answer commands until there are no more; in a fork, be that command."""
    prepare()
    for line in iter(sys.stdin.readline, ""):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # libraries have threads, which none of them needs
            child = os.fork()
        if not child:
            return become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def prepare() -> None:
    """Import all modules, those that a report needs too, and load what is compiled."""
    import simulator
    from simulator.cli.main import main

    for module in pkgutil.walk_packages(simulator.__path__, "simulator."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    with redirect_stdout(io.StringIO()):
        assert main([*SMALL, "--report", os.devnull]) == 0
    gc.freeze()


def become(command: dict[str, Any]) -> None:
    """Be `python -m simulator`; what takes too long is ended by a signal."""
    signal.alarm(TIMEOUT_S)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, path in enumerate(command["streams"], 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(command["folder"])
    sys.argv[1:] = command["arguments"]
    runpy.run_module("simulator", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
