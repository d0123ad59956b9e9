"""Tables of reports in narrow terminals: what goes first, what stays whole."""

from __future__ import annotations

from simulator.report import accuracy
from simulator.report.sheet import Sheet, markdown, render_sheet

SHEET = Sheet(
    "Errors",
    "",
    ("hardware", "what was looked at", ">measured", ">error", ""),
    [
        ("h100-sxm", "decode attention, sixteen sequences", "412,168 sectors", "-12.5 %", "ok"),
        ("l40s", "product", "3 us", "+99.9 %", "OUT"),
    ],
    details=(">measured",),
)


def test_a_wide_table_is_whole() -> None:
    lines = render_sheet(SHEET, 100).splitlines()
    assert lines[0] == "Errors"
    assert lines[1].split()[:2] == ["hardware", "what"]
    assert lines[2] == "h100-sxm  decode attention, sixteen sequences  412,168 sectors  -12.5 %  ok"
    assert len(lines) == 4


def test_a_narrow_one_leaves_out_details_and_says_so_then_cuts_words_but_no_numbers() -> None:
    """8 + 7 + 3 cells and four gaps of two are not cut: in 48 the second column has 22 cells, the last of them dots."""
    lines = render_sheet(SHEET, 48).splitlines()
    assert max(map(len, lines)) <= 48
    assert lines[-1] == "(left out at 48 columns: measured)"
    assert lines[2].endswith("-12.5 %  ok") and lines[3].endswith("+99.9 %  OUT")
    assert "  decode attention, six…  " in lines[2]


def test_without_a_heading_the_table_begins_at_once() -> None:
    assert render_sheet(Sheet("", "", ("a",), [("1",)]), 40).splitlines() == ["a", "1"]


def test_markdown_keeps_every_column() -> None:
    assert markdown(SHEET, "##")[:4] == [
        "## Errors",
        "",
        "| hardware | what was looked at | measured | error |  |",
        "|---|---|---:|---:|---|",
    ]


def test_rows_left_out_and_failed_are_listed_with_their_reasons() -> None:
    counts = {"reasons": {"no column n": 400, "unknown type: gemm_dtype int3": 1}}
    suite = {"counts": counts, "failed": [{"source": "a.parquet:7", "error": "too large"}]}
    left_out, failed = accuracy.unpredicted(suite)
    assert left_out.rows == [("no column n", "400"), ("unknown type: gemm_dtype int3", "1")]
    assert failed.rows == [("a.parquet:7", "too large")]
