"""Is every row of a measured table used or left out for a stated reason, and drawn evenly?"""

from __future__ import annotations

import zlib
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kernel_tables import DECODE, GEMM, PREFILL, write

from simulator.errors import ConfigError
from simulator.run.cases import DecodeAttentionCase, GemmCase, PrefillAttentionCase
from simulator.validation.kernels import database, left_out
from simulator.validation.kernels.accuracy import plan
from simulator.validation.kernels.rows import CALIBRATION, TEST, Selection, select
from simulator.validation.kernels.sampling import stratified
from simulator.validation.kernels.suite import SUITES, weight_copies

GEMM_SUITE, DECODE_SUITE, PREFILL_SUITE = SUITES["gemm"], SUITES["decode-attention"], SUITES["prefill-attention"]

BAD_GEMM = [
    ({"latency": None}, "latency missing or not a number"),
    ({"latency": float("nan")}, "latency missing or not a number"),
    ({"latency": 0.0}, "latency zero, negative or infinite"),
    ({"latency": -1.0}, "latency zero, negative or infinite"),
    ({"latency": float("inf")}, "latency zero, negative or infinite"),
    ({"latency": 1e-300}, "latency under a nanosecond or over an hour"),
    ({"latency": 1e300}, "latency under a nanosecond or over an hour"),
    ({"m": 0}, "m not a positive whole number"),
    ({"k": None}, "k not a positive whole number"),
    ({"gemm_dtype": "nvfp4"}, "not modelled: gemm_dtype nvfp4"),
    ({"gemm_dtype": "fp8_static"}, "implausible: fp8_static"),
    ({"gemm_dtype": "posit8"}, "unknown type: gemm_dtype posit8"),
    ({"gemm_dtype": None}, "unknown type: gemm_dtype missing"),
]
BAD_ATTENTION = [
    ({"batch_size": 0}, "batch_size not a positive whole number"),
    ({"window_size": -1}, "window_size not a whole number"),
    ({"num_heads": 30}, "num_heads not a multiple of num_key_value_heads"),
    ({"head_dim": 100}, "head_dim not a multiple of 8 up to 1024"),
    ({"kv_cache_dtype": "int4"}, "unknown type: kv_cache_dtype int4"),
    ({"attn_dtype": "fp8"}, "not modelled: attention computed in fp8"),
    ({"beam_width": 4}, "not modelled: beam search"),
]


def test_every_gemm_row_is_used_or_left_out_once(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM, *(GEMM | change for change, _ in BAD_GEMM), GEMM | {"m": 2}])
    rows, ledger = select(GEMM_SUITE, database.at(tmp_path), Selection())
    assert [row.case.model_dump()["m"] for row in rows] == [1, 2]
    assert ledger.reasons() == Counter(reason for _, reason in BAD_GEMM)
    assert sum(ledger.files.values()) == len(BAD_GEMM) + 2 == sum(ledger.reasons().values()) + ledger.usable


@pytest.mark.parametrize(
    ("kind", "suite", "good"), [("decode", DECODE_SUITE, DECODE), ("prefill", PREFILL_SUITE, PREFILL)]
)
def test_every_attention_row_is_used_or_left_out_once(tmp_path: Path, kind: str, suite: object, good: dict) -> None:
    write(tmp_path, kind, [good, *(good | change for change, _ in BAD_ATTENTION)])
    rows, ledger = select(suite, database.at(tmp_path), Selection())
    assert len(rows) == 1
    assert ledger.reasons() == Counter(reason for _, reason in BAD_ATTENTION)


def test_a_prompt_after_a_prefix_is_not_modelled(tmp_path: Path) -> None:
    write(tmp_path, "prefill", [PREFILL, PREFILL | {"step": 64}])
    _, ledger = select(PREFILL_SUITE, database.at(tmp_path), Selection())
    assert ledger.reasons() == {"not modelled: a prompt after a cached prefix": 1}


