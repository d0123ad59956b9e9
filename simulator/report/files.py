"""Writing a report to a file, whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import TierscopeError


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, replacing the file in one step.

    It goes to a temporary file beside the target, which is flushed to disk and renamed, so a reader sees the old
    file or the new one.  A symbolic link is followed; a device or pipe is written directly.  Raises TierscopeError
    with the path and the reason when it cannot be written; no partial file is left.
    """
    with _named_errors(path):
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        if mode is None or stat.S_ISREG(mode):
            _replace(target, content, mode)
        else:
            target.write_bytes(content)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check, before a long run starts, that `write_text` can write to `path`; nothing is left behind.

    Raises TierscopeError with the path and the reason.
    """
    with _named_errors(path):
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        if mode is None or stat.S_ISREG(mode):
            with _temporary(target):
                pass


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check, before a long run starts, that files can be written into a folder, or that it can be made.

    Nothing is left behind.  Raises TierscopeError with the path and the reason.
    """
    place = Path(os.path.realpath(path))
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        reason = f"{str(place)!r} is not a directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        reason = f"no permission to create files in {str(place)!r}"
    else:
        return
    raise TierscopeError(f"cannot write into {os.fspath(path)!r}: {reason}")


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it where they are missing; raises TierscopeError with the path and the reason."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = "it is not a directory" if isinstance(error, FileExistsError) else _reason(path, error)
        raise TierscopeError(f"cannot make the directory {os.fspath(path)!r}: {reason}") from error


def _mode(target: Path) -> int | None:
    """Return the mode of the file at `target`, or None when there is none; a directory raises IsADirectoryError."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    return mode


def _replace(target: Path, content: bytes, mode: int | None) -> None:
    with _temporary(target) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Create an empty file beside `target` and remove it at the end, unless it was renamed by then."""
    path = target.parent / f".tierscope-{secrets.token_hex(6)}.tmp"
    path.touch(exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise TierscopeError(f"cannot write {os.fspath(path)!r}: {_reason(path, error)}") from error


def _reason(path: str | os.PathLike[str], error: OSError | ValueError) -> str:
    folder = "" if isinstance(error, ValueError) else str(Path(os.path.realpath(path)).parent)
    match error:
        case FileNotFoundError():
            return f"the directory {folder!r} does not exist; create it first"
        case NotADirectoryError():
            return f"{folder!r} is not a directory"
        case IsADirectoryError():
            return "it is a directory; name a file in it"
        case PermissionError():
            return f"no permission to create files in {folder!r}"
        case OSError(strerror=str(words)):
            return words
    return str(error)
