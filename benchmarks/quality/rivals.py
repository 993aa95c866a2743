"""Fusion against other ways to use the same labelled rows, on every data set with LLM answers.

    python -m benchmarks.quality.rivals [--quick] [--jobs N]
    python -m benchmarks.quality.rivals --fusion-only    # the others as of the last run

Everyone gets the same frozen MiniLM embedding, the same votes and the same labelled rows, and is
judged on the same other rows; all settings are chosen by cross-validation on the labelled rows.
(Where a class has one labelled row, the logistic regressions keep C = 10.)

- *the part that did better*: LLM or encoder, whichever was right more often on the labelled rows
  (the encoder in cross-validation): what one can choose beforehand.
- *logistic regression*: on embedding and votes side by side.
- *stacking*: logistic regression on votes and cross-validated probabilities of the encoder's.
- *concatenation*: the published recipe, an MLP on embedding and votes.
"""

import argparse
import os
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks._common import data_dir, read_json
from benchmarks.quality._contest import (
    execute,
    fit_encoder,
    hits,
    llm_alone,
    paired,
    split,
    tuned_logistic,
    vectors,
    wide,
)
from benchmarks.quality._llm_sets import load
from benchmarks.quality.fusion_all import calibration_error, fit_fusion, margin, quietly

SIZES = (20, 50, 100, 200, None)  # None: all rows that are not for testing
DRAWS = 10
COLORS = {
    "the part that did better": "#E69F00",
    "logistic regression": "#56B4E9",
    "stacking": "#CC79A7",
}
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "95 % by bootstrap over data sets, level: within a paired SE over draws",
}


def held_out_proba(E, y, n_classes, seed):
    """Cross-validated probabilities (n, K) of the encoder's logistic regression, and it."""
    model = tuned_logistic(y, seed).fit(E, y)
    best = getattr(model, "best_estimator_", model)
    folds = KFold(5, shuffle=True, random_state=seed)
    P = cross_val_predict(best, E, y, cv=folds, method="predict_proba")
    return wide(P, best.classes_, n_classes), best


def chosen_part(data, train, test, proba, proba_test, seed):
    """Answers on the test rows of the source that was right more often on the training rows.

    Lots are drawn among LLMs that are level: their order in the data must not help. Level with
    the encoder, an LLM is taken.
    """
    y = data.y[train]
    answers = [llm_alone(v, y) for v in data.votes]
    right = np.array([hits(a[train], y).mean() for a in answers])
    if hits(_decide(proba, y.ndim), y).mean() > right.max():
        return _decide(proba_test, y.ndim)
    best = np.random.default_rng(seed).choice(np.flatnonzero(right == right.max()))
    return answers[best][test]


def _decide(proba, ndim):
    return proba.argmax(axis=1) if ndim == 1 else (proba > 0.5).astype(int)


def compare(data, E, size, draw):
    """One draw: share of hits and calibration error of every contestant."""
    train, test = split(data, size, draw)
    y, k = data.y[train], len(data.classes)
    X = np.hstack([E, *data.votes])
    proba, encoder = held_out_proba(E[train], y, k, draw)
    proba_test = wide(encoder.predict_proba(E[test]), encoder.classes_, k)
    votes = np.hstack(data.votes)
    stacked = [np.hstack([P, votes[rows]]) for P, rows in ((proba, train), (proba_test, test))]
    models = {
        "logistic regression": (fit_encoder(X[train], y, draw), X[test]),
        "stacking": (fit_encoder(stacked[0], y, draw), stacked[1]),
        "concatenation": (fit_fusion(data, E, train, draw, fusion="concat")[0], X[test]),
        "fusion": (fit_fusion(data, E, train, draw)[0], X[test]),
    }
    part = chosen_part(data, train, test, proba, proba_test, draw)
    found = {"the part that did better": {"score": hits(part, data.y[test]).mean()}}
    for name, (model, Z) in models.items():
        found[name] = {
            "score": hits(model.predict(Z), data.y[test]).mean(),
            "ece": calibration_error(
                wide(model.predict_proba(Z), model.classes_, k), data.y[test]
            ),
        }
    return found


def run(quick=False, jobs=1):
    """Every contestant in every cell; returns the draws by cell."""
    sets = list(load(data_dir()))
    sizes, n_draws = SIZES, DRAWS
    if quick:
        sets, sizes, n_draws = [s for s in sets if s.name == "AG News"], (40,), 1
    E = vectors(sets)
    tasks = [(d, size, draw) for d in sets for size in sizes for draw in range(n_draws)]
    draws = Parallel(n_jobs=jobs)(
        delayed(quietly)(compare, d, E[d.name], size, draw) for d, size, draw in tasks
    )
    cells = []
    for start in range(0, len(tasks), n_draws):
        data, size, _ = tasks[start]
        part = draws[start : start + n_draws]
        scores = {name: [float(d[name]["score"]) for d in part] for name in part[0]}
        errors = {
            name: float(np.mean([d[name]["ece"] for d in part]))
            for name in part[0]
            if "ece" in part[0][name]
        }
        size = "all" if size is None else size
        cells.append(
            {"data": data.name, "llm": data.llm, "size": size, "score": scores, "ece": errors}
        )
    return {"draws": n_draws, "cells": cells}


