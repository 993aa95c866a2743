"""What a type checker and an editor know of the package is what is there at run time."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sklfusion

ROOT = Path(sklfusion.__file__).parent
STUBS = sorted(ROOT.rglob("__init__.pyi"))

# Their annotations take mypy half a minute, and none stands in the names checked here.
HEAVY = "numpy scipy pandas torch transformers openai matplotlib skorch joblib typer rich"
CONFIG = f"""
[mypy]
ignore_missing_imports = True
follow_imports = silent
[mypy-{",".join(f"{name}.*" for name in HEAVY.split())}]
follow_imports = skip
follow_imports_for_stubs = True
"""


def _package(stub):
    return ".".join(stub.parent.relative_to(ROOT.parent).parts)


@pytest.mark.parametrize("stub", STUBS, ids=_package)
def test_the_stub_and_run_time_agree(stub):
    """Each name of a stub is public and the very object that its module holds."""
    package = importlib.import_module(_package(stub))
    listed = {}
    for line in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom):
            for alias in line.names:
                assert alias.asname == alias.name, "without `as` a stub keeps the name to itself"
                listed[alias.name] = line.module
    assert sorted(listed) == package.__all__
    for name, module in listed.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


def test_every_lazy_package_has_a_stub():
    """Names that are made at run time are invisible to a reader of the source."""
    lazy = {p.parent for p in ROOT.rglob("__init__.py") if "_attach(" in p.read_text()}
    assert {stub.parent for stub in STUBS} == lazy


PUBLIC = ["", ".alignment", ".fusion", ".embedding", ".noise", ".scoring", ".cascade"]
PUBLIC += [
    ".multilabel",
    ".persistence",
    ".batch",
    ".plotting",
    ".datasets",
    ".models",
    ".testing",
]


def _own(value):
    return getattr(value, "__module__", "").startswith("sklfusion")


def _methods(cls):
    """Public methods, and the constructor, that classes of ours in its line define."""
    for base in filter(_own, cls.__mro__):
        for name, value in vars(base).items():
            value = inspect.unwrap(getattr(value, "__func__", value))
            if inspect.isfunction(value) and (name == "__init__" or not name.startswith("_")):
                yield value


def _public_functions():
    """Every function, and every public method defined by a class of ours, by its place."""
    found = []
    for package in (importlib.import_module(f"sklfusion{name}") for name in PUBLIC):
        names = getattr(package, "__all__", None) or [n for n in vars(package) if n[0] != "_"]
        for value in filter(_own, (getattr(package, name) for name in names)):
            if inspect.isclass(value):
                found += _methods(value)
            elif inspect.isfunction(value):
                found.append(inspect.unwrap(value))
    return {function.__qualname__: function for function in found}


def test_public_signatures_are_annotated():
    """Constructors, methods and functions: what goes in, and what comes out."""
    lacking = []
    functions = _public_functions()
    for place, function in functions.items():
        signature = inspect.signature(function)
        names = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        names = [name for name in names if name not in ("self", "cls")]
        if names or signature.return_annotation is signature.empty:
            lacking.append(f"{place}({', '.join(names)})")
    assert len(functions) > 150
    assert lacking == []


def _mypy(folder, source):
    pytest.importorskip("mypy", reason="mypy is not installed; it comes with sklfusion[test]")
    (folder / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    (folder / "use.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache"]
    here = {} if "site-packages" in ROOT.parts else {"MYPYPATH": str(ROOT.parent)}
    done = subprocess.run(
        [*command, "use.py"],
        cwd=folder,
        env=os.environ | here,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode < 2, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_mypy_knows_every_public_name(tmp_path):
    """No stub, no name: what a user imports has a type."""
    source = f"from sklfusion import {', '.join(sklfusion.__all__)}\n"
    source += "from sklfusion.testing import FaultServer, check_text_estimator\n"
    source += "reveal_type(FusionClassifier())\n"
    revealed, summary = _mypy(tmp_path, source)
    assert 'Revealed type is "sklfusion.fusion._classifier.FusionClassifier"' in revealed
    assert summary.startswith("Success")


def test_a_misspelt_name_is_an_error_for_mypy(tmp_path):
    """In each way of naming it, and the message offers the right one."""
    wrong = [
        "from sklfusion import FusionClasifier",
        "import sklfusion; sklfusion.FusionClasifier()",
        "from sklfusion.noise import SiDyPClasifier",
        "from sklfusion.testing import FaultSever",
    ]
    *errors, summary = _mypy(tmp_path, "\n".join(wrong))
    assert [error.split(":")[1] for error in errors] == ["1", "2", "3", "4"]
    assert all("has no attribute" in error and "maybe" in error for error in errors)
    assert summary.startswith("Found 4 errors")