@pytest.mark.parametrize(
    ("kind", "where", "rows", "taken"),
    [
        ("decode", "h200_sxm/trtllm/1.2.0", [DECODE | {"batch_size": b} for b in (16, 32, 64)], 2),
        ("decode", "h200_sxm/trtllm/1.3.0rc20", [DECODE | {"batch_size": b} for b in (16, 32, 64)], 0),
        ("prefill", "h200_sxm/trtllm/1.2.0", [PREFILL | {"batch_size": 32}], 0),
        ("decode", "a100_sxm/trtllm/1.0.0", [DECODE, DECODE | {"num_key_value_heads": 32}], 1),
        ("decode", "a100_sxm/trtllm/1.0.0", [DECODE | {"num_key_value_heads": 0}], 0),
        ("prefill", "l40s/sglang/0.5.12", [PREFILL], 1),
        ("gemm", "l40s/sglang/0.5.12", [GEMM], 0),
        ("gemm", "h100_sxm/trtllm/1.2.0rc5", [GEMM], 1),
        ("gemm", "h100_sxm/trtllm/1.3.0rc20", [GEMM], 0),
        ("gemm", "gb300/vllm/0.14.0", [GEMM], 1),
        ("gemm", "b60/vllm/0.12.0", [GEMM], 1),
    ],
)
def test_rows_known_to_be_wrong(tmp_path: Path, kind: str, where: str, rows: list, taken: int) -> None:
    suite = {"gemm": GEMM_SUITE, "decode": DECODE_SUITE, "prefill": PREFILL_SUITE}[kind]
    write(tmp_path, kind, rows, where)
    (table,) = database.at(tmp_path).tables(suite.family, suite.file)
    columns = database.read(table)
    left = np.ones(columns.rows, bool)
    for reason, mask in left_out.rules(suite, table, columns):
        if reason.startswith("implausible"):
            left &= ~mask
    assert len(rows) - np.count_nonzero(left) == taken


def test_releases_compare_as_releases() -> None:
    order = ["0.9.1", "1.0.0", "1.3.0rc5", "1.3.0rc20", "1.3.0", "1.10.0"]
    assert sorted(order, key=left_out.release) == order


def test_tables_that_cannot_be_used_are_counted_whole(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM])
    write(tmp_path, "gemm", [GEMM, GEMM], "b60/vllm/0.26.0")
    write(tmp_path, "gemm", [GEMM] * 3, "h100_sxm/newcomer/1.0")
    short = dict(GEMM)
    del short["latency"]
    write(tmp_path, "gemm", [short] * 4, "h200_sxm/vllm/0.24.0")
    broken = write(tmp_path, "gemm", [GEMM], "l40s/vllm/0.24.0")
    broken.write_bytes(b"PAR1 and then nothing")
    rows, ledger = select(GEMM_SUITE, database.Database(tmp_path, "0.13.0"), Selection())
    assert len(rows) == 1
    assert ledger.reasons() == {
        "no hardware description of b60": 2,
        "unknown framework newcomer": 3,
        "no column latency": 4,
    }
    assert sum(ledger.files.values()) == 10
    older, unreadable = ledger.notes
    assert "0.13.0" in older and "0.12.0" in older
    assert str(broken) in unreadable


def columns_of(**changes: pa.Array) -> pa.Table:
    """Return a table of two rows of GEMM with some columns of other types."""
    plain = {name: pa.array([value] * 2) for name, value in GEMM.items()}
    return pa.table(plain | changes)


