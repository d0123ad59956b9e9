"""Does `tierscope predict` answer every row it can, say why it cannot answer the others, and follow the protocol of the
measurement?"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from commandline import Command, Finished

HEADER = (
    "id,kernel,framework,cache,launch,replays,m,n,k,dtype,weight_copies,"
    "batch,kv_len,seq_len,heads,kv_heads,head_dim,kv_dtype,page_tokens,window,causal,backend"
)
COLUMNS = HEADER.split(",")
ADDED = ["time_s", "l2_hit_rate", "dram_read_bytes", "dram_write_bytes", "limiter", "error"]


def row(**values: object) -> str:
    """Return one line of the file."""
    assert set(values) <= set(COLUMNS)
    return ",".join(str(values.get(column, "")) for column in COLUMNS)


GEMM = {"kernel": "gemm", "m": 16, "n": 4096, "k": 4096, "dtype": "bf16"}
DECODE = {"kernel": "decode_attention", "batch": 4, "kv_len": 1024, "heads": 32, "kv_heads": 8, "head_dim": 128}
PREFILL = {"kernel": "prefill_attention", "batch": 1, "seq_len": 512, "heads": 32, "kv_heads": 8, "head_dim": 128}


class Predict:
    """Writes rows to a file and predicts them."""

    def __init__(self, tierscope: Command, folder: Path) -> None:
        self._tierscope = tierscope
        self._folder = folder

    def run(self, *rows: str, options: tuple[str, ...] = ()) -> Finished:
        """Return the finished command."""
        (self._folder / "cases.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        return self._tierscope("predict", "cases.csv", "--hardware", "h100-sxm", *options)

    def rows(self, *cases: dict[str, object]) -> list[dict[str, str]]:
        """Return the predicted rows of good cases."""
        finished = self.run(*(row(**case) for case in cases))
        assert finished.code == 0, finished.err
        assert finished.err == ""
        return list(csv.DictReader(io.StringIO(finished.out)))


@pytest.fixture
def predict(tierscope: Command, tmp_path: Path) -> Predict:
    return Predict(tierscope, tmp_path)


def test_the_three_kernels_in_one_file(predict: Predict) -> None:
    cases = [
        GEMM | {"id": "a", "weight_copies": 2, "framework": "vllm"},
        GEMM | {"id": "b", "dtype": "fp8", "launch": "stream", "replays": 20},
        DECODE | {"id": "c", "kv_dtype": "fp8", "page_tokens": 16, "framework": "sglang"},
        DECODE | {"id": "d", "window": 256, "framework": "sglang", "backend": "triton"},
        PREFILL | {"id": "e", "causal": "true", "seq_len": 2048, "framework": "trtllm"},
        PREFILL | {"id": "f", "causal": "false", "seq_len": 2048, "framework": "trtllm"},
    ]
    rows = predict.rows(*cases)
    assert list(rows[0]) == [*COLUMNS, *ADDED]
    assert [r["id"] for r in rows] == list("abcdef")
    for given, predicted in zip(cases, rows, strict=True):
        assert all(predicted[key] == str(value) for key, value in given.items())
        assert predicted["error"] == ""
        assert 0 < float(predicted["time_s"]) < 1e-2
        assert 0 <= float(predicted["l2_hit_rate"]) <= 1
        assert float(predicted["dram_read_bytes"]) >= 0 and float(predicted["dram_write_bytes"]) >= 0
        assert predicted["limiter"]
    times = {r["id"]: float(r["time_s"]) for r in rows}
    assert times["e"] < times["f"], "causal attention does about half the work"


def test_bad_rows_do_not_stop_good_ones(predict: Predict) -> None:
    lines = [
        row(id="good-1", **GEMM),
        row(id="unknown", kernel="conv", m=1),
        row(id="zero", **GEMM | {"m": 0}),
        row(id="text", **GEMM | {"n": "many"}),
        row(id="missing", kernel="gemm", m=4, n=64),
        row(id="foreign", **GEMM | {"heads": 8}),
        row(id="dtype", **GEMM | {"dtype": "int3"}),
        "",
        row(id="groups", **DECODE | {"kv_heads": 5}),
        "short,gemm",
        row(id="told", **DECODE | {"framework": "vllm", "backend": "triton"}),
        row(id="huge", **GEMM | {"m": 1 << 20, "n": 1 << 20, "k": 1 << 20}),
        row(id="good-2", **PREFILL),
    ]
    finished = predict.run(*lines)
    assert finished.code == 2
    rows = {r["id"]: r for r in csv.DictReader(io.StringIO(finished.out))}
    assert list(rows) == [line.split(",")[0] for line in lines if line]
    good = {name for name in rows if name.startswith("good")}
    for name in good:
        assert rows[name]["error"] == "" and float(rows[name]["time_s"]) > 0
    expected = {
        "unknown": (3, "conv"),
        "zero": (4, "m"),
        "text": (5, "n"),
        "missing": (6, "k"),
        "foreign": (7, "heads"),
        "dtype": (8, "dtype"),
        "groups": (10, "kv_heads"),
        "short": (11, "fields"),
        "told": (12, "backend"),
        "huge": (13, "exceed"),
    }
    assert set(expected) == set(rows) - good
    messages = finished.err.splitlines()
    assert len(messages) == len(expected)
    for message, (name, (line, word)) in zip(messages, expected.items(), strict=True):
        assert message.startswith(f"tierscope: cases.csv: line {line}: ")
        assert word in rows[name]["error"]
        assert message.endswith(rows[name]["error"])
        assert [rows[name][column] for column in ADDED[:-1]] == [""] * 5


def test_output_goes_to_the_file_and_messages_to_stderr(predict: Predict, tmp_path: Path) -> None:
    finished = predict.run(row(**GEMM), row(kernel="conv"), options=("--output", "out.csv"))
    assert finished.code == 2
    assert finished.out == ""
    assert finished.err.count("\n") == 1
    written = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [bool(r["time_s"]) for r in written] == [True, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "out.csv"]


def test_columns_that_are_left_out_have_defaults(tierscope: Command, tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("kernel,m,n,k\ngemm,16,4096,4096\n")
    (tmp_path / "long.csv").write_text(
        "kernel,m,n,k,dtype,weight_copies,framework,cache,launch\ngemm,16,4096,4096,bf16,1,generic,warm,graph\n"
    )
    short, long = (
        next(csv.DictReader(io.StringIO(tierscope("predict", name, "--hardware", "h100-sxm").out)))
        for name in ("short.csv", "long.csv")
    )
    assert {key: short[key] for key in ADDED} == {key: long[key] for key in ADDED}


def test_a_warm_cache_is_faster_than_a_cold_one(predict: Predict) -> None:
    warm, cold = predict.rows(GEMM | {"cache": "warm"}, GEMM | {"cache": "cold"})
    assert float(warm["time_s"]) < 0.9 * float(cold["time_s"])
    assert float(warm["l2_hit_rate"]) > 0.94, "32 MiB, half of it kept in both partitions, nearly fill an L2 of 50 MiB"
    assert float(warm["dram_read_bytes"]) < 0.08 * float(cold["dram_read_bytes"])
    assert float(cold["dram_read_bytes"]) >= 4096 * 4096 * 2


def test_rotating_weights_takes_them_out_of_the_cache(predict: Predict) -> None:
    copies = predict.rows(*(GEMM | {"weight_copies": copies} for copies in (1, 2, 3, 8)))
    rates = [float(r["l2_hit_rate"]) for r in copies]
    assert rates[0] > rates[1] > rates[2] - 0.001 > rates[3] - 0.002
    assert rates[3] < rates[0] - 0.4, "eight copies are 256 MiB"
    assert float(copies[3]["dram_read_bytes"]) >= 4096 * 4096 * 2
    assert float(copies[3]["time_s"]) > float(copies[0]["time_s"])


def test_hardware_can_be_changed(predict: Predict) -> None:
    slow = predict.run(row(**GEMM | {"cache": "cold"}), options=("--set", "hbm.data_rate=1 Gbit/s"))
    fast = predict.rows(GEMM | {"cache": "cold"})[0]
    assert float(next(csv.DictReader(io.StringIO(slow.out)))["time_s"]) > 2 * float(fast["time_s"])


def test_two_processes_print_what_one_does(predict: Predict) -> None:
    rows = [row(**(GEMM | {"m": 1 + number % 33, "n": 256, "k": 512})) for number in range(40)]
    bad = row(**(GEMM | {"m": 0}))
    alone, together = (predict.run(*rows, bad, options=("--jobs", jobs)) for jobs in "12")
    assert alone.code == together.code == 2
    assert alone.out == together.out
    assert len(alone.out.splitlines()) == 42
