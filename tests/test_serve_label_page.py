"""The tab where texts are labelled, in a real browser, by keys."""

import csv
import json
from pathlib import Path

import pytest

from sklfusion import persistence
from tests._browser import CONTRASTS, NAMELESS, browser, console_errors
from tests._labelling import POOL, truth_of, word_counts
from tests._serving import PATIENCE, serving

LEAST_CONTRAST = 4.5  # WCAG 2, level AA


@pytest.fixture(scope="module")
def chromium():
    with browser("--window-size=1000,1200") as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a pool beside it."""
    folder = tmp_path_factory.mktemp("label")
    persistence.save(word_counts().fit(POOL, list(map(truth_of, POOL))), folder / "mail.sklf")
    lines = "".join(f'"{text}"\n' for text in POOL)
    (folder / "pool.csv").write_text(f"text\n{lines}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def service(folder):
    with serving(folder / "mail.sklf", "--label", str(folder / "pool.csv")) as running:
        yield running


@pytest.fixture
def page(service, chromium):
    """The tab, open."""
    chromium.get(service.url)
    wait(chromium, lambda: chromium.find_element("id", "tab-label").is_displayed())
    chromium.find_element("id", "tab-label").click()
    yield chromium
    assert console_errors(chromium) == []


def wait(opened, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(opened, PATIENCE, poll_frequency=0.05).until(lambda _: condition())


def words(opened, name):
    return opened.find_element("id", name).text


def press(opened, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(opened).send_keys(*keys).perform()


def says(opened, name, part):
    wait(opened, lambda: part in words(opened, name))


def press_and_see_next(opened, key):
    """Press a key; return the text that it was about."""
    text = words(opened, "label-text")
    press(opened, key)
    wait(opened, lambda: words(opened, "label-text") != text)
    return text


def counts(opened):
    """Return the number of texts of each class, as the buttons tell it."""
    buttons = opened.find_elements("css selector", "#label-classes button")
    return {b.find_element("tag name", "span").text: int(b.text.split()[-1]) for b in buttons}


def test_texts_are_labelled_skipped_and_undone_by_keys(page, folder):
    """Each key is an answer that lies on the disk; the next text is announced."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(4):
        key = "2" if truth_of(words(page, "label-text")) == "spam" else "1"
        press_and_see_next(page, key)
    says(page, "label-progress", "4 of 40 texts labelled")
    assert sum(counts(page).values()) == 4
    skipped = press_and_see_next(page, "0")
    says(page, "label-progress", "1 skipped")
    press_and_see_next(page, Keys.BACKSPACE)
    assert words(page, "label-text") == skipped
    says(page, "label-status", "Undone")
    press_and_see_next(page, Keys.BACKSPACE)
    says(page, "label-progress", "3 of 40")
    kept = (folder / "pool.csv.labels.jsonl").read_text().splitlines()
    events = [json.loads(line).get("event") for line in kept]
    assert events.count("label") == 4
    assert events.count("undo") == 2
    for name in ("label-text", "label-status"):
        element = page.find_element("id", name)
        assert element.aria_role == "status" or element.get_attribute("aria-live") == "polite"


def test_keys_do_nothing_where_they_are_not_meant(page):
    """Not in a field, not with Ctrl, not when switched off, not on another tab."""
    before = words(page, "label-progress")
    text = words(page, "label-text")
    field = page.find_element("id", "class-name")
    field.send_keys("1a0")
    assert field.get_attribute("value") == "1a0"
    field.clear()
    page.find_element("id", "label-keys").click()
    press(page, "1", "0")
    page.find_element("id", "label-keys").click()
    page.find_element("id", "tab-text").click()
    press(page, "1", "2")
    page.find_element("id", "tab-label").click()
    assert (words(page, "label-progress"), words(page, "label-text")) == (before, text)


def test_a_class_is_added_and_has_a_key(page):
    """One that is there already is refused in words."""
    from selenium.webdriver.common.keys import Keys

    page.find_element("id", "class-name").send_keys("other", Keys.ENTER)
    says(page, "label-status", "Added: other")
    assert list(counts(page)) == ["ham", "spam", "other"]
    page.find_element("id", "class-name").send_keys("other", Keys.ENTER)
    says(page, "error", "a class 'other' already")
    assert len(console_errors(page)) == 1  # chromium notes the status of the refusal
    page.find_element("id", "class-name").clear()
    page.find_element("id", "label-text").click()
    press_and_see_next(page, "3")
    assert counts(page)["other"] == 1


def test_the_model_is_fitted_while_labelling_goes_on(page):
    """What it says is shown only when asked for."""
    while len([n for n in list(counts(page).values())[:2] if n]) < 2:
        key = "2" if truth_of(words(page, "label-text")) == "spam" else "1"
        press_and_see_next(page, key)
    page.find_element("id", "label-refit").click()
    press_and_see_next(page, "1")
    says(page, "label-model", "Fitted on")
    wait(page, lambda: page.find_element("id", "label-hints").is_displayed())
    assert "%" not in words(page, "label-classes")
    page.find_element("id", "label-hints").click()
    assert words(page, "label-classes").count("%") >= 2


