"""Parquet traces: what is written is read back, in bounded memory, and nothing is left of a file that failed."""

from __future__ import annotations

import gc
import json
import tracemalloc
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import TraceError
from simulator.trace import chunks as cutting
from simulator.trace import metadata, parquet, source, validate
from simulator.trace.record import COLUMNS, KernelHeader, Op, Records, TensorRange, TracedKernel, TraceHeader
from simulator.trace.validate import ADDRESS_SPACE_BYTES

HEADER = TraceHeader(
    model={"name": "tiny", "layers": 2, "tied": False, "eps": 1e-5},
    hardware={"name": "h100-sxm"},
    workload={"phase": "decode", "batch": [1, 2], "window": None},
    tensors=(TensorRange("w", "weights", 0, 4096), TensorRange("kv", "kv", 4096, 64)),
)


def launch(records: int, name: str = "gemm", **changes: Any) -> KernelHeader:
    base = KernelHeader(
        name=name,
        operator="matmul",
        layer=3,
        step=1,
        requesters=9,
        threads=384,
        shared_bytes=200_000,
        registers=168,
        stages=4,
        flops=2**40,
        records=records,
        read_bytes=7,
        write_bytes=5,
    )
    return replace(base, **changes)


def column(name: str, values: Any) -> Any:
    return np.asarray(values, COLUMNS[name])


def records(kernel: int, requester: Iterable[int], seed: int = 0) -> Records:
    """Return valid records whose values all differ, for the requesters named."""
    rng = np.random.default_rng(seed)
    requester = list(requester)
    n = len(requester)
    values = {
        "kernel": np.full(n, kernel),
        "requester": requester,
        "op": rng.integers(0, 4, n),
        "address": rng.integers(2**30, 2**43 - 2**36, n),
        "rows": rng.integers(1, 100, n),
        "row_bytes": rng.integers(1, 10_000, n),
        "row_stride": rng.integers(-(2**20), 2**20, n),
        "compute_cycles": rng.integers(0, 2**31, n),
        "barrier": rng.integers(0, 2, n),
        "hint": rng.integers(0, 4, n),
        "through_l1": rng.integers(0, 2, n),
        "joined": rng.integers(0, 2, n),
    }
    return Records(**{name: column(name, value) for name, value in values.items()})


def traced(kernel: int, parts: list[list[int]], **changes: Any) -> TracedKernel:
    made = [records(kernel, part, seed=kernel * 1000 + i) for i, part in enumerate(parts)]
    return TracedKernel(launch(sum(map(len, parts)), **({"name": f"k{kernel}"} | changes)), made)


def listed(kernels: Iterable[TracedKernel]) -> list[tuple[KernelHeader, list[Records]]]:
    return [(kernel.header, list(kernel.chunks)) for kernel in kernels]


def together(parts: list[Records]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in getattr(part, name).tolist()] for name in COLUMNS}


def whole(parts: list[Records]) -> bool:
    """Whether chunks hold whole requesters in ascending order, and the dtypes of a record."""
    ends = [(int(part.requester[0]), int(part.requester[-1])) for part in parts]
    ascending = all(a[1] < b[0] for a, b in pairwise(ends))
    sorted_inside = all((np.diff(part.requester) >= 0).all() for part in parts)
    typed = all(getattr(part, name).dtype == kind for part in parts for name, kind in COLUMNS.items())
    return ascending and sorted_inside and typed


KERNEL_LISTS = st.lists(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=4),  # kernels of chunks of requester lengths
    max_size=5,
)


def numbered(lengths: list[list[int]], gap: int) -> list[list[int]]:
    """Return the requesters of each chunk, ascending with gaps."""
    number = 0
    parts = []
    for chunk in lengths:
        part = []
        for length in chunk:
            part += [number] * length
            number += gap
        parts.append(part)
    return parts


