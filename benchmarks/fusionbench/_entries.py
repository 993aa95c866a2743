"""The stored entries: a results file for each method."""

import hashlib
import importlib

from benchmarks import _provenance
from benchmarks._common import earlier, read_json, write_json
from benchmarks._programs import FUSIONBENCH as METHODS
from benchmarks.fusionbench import _run, _task

MADE = {
    "seeds": f"draws 0 to {_task.DRAWS - 1}",
    "interval": "95 % by t over data sets and over families of them",
}


def module(method):
    """Module of a stored method."""
    return importlib.import_module(f"benchmarks.fusionbench.methods.{method}")


def results_of(method):
    """Name of the results file of a method."""
    return f"fusionbench_{method}"


def measure(method, jobs=2, names=None):
    """Run a stored method, going on where an earlier run of the same code was ended."""
    roots = (f"fusionbench.methods.{method}", "fusionbench._run")
    code = _provenance.code_of(*roots)
    package = sorted(item for item in code.items() if item[0].startswith("sklfusion/"))
    kept = f"{method}-{hashlib.sha256(str(package).encode()).hexdigest()[:12]}"
    entry = _run.run(module(method).make, names=names, jobs=jobs, kept=kept)
    if names is None:
        write_json(results_of(method), entry, roots=roots, **MADE)
    return entry


def stored():
    """Name to entry of the methods that have one."""
    return {module(m).NAME: read_json(results_of(m)) for m in METHODS if earlier(results_of(m))}
