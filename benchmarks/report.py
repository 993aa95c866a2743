"""Draw report.png and notebook.png: a report and a fitted model, as browsers show them.

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
#: Of the view of a fitted classifier, which is as wide as its two sources.
VIEW = (900, 240)
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
    """Evaluate, fit, write the pages, take their pictures."""
    desk = load_newsdesk()
    with tempfile.TemporaryDirectory() as folder:
        clf = AutoFusionClassifier(memory=folder, random_state=0)
        report = EvaluationReport.from_estimator(
            clf, desk.data, desk.target, title="Evaluation on newsdesk.csv"
        )
        page = Path(folder) / "report.html"
        report.to_html(page)
        photograph(page, IMAGES / "report.png")
        fitted = clf.set_params(memory=Path(folder) / "new").fit(desk.data[::3], desk.target[::3])
        view = Path(folder) / "view.html"
        view.write_text(f'<meta charset="utf-8">{fitted._repr_html_()}', encoding="utf-8")
        photograph(view, IMAGES / "notebook.png", VIEW)
    for name in ("report", "notebook"):
        print(f"written: {(IMAGES / f'{name}.png').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
