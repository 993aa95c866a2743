"""The page of a served model, in a real browser: what it shows, and that keys are enough."""

import csv
import io
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import CascadeClassifier, RecordedScorer, persistence
from tests._browser import CONTRASTS, NAMELESS, browser, console_errors
from tests._serving import PATIENCE, serving

WORDS = {"ham": "a nice letter from a friend", "spam": "win money now, click here"}
TEXTS = [f"{said} {n}" for n in range(15) for said in WORDS.values()]
LABELS = ["ham", "spam"] * 15
SCROLL_WIDTH = "return document.documentElement.scrollWidth"
#: What normal text must have to be read by most people (WCAG 2, level AA).
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A cascade that is in doubt about what it was not shown."""
    first = make_pipeline(TfidfVectorizer(), LogisticRegression())
    recorded = RecordedScorer(dict(zip(TEXTS, LABELS, strict=True)))
    cascade = CascadeClassifier(first, recorded, strict=False, random_state=0).fit(TEXTS, LABELS)
    cascade.threshold_ = 0.001
    path = tmp_path_factory.mktemp("page") / "mail.sklf"
    persistence.save(cascade, path)
    with serving(path) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with browser("--window-size=1000,1200") as opened:
        yield opened


@pytest.fixture
def page(service, chromium):
    """The page, as it is when it has met its model."""
    chromium.get(service.url)
    wait(chromium, lambda: text_of(chromium, "about") != "")
    yield chromium
    assert console_errors(chromium) == []


def wait(opened, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(opened, PATIENCE, poll_frequency=0.05).until(lambda _: condition())


def find(opened, name):
    return opened.find_element("id", name)


def text_of(opened, name):
    return find(opened, name).text


def press(opened, *keys):
    """Press keys on whatever has the focus."""
    from selenium.webdriver import ActionChains

    ActionChains(opened).send_keys(*keys).perform()


def classify(opened, text):
    """Write a text and press Ctrl and Enter."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    tab_to(opened, "text")
    press(opened, text)
    ActionChains(opened).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(
        Keys.CONTROL
    ).perform()


def focused(opened):
    active = opened.switch_to.active_element
    return active.get_attribute("id") or active.text


