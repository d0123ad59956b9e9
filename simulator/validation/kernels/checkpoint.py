"""Predictions on disk, one line each as they come, so that a run that was stopped goes on where it was.

A prediction depends on the model, the device, the overrides and the case alone, so any run of the same model may go
on from any other's file.  The first line names the model; each other line is ``[key, prediction]``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from simulator import config
from simulator.errors import ConfigError

SCHEMA = "tierscope.predictions/1"
MODEL = ("core", "hardware", "lowering", "memory", "models", "run", "system", "theory", "trace", "workload")
DATA = ("hardware", "dram", "links", "hosts", "ssds", "models")

Json = dict[str, Any]


@cache
def model_digest() -> str:
    """Return a digest of every source and every number that a prediction depends on."""
    package, configs = Path(__file__).parents[2], config.data_dir("configs")
    sources = [path for name in MODEL for path in sorted((package / name).rglob("*.py"))]
    numbers = [
        path for name in DATA for path in sorted((configs / name).iterdir()) if path.suffix in (".toml", ".json")
    ]
    digest = hashlib.sha256()
    for path in (*sources, *numbers, configs / "implementations.toml"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class Checkpoint:
    """The file of predictions of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Json] = {}
        self._file: TextIO

    def __enter__(self) -> Checkpoint:
        """Read what is there and open the file to append; raises ConfigError when it is not a file of this model."""
        kept = self._load() if self.path.exists() and self.path.stat().st_size else 0
        try:
            self._file = self.path.open("a", encoding="utf-8")
            if kept:
                os.truncate(self.path, kept)
            else:
                os.truncate(self.path, 0)
                self._write({"schema": SCHEMA, "model": model_digest()})
        except OSError as error:
            raise ConfigError(f"cannot write {str(self.path)!r}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: str, prediction: Mapping[str, Any]) -> None:
        """Keep a prediction; it is on its way to disk when this returns."""
        self.known[key] = dict(prediction)
        self._write([key, prediction])

    def _write(self, value: object) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")) + "\n")
        self._file.flush()

    def _load(self) -> int:
        """Read the file; return the length of its whole lines: one cut short by a crash is dropped."""
        path = self.path
        lines = config.read_text(path, limit=1 << 32).splitlines(keepends=True)
        remedy = "delete it or name another with --checkpoint"
        header = _parse(lines[0])
        if not isinstance(header, dict) or header.get("schema") != SCHEMA:
            raise ConfigError(f"{path}: line 1: not a checkpoint of tierscope validate ({SCHEMA}); {remedy}")
        if header.get("model") != model_digest():
            raise ConfigError(f"{path}: line 1: made by another version of the model; {remedy}")
        kept = len(lines[0].encode())
        for number, line in enumerate(lines[1:], start=2):
            if not line.endswith("\n"):
                break
            match _parse(line):
                case [str(key), dict(prediction)] if isinstance(prediction.get("error"), str):
                    self.known[key] = prediction
                case _:
                    raise ConfigError(f"{path}: line {number}: not [key, prediction]; {remedy}")
            kept += len(line.encode())
        return kept


def _parse(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
