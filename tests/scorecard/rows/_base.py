"""What the rows share: the registry, the server, and ways to run a scorer."""

import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sklfusion import LLMScorer
from sklfusion.testing import FaultServer, expected_label

CLASSES = ("sport", "food")
ROOT = Path(__file__).parents[3]

#: Family -> number of rows. A row that has no function here is reported as missing.
FAMILIES = {
    "N": 34,  # the network and HTTP
    "R": 22,  # replies
    "I": 15,  # texts
    "L": 22,  # labels, targets, features
    "C": 22,  # cache and disk
    "P": 10,  # processes and signals
    "S": 14,  # secrets and hostile content
    "E": 9,  # the contract of an estimator
    "D": 10,  # damaged stores, unreadable answers, budgets, what lies on the disk
    "B": 8,  # saved models, and fits that are broken off
    "A": 13,  # answers that are right and look odd
    "M": 14,  # what labels mean, what the user set, rows without an answer
    "F": 16,  # what endpoints refuse, and in which words
    "Q": 12,  # questions to decision models
    "W": 10,  # where is asked, with what, and what the wire may do
}
#: Rows for the night or for a release, not for every run.
NIGHTLY = {"N32", "N33", "C19", "C20", "P08", "E07", "E08", "E09"}


@dataclass(frozen=True)
class Row:
    """One row: what is done, what has to happen, and the function that does it."""

    id: str
    fault: str
    expected: str
    run: Callable

    @property
    def tier(self):
        """When it runs: "ci" or "nightly"."""
        return "nightly" if self.id in NIGHTLY else "ci"


ROWS = {}


def row(id, fault, expected):
    """Register a row. Its function takes a Context, returns what it saw, and asserts."""

    def register(function):
        assert id not in ROWS, f"row {id} is there twice"
        ROWS[id] = Row(id, fault, expected, function)
        return function

    return register


def all_ids():
    """Return the ids of all rows in order."""
    return [f"{family}{n:02d}" for family, count in FAMILIES.items() for n in range(1, count + 1)]


def texts(n, word="sport", start=0):
    """Return n distinct texts; the endpoint gives them the label of the word in them."""
    return [f"note {number} about {word}" for number in range(start, start + n)]


class Context:
    """A server with an empty ledger and an empty folder."""

    def __init__(self, server: FaultServer, folder):
        self.server = server
        self.folder = Path(folder)
        server.reset()

    def params(self, **params):
        """Parameters of a scorer on this server with its store in this folder."""
        return {
            "model": "loopback",
            "classes": list(CLASSES),
            "strategy": "label",
            "base_url": self.server.base_url,
            "memory": str(self.folder / "memory"),
            "max_concurrency": 8,
            "timeout": 5.0,
            "deadline": 20.0,
            **params,
        }

    def scorer(self, **params):
        """A fitted scorer."""
        return LLMScorer(**self.params(**params)).fit(["any"])

    def run(self, X, **params):
        """Annotate texts; return (scorer, annotations, seconds)."""
        scorer = self.scorer(**params)
        start = time.monotonic()
        with quiet():
            annotations = scorer.annotate(X)
        return scorer, annotations, time.monotonic() - start

    def answers(self, X, *, content=None, fields=None, attempts="all", **params):
        """Annotate texts whose replies say ``content`` or carry other ``fields``."""
        kind = {"kind": "merge", "fields": fields} if fields else {"kind": "content"}
        if content is not None:
            kind["content"] = content
        self.server.script({"fault": {**kind, "usable": True}, "attempts": attempts})
        return self.run(X, **params)

    def fault(self, kind, *, attempts="all", contains="", **options):
        """Return a rule of the script."""
        return {
            "fault": {"kind": kind, **options},
            "attempts": attempts,
            "contains": contains,
        }

    def right(self, annotations, X):
        """Number of rows with the label that the endpoint's rule gives."""
        labels = annotations.labels()[: len(X)]
        return sum(a == expected_label(t, CLASSES) for a, t in zip(labels, X, strict=True))

    def python(self, code, *args, timeout=120, **env):
        """Run code in a fresh process; return its output."""
        import os

        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            env={**os.environ, **env},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-800:]
        return done.stdout.strip()

    def popen(self, code, *args, **options):
        """Start code in a process with pipes."""
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **options,
        )


class quiet(warnings.catch_warnings):
    """Ignore warnings."""

    def __enter__(self):
        result = super().__enter__()
        warnings.simplefilter("ignore")
        return result


def raises(kind, call, match=""):
    """Return the error that a call raises; assert its kind and a pattern in its message."""
    caught = None
    try:
        with quiet():
            result = call()
    except kind as error:
        caught = error
    else:
        name = getattr(kind, "__name__", kind)
        raise AssertionError(f"no {name}; returned {str(result)[:80]}")
    found = re.search(match, str(caught), re.IGNORECASE | re.DOTALL)
    assert found, f"message lacks {match!r}: {caught}"
    return caught


def same(one, two):
    """Assert that two score matrices are equal bit for bit."""
    assert np.array_equal(np.asarray(one), np.asarray(two)), "scores differ"


def execute(row, server):
    """Run one row; return (passed, what it saw)."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            got = row.run(Context(server, folder))
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            server.reset()
    return True, "" if got is None else str(got)
