"""The figures by themselves: numbers by hand, and files for print that have every mark in them."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from test_report_sample import kernel, nulled, renamed, sample

from simulator.report import memory_chart
from simulator.report.figures import catalog, export, hits, in_flight, over_time, roofline, static
from simulator.report.figures.style import axis, chosen_by, layout

SVG = "{http://www.w3.org/2000/svg}"


def reuse(kernel_class: str | None, tensor_class: str | None, firsts: int, **distances: int) -> dict[str, Any]:
    """Return a class of a locality: first touches, and accesses by distance in bytes (``at_4096=3``)."""
    starts = [int(name.removeprefix("at_")) for name in distances]
    return {
        "kernel_class": kernel_class,
        "tensor_class": tensor_class,
        "accesses": firsts + sum(distances.values()),
        "first_touches": firsts,
        "reuse_distance": {"from_bytes": starts, "accesses": list(distances.values())},
    }


def locality() -> dict[str, Any]:
    """Return a locality: 100 accesses, 50 of weights by gemm (all first), 50 of KV by attention (10 first)."""
    far = {"at_0": 10, "at_5000": 20, "at_100000": 10}
    entry = {
        "unit_bytes": 128,
        "accesses": 100,
        "sampling_rate": 0.5,
        "miss_ratio_curve": {"capacity_bytes": [0, 128, 8192], "miss_ratio": [1.0, 0.9, 0.6], "standard_error": None}
        | {"resolution_bytes": 128},
        "classes": [
            reuse(None, None, 60, **far),
            reuse(None, "weights", 50),
            reuse(None, "kv", 10, **far),
            reuse("gemm", None, 50),
            reuse("decode_attention", None, 10, **far),
            reuse("gemm", "weights", 50),
            reuse("decode_attention", "kv", 10, **far),
        ],
        "working_set": {"window_bytes": [128, 12800], "mean_bytes": [128.0, 7680.0]},
        "over_time": {"start_bytes": [0, 6400], "touched_bytes": [6400, 1280], "new_bytes": [6400, 1280]},
    }
    return {"granularities": [entry | {"granularity": name} for name in ("sector", "line")]}


def placed() -> dict[str, Any]:
    """Return a result in which every figure has something to show."""
    result = sample() | {"locality": locality()}
    for each in result["kernels"]:
        each["ledger"] = {"compute_s": 0.25 * each["time_s"], "dram_bandwidth_s": 0.75 * each["time_s"]}
    result["ledger"] = {"compute_s": 1e-3, "dram_bandwidth_s": 4e-3, "launch_s": 1e-3, "refresh_s": 1e-9}
    result["tiers"]["link"] = dict.fromkeys(result["tiers"]["link"], 0.5) | {"read_bytes": 2**30, "exposed_s": 1e-3}
    result["tiers"]["link"]["peak_bandwidth_bytes_per_s"] = 3e10
    result["what_if"] = {
        "time_s": 5e-3,
        "more_factor": 1.1,
        "resources": [
            what_if("dram bandwidth", 0.5, 0.08),
            what_if("launch", 0.05, None),
            what_if("l2 size", -0.01, 0.0),
        ],
    }
    result["hits"] = {
        "tiers": [explained("sram", "gemm 1", "weights", 64, 32), explained("l2", "gemm 1", "kv", 96, 0, 32, 0)]
    }
    return result


def explained(tier: str, kernel: str, tensor_class: str, *sizes: int) -> dict[str, Any]:
    """Return why reads of a kernel missed: bytes that hit, and those that did not by reason."""
    outcomes = dict(zip(("hit", "compulsory", "capacity", "conflict"), (*sizes, 0, 0, 0), strict=False))
    return {
        "tier": tier,
        "kernel": kernel,
        "tensor_class": tensor_class,
        "read_bytes": sum(sizes),
        **{f"read_{name}_bytes": size for name, size in outcomes.items()},
    }


def what_if(resource: str, ideal: float, more: float | None) -> dict[str, Any]:
    """Return what one resource would save of 5 ms."""
    return {
        "resource": resource,
        "question": f"{resource} costs nothing",
        "ideal_time_s": 5e-3 * (1 - ideal),
        "ideal_saving": ideal,
        "more_time_s": None if more is None else 5e-3 * (1 - more),
        "more_saving": more,
    }


def test_every_figure_has_something_to_show_somewhere() -> None:
    assert [key for key, figure in catalog.drawn(placed()).items() if figure is None] == []


def test_keys_are_unique_and_name_files() -> None:
    keys = [picture.key for picture in catalog.PICTURES]
    assert len(set(keys)) == len(keys)
    assert all(key.replace("-", "").isalnum() for key in keys)


@pytest.mark.parametrize("result", [sample([]), nulled(sample())], ids=["empty", "nulled"])
def test_nothing_to_show_is_no_error(result: dict[str, Any]) -> None:
    assert all(figure is None or figure["data"] for figure in catalog.drawn(result).values())
    assert dict(export.files(result))


def test_rooflines_of_tiers_differ_by_the_bytes_that_hit() -> None:
    """1 Gflop over 4 MB from memory, 10 MB from L2 and 20 MB asked for."""
    one = kernel(
        "a", "gemm", flops=1e9, dram_read_bytes=4e6, l2_read_bytes=9e6, read_bytes=19e6, write_bytes=1e6, time_s=1e-5
    )
    result = sample([one])
    found = {}
    for level in (roofline.DRAM, roofline.L2, roofline.SM):
        (point,), _ = roofline.points(result, level)
        found[level.key] = point.intensity
    assert found == {"dram": pytest.approx(250), "l2": pytest.approx(100), "sram": pytest.approx(50)}


def test_bars_of_reasons_fill_up_by_hand() -> None:
    """Half a tier's bytes are a class that hits by three quarters, half one that never does."""
    result = sample() | {
        "hits": {"tiers": [explained("l2", "a", "weights", 96, 0, 32), explained("l2", "b", "kv", 0, 128)]}
    }
    figure = hits.draw(result)
    assert figure is not None
    shares = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in figure["data"][:4]}
    assert shares["hit"] == {"L2: everything": 37.5, "L2: weights": 75, "L2: kv": 0, "L2: a": 75, "L2: b": 0}
    assert shares["compulsory"]["L2: everything"] == 50
    assert shares["capacity"]["L2: a"] == 25
    assert all(sum(share[name] for share in shares.values()) == 100 for name in shares["hit"])


