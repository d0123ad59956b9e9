"""The checkpoint of a run of tierscope validate: the file named, or one of its own in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from simulator.validation.kernels.checkpoint import Checkpoint


@contextmanager
def open_checkpoint(named: Path | None, identity: object) -> Iterator[Checkpoint]:
    """Open the checkpoint named, which is kept, or the one of the run that `identity` (plain data) tells from others,
    which goes when the run ends; an interrupt says what is kept."""
    from simulator.report.files import make_folder
    from simulator.validation.kernels.checkpoint import Checkpoint

    path = named or _own_path(identity)
    if named is None:
        make_folder(path.parent)
    with Checkpoint(path) as checkpoint:
        before = len(checkpoint.known)
        try:
            yield checkpoint
        except KeyboardInterrupt:
            click.echo(
                f"tierscope: {len(checkpoint.known) - before:,} more results are kept in {path}; the same command goes "
                "on from there",
                err=True,
            )
            raise
    if named is None:
        path.unlink(missing_ok=True)


def say_what_is_left(checkpoint: Checkpoint, missing: int) -> None:
    """Say that a run goes on from what is known."""
    if missing and checkpoint.known:
        click.echo(f"going on from {checkpoint.path}: {missing:,} results are left", err=True)


def _own_path(identity: object) -> Path:
    import hashlib
    import json

    from simulator.validation.kernels.checkpoint import model_digest

    digest = hashlib.sha256(json.dumps([model_digest(), identity]).encode()).hexdigest()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "tierscope" / "validate" / f"{digest[:16]}.jsonl"
