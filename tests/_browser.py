"""A headless Chromium for the tests of the page, and checks of what it shows."""

import contextlib
import shutil
import tempfile

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--lang=en"),
)

#: Runs in the page: each visible text with the colours it has and the ground that it stands on.
CONTRASTS = """
const rgb = (c) => { const n = c.match(/[\\d.]+/g).map(Number);
  return { r: n[0], g: n[1], b: n[2], a: n[3] ?? 1 }; };
const light = ({ r, g, b }) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const ground = (e) => { for (; e; e = e.parentElement) {
  const c = rgb(getComputedStyle(e).backgroundColor); if (c.a > 0) return c; }
  return rgb(getComputedStyle(document.documentElement).backgroundColor); };
const found = [];
for (const e of document.body.querySelectorAll("*")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.matches(":disabled") || e.tagName === "OPTION") continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.textContent.slice(0, 40)]);
}
return found;
"""

#: Runs in the page: controls that have no name for those who do not see them.
NAMELESS = """
return [...document.querySelectorAll("button, input, select, textarea, progress, [tabindex='0']")]
  .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim()))
  .map((e) => e.outerHTML.slice(0, 80));
"""


@contextlib.contextmanager
def browser(*flags):
    """Start a browser with a profile of its own; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(
            "chromium and chromedriver are needed to test the page (Debian: chromium-driver)"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": profile})
        opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            opened.downloads = profile
            yield opened
        finally:
            opened.quit()


def console_errors(opened):
    """Return what the page complained about since the last call."""
    return [entry["message"] for entry in opened.get_log("browser") if entry["level"] == "SEVERE"]