@pytest.mark.parametrize(
    ("table", "reasons", "usable"),
    [
        (columns_of(latency=pa.array([Decimal("0.02")] * 2)), {}, 2),
        (columns_of(m=pa.array([2**64 - 1, 1], pa.uint64())), {"m not a positive whole number": 1}, 1),
        (columns_of(gemm_dtype=pa.array([b"bfloat16", b"\xff"])), {"unknown type: gemm_dtype b'\\xff'": 1}, 0),
        (columns_of(gemm_dtype=pa.array(["bfloat16", "\x1b[31m"])), {"unknown type: gemm_dtype \\x1b[31m": 1}, 1),
        (columns_of(gemm_dtype=pa.array([["fp8"]] * 2)), {"unknown type: gemm_dtype ['fp8']": 2}, 0),
        (columns_of(m=pa.array([[1]] * 2)), {"m not a positive whole number": 2}, 0),
        (columns_of().append_column("m", pa.array([1, 2])), {"more than one column m": 2}, 0),
    ],
    ids=["decimal", "beyond floats", "bytes", "escapes", "lists of words", "lists of numbers", "twice"],
)
def test_columns_of_odd_types_are_read_or_counted(
    tmp_path: Path, table: pa.Table, reasons: dict[str, int], usable: int
) -> None:
    pq.write_table(table, write(tmp_path, "gemm", [GEMM]))
    write(tmp_path, "gemm", [GEMM], "l40s/vllm/0.24.0")  # so that there is a usable row
    _, ledger = select(GEMM_SUITE, database.at(tmp_path), Selection())
    assert reasons.items() <= ledger.reasons().items()
    assert sum(ledger.files.values()) == 3 == sum(ledger.reasons().values()) + ledger.usable
    assert ledger.usable == usable + 1


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM])
    with pytest.raises(ConfigError, match="tables of h100-sxm"):
        select(GEMM_SUITE, database.at(tmp_path), Selection(devices=("l40s",)))
    write(tmp_path, "gemm", [GEMM | {"latency": 0.0}] * 2)
    with pytest.raises(ConfigError, match=r"tables of h100-sxm; 2 rows: latency zero, negative or infinite$"):
        select(GEMM_SUITE, database.at(tmp_path), Selection())
    write(tmp_path, "gemm", [GEMM]).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        select(GEMM_SUITE, database.at(tmp_path), Selection())
    pq.write_table(columns_of().slice(0, 0), write(tmp_path, "gemm", [GEMM]))
    with pytest.raises(ConfigError, match=r"gemm_perf.parquet: no rows$"):
        select(GEMM_SUITE, database.at(tmp_path), Selection())
    with pytest.raises(ConfigError, match=r"has no table <gpu>/attention/<framework>/<version>/generation_"):
        select(DECODE_SUITE, database.at(tmp_path), Selection())
    with pytest.raises(ConfigError, match="no such folder"):
        database.at(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="not a folder"):
        database.at(write(tmp_path, "gemm", [GEMM]))


def test_calibration_rows_are_chosen_by_their_key(tmp_path: Path) -> None:
    """The key is every column but latency (and power), joined by commas in file order."""
    many = [GEMM | {"m": m, "power": 300.0} for m in range(1, 301)]
    write(tmp_path, "gemm", many)
    write(tmp_path, "gemm", many, "h200_sxm/vllm/0.24.0")
    rows, _ = select(GEMM_SUITE, database.at(tmp_path), Selection())
    chosen = {row.case.m for row in rows if row.set == CALIBRATION and isinstance(row.case, GemmCase)}
    assert chosen == {m for m in range(1, 301) if zlib.crc32(f"VLLM,bfloat16,{m},4096,4096".encode()) % 10 == 0}
    assert 10 < len(chosen) < 60
    assert {row.device for row in rows if row.set == CALIBRATION} == {"h100-sxm"}
    assert Counter(row.set for row in rows if row.device == "h200-sxm") == {TEST: 300}


def test_cases_follow_the_protocol(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM], "h100_sxm/trtllm/1.3.0rc20")
    write(tmp_path, "decode", [DECODE | {"kv_cache_dtype": "fp8", "window_size": 128}])
    write(tmp_path, "prefill", [PREFILL | {"num_key_value_heads": 0}])
    source = database.at(tmp_path)
    (gemm,), (decode,), (prefill,) = (select(suite, source, Selection())[0] for suite in SUITES.values())
    assert isinstance(gemm.case, GemmCase) and gemm.case.weight_copies == 2  # 32 MiB each, 50 MiB of L2
    assert gemm.measured_s == pytest.approx(10e-6)
    case = decode.case
    assert isinstance(case, DecodeAttentionCase)
    assert (case.kv_len, case.kv_dtype, case.window, case.page_tokens) == (1024, "fp8", 128, 64)
    assert isinstance(prefill.case, PrefillAttentionCase)
    assert (prefill.case.seq_len, prefill.case.kv_heads, prefill.case.heads) == (512, 32, 32)


@pytest.mark.parametrize(("place", "stored"), [("b200_sxm/vllm/0.22.0", False), ("b200_sxm/vllm/0.24.0", True)])
def test_a_call_of_forward_alone_stores_nothing(tmp_path: Path, place: str, stored: bool) -> None:
    for kind, suite, good in (("decode", DECODE_SUITE, DECODE), ("prefill", PREFILL_SUITE, PREFILL)):
        write(tmp_path, kind, [good], place)
        (row,), _ = select(suite, database.at(tmp_path), Selection())
        assert row.case.kv_write is stored


