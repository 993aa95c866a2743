"""The pages build without a warning, and a reader finds in them what he looks for."""

import importlib
import sys
import warnings
from pathlib import Path

import pytest

import sklfusion
from tests import _site_pages

DOCS = Path(__file__).parents[1] / "docs"
pytest.importorskip("numpydoc", reason="the pages need the extra docs")


@pytest.fixture
def site(monkeypatch):
    """The helpers of docs/conf.py."""
    monkeypatch.syspath_prepend(DOCS)
    yield importlib.import_module("_site")
    sys.modules.pop("_site", None)


@pytest.mark.slow
@pytest.mark.models
def test_the_pages_build_and_lead_somewhere(tmp_path, site):
    """Without a warning; examples with their pictures; links; names in the search; llms.txt."""
    for needed in ("sphinx_gallery", "sphinx_design", "sphinx_copybutton", "pydata_sphinx_theme"):
        pytest.importorskip(needed, reason="the pages need the extra docs")
    if not site.models_are_there():
        pytest.skip("the examples run on the embedded models: sklfusion models install")
    done, pages = _site_pages.build(tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert _site_pages.dead_links(pages) == []
    searched = _site_pages.searchable(pages)
    assert {f"sklfusion.{name}" for name in sklfusion.__all__} <= searched
    assert "sklfusion.FusionClassifier.predict_proba" in searched
    examples = list((DOCS / "examples").glob("*/plot_*.py"))
    assert len(examples) >= 15
    for example in examples:
        page = pages / "auto_examples" / example.parent.name / f"{example.stem}.html"
        assert "sphx-glr-single-img" in page.read_text(encoding="utf-8"), example
    listed = (pages / "llms.txt").read_text(encoding="utf-8")
    assert all(f"]({name}" in listed for name in ("_sources/fusion.md.txt", "_sources/api.rst"))


def test_a_link_to_nowhere_is_found(tmp_path):
    """A missing page, a missing heading, a missing picture; what is there is left alone."""
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
        '<img src="no.png"><a href="https://example.org">4</a><a href="#top">5</a><p id="top">'
    )
    dead = _site_pages.dead_links(tmp_path)
    assert dead == ["a.html: b.html#gone", "a.html: c.html", "a.html: no.png"]


def test_methods_of_ours_are_told_from_inherited_ones(site):
    """A page shows what this package defines in full, and names what scikit-learn adds."""
    members = site.Members("sklfusion")
    name = "sklfusion.FusionClassifier"
    assert {"fit", "predict_proba", "partial_fit"} <= set(members(name, "methods"))
    assert {"get_params", "set_fit_request"} <= set(members(name, "inherited"))
    assert "oof_proba_" in members("sklfusion.AutoFusionClassifier", "properties")
    assert not members("sklfusion.LLMScorer", "properties").count("api_key_env")


class _App:
    srcdir = str(DOCS)

    class env:
        @staticmethod
        def doc2path(name):
            return f"{name}.md"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("contributing", "![The folders"),
        ("programs", "[benchmarks.md](benchmarks.md)"),
        ("changelog", "([how](serve.md))"),
        ("reproduce", "[benchmarks/README.md](programs.md)"),
    ],
)
def test_pages_from_outside_are_taken_in_with_their_links(site, name, text):
    """Links that would leave the pages lead to the page that took the file in, or are words."""
    source = [""]
    site.take_in(_App, name, source)
    assert text in source[0]
    assert "](../" not in source[0]
    assert "](docs/" not in source[0]


def test_warnings_are_errors_while_an_example_runs(site):
    """And what holds elsewhere is put back after it."""
    with warnings.catch_warnings():
        site.be_strict(None, "", "before")
        with pytest.raises(UserWarning):
            warnings.warn("too few rows")
        site.be_strict(None, "", "after")
        assert warnings.filters == site._OUTSIDE


def test_without_a_network_there_are_no_links_to_other_projects(site):
    """And no warning: the build is the same, but for those links."""
    assert site.reachable({"one": "http://127.0.0.1:9/"}) == {}
    assert site.types(False)["float"] == "float"
    assert "float" not in site.types(True)  # left to numpydoc, which knows where it is
    assert site.types(True)["LLMEndpoint"] == "sklfusion.LLMEndpoint"