def tab_to(opened, name, most=20):
    """Press Tab until an element has the focus."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(most):
        if focused(opened) == name:
            return
        press(opened, Keys.TAB)
    raise AssertionError(f"{name} cannot be reached by Tab; the last was {focused(opened)}")


def upload(page, path):
    find(page, "file").send_keys(str(path))
    wait(
        page, lambda: find(page, "table-form").is_displayed() or find(page, "error").is_displayed()
    )


def to_table(page):
    find(page, "tab-table").click()


def test_a_text_is_classified_by_keys_alone(page):
    """Tab, type, Ctrl and Enter; the answer shows bars, sources, trust, doubt."""

    assert text_of(page, "model") == "mail"
    classify(page, TEXTS[1])
    wait(page, lambda: "spam" in text_of(page, "result"))
    said = text_of(page, "result")
    assert "LLM was asked" in said
    assert "trust" in said
    heads = page.find_elements("css selector", "#result thead th")
    assert [head.text.split("\n")[0] for head in heads] == ["class", "model", "first stage", "llm"]
    rows = page.find_elements("css selector", "#result tbody tr")
    assert [row.find_element("tag name", "th").text for row in rows] == ["spam", "ham"]
    bar = page.find_element("css selector", "#result .bar i")
    assert 0 < bar.size["width"] <= bar.find_element("xpath", "..").size["width"]
    assert find(page, "result").get_attribute("aria-live") == "polite"


def test_the_llm_is_left_alone_when_told_so(page):
    """The switch of a cascade."""
    from selenium.webdriver.common.keys import Keys

    tab_to(page, "ask")
    press(page, Keys.SPACE)
    tab_to(page, "text")
    press(page, TEXTS[0])
    tab_to(page, "Classify")
    press(page, Keys.ENTER)
    wait(page, lambda: "LLM was not asked" in text_of(page, "result"))


def test_the_threshold_marks_what_is_unsure(page):
    """At once, without asking again."""
    from selenium.webdriver.common.keys import Keys

    classify(page, "a letter about money")
    wait(page, lambda: "sure enough" in text_of(page, "result"))
    page.execute_script("document.getElementById('threshold').focus()")
    press(page, Keys.END)
    wait(page, lambda: "unsure" in text_of(page, "result"))
    assert text_of(page, "threshold-value") == "100 %"


def test_an_empty_text_is_told(page):
    """In words, where a screen reader hears them."""
    page.execute_script("document.getElementById('text').value = '  '")
    page.execute_script("document.getElementById('text-form').requestSubmit()")
    wait(page, lambda: "Write a text first" in text_of(page, "error"))
    assert find(page, "error").get_attribute("role") == "alert"


def test_a_table_is_classified_and_comes_back(page, tmp_path):
    """Quotes, line breaks, other columns and empty texts survive; the tabs work by arrows."""
    from selenium.webdriver.common.keys import Keys

    rows = [["id", "text", "note"]]
    rows += [[str(n), text, "a, b"] for n, text in enumerate(TEXTS * 3)]
    rows += [
        ["90", "", ""],
        ["91", 'said "hi",\nthen left', "=1+1"],
        ["007", "=HYPERLINK()", "-3"],
    ]
    path = tmp_path / "mails.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    tab_to(page, "tab-text")
    press(page, Keys.ARROW_RIGHT)
    assert focused(page) == "tab-table"
    upload(page, path)
    assert "93 rows" in text_of(page, "table-status")
    tab_to(page, "column")
    assert find(page, "column").get_attribute("value") == "1"
    tab_to(page, "Classify 93 rows")
    press(page, Keys.ENTER)
    wait(page, lambda: find(page, "table-done").is_displayed())
    assert "92 of 93 rows classified, 1 without a text" in text_of(page, "table-status")
    assert len(page.find_elements("css selector", "#rows tbody tr")) == 92
    tab_to(page, "download")
    press(page, Keys.ENTER)
    written = Path(page.downloads) / "mails_labelled.csv"
    wait(page, written.exists)
    found = list(csv.reader(io.StringIO(written.read_text("utf-8-sig"), newline="")))
    assert found[0] == ["id", "text", "note", "label", "sure", "p_ham", "p_spam"]
    assert [row[:3] for row in found] == rows
    assert [row[3] for row in found[1:91]] == LABELS * 3
    assert found[91][3:] == ["", "", "", ""]
    assert float(found[1][5]) + float(found[1][6]) == pytest.approx(1)
    written.unlink()
    tab_to(page, "safe")
    press(page, Keys.SPACE)
    find(page, "download").click()
    wait(page, written.exists)
    found = list(csv.reader(io.StringIO(written.read_text("utf-8-sig"), newline="")))
    assert [row[1:3] for row in found[-2:]] == [
        ['said "hi",\nthen left', "'=1+1"],
        ["'=HYPERLINK()", "-3"],
    ]


def test_unsure_rows_alone(page, tmp_path):
    """What a person should look at."""
    path = tmp_path / "mails.tsv"
    path.write_text("body\n" + "\n".join([*TEXTS[:4], "a letter about money"]), "utf-8")
    to_table(page)
    upload(page, path)
    find(page, "table-form").submit()
    wait(page, lambda: find(page, "table-done").is_displayed())
    page.execute_script(
        "const t = document.getElementById('threshold'); t.value = 0.95;"
        "t.dispatchEvent(new Event('input'))"
    )
    find(page, "unsure-only").click()
    shown = page.find_elements("css selector", "#rows tbody tr")
    assert 1 <= len(shown) <= 5
    assert all("unsure" in row.text for row in shown)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("empty.csv", b"text\n", "no rows"),
        ("old.csv", b"text\ncaf\xe9\n", "not in UTF-8"),
    ],
)
def test_files_that_are_no_tables(page, tmp_path, name, content, word):
    """Told, and the page goes on."""
    path = tmp_path / name
    path.write_bytes(content)
    to_table(page)
    upload(page, path)
    assert word in text_of(page, "error")


def test_tables_as_others_write_them(page):
    """Delimiters, line ends and quotes; what is written reads back."""
    told = page.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        import("./page.js").then(({ parseTable, guessDelimiter, writeTable }) => {
          const rows = [["a;b", 'c"d', "e\\nf"], ["", " x ", "=1"]];
          done([
            guessDelimiter('"a,b";c;d\\n'), guessDelimiter("a\\tb\\n1,2\\t3"), guessDelimiter("a"),
            parseTable('x,y\\r\\n"1\\r\\n2","a""b"\\r\\n\\r\\n3,\\n', ","),
            parseTable(writeTable(rows, ";", false), ";"),
            parseTable(writeTable([["-1", "+a", "@b", "=c", "-x"]], ",", true), ",")[0],
          ]);
        }).catch((error) => done(String(error)));
        """
    )
    assert told[:3] == [";", "\t", ","]
    assert told[3] == [["x", "y"], ["1\r\n2", 'a"b'], ["3", ""]]
    assert told[4] == [["a;b", 'c"d', "e\nf"], ["", " x ", "=1"]]
    assert told[5] == ["-1", "'+a", "'@b", "'=c", "'-x"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(page, tmp_path, scheme):
    """Contrast of every visible text, a name for every control, a visible focus."""
    from selenium.webdriver.common.keys import Keys

    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    classify(page, "a letter about money")
    wait(page, lambda: "spam" in text_of(page, "result"))
    low = [found for found in page.execute_script(CONTRASTS) if found[0] < LEAST_CONTRAST]
    to_table(page)
    path = tmp_path / "mails.csv"
    path.write_text("text\n" + "\n".join(TEXTS), "utf-8")
    upload(page, path)
    find(page, "table-form").submit()
    wait(page, lambda: find(page, "table-done").is_displayed())
    page.execute_script("document.getElementById('error').hidden = false")
    contrasts = page.execute_script(CONTRASTS)
    low += [found for found in contrasts if found[0] < LEAST_CONTRAST]
    assert len(contrasts) > 30
    assert low == []
    assert page.execute_script(NAMELESS) == []
    press(page, Keys.TAB)
    active = page.switch_to.active_element
    assert active.value_of_css_property("outline-style") != "none"
    assert page.execute_script("return document.documentElement.lang") == "en"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_nothing_is_asked_of_anybody_else(page, service):
    """All that the page has loaded came from the service."""
    loaded = page.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert loaded
    assert all(name.startswith((service.url, "data:")) for name in loaded)


def test_the_page_fits_a_telephone(page):
    """Nothing has to be scrolled sideways."""

    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    classify(page, TEXTS[0])
    wait(page, lambda: "ham" in text_of(page, "result"))
    widths = [page.execute_script(SCROLL_WIDTH)]
    to_table(page)
    widths.append(page.execute_script(SCROLL_WIDTH))
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert max(widths) <= 360
