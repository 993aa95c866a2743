"""Which program writes which file, and which pages show what it wrote.

A program writes ``results/NAME.json`` and ``docs/images/NAME.png``, NAME its module; what does
not follow that rule stands in ``OTHERWISE``. Pages are searched for the pictures and for the
blocks that are filled from a results file.
"""

import ast
import re
from functools import cache

from benchmarks._common import IMAGES, RESULTS, ROOT

#: Stored methods of FusionBench, in the order of its tables.
FUSIONBENCH = ("llm", "encoder", "part", "logistic", "stacking", "concatenation", "fusion")
#: Files of the programs whose names do not say them.
OTHERWISE = {
    "fusionbench": [
        *(f"benchmarks/results/fusionbench_{method}.json" for method in FUSIONBENCH),
        "docs/images/fusionbench.png",
        "docs/images/gain.png",
    ],
    "load.scorecard": ["benchmarks/results/scorecard.json", "docs/scorecard.md"],
    "newsdesk_answers": ["sklfusion/data/newsdesk_answers.csv"],
    "pictures": ["docs/images/fusion_model.png", "docs/images/house.png"],
    "quality.fine_tune": [
        "benchmarks/results/fine_tune.json",
        "benchmarks/results/real_roberta.json",
    ],
    "readme": [],
    "report": ["docs/images/report.png", "docs/images/notebook.png"],
    "speed.embedding": ["benchmarks/results/speed_embedding.json"],
    "speed.head": ["benchmarks/results/speed_head.json", "docs/images/speed_head.png"],
    "speed.first": ["benchmarks/results/speed_first.json"],
    "speed.local_llm": ["benchmarks/results/speed_local_llm.json"],
}


@cache
def programs():
    """Name to module text of everything in benchmarks/ that is run by hand."""
    folder = ROOT / "benchmarks"
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        parts = parts[:-1] if parts[-1] == "__main__" else parts
        if not any(part.startswith("_") for part in parts) and "\nif __name__ ==" in text:
            found[".".join(parts)] = text
    return found


def files_of(program):
    """Files that a program has written, as paths from the root of the repository."""
    return [file for file in _wanted(program) if (ROOT / file).exists()]


def _wanted(program):
    name = program.rpartition(".")[2]
    usual = [f"benchmarks/results/{name}.json", f"docs/images/{name}.png"]
    return OTHERWISE.get(program, usual)


def results_of(picture):
    """Name of the results that a picture shows; None if its program keeps none."""
    file = picture.relative_to(ROOT).as_posix()
    for program in programs():
        if file in _wanted(program):
            shown = [f for f in files_of(program) if f.endswith(".json")]
            return shown[0].rpartition("/")[2].removesuffix(".json") if shown else None
    return None


def program_of(name):
    """Program that writes ``results/<name>.json``."""
    file = f"benchmarks/results/{name}.json"
    return next(program for program in programs() if file in _wanted(program))


def orphans():
    """Results and pictures that no program writes: nobody could renew them."""
    made = {file for program in programs() for file in files_of(program)}
    there = [*RESULTS.glob("*.json"), *IMAGES.glob("*.png")]
    return sorted(f for f in (p.relative_to(ROOT).as_posix() for p in there) if f not in made)


def table(pages, sources):
    """Header and rows of the table in benchmarks/README.md.

    Parameters
    ----------
    pages : list of Path
        Where figures may be shown.
    sources : dict of str to set of str
        Block of figures to the results that it is filled from.
    """
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    rows = []
    for program, text in programs().items():
        files = files_of(program)
        shown = [page for page in pages if _shows(texts[page], files, sources)]
        says = ast.get_docstring(ast.parse(text)).splitlines()[0]
        links = ", ".join(_link(file) for file in files)
        seen = ", ".join(_link(page.relative_to(ROOT).as_posix()) for page in shown)
        rows.append([f"`{program}`", says, links, seen])
    return ["program", "what it does or asks", "writes", "shown in"], rows


def _shows(text, files, sources):
    results = {file.rpartition("/")[2].removesuffix(".json") for file in files}
    blocks = re.findall(r"<!-- figures: (\w+) -->", text)
    pictures = [file.removeprefix("docs/") for file in files if file.endswith(".png")]
    return any(sources[block] & results for block in blocks) or any(p in text for p in pictures)


def _link(file):
    return f"[{file.rpartition('/')[2]}](../{file})"
