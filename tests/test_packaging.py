"""What a release needs: one version, absolute links for PyPI, archives that hold everything."""

import importlib.util
import re
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

import sklfusion

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def release():
    """The release script as a module."""
    loader = SourceFileLoader("release", str(ROOT / ".ci" / "release"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("release", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    """The files that name the version, to be changed."""
    (tmp_path / "sklfusion").mkdir()
    for name in ("sklfusion/__init__.py", "CITATION.cff", "CHANGELOG.md", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    return tmp_path


def test_the_version_stands_once(release):
    """pyproject.toml reads it from the package; the other places agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "sklfusion.__version__"
    assert release.check_version(ROOT) == sklfusion.__version__


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md", "sklfusion/__init__.py"])
def test_a_version_that_is_left_behind_is_told(release, tree, name):
    """Whichever of the places it is."""
    text = (tree / name).read_text("utf-8")
    assert sklfusion.__version__ in text
    (tree / name).write_text(text.replace(sklfusion.__version__, "99.1.0"), "utf-8")
    with pytest.raises(SystemExit, match=r"names version .*99\.1\.0|99\.1\.0, sklfusion"):
        release.check_version(tree)


def test_links_become_absolute_at_the_tag(release):
    """Pages and pictures; what is absolute already stays, as do places on the page itself."""
    text = "![a (picture)](docs/a.png) [page](docs/b.md#part) [x](https://x.org) [y](#here)"
    assert release.for_pypi(text, "https://host.org/own", "2.0") == (
        "![a (picture)](https://host.org/own/raw/v2.0/docs/a.png) "
        "[page](https://host.org/own/blob/v2.0/docs/b.md#part) [x](https://x.org) [y](#here)"
    )


def test_no_relative_link_is_left_in_the_readme(release):
    """PyPI would show it broken."""
    text = release.for_pypi((ROOT / "README.md").read_text("utf-8"), "https://host.org/o", "1")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 20
    assert all("://" in target for target in targets)


def test_readers_without_a_checkout_install_the_package(release):
    """The command to try it is one that works there; the one for tests needs the tree anyway."""
    text = release.for_pypi((ROOT / "README.md").read_text("utf-8"), "https://host.org/o", "1")
    assert re.search(r'^pip install "sklfusion\[[\w,]+\]" && .*sklfusion demo$', text, re.M)
    assert len(re.findall(r"^pip install -c constraints.txt -e .* && pytest$", text, re.M)) == 1


def test_without_an_address_nothing_is_built(release, tree):
    """The error says what to add; with one it is taken."""
    config = tree / "pyproject.toml"
    text = re.sub(r"^\[project\.urls\]\n(?:\w.*\n)*", "", config.read_text("utf-8"), flags=re.M)
    config.write_text(text, "utf-8")
    with pytest.raises(SystemExit, match=r"Add \[project.urls\]"):
        release.repository_of(tree)
    config.write_text(f'{text}\n[project.urls]\nRepository = "https://host.org/own/"\n', "utf-8")
    assert release.repository_of(tree) == "https://host.org/own"


def test_what_an_archive_lacks_is_named(release):
    """By its pattern, wherever the archive's top folder is."""
    names = ["sklfusion-1/tests/conftest.py", "sklfusion-1/docs/images/house.png"]
    wanted = ("tests/conftest.py", "docs/images/*.png", "LICENSE")
    assert release.missing(names, wanted) == ["LICENSE"]


def test_the_archives_are_asked_for_what_is_there(release):
    """Every pattern fits a file of the repository, so none is asked for that is gone."""
    for pattern in (*release.IN_SDIST, *release.PART):
        assert list(ROOT.glob(pattern)), pattern
    inside = [p for p in release.IN_WHEEL if not p.startswith("*.dist-info")]
    assert all(list(ROOT.glob(pattern)) for pattern in inside)


def test_the_manifest_names_what_exists():
    """A file that is gone would be missed in silence."""
    for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines():
        command, _, names = line.partition(" ")
        if command in ("include", "graft"):
            assert all((ROOT / name).exists() for name in names.split()), line
