"""Do `bench` and `validate` print what they measured, draw it, and say when a prediction is out of tolerance?"""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from commandline import Command

from simulator.report import bench
from simulator.validation import measured

LATENCY = ("bench", "latency", "--hardware", "a100-sxm-80gb", "--variant", "128 B nodes")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_latency_rises_from_l2_to_dram(tierscope: Command) -> None:
    finished = tierscope(*LATENCY, "--sizes", "1MiB,256MiB", "--format", "csv")
    assert (finished.code, finished.err) == (0, "")
    near, far = rows(finished.out)
    assert (near["x"], far["x"], near["unit"]) == ("1024", "262144", "ns")
    assert 100 < float(near["predicted"]) < 250
    assert float(far["predicted"]) > float(near["predicted"]) + 100


def test_a_setting_shows_in_the_curve(tierscope: Command) -> None:
    slow = tierscope(*LATENCY, "--sizes", "256MiB", "--format", "csv", "--set", "hbm.latency=2 us")
    assert float(rows(slow.out)[0]["predicted"]) > 2000


def test_measured_values_stand_beside_predictions_at_their_own_sizes(tierscope: Command) -> None:
    finished = tierscope("bench", "stream", "--hardware", "l40", "--variant", "init", "--format", "csv")
    curve = measured.curves("stream", "l40")["init"]
    assert [(float(row["x"]), float(row["measured"])) for row in rows(finished.out)] == list(curve.points)


@pytest.mark.parametrize(
    ("name", "unit", "variants"),
    [("latency", "ns", 2), ("bandwidth", "GB/s", 2), ("stream", "GB/s", 6), ("small-kernels", "GB/s", 2)],
)
def test_every_benchmark_runs_on_a_device_without_curves(
    tierscope: Command, name: str, unit: str, variants: int
) -> None:
    finished = tierscope("bench", name, "--hardware", "jetson-orin-agx", "--points", "3", "--format", "json")
    result = finished.json
    assert (result["schema"], result["unit"], len(result["curves"])) == ("tierscope.bench/1", unit, variants)
    for curve in result["curves"]:
        assert len(curve["predicted"]) == 3
        assert all(value > 0 for _, value in curve["predicted"])
        assert curve["measured"] == []


def test_variants_that_do_not_fit_stand_below() -> None:
    """x takes 15 columns, a variant and its measured values 7 and 8, with gaps of two: two fit in 53, three in 72."""
    curve = {"predicted": [[64, 1234.0]], "measured": [[64, 1200.0]], "mean_error": None}
    curves = [curve | {"variant": name} for name in ("reading", "writing", "scaling")]
    shape = {
        "title": "Stream",
        "hardware_name": "L40",
        "unit": "GB/s",
        "x_name": "threads per CTA",
        "x_unit": "threads",
    }
    for width, tables in ((72, 1), (71, 2), (53, 2), (52, 3)):
        text = bench.render(shape | {"curves": curves}, width)
        assert text.count("threads per CTA") == tables
        assert max(map(len, text.splitlines())) <= width
        assert text.count("1,234") == text.count("1,200") == 3 and "…" not in text


def test_copies_stand_beside_those_of_their_host(tierscope: Command) -> None:
    finished = tierscope("bench", "copy", "--hardware", "v100-pcie-16gb", "--format", "csv")
    table = rows(finished.out)
    assert {row["variant"] for row in table} == {"h2d pinned"}
    assert all(row["measured"] for row in table)
    other = tierscope("bench", "copy", "--hardware", "h100-sxm", "--sizes", "64KiB,64MiB", "--format", "json").json
    curves = {curve["variant"]: [value for _, value in curve["predicted"]] for curve in other["curves"]}
    assert all(small < large for small, large in curves.values())
    assert curves["h2d pageable"][1] < curves["h2d pinned"][1] < curves["both ways pinned"][1]


def test_a_device_without_a_host_copies_nothing(tierscope: Command) -> None:
    finished = tierscope("bench", "copy", "--hardware", "jetson-orin-agx", "--sizes", "64KiB")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "host" in finished.err


def test_the_plot_holds_prediction_and_measurement(tierscope: Command, tmp_path: Path) -> None:
    finished = tierscope(*LATENCY, "--sizes", "64KiB,64MiB", "--plot", "p.html", "--output", "t.txt")
    assert (finished.code, finished.out, finished.err) == (0, "", "")
    page = (tmp_path / "p.html").read_text()
    figure = json.loads(page.split('id="figures">')[1].split("</script>")[0])["curves"]
    names = {trace["name"]: trace for trace in figure["data"]}
    assert set(names) == {"128 B nodes, predicted", "128 B nodes, measured"}
    assert names["128 B nodes, predicted"]["x"] == [64, 65536]
    assert len(names["128 B nodes, measured"]["x"]) > 30
    assert "http://" not in page.split("<script>")[0]
    assert "64 MiB" in (tmp_path / "t.txt").read_text()


OWN = """variant,x,value,unit
128 B nodes,64 KiB,33,cycles
128 B nodes,1024,206,cycles
128 B nodes,1024,210,cycles
64 B nodes,1024,208,cycles
"""


