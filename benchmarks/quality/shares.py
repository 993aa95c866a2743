"""Shares of classes from few labels: what intervals cover, how wide they are, beside what is done.

    python -m benchmarks.quality.shares [--quick] [--draws N] [--jobs N]

From each data set n texts are drawn at random and labelled; the true share is that of all its
texts. Beside `PrevalenceEstimator` on the default `FusionClassifier` stand: counting the labelled
texts (Wilson's interval, with the correction for a finite pool), PPI++ on the LLM's votes (its
normal interval, the power tuned on the same labels), and counting what the fusion predicts
(no interval, so only its error is told). A cell is a data set, a class and a number of labels.
*Worth* is the squared ratio of Wilson's width to that of the method: the labels without a model
that would tell as much as one label. Classes of which n draws hold at least five texts, and five
of the others, are *common*; the others are *rare*.
"""

import argparse
import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from joblib import Parallel, delayed
from scipy import stats

from benchmarks._common import print_table, save_figure, write_json
from benchmarks.quality._contest import fusion, head, load_sets, vectors
from sklfusion import PrevalenceEstimator
from sklfusion.plotting import tidy
from sklfusion.promises._share_interval import wilson

#: One LLM per data set, and a second one where a weak one is at hand.
PAIRS = (
    ("AG News", "gpt-5-nano"),
    ("Reuters", "gpt-5-nano"),
    ("Commodity", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("FPB", "falcon_7b"),
    ("BABE", "gpt_4"),
    ("BABE", "falcon_7b"),
    ("CSS discourse", "chatgpt"),
    ("CSS emotion", "chatgpt"),
    ("CSS reddit_humor", "flan-ul2"),
    ("CSS semeval_stance", "chatgpt"),
    ("CSS wiki_politeness", "text-davinci-003"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Global warming", "gpt"),
)
SIZES = (30, 50, 100, 300)
DRAWS = 60
ROWS = 1500  # of a data set at most: a larger pool takes longer and tells nothing more
METHODS = ("PrevalenceEstimator", "Wilson, labelled texts", "PPI++ on the votes")
COUNTED = "counting predictions"
_Z = stats.norm.ppf(0.975)
_COMMON = 5
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "coverage is counted over draws",
}


def one_draw(data, X, n, draw):
    """Return (methods, K, 2) intervals, and (2, K) shares of ours and of counted predictions."""
    rng = np.random.default_rng([draw, n])
    rows = rng.choice(len(data.y), n, replace=False)
    model = fusion(data, draw, n_embedding=X.shape[1] - len(data.classes))
    indicator = data.y if data.multilabel else np.eye(len(data.classes), dtype=int)[data.y]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that a small draw never or always shows
        shares = PrevalenceEstimator(model, random_state=draw).fit(X[rows], data.y[rows])
        told = shares.estimate(X)
        predicted = shares.estimator_.predict(X)
    ours = _by_class(told, len(data.classes), n, data)
    predicted = predicted if data.multilabel else np.eye(len(data.classes))[predicted]
    labelled = indicator[rows]
    intervals = [ours[:, 1:], _wilson(labelled.mean(axis=0), n, len(X))]
    intervals.append(_ppi(labelled, data.votes[0], rows))
    return np.array(intervals), np.array([ours[:, 0], predicted.mean(axis=0)])


def _by_class(told, n_classes, n, data):
    """Share, low and high for each class; a class that no labelled text has is 0 of n."""
    low, high = wilson(0.0, n, _Z)
    rows = np.tile([0.0, low, high], (n_classes, 1))
    columns = np.arange(n_classes) if data.multilabel else told.classes.astype(int)
    rows[columns] = np.column_stack([told.share, told.low, told.high])
    return rows


def _wilson(shares, n, total):
    finite = n * (total - 1) / (total - n)
    return np.array([wilson(p, finite, _Z) for p in shares])


def _ppi(labelled, votes, rows):
    """PPI++ with the votes as predictions, as its authors' package computes it."""
    mine, rest = votes[rows], np.delete(votes, rows, axis=0)
    n, total = len(rows), len(rest)
    both = ((labelled - labelled.mean(0)) * (mine - mine.mean(0))).mean(0)
    spread = np.maximum(rest.var(axis=0), 1e-12)
    power = np.clip(both / ((1 + n / total) * spread), 0, 1)
    share = labelled.mean(0) + power * (rest.mean(0) - mine.mean(0))
    error = (labelled - power * mine).var(axis=0) / n + power**2 * rest.var(axis=0) / total
    half = _Z * np.sqrt(error)
    return np.column_stack([np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)])


