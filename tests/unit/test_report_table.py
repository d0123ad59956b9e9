"""The tables for a terminal: numbers worked by hand, widths, nulls and hostile names; what the groups add up to."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import pytest
from test_report_sample import HOSTILE, LAYER, LAYERS, kernel, nulled, renamed, sample

from simulator.report import groups, headline, table, values
from simulator.report.values import DASH


def lines(result: dict[str, Any], width: int = 100) -> list[str]:
    """Return the lines of the table."""
    return table.render(result, width).splitlines()


def line(result: dict[str, Any], start: str) -> list[str]:
    """Return the words of the one line that starts with `start`, without it."""
    (found,) = (each for each in lines(result) if each.startswith(f"{start}  "))
    return found.removeprefix(start).split()


def test_opening_names_the_run() -> None:
    title, circumstances, blank, first = lines(sample())[:4]
    assert title == "llama-3.1-8b on NVIDIA H100 SXM5 80 GB"
    assert circumstances == "decode · batch 1 · context 4096 · bf16 · graph launch · warm cache"
    assert blank == ""
    assert first.startswith("Time 5.95 ms   Throughput 168 tokens/s   Limited by dram bandwidth")


def test_operator_line_adds_up_its_kernels() -> None:
    # two launches of 30 us and 10 us move 40 MB each: 80 MB in 40 us is 2 TB/s; the run adds 2 x 0.86 us of launch
    kernels = [
        kernel("a", "gemm", time_s=30e-6, dram_read_bytes=38_000_000, dram_write_bytes=2_000_000, limiter="compute"),
        kernel("b", "gemm", time_s=10e-6, dram_read_bytes=40_000_000, limiter="dram bandwidth"),
    ]
    words = line(sample(kernels), "gemm")
    assert words[:3] == ["40.0", "us", "95.9"]
    assert words[-6:] == ["2", "76.3", "MiB", "2.00", "TB/s", "compute"]
    assert line(sample(kernels), "between kernels")[:3] == ["1.72", "us", "4.1"]


def test_tiers_give_bytes_rates_and_row_hits() -> None:
    result = sample([kernel("a", "gemm", time_s=1e-3, launch_s=0.0, read_bytes=3.2e9, dram_read_bytes=1.6e9)])
    assert " ".join(line(result, "L2")) == "2.98 GiB 8 KiB 50.0 % 3.20 TB/s 35.3 % 31.0 %"
    assert " ".join(line(result, "to the SMs")) == "2.77 MiB 40 KiB per SM 32 KiB per SM 1.72 MiB 1.10 us 2.60 TB/s 180"
    assert " ".join(line(result, "HBM3")) == "1.49 GiB 4.01 MiB rows 92.0 % 1.60 TB/s 47.9 % 80.1 %"
    assert line(result, "host DRAM")[:2] == ["not", "used"]


def test_device_memory_is_called_by_its_standard() -> None:
    result = sample()
    result["config"]["hardware"]["hbm"]["standard"] = "gddr6x"
    assert any(each.startswith("GDDR6X ") for each in lines(result))


def test_kernels_of_all_layers_are_one_line() -> None:
    assert " ".join(line(sample(), "layers.*.gate_up")) == "2.44 ms 41.1 % 32 76.4 us 448 0.2 % dram bandwidth"
    assert not any("layers.3." in each for each in lines(sample()))


def test_a_layer_number_is_replaced_only_as_a_whole_part_of_the_name() -> None:
    kernels = [kernel("l.1.fc11", "gemm", 1), kernel("l.11.fc11", "gemm", 11), kernel("head.1", "gemm", None)]
    assert {group.label for group in groups.by_name(sample(kernels))} == {"l.*.fc11", "head.1"}


def test_verdict_is_the_larger_floor() -> None:
    result = sample([kernel("a", "gemm", time_s=2e-3, launch_s=0.0, dram_read_bytes=3.352e9, flops=1.07e12)])
    # 3.352 GB at 3.352 TB/s and 1.07 Tflop at 1070 Tflop/s both take 1 ms; twice the flops take 2 ms
    assert "The floor is 1 ms, moving 3.12 GiB at the HBM3 peak: 50.0 % of the run time." in lines(result)
    result["summary"]["flops"] *= 1.5
    assert "The floor is 1.50 ms, computing 1.60 Tflop at the compute peak: 75.0 % of the run time." in lines(result)
    result["tiers"]["link"] |= {"read_bytes": 45e6, "peak_bandwidth_bytes_per_s": 25e9}
    assert "The floor is 1.80 ms, copying 42.9 MiB in at the peak of the link: 90.0 % of the run time." in lines(result)


def test_waiting_for_copies_is_told_from_gaps() -> None:
    result = sample([kernel("a", "gemm", time_s=1e-3, launch_s=0.0)])
    result["summary"]["time_s"] = 4e-3
    result["tiers"]["link"] = dict.fromkeys(result["tiers"]["link"], 0.5) | {"exposed_s": 2e-3}
    result["tiers"]["ssd"] = dict.fromkeys(result["tiers"]["ssd"], 0.25)
    rows = {line.split("  ")[0]: line for line in lines(result)}
    assert "50.0 %" in rows["waiting for copies"]
    assert "25.0 %" in rows["between kernels"]
    assert "50.0 %" in rows["link to host"] and "25.0 %" in rows["SSD"]


def test_says_whether_kernels_were_extrapolated() -> None:
    assert lines(sample())[-1] == "Extrapolated from earlier layers: 280 of 323 kernels."
    assert lines(sample([kernel("a", "gemm")]))[-1] == "Exact: every kernel was replayed."


@pytest.mark.parametrize("width", [40, 50, 60, 72])
def test_a_narrow_terminal_gets_fewer_columns_but_whole_figures(width: int) -> None:
    """A number that is cut ends in dots after a digit or before its unit; names and words end in letters."""
    text = lines(sample(), width)
    assert max(map(len, text)) <= width
    assert not [each for each in text if re.search(r"\d ?…", each)]
    assert any(re.search(r"^(gemm|GEMM) +\S+ [um]s +\S+ %", each) for each in text)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_fits_its_width_and_a_screen(width: int) -> None:
    text = lines(sample(), width)
    assert max(map(len, text)) <= width
    assert len(text) <= 50
    assert not any(each.endswith(" ") for each in text)
    limiters = text[next(place for place, each in enumerate(text) if each.startswith("Operator")) :]
    assert not any(each.endswith("…") for each in limiters)


def test_narrow_tables_drop_columns_and_never_cut_numbers() -> None:
    row = next(each for each in lines(sample(), 80) if each.startswith("gemm"))
    assert "5.05 ms  84.9 %" in row
    assert row.endswith("dram bandwidth")
    assert "█" not in row
    assert "█" in "".join(lines(sample(), 100))


def test_nulls_are_dashes() -> None:
    text = table.render(nulled(sample()))
    assert f"Time {DASH}   Throughput {DASH}   Limited by {DASH}" in text
    assert line(nulled(sample()), "HBM") == [DASH] * 6
    assert "None" not in text
    assert "nan" not in text


@pytest.mark.parametrize("key", ["provenance", "config", "summary", "tiers", "concurrency", "kernels"])
def test_null_leaves_of_any_part_render(key: str) -> None:
    result = sample()
    result[key] = nulled(result[key])
    assert "None" not in table.render(result)


def test_empty_and_zero_runs_render() -> None:
    for kernels in ([], [kernel("a", "gemm", time_s=0.0, launch_s=0.0, dram_read_bytes=0, flops=0, read_bytes=0)]):
        assert "Time 0 s" in table.render(sample(kernels))


def test_hostile_names_stay_text() -> None:
    text = table.render(renamed(sample()), 140)
    assert "</script><b>[red]·[31m&\"'" in text  # markup is not interpreted
    assert "\x1b" not in text  # nor are control characters passed on
    assert "\x1b" not in table.render(renamed(sample(), "a\nb\x07\ud800"), 140)
    assert len(lines(renamed(sample(), "a\nb"))) <= len(lines(sample()))


def test_color_is_only_for_terminals() -> None:
    assert "\x1b[1m" in table.render(sample(), color=True)
    assert "\x1b" not in table.render(sample())


def test_shares_of_all_operators_and_gaps_are_one() -> None:
    result = sample()
    budget = groups.time_budget(result)
    shares = [budget.share(group.time_s) or 0.0 for group in groups.by_operator(result)]
    assert math.isclose(sum(shares) + budget.gap_s / budget.total_s, 1.0)
    assert min(shares) > 0


def test_overlapping_kernels_share_the_kernel_time() -> None:
    result = sample([kernel("a", "gemm", time_s=3e-6), kernel("b", "norm", time_s=1e-6)])
    result["summary"]["time_s"] = 3e-6
    budget = groups.time_budget(result)
    assert (budget.total_s, budget.gap_s) == (4e-6, 0.0)


def test_groups_weigh_hit_rates_by_bytes() -> None:
    kernels = [
        kernel("a", "gemm", read_bytes=300, write_bytes=0, l2_hit_rate=1.0),
        kernel("a", "gemm", read_bytes=50, write_bytes=50, l2_hit_rate=0.0),
        kernel("a", "gemm", read_bytes=10**9, l2_hit_rate=None),
    ]
    (group,) = groups.by_operator(sample(kernels))
    assert group.l2_hit_rate == 0.75


def test_operators_are_sorted_by_time_and_complete() -> None:
    found = groups.by_operator(sample())
    assert [group.label for group in found][:3] == ["gemm", "decode_attention", "norm"]
    assert sum(len(group.kernels) for group in found) == LAYERS * len(LAYER) + 3
    norm_us = LAYERS * (2.1 + 2.1) + 2
    assert math.isclose(next(group.time_s for group in found if group.label == "norm"), norm_us * 1e-6)


def test_times_to_first_and_per_token_show_only_when_they_differ_from_the_time() -> None:
    result = sample()
    assert not {"TTFT", "TPOT"} & {figure.label for figure in headline.figures(result)}
    result["summary"] |= {"ttft_s": 0.2, "tpot_s": 6e-3}
    shown = {figure.label: figure.value for figure in headline.figures(result)}
    assert (shown["TTFT"], shown["TPOT"]) == ("200 ms", "6 ms")


def test_numbers_as_text() -> None:
    assert values.percent(0.00001) == "<0.1 %"
    assert [values.percent(loss) for loss in (-0.00001, -0.014)] == ["0.0 %", "-1.4 %"]
    assert [values.percent(share) for share in (0.0, 0.931, 0.9996, 1.0)] == ["0.0 %", "93.1 %", "100 %", "100 %"]
    assert values.quantity(9.89e14, "flop/s") == "989 Tflop/s"
    assert values.number(1230.4, "flop/B") == "1,230 flop/B"
    assert [values.energy(joules) for joules in (2.41, 2.94e-4, 3e-10)] == ["2.41 J", "294 uJ", "0.300 nJ"]
    assert [values.time(0), values.time(None), values.size(math.inf)] == ["0 s", DASH, DASH]
    assert values.plain(HOSTILE) == HOSTILE.replace("\x1b", "·")
    assert table.bar(0.5) == "█" * (table.BAR_CELLS // 2)
    assert [table.bar(share) for share in (None, 0.0, -1.0)] == ["", "", ""]
    assert table.bar(3.0) == table.bar(1.0) == "█" * table.BAR_CELLS


def test_importing_the_reports_imports_no_renderer() -> None:
    modules = "table, text, files, html, memory_chart"
    code = (
        f"from simulator.report import {modules}; import sys; print(*{{'rich', 'plotly', 'jinja2'}} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
