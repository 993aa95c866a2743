"""The report's page in a real browser: light, dark, phone, keyboard and paper."""

import base64
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from sklfusion import EvaluationReport, FusionClassifier
from tests._fusion_data import make_labels, make_rows

#: Contrast that WCAG 2 asks of texts (AA), and of marks.
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0
WIDE, PHONE = (1100, 800), (360, 740)

#: Colours of all elements that show a text of their own, and of what lies behind them.
COLORS = """
const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const box = e.getBoundingClientRect();
  if (own && box.width && !e.closest('svg') && !e.closest('.confusion')) {
    found.push([e.tagName, parse(getComputedStyle(e).color).slice(0, 3), behind(e)]);
  }
}
return JSON.stringify(found);
"""

#: Colours of the marks in the charts.
MARKS = """
const parse = c => (c.match(/[\\d.]+/g) || []).map(Number).slice(0, 3);
const found = [...document.querySelectorAll('svg .fill')].map(
  e => parse(getComputedStyle(e).fill));
const paper = parse(getComputedStyle(document.body).backgroundColor);
return JSON.stringify([found, paper]);
"""

#: Letters of charts that lie outside of their picture.
OUTSIDE = """
const found = [];
for (const picture of document.querySelectorAll('svg')) {
  const box = picture.getBoundingClientRect();
  for (const e of picture.querySelectorAll('text')) {
    const b = e.getBoundingClientRect();
    if (b.left < box.left - 1 || b.right > box.right + 1 || b.bottom > box.bottom + 1) {
      found.push(e.textContent);
    }
  }
}
return JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; the tests are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for name in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(name)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports on four classes, on fifteen, and on several labels."""
    folder, found = tmp_path_factory.mktemp("pages"), {}
    fusion = FusionClassifier(random_state=0)
    for name, k in (("four", 4), ("fifteen", 15)):
        X, y = make_rows(n=120, k=k, signal=0.5)
        y = np.array([f"class number {code:02d}" for code in range(k)])[y]
        found[name] = EvaluationReport.from_estimator(fusion, X, y, cv=2)
    X, Y = make_labels(n=80, k=3)
    Y = pd.DataFrame(Y, columns=["news", "opinion", "a label with a rather long name"])
    found["labels"] = EvaluationReport.from_estimator(fusion, X, Y, cv=2)
    for name, report in found.items():
        report.to_html(folder / f"{name}.html")
    return {name: (folder / f"{name}.html").as_uri() for name in found}


def look(browser, address, size=WIDE, scheme="light"):
    """Open a page in a window of some size, by day or by night."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    browser.get(address)


def luminance(color):
    """Of sRGB, as WCAG 2 has it."""
    c = np.asarray(color, dtype=float) / 255
    linear = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """Between 1 and 21."""
    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)


def test_contrast_is_measured_right():
    """Black on white, and two greys of the standard's own examples."""
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([118, 118, 118], [255, 255, 255]) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("name", ["four", "fifteen", "labels"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_nothing_sticks_out(browser, pages, name, size):
    """Only tables scroll, in boxes of their own; letters of charts stay inside."""
    look(browser, pages[name], size)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= size[0]
    assert json.loads(browser.execute_script(OUTSIDE)) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["four", "labels"])
def test_texts_can_be_read(browser, pages, name, scheme):
    """By day and by night."""
    look(browser, pages[name], scheme=scheme)
    found = json.loads(browser.execute_script(COLORS))
    assert len(found) > 100
    faint = [(tag, a, b) for tag, a, b in found if contrast(a, b) < TEXT_CONTRAST]
    assert faint == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_night_is_dark_and_marks_are_seen(browser, pages, scheme):
    """The paper is what was asked for, and the charts stand out from it."""
    look(browser, pages["four"], scheme=scheme)
    marks, paper = json.loads(browser.execute_script(MARKS))
    assert (luminance(paper) < 0.1) == (scheme == "dark")
    assert len(marks) > 10
    least = min(contrast(mark, paper) for mark in marks)
    assert least >= (MARK_CONTRAST if scheme == "dark" else 2.0)  # house orange on white is 2.2


def test_the_browser_has_nothing_to_complain_of(browser, pages):
    """No error, no warning, and no request but that for the page."""
    for address in pages.values():
        look(browser, address)
        assert browser.get_log("browser") == []
        script = "return performance.getEntriesByType('resource').map(e => e.name)"
        assert browser.execute_script(script) == []


def test_the_keyboard_reaches_links_tables_and_figures(browser, pages):
    """By the tabulator, in the order of the page; the enter key opens figures."""
    from selenium.webdriver.common.keys import Keys

    look(browser, pages["four"])
    reached = []
    for _ in range(30):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        at = browser.switch_to.active_element
        reached.append(at.tag_name)
        if at.tag_name == "summary":
            break
    assert reached[-1] == "summary"
    assert reached.count("a") >= 8
    assert "div" in reached
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.querySelector('details').open")


def test_links_lead_to_their_sections(browser, pages):
    """Each to a heading of the same name."""
    look(browser, pages["four"])
    script = """return [...document.querySelectorAll('nav a')].map(a => [
        a.textContent, document.querySelector(a.hash + ' h2').textContent])"""
    pairs = browser.execute_script(script)
    assert len(pairs) > 5
    assert all(link == heading for link, heading in pairs)


def test_a_page_prints_on_a_few_sheets(browser, pages):
    """A PDF of some sheets, in which nothing is cut off at the right."""
    look(browser, pages["four"], scheme="dark")
    made = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    pdf = base64.b64decode(made["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 9
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    hidden = browser.execute_script(
        "return getComputedStyle(document.querySelector('nav')).display"
    )
    assert hidden == "none"
    script = """return [...document.querySelectorAll('table')].filter(
        t => t.getBoundingClientRect().right > innerWidth + 1).length"""
    screen = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert browser.execute_script(script) == 0


def test_a_notebook_frame_shows_the_page(browser, pages, tmp_path):
    """In a frame that runs nothing."""
    X, y = make_rows(n=60)
    frame = EvaluationReport.from_estimator(FusionClassifier(random_state=0), X, y, cv=2)
    path = tmp_path / "cell.html"
    path.write_text(f"<!DOCTYPE html><body>{frame._repr_html_()}</body>", encoding="utf-8")
    look(browser, path.as_uri())
    browser.switch_to.frame(0)
    assert browser.find_element("tag name", "h1").text == "Evaluation of FusionClassifier"
    browser.switch_to.default_content()
