"""What the benchmark programs share: data, embeddings, tables, results."""

import json
import os
import subprocess
import venv
from pathlib import Path

import numpy as np

from benchmarks import _provenance

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
CACHE = Path(os.environ.get("SKLFUSION_BENCH_CACHE", Path.home() / ".cache" / "sklfusion-bench"))


def data_dir():
    """Folder of the benchmark data, or SystemExit with a clear word."""
    path = Path(os.environ.get("SKLFUSION_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "manifest.json").exists():
        raise SystemExit(f"Benchmark data not found at {path}; set SKLFUSION_DATA to its folder.")
    return path


def read(name):
    """Read one parquet file of the benchmark data, e.g. ``replay/agnews_test``."""
    import pandas as pd

    return pd.read_parquet(data_dir() / f"{name}.parquet")


def embed(texts, **params):
    """Embed texts with the embedded encoder, cached across runs; (n, d) float32."""
    from sklfusion import RobertaEmbedder

    return RobertaEmbedder(memory=CACHE, **params).fit_transform(list(texts))


def environment(folder, packages):
    """Return the Python of an environment with the packages, made if it is not there."""
    python = Path(folder) / "bin" / "python"
    done, wanted = Path(folder) / "packages.txt", "\n".join(packages)
    if not (done.exists() and done.read_text() == wanted):
        print(f"making {folder} ...", flush=True)
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        # torch first: it decides which build the others find
        subprocess.run([*install, "torch==2.13.0"], check=True)
        subprocess.run([*install, *packages], check=True)
        done.write_text(wanted)
    return str(python)


def mean_spread(values):
    """Format mean and standard deviation of several draws."""
    values = np.asarray(values, dtype=float)
    return f"{np.nanmean(values):.3f} ± {np.nanstd(values, ddof=min(1, values.size - 1)):.3f}"


def print_table(header, rows):
    """Print rows as a markdown table with aligned columns."""
    cells = [[str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for number, row in enumerate(cells):
        print("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def write_json(name, results, *, seeds, interval, kept=False, roots=None, again=None):
    """Write results to ``benchmarks/results/<name>.json`` with what they were made by.

    Parameters
    ----------
    name : str
        Of the file; ``benchmarks._programs`` knows its program.
    results : dict
        What JSON can hold.
    seeds : str
        Which draws or seeds, e.g. ``"draws 0 to 9"``.
    interval : str
        What the errors are, e.g. ``"95 % by t over families of data sets"``.
    kept : bool
        Whether parts of the last run are among the results: while those are stale, all is.
    roots : sequence of str, optional
        Modules whose imports say what was run, if that is not the program.
    again : str, optional
        What of earlier results was measured again by this code, and came out the same.
    """
    from benchmarks._programs import program_of

    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    former = read_made(name) if kept and path.exists() else None
    made = _provenance.record(program_of(name), seeds, interval, former, roots)
    made |= {"again": again} if again else {}
    path.write_text(json.dumps({"provenance": made} | results, indent=1, default=_plain) + "\n")
    print(f"\nwritten: {path.relative_to(ROOT)}")
    return path


def read_json(name):
    """Results that :func:`write_json` wrote; FileNotFoundError if it never did."""
    results = json.loads((RESULTS / f"{name}.json").read_text())
    results.pop("provenance")
    return results


def read_made(name):
    """What results were made by, as :func:`benchmarks._provenance.record` says it."""
    return json.loads((RESULTS / f"{name}.json").read_text())["provenance"]


def earlier(name):
    """The same, or an empty dict: what a program that renews a part of its results keeps."""
    return read_json(name) if (RESULTS / f"{name}.json").exists() else {}


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


def save_figure(figure, name, shows=None):
    """Write a figure to ``docs/images/<name>.png``; ``shows`` is kept in the file as text."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=130, metadata={"Description": shows} if shows else None)
    print(f"written: {path.relative_to(ROOT)}")
    return path