def test_a_curve_of_ones_own_stands_beside_the_prediction(tierscope: Command, tmp_path: Path) -> None:
    """33 and 208 (the median) cycles of 1410 MHz are 23.4 and 147.5 ns, at the two sizes of the file."""
    (tmp_path / "own.csv").write_text(OWN)
    arguments = (*LATENCY, "--measured", "own.csv")
    (curve,) = tierscope(*arguments, "--format", "json").json["curves"]
    assert [x for x, _ in curve["predicted"]] == [64, 1024]
    assert [value for _, value in curve["measured"]] == pytest.approx([33 / 1.41, 208 / 1.41])
    assert curve["source"] == "own.csv" and 0 < curve["mean_error"] < 0.15
    assert f"Mean error: 128 B nodes {100 * curve['mean_error']:.1f} %" in tierscope(*arguments).out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size,value\n1,2\n", "line 1: no column 'x'"),
        ("x,value\n1,-2\n", "line 2: value: '-2' is not positive"),
        ("x,value\n1,2\nnan,2\n", "line 3: x: 'nan' is not positive"),
        ("x,value\n1\n", "line 2: value: '' is not a number"),
        ("x,value,unit\n1,2,GB/s\n", "line 2: unit: ns is expected, not 'GB/s'"),
        ("variant,x,value\n64 B,1,2\n", "line 2: benchmark latency: unknown variant '64 B'"),
        ("variant,x,value\n64 B nodes,1,2\n", "no row of benchmark latency, 128 B nodes"),
        ("", "line 1: no column 'x'"),
    ],
)
def test_mistakes_in_a_curve_of_ones_own_name_their_line(
    tierscope: Command, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "own.csv").write_text(text)
    finished = tierscope(*LATENCY, "--measured", "own.csv")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "own.csv" in finished.err and words in finished.err


MISTAKES = [
    ((*LATENCY, "--sizes", "1XB"), "1XB"),
    ((*LATENCY, "--sizes", "0KiB"), "must be positive"),
    ((*LATENCY, "--sizes", "70GiB"), "80 GiB of memory"),
    ((*LATENCY, "--sizes", "1KiB", "--points", "3"), "exclude"),
    (("bench", "stream", "--hardware", "l40", "--sizes", "800"), "at most 768"),
    (("bench", "latency", "--hardware", "l40", "--variant", "x"), "allowed: 128 B nodes"),
    (("bench", "latency", "--hardware", "l40t"), "did you mean 'l40'"),
    (("bench", "latency"), "--hardware"),
    (("bench", "teapot", "--hardware", "l40"), "'teapot'"),
    ((*LATENCY, "--plot", "no/where.html"), "create it first"),
    (("validate", "everything"), "'everything'"),
    (("validate", "--hardware", "b200-sxm"), "it has a100-sxm-40gb, a100-sxm-80gb"),
    (("validate", "--only", "teapot"), "'teapot'"),
    (("validate", "--report", "file.txt"), "file.txt"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_mistakes_are_one_line(tierscope: Command, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "file.txt").write_text("")
    finished = tierscope(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("tierscope: ") and finished.err.count("\n") == 1
    assert words in finished.err


def test_list_suites(tierscope: Command) -> None:
    finished = tierscope("list", "suites")
    assert finished.code == 0
    assert finished.out.split()[0] == "microbenchmarks"


def test_validation_says_what_is_out_of_tolerance(tierscope: Command, tmp_path: Path) -> None:
    """DRAM of 2 us cannot be within tolerance, whatever the model; the exit code says so."""
    spoiled = ("validate", "microbenchmarks", "--only", "latency", "--hardware", "v100-pcie-16gb")
    finished = tierscope(*spoiled, "--set", "hbm.latency=2 us", "--format", "json", "--report", "out")
    assert (finished.code, finished.err) == (1, "")
    report = json.loads(finished.out)
    assert report["schema"] == "tierscope.validation/1" and report["passed"] is False
    dram = next(check for check in report["checks"] if check["quantity"] == "DRAM")
    assert dram["passed"] is False and dram["predicted"] > 2000 > dram["measured"]
    page = (tmp_path / "out" / "microbenchmarks.md").read_text()
    assert '--set "hbm.latency=2 us"' in page and "| OUT |" in page
    plot = tmp_path / "out" / "plots" / "latency-v100-pcie-16gb.svg"
    assert f"](plots/{plot.name})" in page
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    shown = {point["x"] for point in report["curves"][0]["points"]}
    assert shown == {x for x, _ in measured.curves("latency", "v100-pcie-16gb")["128 B nodes"].points}


def test_hit_rates_of_one_device(tierscope: Command) -> None:
    finished = tierscope("validate", "hit-rates", "--hardware", "v100-sxm-32gb", "--format", "csv")
    assert finished.code == 0
    table = rows(finished.out)
    assert [row["passed"] for row in table] == ["true"] * 4
    assert {row["quantity"] for row in table} == {"DRAM read sectors", "L2 read hits"}
    assert "2 pt" in tierscope("validate", "hit-rates", "--hardware", "v100-sxm-32gb").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hit-rates", "--hardware", "h100-sxm"), "no hardware 'h100-sxm'"),
        (("serving-decode", "--hardware", "l40s"), "no hardware 'l40s'; it has h100-sxm"),
        (("hit-rates", "--only", "latency"), "--only is for microbenchmarks; hit-rates takes --hardware"),
        (("serving-decode", "gemm"), "suite serving-decode: has a report of its own; name it alone"),
        (("serving-decode", "--sample", "3"), "suite serving-decode: --sample is for kernel suites"),
    ],
)
def test_mistakes_with_suites_of_their_own_are_one_line(
    tierscope: Command, arguments: tuple[str, ...], words: str
) -> None:
    finished = tierscope("validate", *arguments)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert words in finished.err
