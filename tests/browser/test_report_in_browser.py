"""Does the report work in a real browser: no console error, marks in every plot, a click that filters, files saved?

Skipped where there is no Chromium (Debian: apt-get install chromium chromium-driver).
"""

from __future__ import annotations

import json
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.analysis.hits import HitExplainer
from simulator.analysis.hits_result import hits_result
from simulator.analysis.run_locality import run_locality
from simulator.cli.run import build_request
from simulator.report import html
from simulator.report.figures.catalog import PICTURES
from simulator.run.execute import execute, prepare

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_S = 30
WHAT_IF = {
    "more_factor": 1.1,
    "resources": [
        {
            "resource": "launch",
            "question": "kernels follow each other at once",
            "ideal_time_s": 1e-3,
            "ideal_saving": 0.2,
            "more_time_s": 1.2e-3,
            "more_saving": 0.02,
        }
    ],
}

if not (CHROMIUM and DRIVER):
    pytest.skip("no chromium with chromedriver on this machine", allow_module_level=True)

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small run, part of whose weights rest in the host, so that every figure has something to show."""
    options = {
        "model": "gpt2",
        "hardware": "a100-sxm-80gb",
        "phase": "decode",
        "context": 256,
        "placement": ("weights=dram:layers[9:]",),
    }
    path = tmp_path_factory.mktemp("report") / "report.html"
    prepared = prepare(build_request(None, options))
    explainer = HitExplainer(prepared.trace.header)
    explained = execute(prepared, observer=explainer)
    result = explained | {
        "locality": run_locality(prepared),
        "what_if": WHAT_IF,
        "hits": hits_result(explainer.finish()),
    }
    path.write_text(html.render(result), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield driver
    driver.quit()


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return what `condition` comes to once it is true."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)
    return found


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    """The report, opened anew at the width of a laptop, all plots drawn."""
    browser.set_window_size(1400, 1000)
    browser.get(report.as_uri())
    drawn = "return [...document.querySelectorAll('[data-figure]')].every((plot) => plot.querySelector('.main-svg'))"
    wait_for(lambda: browser.execute_script(drawn))
    return browser


def find(page: Any, selector: str) -> list[Any]:
    return list(page.find_elements("css selector", selector))


def shown_kernels(page: Any) -> list[str]:
    """Return the first cell of every row of the kernel table that can be seen."""
    rows = find(page, "#kernel-table tbody tr")
    return [row.find_element("css selector", "td").text for row in rows if row.is_displayed()]


MARKS = """
const plot = document.querySelector(`[data-figure="${arguments[0]}"]`);
const size = (mark) => { const box = mark.getBoundingClientRect(); return Math.max(box.width, box.height); };
const marks = plot.querySelectorAll('.points path, .point path, path.js-line');
return [...marks].filter((mark) => size(mark) > 1).length;
"""


def test_every_plot_has_marks_and_nothing_is_wrong(page: Any) -> None:
    keys = [plot.get_attribute("data-figure") for plot in find(page, "[data-figure]")]
    assert len(keys) == len(PICTURES), "there is something to show in every figure"
    assert {key: page.execute_script(MARKS, key) for key in keys if page.execute_script(MARKS, key) < 2} == {}
    assert find(page, "svg.memory rect.outline")
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        wait_for(lambda: page.execute_script("return innerWidth") == width)
        over = """return [...document.querySelectorAll('[data-figure], svg.memory, h1, h2, figcaption')]
            .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).length
        """
        wait_for(lambda: page.execute_script(over) == 0)
        wait_for(lambda: page.execute_script("return document.documentElement.scrollWidth") <= width)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_click_on_a_kernel_shows_it_alone_and_dims_the_others(page: Any) -> None:
    everything = shown_kernels(page)
    row = find(page, "#kernel-table tbody tr")[0]
    row.click()
    assert shown_kernels(page) == everything[:1]
    assert find(page, "#chosen b")[0].text in everything[0]
    opacities = """
        const plot = document.querySelector('[data-figure="needed"]');
        const marks = plot.data.filter((trace) => trace.customdata);
        return marks.map((trace) => [trace.customdata[0], trace.marker.opacity[0]]);
    """
    found = dict(page.execute_script(opacities))
    assert found.pop(f"kernel:{everything[0]}") > 0.5
    assert found
    assert all(opacity < 0.5 for opacity in found.values())
    find(page, "#chosen [data-clear]")[0].click()
    assert shown_kernels(page) == everything
    assert not find(page, "#chosen")[0].is_displayed()
    assert page.get_log("browser") == []


def test_a_click_on_a_bar_shows_its_class_alone(page: Any) -> None:
    everything = shown_kernels(page)
    bars = find(page, '[data-figure="time"] .trace.bars:first-child .point path')  # of the first limiter
    page.execute_script("document.querySelector('#figure-time').scrollIntoView()")
    widest = max(bars, key=lambda bar: bar.rect["width"])
    webdriver.ActionChains(page).move_to_element(widest).pause(0.2).click().perform()
    wait_for(lambda: find(page, "#chosen")[0].is_displayed())
    shown = shown_kernels(page)
    assert 0 < len(shown) < len(everything)
    rows = [row for row in find(page, "#kernel-table tbody tr") if row.is_displayed()]
    operators = {row.get_attribute("data-operator") for row in rows}
    assert operators == {"operator:" + find(page, "#chosen b")[0].text.replace(" ", "_")}
    webdriver.ActionChains(page).send_keys("\ue00c").perform()  # escape
    wait_for(lambda: shown_kernels(page) == everything)


def test_the_table_sorts_and_searches(page: Any) -> None:
    everything = shown_kernels(page)
    headings = {heading.text: heading for heading in find(page, "#kernel-table th button")}
    headings["Kernel"].click()
    assert shown_kernels(page) == sorted(everything, key=str.lower)
    search = find(page, "#search")[0]
    search.send_keys("attention")
    assert 0 < len(shown_kernels(page)) < len(everything)
    assert all("attention" in row.text for row in find(page, "#kernel-table tbody tr") if row.is_displayed())
    search.send_keys("no such kernel")
    assert shown_kernels(page) == []
    assert find(page, "#count")[0].text == f"0 of {len(everything)}"


def test_every_figure_can_be_saved(page: Any, downloads: Path) -> None:
    keys = {button.get_attribute("data-of") for button in find(page, "[data-export]")}
    assert keys == {"memory"} | {plot.get_attribute("data-figure") for plot in find(page, "[data-figure]")}
    for form in ("svg", "png"):
        for key in ("memory", "time", "roofline-dram"):
            page.execute_script(f"document.querySelector('[data-export={form}][data-of={key}]').click()")
            path = downloads / f"{key}.{form}"
            wait_for(path.exists)
            content = path.read_bytes()
            if form == "png":
                assert content.startswith(b"\x89PNG") and len(content) > 5_000
            else:
                assert len(list(ET.fromstring(content).iter())) > 30
    assert page.get_log("browser") == []


def test_the_page_asks_for_nothing(page: Any, report: Path) -> None:
    entries = json.loads(page.execute_script("return JSON.stringify(performance.getEntriesByType('resource'))"))
    assert [entry["name"] for entry in entries if not entry["name"].startswith(("data:", "blob:"))] == []