@pytest.mark.parametrize(("place", "alone"), [("a100_sxm/trtllm/1.0.0", True), ("h100_sxm/trtllm/1.3.0rc20", False)])
def test_a_cache_of_keys_alone_is_read_as_values_too(tmp_path: Path, place: str, alone: bool) -> None:
    write(tmp_path, "decode", [DECODE | {"batch_size": 16, "num_key_value_heads": DECODE["num_heads"]}], place)
    (row,), _ = select(DECODE_SUITE, database.at(tmp_path), Selection())
    assert isinstance(row.case, DecodeAttentionCase)
    assert row.case.value_is_key is alone


@pytest.mark.parametrize(
    ("place", "source", "told"),
    [
        ("b200_sxm/sglang/0.5.14", "triton", "triton"),
        ("b200_sxm/sglang/0.5.14", "trtllm_mha", "auto"),
        ("b200_sxm/vllm/0.24.0", "flashinfer", "auto"),
    ],
)
def test_sglang_runs_the_kernel_that_a_row_names(tmp_path: Path, place: str, source: str, told: str) -> None:
    for kind, suite, good in (("decode", DECODE_SUITE, DECODE), ("prefill", PREFILL_SUITE, PREFILL)):
        write(tmp_path, kind, [good | {"kernel_source": source}], place)
        (row,), _ = select(suite, database.at(tmp_path), Selection())
        assert row.case.backend == told


@pytest.mark.parametrize(
    ("place", "copies", "calls"), [("h100_sxm/sglang/0.5.6.post2", 1, 5), ("h100_sxm/sglang/0.5.14", 6, 0)]
)
def test_an_older_collector_called_one_weight_five_times(tmp_path: Path, place: str, copies: int, calls: int) -> None:
    write(tmp_path, "gemm", [GEMM], place)
    (row,), _ = select(GEMM_SUITE, database.at(tmp_path), Selection())
    assert isinstance(row.case, GemmCase)
    assert (row.case.weight_copies, row.case.calls) == (copies, calls)


def test_weight_copies() -> None:
    mib = 2**20
    assert [weight_copies("trtllm", size * mib, 50 * mib) for size in (1, 10, 20, 49, 50, 51, 400)] == [
        5,
        5,
        3,
        2,
        1,
        1,
        1,
    ]
    assert weight_copies("vllm", 400 * mib, 50 * mib) == weight_copies("sglang", mib, 50 * mib) == 6


def test_longest_leaves_out_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM, GEMM | {"latency": 3.0}])
    rows, ledger = select(GEMM_SUITE, database.at(tmp_path), Selection(longest_s=1e-3))
    assert len(rows) == 1
    assert ledger.reasons() == {"longer than the 1 ms asked for": 1}


def test_strata_get_equal_shares_and_small_ones_all_they_have() -> None:
    strata = np.repeat([0, 1, 2], [5, 400, 1000])
    sizes = np.arange(len(strata), dtype=float)
    chosen = stratified(strata, sizes, 105, seed=3)
    assert len(set(chosen.tolist())) == 105
    assert Counter(strata[chosen].tolist()) == {0: 5, 1: 50, 2: 50}
    assert stratified(strata, sizes, 105, seed=3).tolist() == chosen.tolist()
    assert stratified(strata, sizes, 105, seed=4).tolist() != chosen.tolist()
    assert stratified(strata, sizes, 10**6, seed=0).tolist() == list(range(len(strata)))


def test_a_draw_smaller_than_the_strata_favours_none() -> None:
    strata = np.repeat([0, 1, 2, 3], [10, 20, 40, 80])
    seen = Counter(int(strata[row]) for seed in range(400) for row in stratified(strata, np.ones(150), 2, seed))
    assert all(140 < seen[stratum] < 260 for stratum in range(4))


