"""Page of a report in headless Chromium: charts, filters, sorting, keyboard, sizes; skipped where there is none."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from sparsemark.analysis.cells import is_control
from sparsemark.report import render
from tests.report.pages import HOSTILE, LONG, many, named
from tests.report.runs import RUNS

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("vl_convert", reason="vl-convert, which brings the charts, is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

SHOWN = sum(not is_control(m) for m in RUNS["study"].measured())
"""Cells that are shown at first: all but the controls."""

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Function that opens the page of a run, whose log must stay empty, and waits for its charts."""
    folder = tmp_path_factory.mktemp("pages")

    def open_page(run, width=1280, scheme="light"):
        path = folder / "page.html"
        path.write_text(render(run, "html"), encoding="utf-8")
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get_log("performance")
        browser.get(path.as_uri())
        browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )
        assert browser.get_log("browser") == []
        return browser

    return open_page


def shown_rows(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#cells tbody tr')].filter(r => !r.hidden).map(r => r.dataset.name)"
    )


def marks(browser, chart):
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} .points [aria-label]`)].map(m => m.ariaLabel)", chart
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_without_an_error_and_asks_for_nothing(opened, scheme):
    browser = opened(RUNS["study"], scheme=scheme)
    asked = [
        entry["message"] for entry in browser.get_log("performance") if 'Network.requestWillBeSent"' in entry["message"]
    ]
    assert not [message for message in asked if '"url":"http' in message]
    ground, ink = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map(c => +c.match(/\\d+/)[0])"
    )
    assert (ground > ink + 100) if scheme == "light" else (ink > ground + 100)
    colours = browser.execute_script(
        "return [...document.querySelectorAll('#front .points path')].map(p => getComputedStyle(p).fill)"
    )
    assert len(set(colours)) > 3
    assert "rgba(0, 0, 0, 0)" not in colours


def test_charts_stand_in_the_accessibility_tree_with_every_cell(opened):
    browser = opened(RUNS["study"])
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = {node.get("name", {}).get("value", "") for node in tree if not node.get("ignored")}
    front = marks(browser, "front")
    assert len(front) == SHOWN
    assert set(front) <= names
    assert any("channels 70 % on ncnn" in label and "to deploy" in label for label in front)
    assert len(marks(browser, "course-0")) > 20
    assert len(marks(browser, "strip")) == 20


def test_filters_change_charts_and_table_together(opened):
    browser = opened(RUNS["study"])
    assert len(shown_rows(browser)) == SHOWN
    boxes = browser.find_elements("css selector", "#filters input[name=engine]")
    for box in boxes[1:]:
        box.click()
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    left = shown_rows(browser)
    engine = browser.find_element("css selector", "#filters label:has(input[name=engine])").text.strip()
    assert 0 < len(left) < SHOWN
    assert len(marks(browser, "front")) == len(left)
    assert all(f" on {engine}," in label for label in marks(browser, "front"))
    assert f"{len(left)} of" in browser.find_element("id", "count").text
    browser.find_element("css selector", "#filters [name=kind][value=control]").click()
    assert len(shown_rows(browser)) >= len(left)
    browser.find_element("css selector", "#filters button[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert len(shown_rows(browser)) == SHOWN


def test_a_click_on_a_title_sorts_by_numbers(opened):
    browser = opened(RUNS["study"])
    head = browser.find_element("xpath", "//table[@id='cells']//th[starts-with(@data-title, 'p50')]/button")
    column = "return [...document.querySelectorAll('#cells tbody tr')].map(r => +r.cells[arguments[0]].dataset.value)"
    index = browser.execute_script(
        "return [...arguments[0].closest('tr').children].indexOf(arguments[0].closest('th'))", head
    )
    for ascending in (False, True):
        browser.execute_script("arguments[0].click()", head)
        values = browser.execute_script(column, index)
        assert values == sorted(values, reverse=not ascending)
        assert len(set(values)) > 10


def test_the_keyboard_reaches_cells_and_words(opened):
    from selenium.webdriver import ActionChains, Keys

    browser = opened(RUNS["study"])
    browser.execute_script("document.querySelector('#front .points [tabindex=\"0\"]').focus()")
    first = browser.find_element("id", "front-record").text
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    second = browser.find_element("id", "front-record").text
    assert "cell" in first
    assert "cell" in second
    assert first != second
    assert browser.execute_script("return document.querySelectorAll('#front .points [tabindex=\"0\"]').length") == 1
    ActionChains(browser).send_keys("?").perform()
    assert browser.find_element("id", "glossary").is_displayed()
    assert "p90" in browser.find_element("id", "glossary").text
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element("id", "glossary").is_displayed()


@pytest.mark.parametrize("name", [HOSTILE, LONG], ids=["hostile", "long"])
def test_names_of_strangers_stay_text_and_break_no_layout(opened, name):
    browser = opened(named(name), width=360)
    assert browser.execute_script("return [window.hit, document.images.length]") == [None, 0]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert name[:20] in browser.find_element("css selector", "h1").text or name[:20] in browser.title


@pytest.mark.parametrize("width", [360, 900, 1600])
def test_no_width_scrolls_sideways(opened, width):
    browser = opened(RUNS["two networks"], width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')]"
        ".filter(s => s.getBoundingClientRect().right > innerWidth).length"
    )
    assert wide == 0


def test_many_cells_are_all_drawn(opened):
    browser = opened(many(150))
    assert len(marks(browser, "front")) == len(shown_rows(browser)) == 150


@pytest.mark.parametrize("name", ["nothing ran", "one bare row", "one row"])
def test_little_to_show_is_no_error(opened, name):
    browser = opened(RUNS[name])
    assert browser.find_element("css selector", "h1").text


@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])], ids=["light", "dark"])
def test_an_automatic_check_of_accessibility_finds_nothing_serious(opened, scheme, rules):
    axe = pytest.importorskip("axe_core_python", reason="axe-core is not installed")
    few = [m for m in RUNS["two networks"].measurements if m.sparsity_target in (0, 0.5) or m.status != "measured"]
    browser = opened(dataclasses.replace(RUNS["two networks"], measurements=tuple(few)), scheme=scheme)
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const [rules, done] = arguments; const only = rules ? {runOnly: rules} : {};"
        "axe.run(only).then(done, e => done({violations: [{id: String(e), impact: 'critical', nodes: []}]}))",
        rules,
    )
    assert [
        (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ] == []
