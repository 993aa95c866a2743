"""Do the tests notice when a line that results depend on is wrong?

Each `Mutant` changes one place of the package and names the tests that must then fail. The
program applies one after the other in a copy of the tree and runs those tests::

    python -m tests.mutants              # all, about five minutes on one core
    python -m tests.mutants trust fold   # those whose name holds one of the words
    python -m tests.mutants --list       # only look whether each place is still there

A mutant is *killed* if a test fails and *survives* if all pass: then the tests lack something.
The place is found by its text, anywhere in the package, so files may be moved; a text that is not
there exactly once is reported as *stale*, and its entry in `tests/mutant_list.py` is to be
brought up to date. The exit status is 0 only if all were killed.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# One thread each, also because a process with threads cannot be forked safely.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
sys.dont_write_bytecode = True

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("sklfusion", "tests", "benchmarks", "docs", "pyproject.toml", "README.md")
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.png", "*.svg")
_SECONDS = 300  # for the tests of one mutant; one that hangs them is noticed too
_FAILED, _NO_TESTS = 1, 5  # exit statuses of pytest; none is collected in the second case
_CRASHED = 99  # exit status of a fork in which pytest itself failed
_FORK = multiprocessing.get_context("fork")
_HEAVY = ("pytest", "pandas", "sklearn.ensemble", "sklearn.model_selection", "torch",
          "skorch", "scipy.optimize", "matplotlib.pyplot", "openai", "sklearn.neighbors",
          "sklearn.linear_model", "sklearn.multioutput", "sklearn.feature_extraction.text",
          "sklearn.naive_bayes", "sklearn.svm", "sklearn.datasets")  # fmt: skip


class Stale(Exception):
    """The place of a mutant, or one of its tests, is not there exactly once or does not run."""


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Parameters
    ----------
    name : str
        What the package does wrong then.
    old, new : str
        Source text, which occurs exactly once in the package, and what stands there instead.
    tests : tuple of str
        Names of test functions that must notice.
    """

    name: str
    old: str
    new: str
    tests: tuple[str, ...]


def find_place(old: str, package: Path) -> Path:
    """Return the one file of the package that holds the text ``old`` exactly once."""
    counts = {path: path.read_text().count(old) for path in sorted(package.rglob("*.py"))}
    found = {path: count for path, count in counts.items() if count}
    if sum(found.values()) != 1:
        where = ", ".join(f"{path.name} ({count})" for path, count in found.items()) or "nowhere"
        raise Stale(f"found in {where}: {old!r}")
    return next(iter(found))


def find_test(name: str, tests: Path) -> str:
    """Return the file and the name of a test function, as pytest selects it."""
    defined = re.compile(rf"^\s*def {re.escape(name)}\(", re.MULTILINE)
    files = [path for path in sorted(tests.rglob("test_*.py")) if defined.search(path.read_text())]
    if len(files) != 1:
        raise Stale(f"the test {name} is in {len(files)} files")
    return str(files[0].relative_to(tests.parent))


def run_tests(names: tuple[str, ...], tree: Path) -> tuple[int, str]:
    """Run test functions in a tree; return pytest's exit status and the end of what it said.

    In a fork of this process, which has imported everything but the package: of the seconds that
    a test takes most are imports.
    """
    files = sorted({find_test(name, tree / "tests") for name in names})
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-m", ""]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # imported before the fork
    arguments += [*files, "-k", " or ".join(names)]
    said = tree / "said.txt"
    child = _FORK.Process(target=_pytest, args=(arguments, tree, said))
    child.start()
    child.join(_SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
        return _FAILED, "the tests hung"
    if child.exitcode == _NO_TESTS:
        raise Stale(f"pytest selects none of {names}")
    if child.exitcode not in (0, _FAILED):
        raise Stale(f"pytest ends with {child.exitcode}:\n{said.read_text()[-2000:]}")
    return child.exitcode, said.read_text()[-2000:]


def _pytest(arguments: list[str], tree: Path, said: Path) -> None:
    import pytest

    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path.insert(0, str(tree))
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = _CRASHED
    with contextlib.suppress(BaseException):
        status = int(pytest.main(arguments))
        sys.stdout.flush()
    os._exit(status)


def _import_all() -> None:
    """Import what the tests need, but nothing of the package itself."""
    for name in _HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def try_mutant(mutant: Mutant, tree: Path) -> tuple[str, str]:
    """Apply a mutant in ``tree``, run its tests and undo it; return the verdict and details."""
    try:
        path = find_place(mutant.old, tree / "sklfusion")
        sound = path.read_text()
        path.write_text(sound.replace(mutant.old, mutant.new))
        try:
            status, said = run_tests(mutant.tests, tree)
        finally:
            path.write_text(sound)
    except Stale as stale:
        return "STALE", str(stale)
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", said, re.MULTILINE)
    return ("killed", ", ".join(failed)) if status else ("SURVIVED", ", ".join(mutant.tests))


def check_sound(mutants: list[Mutant], tree: Path) -> str | None:
    """Return what fails in the tree without any mutant, None if all tests pass."""
    names = tuple(sorted({name for mutant in mutants for name in mutant.tests}))
    status, said = run_tests(names, tree)
    return said if status else None


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants; return 0 if all were killed."""
    sys.path.insert(0, str(Path(__file__).parent))
    from mutant_list import MUTANTS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants whose name holds one of these")
    parser.add_argument("--list", action="store_true", help="only look for the places")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not options.words or any(w in m.name for w in options.words)]
    if options.list:
        return _look(chosen)
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=_SKIPPED)
            elif source.exists():
                shutil.copy2(source, tree / name)
        try:
            broken = check_sound(chosen, tree)
        except Stale as stale:
            broken = str(stale)
        if broken is not None:
            print(f"The tests do not pass without a mutant:\n{broken}")
            return 2
        return _try_all(chosen, tree)


def _look(mutants: list[Mutant]) -> int:
    stale = 0
    for mutant in mutants:
        try:
            place = str(find_place(mutant.old, ROOT / "sklfusion").relative_to(ROOT))
            for name in mutant.tests:
                find_test(name, ROOT / "tests")
        except Stale as error:
            place, stale = f"STALE: {error}", stale + 1
        print(f"{mutant.name:<60} {place}")
    return int(stale > 0)


def _try_all(mutants: list[Mutant], tree: Path) -> int:
    verdicts = []
    for mutant in mutants:
        start = time.monotonic()
        verdict, details = try_mutant(mutant, tree)
        verdicts.append(verdict)
        seconds = time.monotonic() - start
        print(f"{verdict:<9}{seconds:5.0f} s  {mutant.name}  [{details}]", flush=True)
    print(", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts))))
    return int(any(verdict != "killed" for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
