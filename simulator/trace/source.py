"""The rows of a trace file, decoded from any point on and checked value by value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulator.errors import TraceError
from simulator.trace import footer, metadata, validate
from simulator.trace.chunks import CHUNK_RECORDS
from simulator.trace.record import COLUMNS, DEFAULTS, Hint, Op, Records, TraceHeader

KEY = b"tierscope.trace"
"""Key of the schema metadata that holds the description of the trace."""

WORDS = {
    "op": {op.name.lower(): int(op) for op in Op},
    "hint": {hint.name.lower(): int(hint) for hint in Hint},
}
"""Columns that may be given in words."""

FLAGS = ("barrier", "through_l1", "joined")
"""Columns that may be given as booleans."""

ROW_GROUP_LIMIT = 1 << 24
"""Most rows of a row group, whose compressed columns are held while it is decoded."""

FOOTER_BYTES = metadata.JSON_BYTES + 32 * 2**20
"""Longest footer: the longest description and 200 bytes for each column of 2^14 row groups."""

_MAGIC = b"PAR1"
_PAGE_HEADER_LIMIT = 1 << 20


class Source:
    """An open trace file whose rows can be decoded from any point on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _footer(path)
        with _read_faults(path):
            footer.check(text)
            whole = pq.ParquetFile(
                path, thrift_string_size_limit=FOOTER_BYTES, thrift_container_size_limit=footer.MAX_STRUCTS
            )
            schema = whole.schema_arrow
        self._columns = _check_schema(path, schema)
        with _read_faults(path):
            self._file = pq.ParquetFile(
                path,
                metadata=whole.metadata,
                read_dictionary=["op"] if "op" in self._columns and _is_text(schema.field("op").type) else None,
                pre_buffer=False,  # would hold all row groups
                buffer_size=0,  # a buffered page would be allocated at whatever size its header claims
                page_checksum_verification=True,
                thrift_string_size_limit=_PAGE_HEADER_LIMIT,
                thrift_container_size_limit=_PAGE_HEADER_LIMIT,
            )
        with _read_faults(path):
            self._starts = self._row_group_starts()
        self.records = int(self._starts[-1])
        self._parked: _Cursor | None = None

    def describe(self) -> metadata.Metadata:
        """Return the description of the trace, empty for one that has none; raises TraceError where it cannot be read
        or counts other rows than the file has."""
        pairs = self._file.metadata.metadata or {}
        if KEY not in pairs:
            return metadata.Metadata(TraceHeader(), None, ordered=False)
        where = f"{self.path}: metadata {KEY.decode()!r}"
        described = metadata.decode(where, pairs[KEY])
        if described.kernels is not None:
            listed = sum(kernel.records for kernel in described.kernels)
            if listed != self.records:
                problem = f"kernels list {listed} records, the file has {self.records} rows"
                raise TraceError(f"{where}: {problem}; leave out the key 'kernels' to have them counted")
        return described

    def parts(self, first_row: int, count: int) -> Iterator[Records]:
        """Yield rows `first_row` to `first_row + count` in pieces that the caller may change.

        The next call goes on where the last has ended, if it starts there.
        """
        if not count:
            return
        cursor = self._cursor(first_row)
        while count:
            part = cursor.take(count)
            count -= len(part)
            if not count:
                self._parked = cursor
            yield part

    def _cursor(self, row: int) -> _Cursor:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        start = int(self._starts[group])
        cursor, self._parked = self._parked, None
        if cursor is None or not start <= cursor.row <= row:
            batches = self._file.iter_batches(
                CHUNK_RECORDS, row_groups=range(group, len(self._starts) - 1), columns=self._columns
            )
            cursor = _Cursor(self.path, self._columns, batches, start)
        while cursor.row < row:
            cursor.take(row - cursor.row)
        return cursor

    def _row_group_starts(self) -> NDArray[np.int64]:
        """Return the first row of each row group, and the number of rows."""
        parsed = self._file.metadata
        # of a row group, only its size is asked: pyarrow ends the process over a column chunk it cannot describe
        sizes = [parsed.row_group(number).num_rows for number in range(parsed.num_row_groups)]
        for number, rows in enumerate(sizes):
            if not 0 <= rows <= ROW_GROUP_LIMIT:
                problem = f"row group {number} has {rows} rows, over {ROW_GROUP_LIMIT}"
                raise TraceError(f"{self.path}: {problem}; write it with row_group_size=1048576")
        if sum(sizes) != parsed.num_rows:
            problem = f"damaged: {sum(sizes)} rows in its row groups, {parsed.num_rows} in its footer"
            raise TraceError(f"{self.path}: {problem}; write or copy it again")
        return np.cumsum([0, *sizes], dtype=np.int64)


