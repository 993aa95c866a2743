"""The README keeps its promises: its commands, its figures, its links."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklfusion.exceptions import ModelLoadError
from sklfusion.llm import endpoints

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


def test_nothing_in_the_readme_is_older_than_the_code():
    """Its figures are measured anew when the code that they ran through changes."""
    readme = pytest.importorskip("benchmarks.readme")
    blocks = readme._BLOCK.finditer(README)
    shown = set().union(*(readme.figures(block[2])[1] for block in blocks))
    old = readme.stale()
    assert {name: old[name] for name in shown & set(old)} == {}


def test_local_links_and_pictures_exist():
    """No dead links within the repository."""
    tops = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    for page in [*tops, *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith("mailto:"):
                continue
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_contributors_are_sent_to_exist():
    """In the lists of what to change for an endpoint, a strategy, a data set, a method."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:sklfusion|tests|docs|benchmarks|\.ci)/[\w./-]+)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_results_file_and_picture_has_its_program():
    """Else nobody could renew it."""
    assert pytest.importorskip("benchmarks._programs").orphans() == []


def test_a_program_that_is_gone_is_noticed(monkeypatch):
    """Its line stands in benchmarks/README.md, and its files have no program any more."""
    readme = pytest.importorskip("benchmarks.readme")
    left = {k: v for k, v in readme._programs.programs().items() if k != "quality.demo"}
    monkeypatch.setattr(readme._programs, "programs", lambda: left)
    files = ["benchmarks/results/demo.json", "docs/images/demo.png"]
    assert readme.main(check=True) == [*files, "benchmarks/README.md"]


#: Pages whose Python runs as it stands, beside the README.
PAGES = ("getting_started", "how_fusion_works", "why_a_reply_store", "coming_from", "faq")
#: Snippets with these words train an encoder, or fit a report on the embedded models.
HEAVY = ("contrastive", "EvaluationReport")
#: Snippets with these words need a hub, or a class of the reader's: they are compiled only.
ELSEWHERE = ("local/HuggingFaceTB", "MyTextClassifier")
#: Other libraries that are shown beside ours.
OTHERS = ("skllm", "skorch", "setfit", "textclassify")


def _snippets(page):
    blocks = re.findall(
        r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [b for b in blocks if not any(f"from {other}" in b for other in OTHERS)]


def _marks(snippet):
    return [pytest.mark.nightly] if any(word in snippet for word in HEAVY) else []


SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}", marks=_marks(snippet))
    for page in (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in PAGES))
    for number, snippet in enumerate(_snippets(page))
]
CLASSES = ["money", "sport"]
TEXTS = [
    f"{text} {n}"
    for n in range(12)
    for text in ("the bank cuts its rate", "a late goal wins the cup for the team")
]


@pytest.fixture
def newcomer(fault_server, tiny_roberta, tmp_path, monkeypatch):
    """What the snippets take as given: texts, labels, an endpoint, an encoder, a home.

    The endpoint of OpenAI is the loopback server, and a small folder stands where the hub's
    encoder would be.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback")
    monkeypatch.setitem(
        endpoints.ENDPOINTS,
        "openai",
        endpoints.Endpoint(
            fault_server.base_url, "OPENAI_API_KEY", endpoints.ENDPOINTS["openai"].max_tokens_field
        ),
    )
    shutil.copytree(tiny_roberta, tmp_path / "roberta-base")
    monkeypatch.chdir(tmp_path)
    labels = CLASSES * 12
    pd.DataFrame({"text": TEXTS, "label": labels}).to_csv("labelled.csv", index=False)
    pd.DataFrame({"text": TEXTS[:4]}).to_csv("new.csv", index=False)
    return {"texts": TEXTS, "labels": labels, "new_texts": TEXTS[:4], "CLASSES": CLASSES}


def run(snippet, names):
    """Run a snippet word for word."""
    code = compile(snippet, "README.md", "exec")
    if any(word in snippet for word in ELSEWHERE):
        return
    try:
        exec(code, names)
    except ModelLoadError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise


def test_the_snippets_are_found():
    """One for the first look in the README, more on the pages."""
    assert len(_snippets(ROOT / "README.md")) == 1
    assert len(SNIPPETS) > 12


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run_as_they_stand(snippet, newcomer, fault_server):
    """Each by itself, and each text is paid for once."""
    run(snippet, newcomer)
    assert fault_server.ledger().avoidable == 0


def test_the_first_snippet_predicts(newcomer, fault_server):
    """Probabilities of the classes in the labels, for each new text; the endpoint was asked."""
    run(_snippets(ROOT / "README.md")[0], newcomer)
    assert fault_server.ledger().received > 0
    clf = newcomer["clf"]
    assert clf.classes_.tolist() == CLASSES
    proba = clf.predict_proba(newcomer["new_texts"])
    assert proba.shape == (4, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