def fusion_alone(data, E, size, draw):
    """One draw: share of hits and calibration error of the fusion."""
    train, test = split(data, size, draw)
    clf, X = fit_fusion(data, E, train, draw)
    right = hits(clf.predict(X[test]), data.y[test]).mean()
    return float(right), calibration_error(clf.predict_proba(X[test]), data.y[test])


def run_fusion_only(quick=False, jobs=1):
    """The last run with the fusion anew: no change of it moves the others."""
    last = read_json("rivals")
    if quick:
        last["cells"] = last["cells"][:1]
    sets = {(d.name, d.llm): d for d in load(data_dir())}
    E = vectors(list(sets.values()))
    tasks = [
        (sets[c["data"], c["llm"]], E[c["data"]], None if c["size"] == "all" else c["size"], draw)
        for c in last["cells"]
        for draw in range(last["draws"])
    ]
    found = Parallel(n_jobs=jobs)(delayed(quietly)(fusion_alone, *task) for task in tasks)
    for n, cell in enumerate(last["cells"]):
        part = found[n * last["draws"] : (n + 1) * last["draws"]]
        cell["score"]["fusion"] = [score for score, _ in part]
        cell["ece"]["fusion"] = float(np.mean([error for _, error in part]))
    return last


def _mean(cell, name):
    return float(np.mean(cell["score"][name]))


def table(results):
    """One row per contestant: mean score by labelled rows, and fusion minus it."""
    cells = results["cells"]
    sizes = list(dict.fromkeys(cell["size"] for cell in cells))
    rows = []
    for name in cells[0]["score"]:
        row = [name]
        row += [
            f"{np.mean([_mean(c, name) for c in cells if c['size'] == size]):.3f}"
            for size in sizes
        ]
        errors = [c["ece"][name] for c in cells if name in c["ece"]]
        row.append(f"{np.mean(errors):.3f}" if errors else "-")
        if name == "fusion":
            rows.append([*row, "", ""])
            continue
        gains = [{"data": c["data"], "gain": _mean(c, "fusion") - _mean(c, name)} for c in cells]
        row.append("{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**margin(gains)))
        rows.append([*row, " / ".join(map(str, verdicts(cells, name)))])
    header = ["", *(f"{size} rows" for size in sizes), "calibration error"]
    return [*header, "fusion minus it (95 %)", "fusion ahead / level / behind"], rows


def verdicts(cells, name):
    """In how many cells fusion is ahead, level and behind by over a paired SE of the draws."""
    signs = []
    for cell in cells:
        mean, error = paired(np.subtract(cell["score"]["fusion"], cell["score"][name]))
        signs.append(0 if abs(mean) <= np.nan_to_num(error) else np.sign(mean))
    return tuple(signs.count(sign) for sign in (1, 0, -1))


def draw(results):
    """Mean score by labelled rows, and what fusion gains on each data set."""
    from matplotlib import pyplot as plt

    from sklfusion.plotting import METHOD_COLORS, tidy

    cells = results["cells"]
    sizes = list(dict.fromkeys(cell["size"] for cell in cells))
    names = list(cells[0]["score"])
    colors = METHOD_COLORS | COLORS
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for name in names:
        scores = [np.mean([_mean(c, name) for c in cells if c["size"] == s]) for s in sizes]
        width = 3 if name == "fusion" else 1.5
        left.plot(range(len(sizes)), scores, "o-", label=name, color=colors[name], linewidth=width)
    left.set_xticks(range(len(sizes)), [str(s) for s in sizes])
    left.set(xlabel="labelled rows", ylabel="mean accuracy or exact match")
    left.legend(frameon=False)
    sets = list(dict.fromkeys(c["data"] for c in cells))
    for name in names[:-1]:
        gains = [
            100 * np.mean([_mean(c, "fusion") - _mean(c, name) for c in cells if c["data"] == s])
            for s in sets
        ]
        right.plot(gains, range(len(sets)), "o", label=name, color=colors[name])
    right.axvline(0, color="grey", linewidth=1)
    right.set_yticks(range(len(sets)), sets)
    right.invert_yaxis()
    right.set(xlabel="points that fusion is ahead, mean over labelled rows and LLMs")
    for axis in (left, right):
        tidy(axis)
    return figure


def main():
    """Run the comparison, print its table and unless ``--quick`` write its files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one draw")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--fusion-only", action="store_true", help="the others as before")
    options = parser.parse_args()
    program = run_fusion_only if options.fusion_only else run
    execute("rivals", partial(program, jobs=options.jobs), table, draw, options.quick, **MADE)


if __name__ == "__main__":
    main()
