"""The stored entries: a results file for each method."""

import hashlib
import importlib
from datetime import date

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
    code = _provenance.code_of(*_roots(method))
    package = sorted(item for item in code.items() if item[0].startswith("sklfusion/"))
    kept = f"{method}-{hashlib.sha256(str(package).encode()).hexdigest()[:12]}"
    entry = _run.run(module(method).make, names=names, jobs=jobs, kept=kept)
    if names is None:
        write_json(results_of(method), entry, roots=_roots(method), **MADE)
    return entry


def check(method, jobs=2):
    """Score one draw of every cell again; if all are as stored, the entry is of today's code.

    Returns
    -------
    list
        Cells that differ by more than rounding. Where there are any, the entry stays as it is,
        and :func:`measure` makes it anew.
    """
    entry = read_json(results_of(method))
    found = _run.again(module(method).make, entry, jobs)
    unlike = [(*key, was, now) for key, was, now in found if abs(was - now) > _run.ROUNDING]
    if not unlike:
        told = f"one draw of each of {len(found)} cells again on {date.today()}: the same"
        write_json(results_of(method), entry, roots=_roots(method), again=told, **MADE)
    return unlike


def _roots(method):
    return f"fusionbench.methods.{method}", "fusionbench._run"


def stored():
    """Name to entry of the methods that have one."""
    return {module(m).NAME: read_json(results_of(m)) for m in METHODS if earlier(results_of(m))}