def cell(data, X, n, draws):
    """Return one record per class of a data set and a number of labels."""
    found = [one_draw(data, X, n, draw) for draw in draws]
    intervals = np.array([f[0] for f in found])
    shares = np.array([f[1] for f in found])
    indicator = data.y if data.multilabel else np.eye(len(data.classes), dtype=int)[data.y]
    truth = indicator.mean(axis=0)
    covered = (intervals[..., 0] <= truth + 1e-12) & (truth <= intervals[..., 1] + 1e-12)
    width = np.median(intervals[..., 1] - intervals[..., 0], axis=0)
    records = []
    for k, name in enumerate(data.classes):
        error = np.sqrt(((shares[:, :, k] - truth[k]) ** 2).mean(axis=0))
        records.append(
            {
                "data": data.name,
                "llm": data.llm,
                "class": str(name),
                "share": float(truth[k]),
                "n": n,
                "draws": len(found),
                "cover": dict(zip(METHODS, covered[:, :, k].mean(axis=0).tolist(), strict=True)),
                "width": dict(zip(METHODS, width[:, k].tolist(), strict=True)),
                "rmse": dict(zip((METHODS[0], COUNTED), error.tolist(), strict=True)),
            }
        )
    return records


def run(quick=False, n_draws=DRAWS, jobs=1):
    """Draw, estimate and judge every cell."""
    sets = [head(s, 400 if quick else ROWS) for s in load_sets(*PAIRS)]
    sizes, n_draws = (SIZES[:2], 3) if quick else (SIZES, n_draws)
    E = vectors(sets)
    tasks = [(s, np.hstack([E[s.name], s.votes[0]]), n) for s in sets for n in sizes]
    found = Parallel(n_jobs=jobs)(
        delayed(cell)(data, X, n, range(n_draws)) for data, X, n in tasks if n < 0.7 * len(X)
    )
    return {"draws": n_draws, "cells": [record for records in found for record in records]}


def _kinds(cells):
    least = [min(c["share"], 1 - c["share"]) * c["n"] for c in cells]
    return {
        "common": [c for c, m in zip(cells, least, strict=True) if m >= _COMMON],
        "rare": [c for c, m in zip(cells, least, strict=True) if m < _COMMON],
    }


def significantly_below(cells, method, line=0.93, level=0.05):
    """Cells whose coverage is below a line by more than binomial chance allows."""
    return [
        c
        for c in cells
        if stats.binom.cdf(round(c["cover"][method] * c["draws"]), c["draws"], line) < level
    ]


def worth(cells, method):
    """Median over cells of the labels that one label is worth."""
    plain = METHODS[1]
    return float(
        np.median([(c["width"][plain] / max(c["width"][method], 1e-9)) ** 2 for c in cells])
    )


def table(results):
    """Header and rows: coverage and worth per kind of class, number of labels and method."""
    header = ["classes", "labels", "cells", "method", "covers (mean)", "least", "worth"]
    header += ["cells below .93 beyond chance", "error of the share"]
    rows = []
    for kind, cells in _kinds(results["cells"]).items():
        for n in SIZES:
            own = [c for c in cells if c["n"] == n]
            for method in METHODS if own else ():
                cover = [c["cover"][method] for c in own]
                error = [c["rmse"][method] for c in own if method in c["rmse"]]
                rows.append(
                    [
                        *(kind, n, len(own), method),
                        *(f"{np.mean(cover):.3f}", f"{min(cover):.3f}"),
                        f"{worth(own, method):.2f}" if method != METHODS[1] else "1",
                        len(significantly_below(own, method)),
                        f"{np.mean(error):.3f}" if error else "-",
                    ]
                )
            if own:
                error = f"{np.mean([c['rmse'][COUNTED] for c in own]):.3f}"
                rows.append([kind, n, len(own), COUNTED, "-", "-", "-", "-", error])
    return header, rows


def draw(results):
    """Coverage of each cell, and labels worth, by number of labels."""
    import matplotlib.pyplot as plt

    colors = dict(zip(METHODS, ("#009E73", "#999999", "#E69F00"), strict=True))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.8), layout="constrained")
    cells = _kinds(results["cells"])["common"]
    rng = np.random.default_rng(0)
    for shift, method in zip((-0.24, 0, 0.24), METHODS, strict=True):
        x = [SIZES.index(c["n"]) + shift + rng.uniform(-0.06, 0.06) for c in cells]
        y = [c["cover"][method] for c in cells]
        left.plot(x, y, ".", color=colors[method], alpha=0.75, markersize=6, label=method)
    left.axhline(0.95, color="#444444", linewidth=1)
    left.set(ylabel="covered, of the draws", xlabel="labelled texts")
    left.set_title("each cell of a data set and a common class; the line: 95 %", fontsize=9)
    for method in METHODS:
        sizes = [n for n in SIZES if any(c["n"] == n for c in cells)]
        middle = [worth([c for c in cells if c["n"] == n], method) for n in sizes]
        x = [SIZES.index(n) for n in sizes]
        right.plot(x, middle, "o-", color=colors[method], label=method)
    right.set(ylabel="labels that one label is worth", xlabel="labelled texts")
    right.set_title("median over common classes", fontsize=9)
    for ax in (left, right):
        ax.set_xticks(range(len(SIZES)), SIZES)
        tidy(ax)
    left.set_ylim(0.62, 1.01)
    left.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, table only")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    results = run(args.quick, args.draws, args.jobs)
    print_table(*table(results))
    if not args.quick:
        write_json("shares", results, **MADE)
        save_figure(draw(results), "shares")


if __name__ == "__main__":
    main()