class _Cursor:
    """A place in the rows of a file, and the rest of the batch it lies in."""

    def __init__(self, path: Path, columns: list[str], batches: Iterator[Any], row: int) -> None:
        self.row = row
        self._path = path
        self._columns = columns
        self._batches = batches
        self._rest: Records | None = None

    def take(self, limit: int) -> Records:
        """Return the next rows, at least one and at most `limit`."""
        rest = self._rest
        while not rest:
            rest = self._decode()
        part, self._rest = rest[:limit], rest[limit:]
        self.row += len(part)
        return part

    def _decode(self) -> Records:
        with _read_faults(self._path):
            batch = next(self._batches, None)
        if batch is None:
            raise TraceError(f"{self._path}: damaged: ends before row {self.row}; write or copy it again")
        values = {name: _integers(self._path, name, batch.column(name), self.row) for name in self._columns}
        for name, kind in COLUMNS.items():
            values[name] = (
                values[name].astype(kind) if name in values else np.full(batch.num_rows, DEFAULTS[name], kind)
            )
        records = Records(**values)
        if "row_stride" not in self._columns and len(records) and records.rows.max() > 1:
            row = int(np.argmax(records.rows > 1))
            problem = f"is {records.rows[row]}, but there is no column 'row_stride'; add it"
            raise validate.at(self._path, "rows", self.row + row, problem)
        validate.check_extent(self._path, records, self.row)
        return records


def _footer(path: Path) -> bytes:
    """Return the footer of a file that begins and ends as a Parquet file does."""
    try:
        if not path.exists():
            raise TraceError(f"{path}: no such file")
        if not path.is_file():
            raise TraceError(f"{path}: not a file; name a Parquet file")
        with path.open("rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            file.seek(max(0, size - 8 - length))
            text = file.read(length) if length <= FOOTER_BYTES else b""
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    if head == b"PARE" or (head == _MAGIC and tail[4:] == b"PARE"):
        raise TraceError(f"{path}: an encrypted Parquet file; write it without encryption")
    if head != _MAGIC:
        raise TraceError(f"{path}: not a Parquet file; see traces/README.md for how to write one")
    if size < 12 or tail[4:] != _MAGIC or length > size - 12:
        raise TraceError(f"{path}: truncated: its Parquet footer is missing; write or copy it again")
    if length > FOOTER_BYTES:
        problem = f"a footer of {length} bytes, over {FOOTER_BYTES}"
        raise TraceError(f"{path}: {problem}; write larger row groups or a shorter description")
    return text


def _check_schema(path: Path, schema: Any) -> list[str]:
    """Return the columns of a file that are used, all of them known and of a usable type."""
    allowed = ", ".join(COLUMNS)
    for name in schema.names:
        if name not in COLUMNS:
            raise TraceError(f"{path}: unknown column {ascii(name)[:60]}; drop or rename it; allowed: {allowed}")
        if schema.names.count(name) > 1:
            raise TraceError(f"{path}: column {name!r} is there {schema.names.count(name)} times; keep one")
    if "address" not in schema.names:
        raise TraceError(f"{path}: column 'address' is missing; add it as integers (bytes); allowed: {allowed}")
    for name in schema.names:
        kind = schema.field(name).type
        also = (name in WORDS and _is_text(kind)) or (name in FLAGS and pa.types.is_boolean(kind))
        if not (pa.types.is_integer(kind) or also):
            words = f" or {', '.join(WORDS[name])}" if name in WORDS else " or booleans" if name in FLAGS else ""
            expected = "integers" + words
            given = str(kind).splitlines()[0][:60]
            raise TraceError(f"{path}: column {name!r} holds {given}, expected are {expected}; cast it before writing")
    return [name for name in COLUMNS if name in schema.names]


def _is_text(kind: Any) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def _integers(path: Path, name: str, values: Any, first_row: int) -> NDArray[Any]:
    """Return a column of a batch as integers within its bounds."""
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise validate.at(path, name, first_row + row, "is empty (null); write a value in every row")
    if _is_text(values.type):
        return _codes(path, name, values, first_row)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    column: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    validate.check_column(path, name, column, first_row)
    return column


def _codes(path: Path, name: str, values: Any, first_row: int) -> NDArray[Any]:
    """Return the codes of a column given in words."""
    with _read_faults(path):
        values.validate(full=True)  # indices and UTF-8
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    codes = np.array([WORDS[name].get(word, -1) for word in values.dictionary.to_pylist()], np.int64)
    column = codes[values.indices.to_numpy(zero_copy_only=False)] if len(values) else np.zeros(0, np.int64)
    if len(column) and column.min() < 0:
        row = int(np.argmax(column < 0))
        problem = f"is {ascii(values[row].as_py())[:40]}; write one of {', '.join(WORDS[name])}"
        raise validate.at(path, name, first_row + row, problem)
    return column


@contextmanager
def _read_faults(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises on a damaged file into a TraceError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TraceError(f"{path}: damaged or not usable Parquet: {reason}; write or copy it again") from error