def test_the_link_has_a_roofline_when_it_is_used() -> None:
    assert roofline.draw(sample(), roofline.LINK) is None
    figure = roofline.draw(placed(), roofline.LINK)
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == ["link peak", "whole run"]


def test_bytes_in_flight_against_needed_by_hand() -> None:
    """Half of what is read misses: memory's 3.18 TB/s let L2 send 6.36 TB/s; 31.8 MB in 10 us are half of that."""
    one = kernel(
        "a",
        "gemm",
        time_s=1e-5,
        l2_read_bytes=31.8e6,
        dram_read_bytes=15.9e6,
        mean_outstanding_bytes=2e6,
        needed_outstanding_bytes=4e6,
    )
    (found,) = in_flight.held(sample([one]))
    assert (found.in_flight, found.bandwidth) == (pytest.approx(0.5), pytest.approx(0.5))


def test_queues_are_drawn_from_the_emptiest_to_the_fullest() -> None:
    result = sample()
    result["concurrency"]["sm"]["histogram"] = [
        {"below_bytes": 2048, "share": 0.5},
        {"below_bytes": 1024, "share": 0.25},
        {"below_bytes": 128, "share": 0.25},
    ]
    figure = in_flight.draw_bytes(result)
    assert figure is not None
    assert figure["layout"]["xaxis"]["categoryarray"] == ["128 B", "1 KiB", "2 KiB"]
    assert figure["data"][0]["y"] == [50, 25, 25]
    figure = in_flight.draw_requests(result)
    assert figure is not None
    assert figure["layout"]["xaxis"]["categoryarray"] == ["2", "4"]
    assert [trace["y"] for trace in figure["data"]] == [[25, 75], [25, 75]]


def test_miss_ratios_are_steps_beside_the_simulated_cache() -> None:
    figure = catalog.drawn(placed())["miss-ratio"]
    assert figure is not None
    curve = next(trace for trace in figure["data"] if trace["name"] == "by line")
    assert (curve["x"][:2], curve["y"][:2]) == ([128, 8192], [90, 60])
    assert curve["y"][-1] == 60, "a curve goes on to the edge of the picture"
    cache = figure["data"][-1]
    l2 = placed()["tiers"]["l2"]
    assert (cache["x"], cache["y"]) == ([l2["size_bytes"]], [pytest.approx(100 * (1 - l2["hit_rate"]))])


