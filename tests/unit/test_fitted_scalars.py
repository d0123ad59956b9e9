"""May each pair of framework and kernel family have what it has of calibration rows: six scalars at most, all in
configs/implementations.toml?"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import simulator
from simulator.config import data_dir
from simulator.lowering.implementation import Implementation
from simulator.lowering.tiling import SHARED_BYTES_PER_CLOCK

MOST = 6
TABLES = tomllib.loads((data_dir("configs") / "implementations.toml").read_text(encoding="utf-8"))
PAIRS = [(framework, family) for framework, families in TABLES.items() for family in families]


@pytest.mark.parametrize(("framework", "family"), PAIRS)
def test_a_pair_has_six_scalars_at_most(framework: str, family: str) -> None:
    assert len(TABLES[framework][family]) <= MOST


def test_generic_kernels_are_vllms() -> None:
    assert TABLES["generic"] == TABLES["vllm"]


def test_frameworks_share_what_is_the_librarys() -> None:
    """bf16 products are cuBLAS's under all of them: no framework has a DRAM gap of its own."""
    assert len({TABLES[framework]["gemm"]["run_gap"] for framework in TABLES}) == 1


def test_what_is_left_out_of_a_table_does_nothing() -> None:
    """A default that did something would be a scalar more; V is turned as fast as shared memory lets it in and out."""
    turned = SHARED_BYTES_PER_CLOCK / 2
    rates = {"transposed_per_clock": turned, "softmax_exposed": 1.0, "spilled_passes": 1.0, "fp8_efficiency": None}
    for name, field in Implementation.model_fields.items():
        if not field.is_required():
            assert field.default == rates.get(name, 0), name


def test_no_other_number_comes_from_calibration_rows() -> None:
    """Whoever reads a number off them says so beside it, and that has to be in the table."""
    sources = Path(simulator.__file__).parent
    read_off = [
        path.relative_to(sources).as_posix()
        for layer in ("hardware", "workload", "lowering", "core", "memory", "system", "run")
        for path in (sources / layer).rglob("*.py")
        if "calibration row" in " ".join(path.read_text(encoding="utf-8").split())
    ]
    assert read_off == ["lowering/implementation.py"]
