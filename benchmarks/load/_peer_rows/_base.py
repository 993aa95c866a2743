"""What the rows share: the registry, and the desk that a row works at."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load._peer_libraries import CLASSES, TARGET, TRAIN
from sklfusion.testing import FaultServer, expected_label, text_digest

ROOT = str(Path(__file__).parents[3])


class NotApplicable(Exception):
    """The row has no meaning for a library."""


@dataclass(frozen=True)
class PeerRow:
    """One row: what is done, what has to happen, what it needs, how long it may take."""

    id: str
    fault: str
    expected: str
    run: Callable
    wire: bool = True
    seconds: float = 60.0


ROWS = {}


def row(id, fault, expected, *, wire=True, seconds=60.0):
    """Register a row. ``wire=False``: it makes sense for a model in the process as well."""

    def register(function):
        assert id not in ROWS, f"row {id} is there twice"
        ROWS[id] = PeerRow(id, fault, expected, function, wire, seconds)
        return function

    return register


def skip(why):
    """End a row as not applicable."""
    raise NotApplicable(why)


def texts(n, word="sport", start=0):
    """Return n distinct texts about a word."""
    return [f"note {number} about {word}" for number in range(start, start + n)]


class Desk:
    """A library, a server with an empty ledger, and an empty folder."""

    def __init__(self, library, other_port):
        self.lib, self.other = library, FaultServer(port=other_port)
        self.server = FaultServer(port=library.port)
        if not library.local:
            self.script()
            self.other.reset()

    def script(self, *rules, **settings):
        """Begin a new ledger with these faults; all else is answered properly."""
        self.server.reset(script=[*rules, *self.lib.fallback()], **settings)

    def fit(self, y=TARGET, **options):
        """Return a fitted estimator."""
        with quiet():
            return self.lib.make(**options).fit(list(TRAIN), y)

    def run(self, X, **options):
        """Return the labels of texts from a fresh estimator with the same settings."""
        estimator = self.fit(**options)
        with quiet():
            return self.lib.predict(estimator, X)

    def fails(self, X, **options):
        """Return the error that asking about texts ends in, None if it ends well."""
        try:
            self.run(X, **options)
        except Exception as error:
            return error
        return None

    def right(self, labels, X):
        """Number of texts with the label that stands in them."""
        return sum(a == expected_label(t, CLASSES) for a, t in zip(labels, X, strict=True))

    def all_right(self, X, **options):
        """Assert that all labels are right."""
        labels = self.run(X, **options)
        right = self.right(labels, X)
        assert right == len(X), f"{right} of {len(X)} labels right"

    def gives_up_on(self, bad, tries, X=None, **options):
        """Assert that these texts abstain, each after few tries, and all others are right."""
        X = texts(6) if X is None else X
        try:
            labels = self.run([*bad, *X], **options)
        except Exception as error:
            kind = type(error).__name__
            raise AssertionError(f"one {kind} ends the job, all labels are lost") from error
        invented = [label for label in labels[: len(bad)] if not self.lib.abstained(label)]
        assert not invented, f"took {str(invented[0])[:40]!r} as the label"
        assert self.right(labels[len(bad) :], X) == len(X), "the other texts lost their labels"
        most = max(self.received(text) for text in bad)
        assert most <= tries, f"{most} requests for a text that cannot be answered"
        return f"abstained after {most} request(s), the others right"

    def received(self, text):
        """Requests about one text."""
        return self.server.ledger().texts.get(text_digest(text), {"received": 0})["received"]

    def child(self, X):
        """Start the same job in a process of its own; it waits for "go"."""
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.load._peer_worker", "child"]
        command += [self.lib.name, str(self.lib.port), str(self.lib.adapter), self.lib.folder]
        path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        process.stdin.write(json.dumps(X) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n", "the child did not start"
        return process

    def wait_for(self, requests, seconds=20):
        """Wait until the server has received so many."""
        end = time.monotonic() + seconds
        while self.server.ledger().received < requests:
            assert time.monotonic() < end, "the child sends nothing"
            time.sleep(0.01)


class quiet(warnings.catch_warnings):
    """Ignore warnings."""

    def __enter__(self):
        result = super().__enter__()
        warnings.simplefilter("ignore")
        return result


def status(code, *, contains="", attempts="all", **options):
    """Return a rule of the script that answers with a status."""
    fault = {"kind": "status", "status": code, **options}
    return {"fault": fault, "contains": contains, "attempts": attempts}


def fault(kind, *, contains="", attempts="all", **options):
    """Return a rule of the script."""
    return {"fault": {"kind": kind, **options}, "contains": contains, "attempts": attempts}


def go(child):
    """Let a child begin."""
    child.stdin.write("go\n")
    child.stdin.flush()


def says(d, contents):
    """Script one reply per text; return the texts."""
    X = [f"reply {n:03d} sport" for n in range(len(contents))]
    rules = [
        fault("content", content=content, contains=x, usable=True)
        for x, content in zip(X, contents, strict=True)
    ]
    d.script(*rules)
    return X