@pytest.mark.parametrize(("key", "names"), [("reuse-tensor", ["weights", "kv"]), ("reuse-kernel", ["gemm"])])
def test_reuse_distances_are_stacked_by_class_and_are_all_accesses(key: str, names: list[str]) -> None:
    figure = catalog.drawn(placed())[key]
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]][: len(names)] == names
    assert sum(sum(trace["y"]) for trace in figure["data"]) == pytest.approx(100)
    assert figure["data"][0]["x"] == ["0 B", "4 KiB", "16 KiB", "64 KiB", "first touch"]
    assert figure["data"][0]["y"] == [0, 0, 0, 0, 50]
    assert figure["data"][1]["y"] == [10, 20, 0, 10, 10]


def test_a_single_access_has_no_distances_and_still_a_picture() -> None:
    alone = locality()
    for entry in alone["granularities"]:
        entry |= {"accesses": 1, "classes": [reuse(None, "weights", 1), reuse("gemm", None, 1)]}
        entry["miss_ratio_curve"] = {
            "capacity_bytes": [0],
            "miss_ratio": [1.0],
            "standard_error": None,
            "resolution_bytes": 32,
        }
        entry["working_set"] = {"window_bytes": [32], "mean_bytes": [32.0]}
        entry["over_time"] = {"start_bytes": [0], "touched_bytes": [32], "new_bytes": [32]}
    result = sample() | {"locality": alone}
    figure = catalog.drawn(result)["reuse-tensor"]
    assert figure is not None
    assert (figure["data"][0]["x"], figure["data"][0]["y"]) == (["first touch"], [100])
    assert dict(export.files(result))


def test_a_locality_has_figures_without_a_run() -> None:
    names = {name for name, _ in export.locality_files(locality())}
    assert names == {
        f"{key}.{form}"
        for key in ("miss-ratio", "working-set", "reuse-tensor", "reuse-kernel", "fresh")
        for form in static.FORMATS
    }


def test_the_ledger_is_drawn_from_its_largest_part_down() -> None:
    figure = catalog.drawn(placed())["ledger"]
    assert figure is not None
    bars, words = figure["data"]
    assert bars["y"] == ["dram bandwidth", "compute", "launch"], "a millionth of the run is not to be seen"
    assert bars["x"] == pytest.approx([4, 1, 1])
    assert words["text"][0] == " 4 ms · 66.7 %"


def test_the_ledger_of_kernels_is_in_shares() -> None:
    figure = catalog.drawn(placed())["ledger-kernels"]
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == ["dram bandwidth", "compute"]
    assert figure["data"][0]["x"] == pytest.approx([75] * len(figure["data"][0]["y"]))


def test_what_would_help_is_drawn_in_percent() -> None:
    figure = catalog.drawn(placed())["what-if"]
    assert figure is not None
    ideal, more, words = figure["data"]
    assert ideal["y"] == ["dram bandwidth", "launch", "l2 size"]
    assert ideal["x"] == pytest.approx([50, 5, -1])
    assert more["x"] == pytest.approx([8, 0, 0])
    assert more["name"] == "10 % more of it"
    assert words["text"] == [" 50.0 %, 8.0 %", " 5.0 %", " -1.0 %, 0.0 %"]
    low, high = figure["layout"]["xaxis"]["range"]
    assert low <= -1 and high >= 50


def test_over_time_kernels_stand_where_they_ran() -> None:
    """Two kernels of 2 and 1 us, each launched for 1 us: 3 and 6 MB of DRAM traffic."""
    two = [
        kernel("a", "gemm", time_s=2e-6, launch_s=1e-6, dram_read_bytes=3e6),
        kernel("b", "gemm", time_s=1e-6, launch_s=1e-6, dram_read_bytes=6e6),
    ]
    figure = over_time.draw_bandwidth(sample(two))
    assert figure is not None
    memory = next(trace for trace in figure["data"] if trace["name"] == "HBM3")
    assert memory["x"] == pytest.approx([1, 3, 4, 5])
    assert memory["y"] == pytest.approx([1.5, 0, 6, 0])


