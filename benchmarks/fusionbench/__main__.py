"""FusionBench: score a method on recorded LLM answers, beside the stored ones.

    python -m benchmarks.fusionbench                           # the tables and the pictures
    python -m benchmarks.fusionbench mymodule:make -o my.json  # a method of yours
    python -m benchmarks.fusionbench --entry fusion logistic   # the stored entries anew
    python -m benchmarks.fusionbench --check fusion            # one draw of every cell again
    python -m benchmarks.fusionbench ... --quick               # one data set, one draw

``mymodule:make`` is a scikit-learn classifier or a callable that takes a task and returns one. A
run of a stored entry that was ended goes on where it was. Where the code has changed and the
results should not have, ``--check`` tells whether they have; if not, the entry is of today's code.
"""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks._common import save_figure
from benchmarks.fusionbench import _entries, _gain, _run, _table, _task


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fusionbench", description=__doc__.splitlines()[0]
    )
    parser.add_argument("method", nargs="?", metavar="MODULE:NAME", help="a method of yours")
    parser.add_argument("-o", "--output", help="JSON file for its entry")
    parser.add_argument("--entry", nargs="+", choices=_entries.METHODS, default=())
    parser.add_argument("--check", nargs="+", choices=_entries.METHODS, default=())
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these data sets")
    parser.add_argument("--quick", action="store_true", help="one data set, 50 rows, one draw")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.check:
        unlike = {method: _entries.check(method, options.jobs) for method in options.check}
        print(*(f"{method}: {cells or 'the same'}" for method, cells in unlike.items()), sep="\n")
        sys.exit(any(unlike.values()))
    if options.method:
        _score_yours(options)
        return
    for data in options.sets or _task.set_names():  # methods share fits on the same rows
        for method in options.entry:
            _entries.measure(method, options.jobs, [data])
    if not options.sets:
        for method in options.entry:
            _entries.measure(method, options.jobs)
        _table.report()
        entries = _entries.stored()
        save_figure(_table.draw(entries), "fusionbench")
        save_figure(_gain.draw(entries), "gain", _gain.shown(entries))


def _score_yours(options):
    place, _, name = options.method.partition(":")
    method = getattr(importlib.import_module(place), name or "make")
    quick = {"names": ["AG News"], "sizes": (50,), "draws": 1} if options.quick else {}
    method = method() if isinstance(method, type) else method
    entry = _run.run(method, **{"names": options.sets, "jobs": options.jobs} | quick)
    _run.show(entry)
    if options.output:
        Path(options.output).write_text(json.dumps(entry, indent=1) + "\n")


if __name__ == "__main__":
    main()