def test_a_draw_follows_the_sizes_of_its_stratum() -> None:
    """Of 1000 rows in order of size, 50 are drawn, one from every 20."""
    sizes = np.random.default_rng(0).permutation(1000).astype(float)
    chosen = stratified(np.zeros(1000, np.int64), sizes, 50, seed=1)
    assert sorted(sizes[chosen] // 20) == list(range(50))


def test_every_row_of_a_stratum_is_as_likely() -> None:
    counts = Counter(int(row) for seed in range(2000) for row in stratified(np.zeros(7, np.int64), np.ones(7), 2, seed))
    assert all(abs(count - 2000 * 2 / 7) < 100 for count in counts.values())


def products(dtype: str, seed: int = 0, count: int = 400) -> list[dict]:
    """Products of all widths, of which a tenth has at most 64 rows and a weight over 4 MB."""
    draw = np.random.default_rng(seed)
    sizes = draw.choice((512, 1000, 2000, 4096), (count, 2))
    rows = draw.choice((1, 64, 65, 500), count, p=(0.1, 0.1, 0.4, 0.4))
    return [
        GEMM | {"gemm_dtype": dtype, "m": int(m), "n": int(n), "k": int(k), "latency": 0.01 + 1e-6 * place}
        for place, (m, (n, k)) in enumerate(zip(rows, sizes, strict=True))
    ]


def test_more_rows_of_a_part_are_others_and_of_that_part(tmp_path: Path) -> None:
    write(tmp_path, "gemm", products("bfloat16") + products("fp8", 1), "h200_sxm/vllm/0.24.0")
    write(tmp_path, "gemm", products("bfloat16", 2), "l40s/sglang/0.5.14")
    narrow = GEMM_SUITE.parts[0]
    source = database.at(tmp_path)
    every, _ = select(GEMM_SUITE, source, Selection())
    before, _ = select(GEMM_SUITE, source, Selection(sample=90))
    rows, ledger = select(GEMM_SUITE, source, Selection(sample=90, part_sample=30))
    more = [row for row in rows if row.part]
    assert [row for row in rows if not row.part] == before
    assert len(more) == 30 == ledger.drawn - 90
    assert len({row.source for row in rows}) == len(rows)
    assert all(row.part == narrow.name and narrow.holds(row.case) for row in more)
    assert set(Counter((row.device, row.dtype) for row in more).values()) == {10}
    whole, _ = select(GEMM_SUITE, source, Selection(sample=90, part_sample=10**6))
    counting = {row.source for row in whole if row.counts_in(narrow)}
    assert counting == {row.source for row in every if narrow.holds(row.case)}, "tables and cases agree on the part"


OWN_GPU = 'base = "l40s"\nsm = { count = 58, clock = "2040 MHz" }\nhbm = { stacks = 6, data_rate = "12.5 Gbit/s" }\n'


def test_a_file_describes_the_gpu_whose_folder_has_its_name(tmp_path: Path) -> None:
    for gpu in ("my_gpu", "l40s", "rtx_4090"):
        write(tmp_path, "gemm", [GEMM], where=f"{gpu}/vllm/0.24.0")
    rows, ledger = select(GEMM_SUITE, database.at(tmp_path), Selection())
    assert [(row.device, row.description) for row in rows] == [("l40s", "l40s"), ("rtx-4090", "rtx-4090")]
    assert ledger.reasons() == {"no hardware description of my_gpu": 1}
    own = tmp_path / "my-gpu.toml"
    own.write_text(OWN_GPU)
    rows, _ = select(GEMM_SUITE, database.at(tmp_path), Selection(devices=(str(own),)))
    assert [(row.device, row.description) for row in rows] == [("my-gpu", str(own))]


def test_a_file_of_no_gpu_and_a_faulty_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM], where="l40s/vllm/0.24.0")
    other = tmp_path / "other.toml"
    other.write_text(OWN_GPU)
    with pytest.raises(ConfigError, match=r"tables of l40s; .*other\.toml describes the GPU whose folder has the name"):
        select(GEMM_SUITE, database.at(tmp_path), Selection(devices=(str(other),)))
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        plan(["gemm"], Selection(devices=("none.toml",)), database.at(tmp_path))


def test_predictions_of_a_file_are_kept_apart_by_what_it_says(tmp_path: Path) -> None:
    write(tmp_path, "gemm", [GEMM], where="my_gpu/vllm/0.24.0")
    own = tmp_path / "my_gpu.toml"
    said = []
    for text in (OWN_GPU, OWN_GPU + "l2.ways = 8\n"):
        own.write_text(text)
        said.append(plan(["gemm"], Selection(devices=(str(own),)), database.at(tmp_path)).files())
    assert [name for files in said for name, _ in files] == [str(own)] * 2
    assert said[0] != said[1]
    assert plan(["gemm"], Selection(), database.at(write(tmp_path / "b", "gemm", [GEMM]).parents[4])).files() == []
