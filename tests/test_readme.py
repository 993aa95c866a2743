"""The README keeps its promises: its commands, its figures, its links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_stand_alone_on_a_line():
    """.ci/run reads them from here."""
    assert re.search(r"^pip install .* && sklfusion demo$", README, re.MULTILINE)
    assert re.search(r"^pip install .* && pytest$", README, re.MULTILINE)


def test_figures_come_from_the_benchmark_results():
    """Every block of figures equals what the results say."""
    readme = pytest.importorskip("benchmarks.readme")
    stale = [p.name for p in readme.pages() if readme.render(p.read_text()) != p.read_text()]
    assert stale == []


def test_local_links_and_pictures_exist():
    """No dead links within the repository."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith("mailto:"):
                continue
            assert (page.parent / target).exists(), f"{page.name}: {target}"
