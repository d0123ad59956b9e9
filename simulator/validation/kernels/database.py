"""The measured kernel times of aiconfigurator-core: where its tables are and what their columns hold.

The package is an optional dependency and only its Parquet files are read; nothing of its code is imported.
"""

from __future__ import annotations

import importlib.metadata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulator.errors import ConfigError

PACKAGE, VERSION = "aiconfigurator-core", "0.12.0"
DATA = "aiconfigurator_core/systems/data"
INSTALL = 'pip install "tierscope[validation]"'
NOT_IN_KEY = ("latency", "power")
CALIBRATION_SHARE = 10
"""One row in this many of the calibration GPUs is a calibration row (see `Columns.calibration`)."""

NUMBER_TYPES = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)

SOURCE = f"{PACKAGE} {VERSION} (PyPI, Apache-2.0)"


@dataclass(frozen=True)
class Table:
    """One Parquet file: a kernel family of a framework's release, measured on one GPU."""

    gpu: str
    framework: str
    version: str
    path: Path

    @property
    def name(self) -> str:
        """Where the file stands below the root of the database."""
        return "/".join(self.path.parts[-5:])


@dataclass(frozen=True)
class Database:
    """A folder ``<gpu>/<family>/<framework>/<version>/<file>``; `version` is the package's, None for other folders."""

    root: Path
    version: str | None

    @property
    def name(self) -> str:
        """What the rows are called in a report."""
        return f"{PACKAGE} {self.version}" if self.version else str(self.root)

    def tables(self, family: str, file: str) -> Iterator[Table]:
        """Yield the tables of a kernel family, in order of GPU, framework and version."""
        for path in sorted(self.root.glob(f"*/{family}/*/*/{file}")):
            gpu, _, framework, version, _ = path.parts[-5:]
            yield Table(gpu, framework, version, path)


class Columns:
    """A table as columns of one length: numbers as arrays, words as codes into a list of the words that occur."""

    def __init__(self, table: pa.Table) -> None:
        self.rows: int = table.num_rows
        self.names: list[str] = list(table.column_names)  # in file order
        self._table = table
        self._words: dict[str, tuple[NDArray[np.int64], list[str]]] = {}

    def numbers(self, name: str, absent: float = 0.0) -> NDArray[np.float64]:
        """Return a column as floats; `absent` where the file has no such column, NaN where a value is missing or is
        no number."""
        if name not in self.names:
            return np.full(self.rows, absent)
        column = self._table[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return np.array([_number(text) for text in column.to_pylist()], np.float64)
        if not any(is_number(column.type) for is_number in NUMBER_TYPES):
            return np.full(self.rows, np.nan)
        values: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return values

    def words(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column of words as codes, and the words they stand for; a missing value is the word ''."""
        if name not in self._words:
            if name not in self.names:
                return np.zeros(self.rows, np.int64), [""]
            column = pc.fill_null(_as_text(self._table[name]), "").combine_chunks()
            encoded = pc.dictionary_encode(column)
            if isinstance(encoded, pa.ChunkedArray):
                encoded = encoded.combine_chunks()
            codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            self._words[name] = codes, [_printable(str(word)) for word in encoded.dictionary.to_pylist()]
        return self._words[name]

    def equal(self, name: str, *chosen: str) -> NDArray[np.bool_]:
        """Return which rows have one of the chosen words in a column."""
        codes, words = self.words(name)
        return np.array([word in chosen for word in words] or [False])[codes]

    def calibration(self) -> NDArray[np.bool_]:
        """Return which rows are calibration rows by their key: crc32 % 10 == 0.

        The key is the row's columns but latency and power as text, joined by commas in file order (the calibration
        discipline of the design; on A100 and H100 alone).
        """
        keys = [name for name in self.names if name not in NOT_IN_KEY]
        texts = [[str(value) for value in self._table[name].to_pylist()] for name in keys]
        found = (zlib.crc32(",".join(values).encode()) % CALIBRATION_SHARE == 0 for values in zip(*texts, strict=True))
        return np.fromiter(found, np.bool_, self.rows)


def installed() -> Database:
    """Return the database of the installed package; raises ConfigError saying how to install it."""
    try:
        found = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"the measured rows ({PACKAGE}) are not installed: {INSTALL}; or add --transcribed for the few that ship"
        ) from error
    return at(Path(str(found.locate_file(DATA))), found.version)


def at(root: Path, version: str | None = None) -> Database:
    """Return the database in a folder; raises ConfigError when there is none."""
    if not root.is_dir():
        wrong = "not a folder" if root.exists() else "no such folder"
        raise ConfigError(f"{root}: {wrong}; give one with <gpu>/<family>/<framework>/<version> in it")
    return Database(root, version)


def read(table: Table) -> Columns:
    """Return the columns of a table; raises ConfigError when the file cannot be read."""
    try:
        return Columns(pq.ParquetFile(table.path).read())
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{table.path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text, whatever it holds: bytes that are no text, or lists, as Python writes them."""
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException:
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])


def _printable(word: str) -> str:
    """Return a word with what would steer a terminal written out, as \\x1b."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in word)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
