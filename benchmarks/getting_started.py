"""Type the commands of docs/getting_started.md as they stand, and keep what they print.

    python -m benchmarks.getting_started

They run one after the other on the tables that ``sklfusion demo`` leaves, with a home of their
own, so that no kept answer makes them look cheaper than they are.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._common import ROOT, write_json
from sklfusion._demo import _write_tables

PAGE = ROOT / "docs" / "getting_started.md"
#: Commands that print something worth showing, and end by themselves.
SHOWN = ("estimate", "fit", "evaluate", "predict")

MADE = {"seeds": "seed 0", "interval": "95 % over the rows: Wilson, and Agresti and Min for pairs"}


def commands(page=PAGE):
    """Name to the first line of a shell block that types it."""
    typed = re.findall(r"^sklfusion \w+ .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    first = {line.split()[1]: line for line in reversed(typed)}
    return {name: first[name] for name in SHOWN}


def type_them(folder):
    """Run the commands in a folder; name to what was printed, and the seconds in all."""
    _write_tables(Path(folder))
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    printed, start = {}, time.perf_counter()
    for name, line in commands().items():
        words = [sys.executable, "-m", "sklfusion.cli", *line.split()[1:]]
        done = subprocess.run(
            words, cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        printed[name] = done.stdout.rstrip()
        print(f"$ {line}\n{printed[name]}\n", flush=True)
    return printed, time.perf_counter() - start


def main():
    """Run them and write what they printed."""
    with tempfile.TemporaryDirectory() as folder:
        printed, seconds = type_them(folder)
    results = {"printed": printed, "seconds": round(seconds)}
    write_json("getting_started", results, **MADE)


if __name__ == "__main__":
    main()
