"""The trace format's README: its example runs, its tables are those of the code, the sample is what it says."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

from simulator import config
from simulator.trace import metadata, parquet
from simulator.trace.chunks import HELD_RECORDS
from simulator.trace.info import summarise
from simulator.trace.record import COLUMNS, DEFAULTS, KernelHeader, Records
from simulator.trace.source import ROW_GROUP_LIMIT

README = (config.data_dir("traces") / "README.md").read_text(encoding="utf-8")
SAMPLE = config.data_dir("traces") / "random_reads.parquet"


def run_example(folder: Path, monkeypatch: pytest.MonkeyPatch, reads: str) -> Path:
    """Run the README's program in `folder`; return the trace it wrote."""
    (program,) = re.findall(r"^```python$(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert program.count("1_000_000") == 1
    (folder / "example.py").write_text(program.replace("1_000_000", reads), encoding="utf-8")
    monkeypatch.chdir(folder)
    runpy.run_path("example.py")
    return folder / "my.parquet"


def test_the_example_writes_a_million_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, kernels = parquet.read(run_example(tmp_path, monkeypatch, "1_000_000"))
    summary = summarise(header, kernels)
    assert summary.kernels == 1
    assert summary.requesters == 1000
    assert summary.records == summary.reads.records == 1_000_000
    assert summary.reads.bytes == 32_000_000
    assert 31_900_000 < summary.footprint_bytes < 32_000_000  # 932 of 2^29 sectors are expected twice
    assert "tierscope replay my.parquet --hardware h100-sxm" in README


def test_the_sample_is_the_example_with_fewer_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SAMPLE.stat().st_size < 200_000
    (made, given) = (
        [Records.concatenate(kernel.chunks) for kernel in parquet.read(path)[1]]
        for path in (run_example(tmp_path, monkeypatch, "20_000"), SAMPLE)
    )
    assert len(made) == len(given) == 1
    assert len(given[0]) == 20_000
    for name in COLUMNS:
        assert (getattr(made[0], name) == getattr(given[0], name)).all()


def test_the_column_table_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", README, re.MULTILINE)
    written = {name: (kind, default) for name, kind, default in rows}
    expected = {name: (kind.__name__, str(DEFAULTS.get(name, "required"))) for name, kind in COLUMNS.items()}
    assert written == expected


def test_the_keys_and_limits_are_those_of_the_code() -> None:
    description = README[README.index("## Description") :]
    for key in (*metadata._KEYS, *(field.name for field in fields(KernelHeader))):
        assert f"`{key}`" in description
    assert f"{metadata.JSON_BYTES >> 20} MiB" in description
    assert f"2^{metadata.MAX_KERNELS.bit_length() - 1}" in description
    assert f"{HELD_RECORDS:,}" in README
    assert f"more than 2^{ROW_GROUP_LIMIT.bit_length() - 1} rows in one are refused" in README
