"""The HTML report: one file without network, every name escaped, figures that Plotly accepts, numbers by hand."""

from __future__ import annotations

import itertools
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest
from test_report_sample import HBM_PEAK, HOSTILE, PEAK_FLOPS, kernel, nulled, renamed, sample

from simulator.report import html, memory_chart
from simulator.report.figures import catalog, roofline, time_bars
from simulator.report.figures.style import LIMITER_COLORS, colors
from simulator.report.values import DASH

VOID = {"meta", "input", "circle", "path", "rect", "polygon"}


class Page(HTMLParser):
    """What a page consists of: elements in order, visible text, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text.append(data.strip())


@pytest.fixture(autouse=True)
def short_plotly(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave out the 5 MB of plotly.js, except in tests marked by their name."""
    if "whole_file" not in request.node.name:
        monkeypatch.setattr(html, "plotly", lambda: "/* plotly.js */")


def tags(page: Page) -> list[str]:
    """Return the names of the elements of a page."""
    return [tag for tag, _ in page.elements]


def figures(page: Page) -> dict[str, Any]:
    """Return the figures that a page embeds."""
    found: dict[str, Any] = json.loads(page.scripts[0])
    return found


def test_page_is_well_formed_and_says_what_ran() -> None:
    page = Page(html.render(sample()))
    assert page.open == []
    for words in ("llama-3.1-8b on NVIDIA H100 SXM5 80 GB", "5.95 ms", "168 tokens/s", "3f2a91c0d4b7", "layers.*.qkv"):
        assert words in page.text
    drawn = sum("data-figure" in attrs for _, attrs in page.elements)
    assert drawn == len(figures(page)) >= 6
    assert page.text.count("How to read this.") == drawn + 3, "each figure, the memory chart, and two tables"


