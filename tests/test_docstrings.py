"""Every example in a docstring says what it says."""

import doctest
import importlib
import pkgutil

import pytest

import sklfusion
from sklfusion.exceptions import ModelLoadError


def _examples():
    """Every docstring with an example, in the order of its name."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {}
    for module in pkgutil.walk_packages(sklfusion.__path__, "sklfusion."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        found |= {test.name: test for test in finder.find(loaded, module.name) if test.examples}
    return [found[name] for name in sorted(found)]


EXAMPLES = _examples()


def test_there_are_examples():
    """A reader that finds none would pass everything."""
    names = {test.name.rpartition(".")[2] for test in EXAMPLES}
    assert len(EXAMPLES) > 50
    assert {"FusionClassifier", "CascadeClassifier", "LLMScorer", "SiDyPClassifier"} <= names


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_example(example, tmp_path, monkeypatch):
    """Runs as it stands and prints what it promises."""
    monkeypatch.chdir(tmp_path)
    try:
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(example, clear_globs=False)
    except doctest.DocTestFailure as failure:
        pytest.fail(
            f"{failure.example.source}printed\n{failure.got}instead of\n{failure.example.want}"
        )
    except doctest.UnexpectedException as failure:
        error = failure.exc_info[1]
        if isinstance(error, ModelLoadError) and "not installed" in str(error):
            pytest.skip(str(error))
        raise error from None