def test_an_answer_counts_while_a_fit_is_being_asked_for(page):
    """Also before the service has replied, which a busy machine takes its time for."""
    while len([n for n in list(counts(page).values())[:2] if n]) < 2:
        key = "2" if truth_of(words(page, "label-text")) == "spam" else "1"
        press_and_see_next(page, key)
    page.execute_script(
        "const plain = window.fetch; window.asked = false; window.fetch = async (to, how) => {"
        "  if (String(to).includes('label/refit')) {"
        "    window.asked = true;"
        "    await new Promise((go) => { window.release = go; });"
        "  }"
        "  return plain(to, how);"
        "};"
    )
    page.find_element("id", "label-refit").click()
    wait(page, lambda: page.execute_script("return window.asked"))
    before = sum(counts(page).values())
    press_and_see_next(page, "1")
    assert sum(counts(page).values()) == before + 1
    page.execute_script("window.release()")
    says(page, "label-model", "Fitted on")


def test_files_go_out_and_come_in(page, tmp_path):
    """CSV with weights, tasks of Label Studio; a file that is none is told."""
    downloads = Path(page.downloads)
    page.find_element("id", "label-csv").click()
    wait(page, (downloads / "labels.csv").exists)
    with open(downloads / "labels.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} of 40" in words(page, "label-progress")
    assert all(float(row["weight"]) > 0 for row in rows)
    page.find_element("id", "label-tasks").click()
    wait(page, (downloads / "tasks.json").exists)
    page.find_element("id", "label-file").send_keys(str(downloads / "tasks.json"))
    says(page, "label-status", f"{len(rows)} labelled")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    page.find_element("id", "label-file").send_keys(str(tmp_path / "bad.json"))
    says(page, "error", "bad.json is not JSON")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tab_can_be_read(page, scheme):
    """Contrast of every visible text, a name for every control."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    low = [found for found in page.execute_script(CONTRASTS) if found[0] < LEAST_CONTRAST]
    assert low == []
    assert page.execute_script(NAMELESS) == []
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_tab_fits_a_telephone(page):
    """Nothing has to be scrolled sideways."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    width = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 360


def test_buttons_work_without_keys(page):
    """By Tab and Enter, or the mouse; the focus stays on the button."""
    from selenium.webdriver.common.keys import Keys

    text = words(page, "label-text")
    page.execute_script("document.querySelector('#label-classes button').focus()")
    press(page, Keys.ENTER)
    wait(page, lambda: words(page, "label-text") != text)
    active = page.switch_to.active_element
    assert active.get_attribute("aria-label").startswith("ham, ")
    page.find_element("id", "label-undo").click()
    wait(page, lambda: words(page, "label-text") == text)
    page.find_element("id", "label-skip").click()
    wait(page, lambda: words(page, "label-text") != text)


def test_labels_are_safe_for_spreadsheets_on_demand(chromium, tmp_path):
    """Without the mark a text that begins like a formula comes out as it went in."""
    (tmp_path / "pool.csv").write_text("text\n=1+1\n", encoding="utf-8")
    with serving(f"--label={tmp_path / 'pool.csv'}", "--classes", "a,b") as s:
        chromium.get(s.url)
        wait(chromium, lambda: words(chromium, "label-text") == "=1+1")
        press(chromium, "1")
        says(chromium, "label-status", "Saved: a.")
        for wanted in ("=1+1", "'=1+1"):
            before = set(Path(chromium.downloads).glob("labels*.csv"))
            chromium.find_element("id", "label-csv").click()
            new = wait_for_new(chromium, before)
            assert new.read_text(encoding="utf-8-sig").splitlines()[1].startswith(f"{wanted},")
            chromium.find_element("id", "label-safe").click()
        assert console_errors(chromium) == []


def wait_for_new(page, before):
    """Return the table that came down."""
    downloads = Path(page.downloads)
    wait(page, lambda: set(downloads.glob("labels*.csv")) - before)
    (new,) = set(downloads.glob("labels*.csv")) - before
    return new


def test_several_labels_are_toggled_and_saved(chromium, tmp_path):
    """Keys toggle, Enter saves; a text can have none; without a model the tab is the page."""
    from selenium.webdriver.common.keys import Keys

    (tmp_path / "pool.tsv").write_text("text\n" + "\n".join(POOL), encoding="utf-8")
    pool = f"--label={tmp_path / 'pool.tsv'}"
    with serving(pool, "--multilabel", "--classes", "a,b") as s:
        chromium.get(s.url)
        wait(chromium, lambda: words(chromium, "label-text") in POOL)
        assert not chromium.find_element("id", "tab-text").is_displayed()
        assert "No model yet" in words(chromium, "about")
        press(chromium, "1", "2", "1", "1")
        says(chromium, "label-status", "b, a")
        pressed = chromium.find_elements("css selector", "#label-classes [aria-pressed=true]")
        assert len(pressed) == 2
        press_and_see_next(chromium, Keys.ENTER)
        says(chromium, "label-status", "Saved: b, a.")
        press_and_see_next(chromium, Keys.ENTER)
        says(chromium, "label-status", "Saved: no label.")
        assert counts(chromium) == {"a": 1, "b": 1}
        assert console_errors(chromium) == []
        rows = s.send("GET", "/label/labels.csv")[2].decode().splitlines()
    assert [row.split(",")[-2] for row in rows] == ["label", "b|a", ""]
