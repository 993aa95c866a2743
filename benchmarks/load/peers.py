"""The reliability battery on scikit-llm, skorch.llm, scikit-ollama and sklfusion.

    python -m benchmarks.load.peers                      # makes an environment for the peers
    python -m benchmarks.load.peers --venv FOLDER        # keeps it there
    python -m benchmarks.load.peers --quick              # few rows, writes nothing
    python -m benchmarks.load.peers -k N -k T01 --library scikit-llm

Every library runs the same functions (`_peer_rows.py`) in a process of its own, against the same
loopback endpoint, and every row is bounded in time. A row that has no meaning for a library is
"n.a." and never counts as failed. Results go to benchmarks/results/peers.json, the table to
docs/peers.md. With ``--library`` those of the other libraries are kept.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time

from benchmarks._common import CACHE, ROOT, earlier, environment, print_table, write_json
from benchmarks.load._peer_causes import failed
from benchmarks.load._peer_libraries import LIBRARIES
from benchmarks.load._peer_rows import QUICK, ROWS
from sklfusion.testing import FaultServer

OURS = "sklfusion"
PACKAGES = ("scikit-llm", "skorch", "scikit-ollama", "transformers", "joblib")
_START_SECONDS = 120  # importing a library and its friends on a busy machine
#: What the results file says about its making.
MADE = {
    "seeds": "one run",
    "interval": "pass or fail by row",
}


class Worker:
    """A process that runs rows for one library, started again after a row that hangs.

    Parameters
    ----------
    name, python : str
        Library, and the interpreter that has it.
    ports : tuple of int
        Of the fault server, of the adapter, and of the other server.
    folder : str
        For its files.
    """

    def __init__(self, name, python, ports, folder):
        self.name, self.python, self.ports, self.folder = name, python, ports, folder
        self.process = None
        self.versions = None

    def start(self):
        """Start the process and learn the versions."""
        command = [self.python, "-W", "ignore", "-m", "benchmarks.load._peer_worker", "rows"]
        command += [self.name, *map(str, self.ports), self.folder]
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **quiet, **threads},
            start_new_session=True,
        )
        said = self._line(_START_SECONDS)
        if said is None:
            self.process.kill()
            error = self.process.stderr.read().decode(errors="replace")[-600:]
            raise SystemExit(f"{self.name} does not start with {self.python}: {error}")
        self.versions = json.loads(said)["versions"]

    def run(self, row):
        """Return (verdict, sentence, seconds) of one row."""
        if self.process is None:
            self.start()
        start = time.monotonic()
        self.process.stdin.write(f"{row.id}\n".encode())
        self.process.stdin.flush()
        said = self._line(row.seconds)
        seconds = time.monotonic() - start
        if said is not None:
            result = json.loads(said)
            return result["verdict"], result["said"], seconds
        dead = self.process.poll() is not None
        self.stop()
        return (
            "fail",
            "the process died" if dead else f"still running after {seconds:.0f} s",
            seconds,
        )

    def _line(self, seconds):
        """Return the next line of the process, None if it ends or takes too long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        return self.process.stdout.readline() or None

    def stop(self):
        """End the process with all its children."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, 9)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                pipe.close()
            self.process = None


def run(libraries, ids, python, *, show=True):
    """Run rows for libraries.

    Parameters
    ----------
    libraries : list of str
        Keys of ``LIBRARIES``.
    ids : list of str
        Keys of ``ROWS``.
    python : str or None
        Interpreter of the peers' environment.
    show : bool
        Whether to print each result as it comes.

    Returns
    -------
    dict
        ``library_versions`` and ``cells`` per library: id to [verdict, sentence, seconds].
    """
    results = {"library_versions": {}, "cells": {name: {} for name in libraries}}
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server, FaultServer() as other:
        command = [sys.executable, "-m", "benchmarks.load._ollama_adapter", "--upstream"]
        adapter = subprocess.Popen([*command, str(server.port)], stdout=subprocess.PIPE, cwd=ROOT)
        ports = (server.port, json.loads(adapter.stdout.readline())["port"], other.port)
        try:
            for name in libraries:
                place = os.path.join(folder, name)
                os.mkdir(place)
                worker = Worker(name, sys.executable if name == OURS else python, ports, place)
                try:
                    for id in ids:
                        verdict, said, seconds = worker.run(ROWS[id])
                        results["cells"][name][id] = [verdict, said, round(seconds, 1)]
                        if show:
                            print(
                                f"{name:13} {id:4} {verdict:4} {seconds:5.1f} s  {said}",
                                flush=True,
                            )
                    results["library_versions"][name] = worker.versions
                finally:
                    worker.stop()
        finally:
            adapter.kill()
            adapter.wait()
            adapter.stdout.close()
    return results


def merged(results, old):
    """Return results with those of the libraries that were not run now, if rows are the same."""
    if [r[0] for r in old.get("rows", [])] != [r[0] for r in results["rows"]]:
        return results
    kept = {
        part: {
            name: results[part].get(name, old[part].get(name))
            for name in LIBRARIES
            if name in results[part] or name in old[part]
        }
        for part in ("library_versions", "cells")
    }
    return {**results, **kept}


def counts(cells):
    """Return (passed, failed, not applicable) of one library."""
    verdicts = [cell[0] for cell in cells.values()]
    return tuple(verdicts.count(verdict) for verdict in ("pass", "fail", "n.a."))


def table(results):
    """Header and rows: one row of the battery a line, with what happened where it failed."""
    names = list(results["cells"])
    rows = []
    for id, fault, expected in results["rows"]:
        cells = [results["cells"][name][id] for name in names]
        shown = [f"fail: {said}" if verdict == "fail" else verdict for verdict, said, _ in cells]
        rows.append([_escaped(text) for text in (id, f"{fault} → {expected}", *shown)])
    return ["id", "fault or input → expected", *names], rows


def summary(results):
    """Header and rows: causes of failures, rows passed and failed, and versions, per library."""
    rows = []
    for name, cells in results["cells"].items():
        versions = ", ".join(f"{k} {v}" for k, v in results["library_versions"][name].items())
        rows.append([name, len(failed(cells)), *counts(cells), versions])
    header = ["library", "causes of failure", "rows passed", "rows failed", "not applicable"]
    return [*header, "run with"], rows


def _escaped(text):
    text = text if len(text) <= 110 else text[:107].rstrip() + "..."
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("*", "\\*")


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.peers")
    parser.add_argument("--venv", default=str(CACHE / "peers"), help="environment of the peers")
    parser.add_argument("--library", action="append", choices=list(LIBRARIES), help="only these")
    parser.add_argument("-k", action="append", default=[], help="only ids that begin with this")
    parser.add_argument("--quick", action="store_true", help="few rows; nothing is written")
    options = parser.parse_args()
    ids = [i for i in (QUICK if options.quick else ROWS) if i.startswith(tuple(options.k) or "")]
    libraries = options.library or list(LIBRARIES)
    python = environment(options.venv, PACKAGES) if set(libraries) != {OURS} else None
    results = run(libraries, ids, python)
    results["rows"] = [[id, ROWS[id].fault, ROWS[id].expected] for id in ids]
    print()
    print_table(*summary(results))
    if not (options.quick or options.k):
        kept = bool(options.library)
        write_json("peers", merged(results, earlier("peers")), kept=kept, **MADE)


if __name__ == "__main__":
    main()