def test_whole_file_loads_nothing() -> None:
    text = html.render(sample())
    assert "plotly.js v" in text
    page = Page(text)
    assert not [attrs for _, attrs in page.elements if {"src", "href"} & attrs.keys()]
    assert "link" not in tags(page)
    assert not re.search(r"@import|url\(", re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0])
    policy = next(attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert len(page.scripts) == 3


@pytest.mark.parametrize("name", [HOSTILE, "<!--<script>", "]]>{{ 7*7 }}{% raw %}", "' onload='x", "\ud800\u2028\x00"])
def test_hostile_names_change_no_element(name: str) -> None:
    result, hostile = sample(), renamed(sample(), name)
    for each in (result, hostile):  # one operator and one limiter in both, so that both have the same rows
        for one in each["kernels"]:
            one |= {"operator": each["kernels"][0]["operator"], "limiter": each["summary"]["limiter"], "name": "k"}
    page, expected = Page(html.render(hostile)), Page(html.render(result))
    assert tags(page) == tags(expected)
    assert [sorted(attrs) for _, attrs in page.elements] == [sorted(attrs) for _, attrs in expected.elements]
    assert "49" not in page.text


def test_hostile_names_are_shown_as_they_are() -> None:
    assert HOSTILE.replace("\x1b", "·") in Page(html.render(renamed(sample()))).text


def test_plotly_sees_no_markup_in_names() -> None:
    found = figures(Page(html.render(renamed(sample()))))
    for figure in found.values():
        for trace in figure["data"]:
            trace.pop("customdata", None)  # by which marks are found; Plotly shows it nowhere
    shown = json.dumps(found)
    assert "</script>" not in shown
    assert set(re.findall(r"<[^&]*?>", shown)) <= {"<b>", "</b>", "<br>"}
    assert "&lt;/script&gt;" in shown


def test_embedded_json_is_its_value_and_cannot_end_its_element() -> None:
    value = {"a": f"{HOSTILE}<!--<script>\u2028"}
    text = html.json_for_script(value)
    assert json.loads(text) == value
    assert not set("<>&") & set(text)
    assert text.isascii()


@pytest.mark.parametrize("key", ["provenance", "config", "summary", "tiers", "kernels", None])
def test_nulls_render(key: str | None) -> None:
    result = sample()
    result = nulled(result) if key is None else result | {key: nulled(result[key])}
    visible = "\n".join(Page(html.render(result)).text)
    assert "None" not in visible.split("Provenance")[0]
    assert not re.search(r"\b(nan|inf)\b", visible)


def test_a_trace_replay_without_model_or_workload_renders() -> None:
    result = sample() | {"config": {"hardware": {"name": "H100"}, "model": None, "workload": None, "protocol": None}}
    assert "trace on H100" in Page(html.render(result)).text


def test_empty_and_zero_runs_say_that_there_is_nothing_to_plot() -> None:
    zero = kernel("a", "gemm", time_s=0.0, launch_s=0.0, flops=0, dram_read_bytes=0, read_bytes=0)
    for kernels in ([], [zero]):
        page = Page(html.render(sample(kernels)))
        assert not {"time", "roofline-dram"} & figures(page).keys()
        assert "No operator has both flops and DRAM traffic, so there is no roofline." in page.text
        assert "No kernel took any time." in page.text
        assert {attrs["data-figure"] for _, attrs in page.elements if "data-figure" in attrs} == figures(page).keys()


def test_plotly_accepts_the_figures() -> None:
    for result in (sample(), renamed(sample()), sample([kernel("a", "gemm")])):
        for figure in catalog.drawn(result).values():
            go.Figure(figure)


def test_roofline_points_by_hand() -> None:
    # 10 Mflop over 4 MB in 5 us: 2.5 flop/B at 2 Tflop/s
    result = sample(
        [
            kernel("a", "gemm", time_s=5e-6, flops=10_000_000, dram_read_bytes=3_000_000, dram_write_bytes=1_000_000),
            kernel("b", "rope", dram_read_bytes=0),
            kernel("c", "kv_write", flops=0),
            kernel("d", "norm", time_s=0.0),
        ]
    )
    (point,), left_out = roofline.points(result)
    assert math.isclose(point.intensity, 2.5)
    assert math.isclose(point.flops_per_s, 2e12)
    assert left_out == ["rope (no traffic)", "kv write (no flops)", "norm (no time)"]


def test_roofs_bend_at_the_ridge() -> None:
    roof = roofline.roofs(sample())[0]
    assert roof.name == "HBM3 peak"
    assert roof.ridge == PEAK_FLOPS / HBM_PEAK
    assert roof.height(1.0) == HBM_PEAK
    assert roof.height(roof.ridge / 2) == HBM_PEAK * roof.ridge / 2
    assert roof.height(2 * roof.ridge) == PEAK_FLOPS
    figure = roofline.draw(sample())
    assert figure is not None
    trace = figure["data"][0]
    assert math.isclose(trace["y"][trace["x"].index(roof.ridge)], PEAK_FLOPS)
    assert trace["x"] == sorted(trace["x"])


def test_roofline_shows_every_point_and_roof() -> None:
    figure = roofline.draw(sample())
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == [
        *("HBM3 peak", "HBM3 achievable", "L2 peak"),
        *("gemm", "decode attention", "norm", "whole run"),
    ]
    for axis, key in (("xaxis", "x"), ("yaxis", "y")):
        low, high = figure["layout"][axis]["range"]
        marks = [trace[key][0] for trace in figure["data"] if trace["mode"] == "markers"]
        assert all(low < math.log10(mark) < high for mark in marks)


def test_roofline_without_a_compute_peak_has_no_flat_part() -> None:
    result = sample()
    result["summary"]["peak_flops_per_s"] = None
    figure = roofline.draw(result)
    assert figure is not None
    trace = figure["data"][0]
    assert math.isclose(trace["y"][-1] / trace["x"][-1], HBM_PEAK)
    assert figure["layout"]["annotations"] == []


def test_time_bars_add_up_to_the_run() -> None:
    result = sample()
    figure = time_bars.draw(result)
    assert figure is not None
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert math.isclose(sum(itertools.chain.from_iterable(bar["x"] for bar in bars)), 1e3 * result["summary"]["time_s"])
    gemm = {bar["name"]: bar["x"][bar["y"].index("gemm")] for bar in bars if "gemm" in bar["y"]}
    assert math.isclose(gemm["limited by l2 bandwidth"], 32 * 40.1e-3)
    assert gemm["limited by launch"] == 0.0


def test_time_bars_tell_waiting_for_copies_from_other_gaps() -> None:
    result = sample([kernel("a", "gemm", time_s=1e-3, launch_s=0.0)])
    result["summary"]["time_s"] = 4e-3
    result["tiers"]["link"]["exposed_s"] = 2e-3
    figure = time_bars.draw(result)
    assert figure is not None
    bars = {trace["y"][0]: trace["x"] for trace in figure["data"] if trace["type"] == "bar"}
    assert bars == {"gemm": [1.0], "waiting for copies": [2.0], "between kernels": [pytest.approx(1.0)]}
    assert [entry.text for entry in time_bars.legend(result)][1:] == ["copies from host or SSD", "launch and waiting"]


def test_every_limiter_has_its_own_color() -> None:
    names = ["launch", "a", "b", None, "compute"]
    found = colors(names, LIMITER_COLORS)
    assert len(set(found.values())) == len(names)
    assert found["compute"] == LIMITER_COLORS["compute"]


def test_kernel_table_sorts_by_numbers() -> None:
    rows = html.kernel_rows(sample([kernel("a", "gemm"), kernel("b", "gemm", time_s=5e-3, l2_hit_rate=None)]))
    assert [row.cells[0].text for row in rows] == ["b", "a"]
    assert [row.cells[3].order for row in rows] == [5e-3, 1e-5]
    assert (rows[0].cells[8].text, rows[0].cells[8].order) == (DASH, -1.0)


def test_kernel_table_is_cut_and_says_so() -> None:
    page = Page(html.render(sample([kernel(f"k{index}", "gemm") for index in range(html.MOST_ROWS + 7)])))
    above = 3 + 3  # rows of the tables of concurrency
    assert sum(tag == "tr" for tag in tags(page)) == above + html.MOST_ROWS + 1
    assert any("7 shorter ones are left out." in text for text in page.text)


def test_memory_chart_says_the_numbers_of_the_tiers() -> None:
    result = sample([kernel("a", "gemm", time_s=1e-3, launch_s=0.0, read_bytes=3.2e9, dram_read_bytes=1.6e9)])
    for chart in memory_chart.charts(result):
        texts = [label.text for arrow in chart.arrows for label in arrow.labels]
        assert texts[:3] == ["loads", "2.98 GiB", "3.20 TB/s · 35.3 %"]
        assert texts[6:9] == ["reads", "1.49 GiB", "1.60 TB/s · 47.7 %"]
        l2 = [label.text for label in chart.boxes[1].labels]
        assert l2[l2.index("Hit rate") + 1] == "50.0 %"
        assert l2[l2.index("Missed") + 1] == "1.49 GiB"
        assert [box.used for box in chart.boxes] == [True, True, True, False]
        assert [arrow.used for arrow in chart.arrows] == [True] * 4 + [False] * 2


def test_memory_chart_shows_the_host_when_it_is_used() -> None:
    result = sample()
    result["tiers"]["dram"] = result["tiers"]["hbm"] | {"read_bytes": 2**30}
    result["tiers"]["link"] = dict.fromkeys(result["tiers"]["link"], 0.5) | {"read_bytes": 2**30, "exposed_s": 0.25}
    row, _ = memory_chart.charts(result)
    assert row.boxes[3].used
    assert row.arrows[4].labels[1].text == "1 GiB"
    host = [label.text for label in row.boxes[3].labels]
    assert host[host.index("Kernels wait") + 1] == "250 ms"


def test_arrows_between_l2_and_memory_leave_copies_out() -> None:
    """Of 3 GiB read and 2 GiB written, copies out read 1 GiB and copies in wrote half a GiB."""
    result = sample()
    result["tiers"]["hbm"] |= {"read_bytes": 3 * 2**30, "write_bytes": 2 * 2**30}
    result["tiers"]["link"] |= {"read_bytes": 2**29, "write_bytes": 2**30}
    row, _ = memory_chart.charts(result)
    assert [arrow.labels[1].text for arrow in row.arrows[2:4]] == ["2 GiB", "1.50 GiB"]


def test_memory_chart_stays_inside_its_drawing_and_boxes_do_not_overlap() -> None:
    for chart in memory_chart.charts(sample()):
        outlines = [box.outline for box in chart.boxes]
        for outline in outlines:
            assert outline.x >= 0
            assert outline.y >= 0
            assert outline.x + outline.width <= chart.width
            assert outline.y + outline.height <= chart.height
        for one, other in itertools.pairwise(outlines):
            assert other.x >= one.x + one.width or other.y >= one.y + one.height
        for arrow in chart.arrows:
            corners = [tuple(map(float, pair.split(","))) for pair in arrow.points.split()]
            assert not any(
                one.x < x < one.x + one.width and one.y < y < one.y + one.height for x, y in corners for one in outlines
            )


def test_arrows_to_the_sms_point_at_them() -> None:
    row, column = memory_chart.charts(sample())
    tip = [tuple(map(float, pair.split(","))) for pair in row.arrows[0].points.split()][3]
    assert tip[0] < row.boxes[1].outline.x - 100
    tip = [tuple(map(float, pair.split(","))) for pair in column.arrows[0].points.split()][3]
    assert tip[1] < column.boxes[1].outline.y - 60


def test_colors_run_along_the_ramp() -> None:
    assert [memory_chart.color(stop / 4) for stop in range(5)] == list(memory_chart.RAMP)
    assert memory_chart.color(7.0) == memory_chart.RAMP[-1]
    assert memory_chart.color(None) == memory_chart.UNKNOWN
    middle = memory_chart.color(0.125)
    assert memory_chart.RAMP[0] > middle > memory_chart.RAMP[1]
