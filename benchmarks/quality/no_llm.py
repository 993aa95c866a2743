"""Without an LLM: the encoder's evidence, the plain MLP and logistic regression on an embedding.

    python -m benchmarks.quality.no_llm [--quick] [--jobs N]

`FusionClassifier` gets the frozen embedding and no score column, on every data set of
`benchmarks.fusionbench`, whose LLMs are left out: with its defaults, as the plain MLP
(``fusion="concat"``), and with two other views of how frequent the classes are. These are a bias
per class that is freer (precision 0.5), and classes taken as equally frequent, so that the bias
alone says otherwise. Logistic regression has its C tuned by cross-validation. All are fitted on
the same labelled rows and judged on the same others, in draws that no other program shows.
"""

import argparse
import os
import time
import warnings
from contextlib import ExitStack
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from joblib import Parallel, delayed

from benchmarks._common import data_dir, print_table, write_json
from benchmarks._intervals import by_group, family, t_interval
from benchmarks.quality._contest import hits, split, vectors, wide
from benchmarks.quality._encoder_alone import EncoderAlone
from benchmarks.quality._llm_sets import load
from benchmarks.quality.fusion_parts import log_loss
from sklfusion import FusionClassifier
from sklfusion._logistic import smoothed_log_prior
from sklfusion.fusion import _problem, _trust
from sklfusion.fusion._reuse import forget_fits


def _even(Y, weights, family):
    """Log-odds of classes, or labels, that are taken to be equally frequent."""
    return smoothed_log_prior(Y, weights, family, strength=_MANY)


#: Rows by which the frequencies are drawn to even ones.
_MANY = 1e6
#: Labelled rows to the number of draws.
DRAWS = {20: 4, 50: 3, 100: 2, 200: 2}
FIRST_DRAW = 700
_MOST_TEST = 1000
#: Way -> what to patch, as (module, name, value), and the kind of fusion (None: no fusion).
WAYS = {
    "evidence": ([], "anchored"),
    "freer bias": ([(_trust, "_BIAS_PRECISION", 0.5)], "anchored"),
    "even frequencies": ([(_problem, "smoothed_log_prior", _even)], "anchored"),
    "MLP": ([], "concat"),
    "logistic regression": ([], None),
}
_DEFAULT = "evidence"
#: What the results file says about its making.
MADE = {
    "seeds": f"draws from {FIRST_DRAW}, {max(DRAWS.values())} or fewer by number of rows",
    "interval": "95 % by t over families of data sets",
}


def fitted(way, data, E, y, seed):
    """A model on embedded rows, and the CPU seconds of its fit."""
    patches, kind = WAYS[way]
    known = None if data.multilabel else list(range(len(data.classes)))
    with ExitStack() as stack:
        for target in patches:
            stack.enter_context(patch.object(*target))
        forget_fits()  # they were made with other constants
        start = time.process_time()
        if kind is None:
            model = EncoderAlone(seed)
        else:
            model = FusionClassifier(
                fusion=kind, score_columns=None, classes=known, random_state=seed
            )
        model.fit(E, y)
        return model, time.process_time() - start


def cell(data, E, size, draw):
    """One draw: accuracy, log-loss and CPU seconds of every way."""
    warnings.simplefilter("ignore")
    train, test = split(data, size, draw)
    test = np.random.default_rng(draw).permutation(test)[:_MOST_TEST]
    found = {}
    for way in WAYS:
        model, seconds = fitted(way, data, E[train], data.y[train], draw)
        P = model.predict_proba(E[test])
        if WAYS[way][1] is None:
            P = _with_absent(wide(P, model.models[0].classes_, len(data.classes)), len(train))
        right = hits(model.predict(E[test]), data.y[test]).mean()
        found[way] = [float(right), log_loss(P, data.y[test]), seconds]
    return {"data": data.name, "size": size, "draw": draw, "found": found}


def _with_absent(P, n):
    """Give a class that no labelled row shows the probability of one row, not of none."""
    absent = P.max(axis=0) == 0
    return (n * P + absent) / (n + absent.sum())


def run(jobs, quick=False):
    """Fit all ways on all cells."""
    sets = {data.name: data for data in load(data_dir())}
    sets = list(sets.values())[:1] if quick else list(sets.values())
    wanted = {20: 1} if quick else DRAWS
    embedded, tasks = vectors(sets), []
    for data in sets:
        room = len(data.y) - (len(data.y) + 1) // 2 if data.test is None else (~data.test).sum()
        for size, draws in wanted.items():
            if size <= room:
                own = (data, embedded[data.name], size)
                tasks += [(*own, FIRST_DRAW + draw) for draw in range(draws)]
    cells = Parallel(n_jobs=jobs, verbose=1)(delayed(cell)(*task) for task in tasks)
    return {"draws": wanted, "cells": cells}


def by_family(cells, way, k):
    """Mean of the figure ``k`` of a way per family of data sets."""
    return by_group([c["data"] for c in cells], [c["found"][way][k] for c in cells], family)


def table(results):
    """One row per number of labelled rows and way; differences are the default minus it."""
    rows = []
    for size in results["draws"]:
        cells = [one for one in results["cells"] if one["size"] == int(size)]
        for way in WAYS:
            means = [by_family(cells, way, k).mean() for k in range(3)]
            gains = ["", ""] if way == _DEFAULT else [_gain(cells, way, k) for k in range(2)]
            shown = [f"{means[0]:.3f}", gains[0], f"{means[1]:.3f}", gains[1], f"{means[2]:.2f}"]
            rows.append([size, way, *shown])
    header = ["labelled rows", "", "accuracy", "evidence minus it, points"]
    return [*header, "log-loss", "evidence minus it", "CPU s of the fit"], rows


def _gain(cells, way, k):
    """Mean and interval of the default minus another way, of accuracy (k=0) or log-loss (k=1)."""
    values = by_family(cells, _DEFAULT, k) - by_family(cells, way, k)
    mean, low, high = t_interval(100 * values if k == 0 else values)
    digits = 1 if k == 0 else 3
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.no_llm")
    parser.add_argument("--quick", action="store_true", help="20 rows, one draw, no files")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    results = run(arguments.jobs, arguments.quick)
    print_table(*table(results))
    if not arguments.quick:
        write_json("no_llm", results, **MADE)


if __name__ == "__main__":
    main()
