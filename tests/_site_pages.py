"""What a reader of the built pages would stumble over: links to nowhere, names without a page."""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).parents[1]
#: What the pages are made of, beside the package.
SOURCES = ("docs", "benchmarks/README.md", "CHANGELOG.md", "CONTRIBUTING.md")
#: Seconds after which a build is ended; it takes two minutes on one core.
PATIENCE = 800


def build(folder, *options):
    """Copy the sources to a folder, build the pages there, and return the process and the pages.

    Of a copy, since the build writes beside its sources.
    """
    made = shutil.ignore_patterns("_build", "generated", "auto_examples", "__pycache__")
    for source in SOURCES:
        target = folder / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=made)
        else:
            shutil.copy(ROOT / source, target)
    pages = folder / "pages"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", *options]
    paths = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [*command, str(folder / "docs"), str(pages)],
        env=os.environ | {"PYTHONPATH": paths, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done, pages


class _Page(HTMLParser):
    """The anchors of a page, where its links lead, and its pictures."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.pictures = {""}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and given.get("src"):
            self.pictures.append(given["src"])


def dead_links(pages):
    """Return every link and picture within the pages that leads nowhere, as "page: target"."""
    read = {path: _Page(path) for path in pages.rglob("*.html")}
    dead = []
    for path, page in read.items():
        for link in [*page.links, *page.pictures]:
            if "://" in link or link.startswith(("mailto:", "data:", "javascript:")):
                continue
            target, anchor = urldefrag(link)
            place = (path.parent / unquote(target)).resolve() if target else path
            place = place / "index.html" if place.is_dir() else place
            found = read.get(place)
            if not place.exists() or (found and unquote(anchor) not in found.anchors):
                dead.append(f"{path.relative_to(pages)}: {link}")
    return dead


def searchable(pages):
    """Return the full names of the Python objects that the search knows."""
    text = (pages / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    return {
        f"{prefix}.{entry[4] or entry[-1]}" if prefix else entry[-1]
        for prefix, entries in index["objects"].items()
        for entry in entries
    }