@given(kernels=KERNEL_LISTS, row_group=st.integers(1, 12), batch=st.integers(1, 12), gap=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back_whatever_the_cuts(
    kernels: list[list[list[int]]], row_group: int, batch: int, gap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    given_kernels = [traced(i, numbered(lengths, gap)) for i, lengths in enumerate(kernels)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_RECORDS", row_group)
        patch.setattr(source, "CHUNK_RECORDS", batch)
        parquet.write(path, HEADER, given_kernels)
        header, read_kernels = parquet.read(path)
        read_back = listed(read_kernels)
    assert header == HEADER
    assert [h for h, _ in read_back] == [kernel.header for kernel in given_kernels]
    for (_, parts), kernel in zip(read_back, given_kernels, strict=True):
        assert whole(parts)
        assert together(parts) == together(list(kernel.chunks))


def test_every_header_field_survives(tmp_path: Path) -> None:
    first = traced(0, [[0, 1]], layer=-1, prologue_ps=7, after=())
    second = traced(1, [[5]], after=(0,), name="naïve µ-kernel")
    parquet.write(tmp_path / "t.parquet", TraceHeader(), [first, second])
    header, kernels = parquet.read(tmp_path / "t.parquet")
    assert header == TraceHeader()
    assert [kernel.header for kernel in kernels] == [first.header, second.header]


def test_the_file_has_the_documented_columns_and_description(tmp_path: Path) -> None:
    parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0, 0, 4]])])
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert {f.name: f.type for f in file.schema_arrow} == {n: pa.from_numpy_dtype(t) for n, t in COLUMNS.items()}
    tree = json.loads(file.metadata.metadata[b"tierscope.trace"])
    assert tree["schema"] == "tierscope.trace/1"
    assert tree["tensors"][1] == {"name": "kv", "tensor_class": "kv", "address": 4096, "bytes": 64}
    assert tree["kernels"][0]["shared_bytes"] == 200_000
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_row_groups_are_filled_across_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_RECORDS", 100)
    parquet.write(tmp_path / "t.parquet", HEADER, (traced(i, [list(range(30))]) for i in range(10)))
    footer = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [120, 120, 60]


def test_progress_hears_of_each_kernel_in_order(tmp_path: Path) -> None:
    heard: list[str] = []
    kernels = [traced(i, [[0]]) for i in range(3)]
    parquet.write(tmp_path / "t.parquet", HEADER, kernels, lambda header: heard.append(header.name))
    assert heard == ["k0", "k1", "k2"]