def test_many_kernels_are_averaged_over_time() -> None:
    many = [kernel(f"k{n}", "gemm", launch_s=0.0) for n in range(over_time.MOST_STEPS + 1)]
    figure = over_time.draw_bandwidth(sample(many))
    assert figure is not None
    memory = next(trace for trace in figure["data"] if trace["name"] == "HBM3")
    assert len(memory["x"]) == over_time.MOST_STEPS + 1
    assert memory["y"][:-1] == pytest.approx([1.9] * over_time.MOST_STEPS)


def test_marks_are_found_by_the_kernel_or_operator_they_stand_for() -> None:
    for key, kind in (("time", "operator"), ("roofline-dram", "operator"), ("needed", "kernel")):
        figure = catalog.drawn(sample())[key]
        assert figure is not None
        keys = [each for trace in figure["data"] for each in trace.get("customdata", ())]
        assert keys
        assert all(each.startswith(f"{kind}:") for each in keys)
    assert chosen_by("operator", "gemm") == "operator:gemm"


# For print


def pixels(content: bytes) -> Any:
    return matplotlib.image.imread(io.BytesIO(content), format="png")[:, :, :3]


@pytest.mark.parametrize("form", static.FORMATS)
@pytest.mark.parametrize("result", [placed(), renamed(placed(), "a$b_{c}<i>&$")], ids=["sample", "hostile"])
def test_every_figure_is_exported_and_not_empty(result: dict[str, Any], form: str) -> None:
    exported = {name: content for name, content in export.files(result) if name.endswith(form)}
    assert set(exported) == {f"{key}.{form}" for key in ("memory", *catalog.drawn(result))}
    for name, content in exported.items():
        if form == "svg":
            assert len(list(ET.fromstring(content).iter(f"{SVG}path"))) > 10, name
        else:
            image = pixels(content)
            assert image.shape[1] > 1000
            assert np.mean(np.any(image < 0.9, axis=2)) > 0.01, f"{name} is blank"


def test_exports_are_the_same_each_time() -> None:
    picture = catalog.PICTURES[0]
    figure = picture.draw(sample())
    assert figure is not None
    for form in static.FORMATS:
        assert static.render(figure, picture.legend(sample()), form) == static.render(
            figure, picture.legend(sample()), form
        )


def test_bars_for_print_are_as_long_as_they_should_be() -> None:
    """Two classes, one three times as long as the other: so many pixels of its colour in a row."""
    result = sample(
        [
            kernel("a", "gemm", time_s=3e-6, launch_s=0.0, limiter="compute"),
            kernel("b", "norm", time_s=1e-6, launch_s=0.0, limiter="launch"),
        ]
    )
    picture = catalog.PICTURES[0]
    figure = picture.draw(result)
    assert figure is not None
    image = np.round(255 * pixels(static.render(figure, (), "png")))
    lengths = []
    for trace in figure["data"][:2]:
        ink = [int(trace["marker"]["color"][at : at + 2], 16) for at in (1, 3, 5)]
        rows = np.all(np.abs(image - ink) < 2, axis=2).sum(axis=1)
        lengths.append(int(np.median(rows[rows > 0])))
    assert math.isclose(lengths[0] / lengths[1], 3, rel_tol=0.02)


def test_the_memory_chart_for_print_has_all_its_words() -> None:
    row, _ = memory_chart.charts(placed())
    root = ET.fromstring(static.render_chart(row, "svg"))
    words = [box for box in root.iter(f"{SVG}g") if str(box.get("id", "")).startswith("text_")]
    assert len(words) == sum(len(box.labels) for box in row.boxes) + sum(len(arrow.labels) for arrow in row.arrows)


@pytest.mark.parametrize(("count", "tilted"), [(4, False), (14, True)])
def test_words_below_a_figure_are_tilted_where_they_would_meet(count: int, tilted: bool) -> None:
    names = [f"{number:03} KiB" for number in range(count)]
    bars = {"type": "bar", "name": "", "x": names, "y": [1] * count, "marker": {"color": "#000000"}}
    axes = {"xaxis": axis("") | {"type": "category"}, "yaxis": axis("")}
    figure = {"data": [bars], "layout": layout(height=200, **axes)}
    assert (b"rotate(-30)" in static.render(figure, (), "svg")) == tilted
