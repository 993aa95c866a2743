"""What the reference shows is documented: parameters, results, relatives, an example."""

import importlib
import inspect
import pydoc
import re
import sys
from functools import cache
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
validate = pytest.importorskip("numpydoc.validate", reason="needs the extra docs").validate

#: Checks of numpydoc that are not made, each with its reason.
NOT_CHECKED = {
    "ES01": "a second paragraph stands where there is more to say, and not for its own sake",
    "PR07": "X, y, ax and random_state mean here what they mean in scikit-learn",
    "RT03": "`self` and arrays whose shape and columns the summary tells say enough",
}
#: Methods are read on the page of their class, which has the relatives and the example.
OF_A_CLASS = {"SA01", "EX01"}


@cache
def reference():
    """Full name to "object" or "method" of everything that docs/api.rst shows."""
    sys.path.insert(0, str(DOCS))
    try:
        from _site import Members
    finally:
        sys.path.remove(str(DOCS))
    members, found = Members("sklfusion"), {}
    text = (DOCS / "api.rst").read_text(encoding="utf-8")
    for name in re.findall(r"^   (\w[\w.]*)$", text, re.MULTILINE):
        name, thing = f"sklfusion.{name}", pydoc.locate(f"sklfusion.{name}")
        if inspect.isclass(thing) or inspect.isroutine(thing):
            found[name] = "object"
        if inspect.isclass(thing):
            shown = members(name, "methods") + members(name, "properties")
            found |= {f"{name}.{method}": "method" for method in shown}
    return found


def test_everything_is_looked_at():
    """A reader that finds nothing would pass everything."""
    kinds = list(reference().values())
    assert kinds.count("object") > 90
    assert kinds.count("method") > 150


@pytest.mark.parametrize("kind", ["object", "method"])
def test_the_reference_is_valid(kind):
    """Only those checks of numpydoc are left out that ``NOT_CHECKED`` has a reason for."""
    off = NOT_CHECKED.keys() | (OF_A_CLASS if kind == "method" else set())
    names = [name for name, what in reference().items() if what == kind]
    wrong = {
        name: [f"{code} {says}" for code, says in validate(name)["errors"] if code not in off]
        for name in names
    }
    assert {name: said for name, said in wrong.items() if said} == {}


def test_what_is_missing_is_noticed():
    """The checks that are made find a docstring that leaves things out."""
    found = {code for code, _ in validate("tests.test_numpydoc._bare")["errors"]}
    assert {"PR01", "RT01", "SA01", "EX01"} <= found - NOT_CHECKED.keys()


def _bare(value):
    """Return the value."""
    return value


def test_every_public_name_has_a_page_of_its_own():
    """Also the names of the subpackages, which are imported by them."""
    listed = {name for name, kind in reference().items() if kind == "object"}
    top = {name.rpartition(".")[2] for name in listed}
    for package in (
        "alignment",
        "batch",
        "fusion",
        "labelling",
        "persistence",
        "plotting",
        "serve",
    ):
        for name in importlib.import_module(f"sklfusion.{package}").__all__:
            if name[0].isupper() and not name.isupper():
                assert name in top, f"sklfusion.{package}.{name}"
