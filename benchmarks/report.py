"""Draw docs/images/report.png: the evaluation report of the bundled briefs, as a browser shows it.

python -m benchmarks.report      # embedded models; a minute or two, and chromium
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks._common import IMAGES, ROOT
from sklfusion import AutoFusionClassifier, EvaluationReport
from sklfusion.datasets import load_newsdesk

#: Pixels of the picture: as wide as the page is at most, and as high as its first sections.
SIZE = (1100, 1270)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-quic")


def photograph(page, picture, size=SIZE):
    """Write what chromium shows of an HTML file as a PNG.

    Raises
    ------
    RuntimeError
        If there is no chromium, or it wrote nothing.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("No chromium is installed (Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        width, height = size
        place = (f"--user-data-dir={profile}", f"--window-size={width},{height}")
        command = [chromium, *_FLAGS, *place, f"--screenshot={picture}", Path(page).as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if not Path(picture).exists():
        raise RuntimeError(f"chromium wrote no picture: {done.stderr[-500:]}")


def main():
    """Evaluate, write the page, take its picture."""
    desk = load_newsdesk()
    with tempfile.TemporaryDirectory() as folder:
        clf = AutoFusionClassifier(memory=folder, random_state=0)
        report = EvaluationReport.from_estimator(
            clf, desk.data, desk.target, title="Evaluation on newsdesk.csv"
        )
        page = Path(folder) / "report.html"
        report.to_html(page)
        photograph(page, IMAGES / "report.png")
    print(f"written: {(IMAGES / 'report.png').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