def test_kernels_may_be_skipped_read_late_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_RECORDS", 7)
    monkeypatch.setattr(source, "CHUNK_RECORDS", 3)
    given_kernels = [traced(i, [[0, 0, 1], [2, 3]]) for i in range(6)]
    parquet.write(tmp_path / "t.parquet", HEADER, given_kernels)
    expected = [together(list(kernel.chunks)) for kernel in given_kernels]
    _, kernels = parquet.read(tmp_path / "t.parquet")
    next(kernels)
    second, third = next(kernels), next(kernels)
    assert together(list(third.chunks)) == expected[2]
    assert together(list(second.chunks)) == expected[1]
    assert together(list(third.chunks)) == expected[2]
    rest = list(kernels)
    # kernels in flight at once take turns
    pairs = zip(*zip_longest(rest[0].chunks, rest[2].chunks), strict=True)
    turns = [[part for part in turn if part is not None] for turn in pairs]
    assert [together(turn) for turn in turns] == [expected[3], expected[5]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first row of each batch of ten that is decoded from now on."""
    rows: list[int] = []
    original = validate.check_extent

    def noting(where: object, part: Records, first_row: int) -> None:
        rows.append(first_row)
        original(where, part, first_row)

    monkeypatch.setattr(validate, "check_extent", noting)
    monkeypatch.setattr(parquet, "ROW_GROUP_RECORDS", 40)
    monkeypatch.setattr(source, "CHUNK_RECORDS", 10)
    return rows


def test_skipped_row_groups_are_not_decoded(tmp_path: Path, decoded: list[int]) -> None:
    parquet.write(tmp_path / "t.parquet", HEADER, (traced(i, [list(range(10))]) for i in range(40)))
    decoded.clear()
    kernels = list(parquet.read(tmp_path / "t.parquet")[1])
    for index in (0, 1, 3, 38, 5):
        assert [len(part) for part in kernels[index].chunks] == [9, 1]
    # 3 skips kernel 2, on the way; 38 lies in the last row group, 5 in the second
    assert decoded == [0, 10, 20, 30, 360, 370, 380, 40, 50]


def test_one_pass_decodes_each_row_once(tmp_path: Path, decoded: list[int]) -> None:
    parquet.write(tmp_path / "t.parquet", HEADER, (traced(i, [list(range(7))]) for i in range(50)))
    decoded.clear()
    assert sum(len(part) for kernel in parquet.read(tmp_path / "t.parquet")[1] for part in kernel.chunks) == 350
    assert decoded == list(range(0, 350, 10))


# ---- bounded memory


def test_writing_holds_one_row_group_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_RECORDS", 1000)
    alive = most = 0

    def forget() -> None:
        nonlocal alive
        alive -= 1

    def produce(kernel: int) -> Iterator[Records]:
        nonlocal alive, most
        for i in range(20):
            made = records(kernel, range(i * 100, i * 100 + 100))
            weakref.finalize(made.address, forget)
            alive += 1
            most = max(most, alive)
            yield made

    kernels = (TracedKernel(launch(2000), produce(i)) for i in range(5))
    parquet.write(tmp_path / "t.parquet", HEADER, kernels)
    assert 10 <= most <= 12


def test_reading_holds_a_part_of_the_trace(tmp_path: Path) -> None:
    n = 64 * cutting.CHUNK_RECORDS
    rng = np.random.default_rng(0)
    columns = {"address": rng.integers(0, 2**43 - 32, n), "requester": np.arange(n) // 100}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    del columns
    trace_bytes = n * sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
    arrow_bytes = count = 0
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for kernel in parquet.read(tmp_path / "t.parquet")[1]:
            for part in kernel.chunks:
                count += len(part)
                arrow_bytes = max(arrow_bytes, pa.total_allocated_bytes() - before)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == n
    assert peak_bytes < trace_bytes // 4
    assert arrow_bytes < trace_bytes // 8


@pytest.mark.parametrize("length", [1, 3, cutting.CHUNK_RECORDS // 2, cutting.CHUNK_RECORDS, cutting.CHUNK_RECORDS + 1])
def test_chunks_are_of_the_stated_size(tmp_path: Path, length: int) -> None:
    n = 6 * cutting.CHUNK_RECORDS
    columns = {"address": np.zeros(n, np.int64), "requester": np.arange(n) // length}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (kernel,) = parquet.read(tmp_path / "t.parquet")[1]
    sizes = [len(part) for part in kernel.chunks]
    assert sum(sizes) == n
    assert max(sizes) < cutting.CHUNK_RECORDS + length
    assert len(sizes) <= 7


# ---- written by hand


def by_hand(path: Path, columns: dict[str, Any], description: Any = None) -> Path:
    table = pa.table(columns)
    if description is not None:
        text = description if isinstance(description, str | bytes) else json.dumps(description)
        table = table.replace_schema_metadata({"tierscope.trace": text})
    pq.write_table(table, path)
    return path


def test_addresses_alone_make_a_trace_of_sector_reads(tmp_path: Path) -> None:
    header, kernels = parquet.read(by_hand(tmp_path / "t.parquet", {"address": pa.array([64, 0, 32], pa.uint32())}))
    assert header == TraceHeader()
    ((kernel, (part,)),) = listed(kernels)
    assert kernel == KernelHeader(
        name="kernel 0",
        operator="trace",
        layer=-1,
        step=0,
        requesters=1,
        threads=128,
        shared_bytes=0,
        registers=0,
        stages=16,
        flops=0,
        records=3,
        read_bytes=96,
        write_bytes=0,
    )
    assert whole([part])
    assert together([part]) == {
        "kernel": [0, 0, 0],
        "requester": [0, 0, 0],
        "op": [0, 0, 0],
        "address": [64, 0, 32],
        "rows": [1, 1, 1],
        "row_bytes": [32, 32, 32],
        "row_stride": [0, 0, 0],
        "compute_cycles": [0, 0, 0],
        "barrier": [0, 0, 0],
        "hint": [0, 0, 0],
        "through_l1": [0, 0, 0],
        "joined": [0, 0, 0],
    }


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
)
def test_any_integer_type_will_do(tmp_path: Path, kind: Any) -> None:
    columns = {name: pa.array([1, 1], kind) for name in COLUMNS}
    ((_, (part,)),) = listed(parquet.read(by_hand(tmp_path / "t.parquet", columns))[1])
    assert whole([part])
    assert part.address.tolist() == [1, 1]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_operations_may_be_named_and_barriers_be_truth_values(tmp_path: Path, kind: Any) -> None:
    columns = {
        "address": [0, 1, 2, 3, 4],
        "op": pa.array(["write", "read", "prefetch", "reduce", "write"]).cast(kind),
        "barrier": [True, False, False, True, False],
        "row_bytes": [1, 2, 4, 8, 16],
    }
    ((kernel, (part,)),) = listed(parquet.read(by_hand(tmp_path / "t.parquet", columns))[1])
    assert part.op.tolist() == [Op.WRITE, Op.READ, Op.PREFETCH, Op.REDUCE, Op.WRITE]
    assert part.barrier.tolist() == [1, 0, 0, 1, 0]
    assert (kernel.read_bytes, kernel.write_bytes) == (2, 25)  # a prefetch is neither


def test_interleaved_requesters_are_sorted_stably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "CHUNK_RECORDS", 2)
    columns = {
        "kernel": [4, 4, 4, 4, 4, 9, 9],
        "requester": [7, 2, 7, 2, 5, 1, 1],
        "address": [10, 20, 30, 40, 50, 60, 70],
    }
    first, second = listed(parquet.read(by_hand(tmp_path / "t.parquet", columns))[1])
    assert [part.address.tolist() for part in first[1]] == [[20, 40], [50, 10, 30]]
    assert whole(first[1])
    assert [part.address.tolist() for part in second[1]] == [[60, 70]]
    assert [(h.name, h.records, h.requesters) for h, _ in (first, second)] == [("kernel 4", 5, 3), ("kernel 9", 2, 1)]
    assert [part.kernel.tolist() for part in second[1]] == [[1, 1]]  # the index in the run


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=60), batch=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_any_order_within_a_kernel_keeps_each_program(
    rows: list[tuple[int, int]], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows.sort(key=lambda row: row[0])
    kernel, requester = zip(*rows, strict=True)
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    by_hand(path, {"kernel": kernel, "requester": requester, "address": range(len(rows))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "CHUNK_RECORDS", batch)
        patch.setattr(cutting, "CHUNK_RECORDS", batch)
        read_back = listed(parquet.read(path)[1])
    expected = sorted(range(len(rows)), key=lambda i: rows[i])
    assert [a for _, parts in read_back for part in parts for a in part.address.tolist()] == expected
    for (header, parts), number in zip(read_back, sorted(set(kernel)), strict=True):
        assert whole(parts)
        assert header.records == kernel.count(number)
        assert header.requesters == len({q for k, q in rows if k == number})


def test_long_programs_keep_their_order(tmp_path: Path) -> None:
    requester = np.random.default_rng(0).integers(0, 7, 20_000)
    by_hand(tmp_path / "t.parquet", {"address": np.arange(20_000), "requester": requester})
    ((_, parts),) = listed(parquet.read(tmp_path / "t.parquet")[1])
    expected = [np.flatnonzero(requester == number) for number in range(7)]
    assert (np.concatenate([part.address for part in parts]) == np.concatenate(expected)).all()


def test_a_description_by_hand_may_name_only_tensors(tmp_path: Path) -> None:
    tensors = [{"name": "w", "tensor_class": "weights", "address": 0, "bytes": 64}]
    path = by_hand(tmp_path / "t.parquet", {"address": [0]}, {"schema": "tierscope.trace/1", "tensors": tensors})
    header, kernels = parquet.read(path)
    assert header == TraceHeader(tensors=(TensorRange("w", "weights", 0, 64),))
    assert [kernel.header.name for kernel in kernels] == ["kernel 0"]


def test_a_kernel_table_by_hand_needs_no_order(tmp_path: Path) -> None:
    table = [metadata._as_dict(launch(n, f"k{n}"), metadata._KERNEL_KEYS) for n in (3, 0, 1)]
    columns = {"address": [1, 2, 3, 4], "requester": [1, 0, 1, 0], "kernel": [0, 0, 0, 2]}
    path = by_hand(tmp_path / "t.parquet", columns, {"schema": "tierscope.trace/1", "kernels": table})
    read_back = listed(parquet.read(path)[1])
    assert [(h.name, [p.address.tolist() for p in parts]) for h, parts in read_back] == [
        ("k3", [[2, 1, 3]]),
        ("k0", []),
        ("k1", [[4]]),
    ]


def test_the_last_byte_of_the_address_space_may_be_touched(tmp_path: Path) -> None:
    columns = {"address": [ADDRESS_SPACE_BYTES - 32, 64], "rows": [1, 3], "row_stride": [0, -32]}
    assert len(listed(parquet.read(by_hand(tmp_path / "t.parquet", columns))[1])) == 1


# ---- writing that fails


class Stop(BaseException):
    pass


def failing(fault: BaseException) -> Iterator[TracedKernel]:
    yield traced(0, [[0]])
    raise fault


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), Stop(), RuntimeError("x"), MemoryError()])
def test_nothing_is_left_of_a_file_that_was_given_up(tmp_path: Path, fault: BaseException) -> None:
    with pytest.raises(type(fault)):
        parquet.write(tmp_path / "t.parquet", HEADER, failing(fault))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0]])])
    before = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        parquet.write(tmp_path / "t.parquet", HEADER, failing(KeyboardInterrupt()))
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
    assert (tmp_path / "t.parquet").read_bytes() == before
    parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0, 1]])])
    assert len(next(parquet.read(tmp_path / "t.parquet")[1]).header.name) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("step", ["write_table", "close"])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, step, full)
    with pytest.raises(TraceError, match=r"t\.parquet: cannot be written: No space left on device") as caught:
        parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0]])])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    for path in (tmp_path / "none" / "t.parquet", tmp_path / "folder.parquet"):
        with pytest.raises(TraceError, match="cannot be written") as caught:
            parquet.write(path, HEADER, [traced(0, [[0]])])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.parquet"]
    assert list((tmp_path / "folder.parquet").iterdir()) == []


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (TracedKernel(launch(3), [records(0, [0, 1])]), "2 records, its header says 3"),
        (TracedKernel(launch(2), [records(1, [0, 1])]), "another kernel number"),
        (TracedKernel(launch(2), [records(0, [0]), records(0, [0])]), "two chunks or out of order"),
        (TracedKernel(launch(2), [records(0, [3]), records(0, [1])]), "two chunks or out of order"),
    ],
)
def test_chunks_that_break_their_contract_are_a_bug(tmp_path: Path, kernel: TracedKernel, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parquet.write(tmp_path / "t.parquet", HEADER, [kernel])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (TracedKernel(launch(2), [records(0, [1, 0])]), "column 'requester', row 1: is 0 after 1"),
        (TracedKernel(launch(1), [replace(records(0, [1]), rows=column("rows", [0]))]), "column 'rows', row 0: is 0"),
        (TracedKernel(launch(1, stages=0), [records(0, [1])]), r"kernels\[0\].stages: is 0"),
        (TracedKernel(launch(1, name="a\nb"), [records(0, [1])]), r"kernels\[0\].name: is 'a\\nb'"),
        (TracedKernel(launch(1, after=(0,)), [records(0, [1])]), r"kernels\[0\].after: has 0"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, kernel: TracedKernel, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        parquet.write(tmp_path / "t.parquet", HEADER, [kernel])
    assert list(tmp_path.iterdir()) == []


def test_a_requester_too_long_to_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "HELD_RECORDS", 4)
    parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0] * 4 + [1] * 4])])
    with pytest.raises(TraceError, match="requester 1 has more than"):
        parquet.write(tmp_path / "t.parquet", HEADER, [traced(0, [[0] * 4 + [1] * 5])])


def test_a_description_too_long_to_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "JSON_BYTES", 1000)
    with pytest.raises(TraceError, match="trace fewer steps"):
        parquet.write(tmp_path / "t.parquet", TraceHeader(model={"x": "y" * 1000}), [])
    assert list(tmp_path.iterdir()) == []
