"""What each part of the fusion is worth: accuracy and log-loss without it, paired by draw.

    python -m benchmarks.quality.fusion_parts [--quick] [--jobs N]

Every part is taken out by itself, all else kept, and the fusion is fitted and judged on the same
labelled and test rows as the whole. The draws are none that the other programs show (they begin
at 0; these at 400). A part stays if taking it out costs at least 0.1 points of accuracy or 0.3 %
of log-loss in the mean over data sets, with a 95 % interval over data sets that excludes zero.
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

from benchmarks._common import data_dir, embed, print_table, read, write_json
from benchmarks._intervals import t_interval
from benchmarks.quality._contest import fusion, hits, split
from benchmarks.quality._llm_sets import LLMSet, load
from sklfusion.fusion import _inputs, _probe, _trust, _votes
from sklfusion.fusion._reuse import forget_fits

#: Labelled rows to the number of draws: with few rows a draw says little, and costs little.
DRAWS = {20: 4, 50: 4, 150: 3, 500: 1, 1000: 1, 2000: 2}
FIRST_DRAW = 400
#: Strong and weak LLMs, one and several, votes and soft scores, one label per text and many.
PAIRS = (
    ("AG News", "gpt-5-nano"),
    ("Reuters", "gpt-5-nano"),
    ("Commodity", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("FPB", "h2o"),
    ("FPB", "all five"),
    ("BABE", "gpt_4"),
    ("BABE", "falcon_7b"),
    ("BABE", "all four"),
    ("CSS discourse", "chatgpt"),
    ("CSS emotion", "flan-ul2"),
    ("CSS semeval_stance", "chatgpt"),
    ("CSS wiki_politeness", "text-davinci-003"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Global warming", "gpt"),
    ("GoEmotions", "gemma-3-12b tuned"),
)
_DECISION_MODELS = ("jev-1.13.0", "kev", "open-jev")
#: What the results file says about its making.
MADE = {
    "seeds": f"draws from {FIRST_DRAW}, {max(DRAWS.values())} or fewer by number of rows",
    "interval": "95 % by t over data sets",
}


def _with_precision(value):
    def prior(is_encoder):
        means, precisions = _TRUST_PRIOR(is_encoder)
        return means, np.full_like(precisions, value)

    return prior


_TRUST_PRIOR = _trust.trust_prior
#: Part -> what to patch, as (module, name, value), and parameters of the estimator.
VARIANTS = {
    "whole": ([], {}),
    "averaging of probes": ([(_probe, "TEMPER", 1e6)], {}),
    "prior over penalties": ([(_probe, "DECADES", 1e9)], {}),
    "smoothing of the votes": ([(_votes, "STRENGTH", 1.0), (_votes, "SILENCE_STRENGTH", 1.0)], {}),
    "matrix of soft scores": (
        [(_votes, "_MATRIX_PENALTIES", (1e6,)), (_votes, "_LABEL_PRECISION", 1e6)],
        {},
    ),
    "prior on the trusts": ([(_trust, "trust_prior", _with_precision(1e-3))], {}),
    "learning of the trusts": ([(_trust, "trust_prior", _with_precision(1e6))], {}),
    "half a say at first": ([(_trust, "_ENCODER_START", 1.0)], {}),
    "leaving unseen labels to the LLM": (
        [(_trust, "labels_to_learn", lambda _, problem: np.ones(problem.Y.shape[1], dtype=bool))],
        {},
    ),
    "bias per class": ([(_trust, "_BIAS_PRECISION", 1e6)], {}),
    "mixing matrix": ([(_trust, "_MIX_FROM", 1e9)], {}),
    "scale band": ([(_inputs, "_BAND", 1e9)], {}),
}
#: The same for what can be added.
ADDED = {"residual MLP": ([], {"residual": True})}
_ADD_FROM = 500  # rows; the MLP has no chance with fewer, and takes long


def sets():
    """The pairs, and the recorded probabilities of decision models."""
    yield from (s for s in load(data_dir()) if (s.name, s.llm) in PAIRS)
    rows = read("decisions/jeveval_sst5")
    classes = ["very negative", "negative", "neutral", "positive", "very positive"]
    y = rows.gold_name.map({c: i for i, c in enumerate(classes)}).to_numpy()
    for model in _DECISION_MODELS:
        P = rows[[f"{model}__{c}" for c in classes]].to_numpy(dtype=float)
        P = np.maximum(P, 1e-3)
        yield LLMSet("SST-5", model, rows.text.tolist(), y, [P / P.sum(1, keepdims=True)], classes)


def log_loss(P, y):
    """Mean log-loss per row; of several labels the mean of theirs."""
    P = np.clip(P, 1e-6, 1 - 1e-6)
    if y.ndim == 2:
        return float(-(y * np.log(P) + (1 - y) * np.log(1 - P)).mean())
    return float(-np.log(P[np.arange(len(y)), y]).mean())


def chosen_variants(size):
    """The variants that a cell of this many rows is for."""
    return VARIANTS | ADDED if size >= _ADD_FROM else VARIANTS


def cell(data, X, n_embedding, size, draw):
    """One draw: accuracy, log-loss and CPU seconds of every variant."""
    warnings.simplefilter("ignore")
    train, test = split(data, size, draw)
    found = {}
    for name, (patches, parameters) in chosen_variants(size).items():
        with ExitStack() as stack:
            for target in patches:
                stack.enter_context(patch.object(*target))
            forget_fits()  # they were made with other constants
            start = time.process_time()
            clf = fusion(data, draw, n_embedding=n_embedding, **parameters)
            clf.fit(X[train], data.y[train])
            seconds = time.process_time() - start
            accuracy = hits(clf.predict(X[test]), data.y[test]).mean()
            loss = log_loss(clf.predict_proba(X[test]), data.y[test])
        found[name] = [float(accuracy), loss, seconds, clf.chosen_]
    return {"data": data.name, "llm": data.llm, "size": size, "draw": draw, "found": found}


def run(jobs, quick=False):
    """Fit all variants on all cells."""
    tasks = []
    for data in sets():
        E = embed(data.texts)
        X = np.hstack([E, *data.votes])
        room = len(data.y) - (len(data.y) + 1) // 2 if data.test is None else (~data.test).sum()
        for size, draws in DRAWS.items() if not quick else [(20, 1)]:
            if size <= room:
                tasks += [(data, X, E.shape[1], size, FIRST_DRAW + d) for d in range(draws)]
    tasks.sort(key=lambda task: -task[3])
    cells = Parallel(n_jobs=jobs, verbose=1)(delayed(cell)(*task) for task in tasks)
    return {"first_draw": FIRST_DRAW, "draws": DRAWS, "cells": cells}


def by_set(cells, value):
    """Mean of ``value(cell)`` per data set, in a fixed order."""
    groups = {}
    for one in cells:
        groups.setdefault(one["data"], []).append(value(one))
    return np.array([np.mean(v) for _, v in sorted(groups.items())])


def compared(cells, name):
    """Cost of a removal: points of accuracy, percent of log-loss, ratio of CPU seconds."""

    def points(one):
        return 100 * (one["found"][name][0] - one["found"]["whole"][0])

    def percent(one):
        return 100 * np.log(one["found"][name][1] / one["found"]["whole"][1])

    seconds = [sum(one["found"][n][2] for one in cells) for n in (name, "whole")]
    return t_interval(by_set(cells, points)), t_interval(by_set(cells, percent)), seconds


def table(results):
    """One row per removed or added part and range of rows."""
    rows = []
    for name in [n for n in VARIANTS | ADDED if n != "whole"]:
        for label, low, high in (("20 to 150", 0, 150), ("500 to 2,000", 500, 2000)):
            cells = [c for c in results["cells"] if low <= c["size"] <= high]
            cells = [c for c in cells if name in c["found"]]
            if not cells:
                continue
            accuracy, loss, seconds = compared(cells, name)
            shown = ["{:+.2f} [{:+.2f}, {:+.2f}]".format(*v) for v in (accuracy, loss)]
            how = "with" if name in ADDED else "without"
            rows.append([f"{how} {name}", label, *shown, f"{seconds[0] / seconds[1]:.1f}"])
    return ["", "labelled rows", "accuracy, points", "log-loss, %", "CPU of the fit"], rows


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.fusion_parts")
    parser.add_argument("--quick", action="store_true", help="20 rows, one draw, no files")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    results = run(arguments.jobs, arguments.quick)
    print_table(*table(results))
    if not arguments.quick:
        write_json("fusion_parts", results, **MADE)


if __name__ == "__main__":
    main()
