"""Promised accuracy and promised savings: how often they are kept, and what they cost.

    python -m benchmarks.quality.promises [--quick] [--draws N] [--jobs N]

**Answers.** Each classifier is the default `FusionClassifier` on the frozen embedding and the
LLM's votes, fitted on n rows drawn at random; the answered texts of the other rows must be right
as often as promised. Beside `SelectiveClassifier` (out-of-fold answers) stand the same with half
of the rows held out, the threshold above which the out-of-fold answers show the wanted accuracy
(what most people do), and a grid of a hundred thresholds, each tested at a hundredth of delta on
held-out rows (as general packages for risk control do; Bonferroni). *Kept* counts draws whose
test accuracy is at least the promised one or that answer nothing; *broken beyond chance* those
where it is below by more than binomial chance (5 %) allows, since a test set of some hundred
rows breaks some promises by itself.

**Savings.** `CascadeClassifier(risk=eps)`, first stage a logistic regression on the embedding,
must lose at most eps to asking about every text. Beside it the plug-in: the smallest share whose
out-of-fold loss is at most eps.
"""

import argparse
import os
import warnings
from collections import defaultdict
from itertools import chain

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


import numpy as np
from joblib import Parallel, delayed
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks._common import print_table, save_figure, write_json
from benchmarks.quality._contest import fusion, head, load_sets, vectors
from sklfusion import CascadeClassifier, RecordedScorer, SelectiveClassifier
from sklfusion.cascade._cost_curve import doubt
from sklfusion.plotting import tidy
from sklfusion.promises._accuracy_bound import needed_right

PAIRS = (
    ("AG News", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("FPB", "falcon_7b"),
    ("BABE", "gpt_4"),
    ("BABE", "zephyr"),
    ("CSS emotion", "chatgpt"),
    ("CSS semeval_stance", "chatgpt"),
    ("CSS reddit_humor", "flan-ul2"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Global warming", "gpt"),
)
ROWS = 2000  # of a data set at most
SIZES = (50, 100, 200, 500)
TARGETS = (0.90, 0.95)
RISKS = ((0.05, 100), (0.05, 200), (0.05, 500), (0.02, 200), (0.02, 500))
DELTA = 0.1
DRAWS = 16
LEAST_TEST = 150  # rows to judge on; a smaller test set breaks too many promises by itself
ANSWERS = ("SelectiveClassifier", "half held out", "tuned threshold", "100 thresholds, half")
SAVINGS = ("CascadeClassifier(risk=)", "tuned share")
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "promises kept are counted over draws and data sets",
}


class Known(TransformerMixin, BaseEstimator):
    """Texts to the vectors that are known of them."""

    def __init__(self, table):
        self.table = table

    def fit(self, X, y=None):
        """Do nothing."""
        return self

    def transform(self, X):
        """Return (n, d) vectors."""
        return np.array([self.table[text] for text in X])


# -- answers -------------------------------------------------------------------------------


def tuned_threshold(confidence, right, target):
    """Return the least confidence above which the rows show the wanted accuracy."""
    order = np.argsort(-confidence)
    good = np.flatnonzero(np.cumsum(right[order]) / np.arange(1, len(order) + 1) >= target)
    return np.inf if not len(good) else confidence[order[good[-1]]] - 1e-12


def grid_threshold(confidence, right, target):
    """Return the least of a hundred thresholds that passes its test at delta / 100."""
    passed = []
    for value in np.linspace(0, 1, 101)[:-1]:
        on = confidence > value
        if on.any() and right[on].sum() >= needed_right(int(on.sum()), target, DELTA / 100):
            passed.append(value)
    return min(passed, default=np.inf)


def answers(data, X, n, seed):
    """Return records of one draw: per target and method share answered, hits and rows."""
    rows = np.random.default_rng([seed, n]).permutation(len(X))
    train, test = rows[:n], rows[n:]
    half, held_out = train[: n // 2], train[n // 2 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = _model(data, X, seed).fit(X[train], data.y[train])
        part = _model(data, X, seed).fit(X[half], data.y[half])
        own, other = _judged(whole, X[test], data.y[test]), _judged(part, X[test], data.y[test])
        out_of_fold = _judged(whole, None, data.y[train], whole.oof_proba_)
        held = _judged(part, X[held_out], data.y[held_out])
        told = []
        for target in TARGETS:
            settings = {"target_accuracy": target, "delta": DELTA}
            ours = SelectiveClassifier(_Fitted(whole), cv="prefit", **settings)
            apart = SelectiveClassifier(part, cv="prefit", **settings)
            values = [
                (ours.fit(np.arange(n), data.y[train]).threshold_, own),
                (apart.fit(X[held_out], data.y[held_out]).threshold_, other),
                (tuned_threshold(*out_of_fold, target), own),
                (grid_threshold(*held, target), other),
            ]
            told += [
                _record(data, n, seed, target, method, value, *judged)
                for method, (value, judged) in zip(ANSWERS, values, strict=True)
            ]
    return told


class _Fitted(ClassifierMixin, BaseEstimator):
    """The out-of-fold answers of a fitted fusion, as a classifier of row numbers."""

    def fit(self, X, y):
        """Do nothing."""
        return self

    def __init__(self, model):
        self.model = model
        self.classes_ = model.classes_

    def predict_proba(self, X):
        """Return (n, K) out-of-fold probabilities of rows by number."""
        return self.model.oof_proba_[X]


def _model(data, X, seed):
    return fusion(data, seed, n_embedding=X.shape[1] - len(data.classes))


def _judged(model, X, y, proba=None):
    proba = model.predict_proba(X) if proba is None else proba
    return proba.max(axis=1), model.classes_[proba.argmax(axis=1)] == y


def _record(data, n, seed, target, method, value, confidence, right):
    on = confidence > value
    cell = {"data": data.name, "llm": data.llm, "n": n, "draw": seed, "target": target}
    # what one who knows the test rows could answer
    order = np.cumsum(right[np.argsort(-confidence)]) / np.arange(1, len(right) + 1)
    most = np.flatnonzero(order >= target)
    best = (most[-1] + 1) / len(right) if len(most) else 0.0
    hits = {"answered": float(on.mean()), "right": int(right[on].sum()), "rows": int(on.sum())}
    return {**cell, "method": method, **hits, "most": float(best)}


# -- savings -------------------------------------------------------------------------------


def savings(data, E, eps, n, seed):
    """Return records of one draw: per method the share saved, and the loss on the other rows."""
    rows = np.random.default_rng([seed, n, 7]).permutation(len(E))
    texts = [f"{i} {text}" for i, text in enumerate(data.texts)]  # repeats would be one text
    table = dict(zip(texts, E, strict=True))
    known = np.ptp(data.votes[0], axis=1) > 0
    said = {
        text: int(vote.argmax()) if told else None
        for text, vote, told in zip(texts, data.votes[0], known, strict=True)
    }
    first = make_pipeline(Known(table), LogisticRegression(C=10, max_iter=300))
    llm = RecordedScorer(said, classes=list(range(len(data.classes))), on_failure="abstain")
    train, test = rows[:n], rows[n:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = CascadeClassifier(first, llm, risk=eps, random_state=seed)
        clf.fit([texts[i] for i in train], data.y[train])
        asked = [texts[i] for i in test]
        p = clf.first_.predict_proba(asked)
        threshold, clf.threshold_ = clf.threshold_, -np.inf
        fused = clf.predict_proba(asked)
    unsure = doubt(p, np.zeros(len(p), bool), False)
    right = [clf.classes_[q.argmax(axis=1)] == data.y[test] for q in (p, fused)]
    own = [
        clf.classes_[q.argmax(axis=1)] == data.y[train]
        for q in (clf.oof_proba_first_, clf.oof_proba_)
    ]
    tuned = _tuned_share(1 - clf.oof_proba_first_.max(axis=1), *own, eps)
    told = []
    for method, value in zip(SAVINGS, (threshold, tuned), strict=True):
        kept = unsure <= value  # not asked about
        lost = int((right[1] & ~right[0])[kept].sum()) - int((right[0] & ~right[1])[kept].sum())
        cell = {"data": data.name, "llm": data.llm, "n": n, "draw": seed, "risk": eps}
        loss = {"saved": float(kept.mean()), "lost": lost, "rows": len(test)}
        change = int((right[1] ^ right[0])[kept].sum())
        told.append({**cell, "method": method, **loss, "discordant": change})
    return told


def _tuned_share(unsure, first, fused, eps):
    """Return the threshold of the fewest texts whose own loss is at most eps."""
    order = np.argsort(unsure, kind="stable")
    lost = np.cumsum((fused.astype(int) - first)[order]) / len(order)
    good = np.flatnonzero(lost <= eps)
    return -np.inf if not len(good) else unsure[order[good[-1]]]


# -- all of it -----------------------------------------------------------------------------


def run(quick=False, n_draws=DRAWS, jobs=1):
    """Draw, fit and judge every cell."""
    sets = [head(s, 400 if quick else ROWS) for s in load_sets(*PAIRS)]
    n_draws = 2 if quick else n_draws
    E = vectors(sets)
    X = {(s.name, s.llm): np.hstack([E[s.name], s.votes[0]]) for s in sets}
    first = [
        delayed(answers)(s, X[s.name, s.llm], n, draw)
        for s in sets
        for n in SIZES
        for draw in range(n_draws)
        if len(s.y) - n >= LEAST_TEST
    ]
    second = [
        delayed(savings)(s, E[s.name], eps, n, draw)
        for s in sets
        for eps, n in RISKS
        for draw in range(n_draws)
        if len(s.y) - n >= LEAST_TEST
    ]
    found = Parallel(n_jobs=jobs)(first)
    saved = Parallel(n_jobs=jobs)(second)
    return {
        "answers": cells(list(chain(*found)), "target", kept_answers),
        "savings": cells(list(chain(*saved)), "risk", kept_savings),
    }


def cells(records, promise, judge):
    """Return one record per data set, promise, number of labels and method: means over draws."""
    kept, broken = judge(records)
    of = defaultdict(list)
    for record, *judged in zip(records, kept, broken, strict=True):
        key = [record[name] for name in ("data", "llm", promise, "n", "method")]
        gains = {name: record[name] for name in ("answered", "most", "saved") if name in record}
        of[tuple(key)].append({"kept": judged[0], "broken": judged[1], **gains})
    return [
        {
            **dict(zip(("data", "llm", promise, "n", "method"), key, strict=True)),
            "draws": len(own),
            **{name: float(np.mean([r[name] for r in own])) for name in own[0]},
        }
        for key, own in of.items()
    ]


def kept_answers(records):
    """Share of draws that keep the promise, and that break it beyond chance; per record."""
    right = np.array([r["right"] for r in records])
    rows = np.array([r["rows"] for r in records])
    target = np.array([r["target"] for r in records])
    kept = right >= target * rows - 1e-9
    broken = ~kept & (stats.binom.cdf(right, np.maximum(rows, 1), target) < 0.05)
    return kept, broken


def kept_savings(records):
    """The same for losses: a paired difference, judged by its normal error."""
    lost = np.array([r["lost"] for r in records])
    rows = np.array([r["rows"] for r in records])
    eps = np.array([r["risk"] for r in records])
    error = np.sqrt(np.array([max(r["discordant"], 1) for r in records]))
    kept = lost <= eps * rows + 1e-9
    return kept, (lost - eps * rows) / error > stats.norm.ppf(0.95)


def table(results):
    """Header and rows: promises kept and broken, and what is gained."""
    header = ["promise", "labels", "draws", "method", "kept", "broken beyond chance"]
    header += ["least kept of a set", "answered, or saved", "part of what hindsight allows"]
    rows = []
    for target in TARGETS:
        for n in SIZES:
            for method in ANSWERS:
                own = _some(results["answers"], method=method, n=n, target=target)
                rows += _row(f"accuracy {target:g}", n, method, own, "answered")
    for eps, n in RISKS:
        for method in SAVINGS:
            own = _some(results["savings"], method=method, n=n, risk=eps)
            rows += _row(f"loss at most {eps:g}", n, method, own, "saved")
    return header, rows


def _some(records, **wanted):
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def _row(promise, n, method, own, gain):
    if not own:
        return []
    gained = _mean(own, gain)
    part = f"{gained / _mean(own, 'most'):.2f}" if gain == "answered" else "-"
    told = [_mean(own, "kept"), _mean(own, "broken"), min(c["kept"] for c in own), gained]
    draws = sum(c["draws"] for c in own)
    return [[promise, n, draws, method, *(f"{value:.2f}" for value in told), part]]


def _mean(own, name):
    return np.average([c[name] for c in own], weights=[c["draws"] for c in own])


def draw(results):
    """Kept and answered for each method at the two targets."""
    import matplotlib.pyplot as plt

    colors = dict(zip(ANSWERS, ("#009E73", "#56B4E9", "#D55E00", "#999999"), strict=True))
    figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.5), layout="constrained")
    for column, target in enumerate(TARGETS):
        for method in ANSWERS:
            kept, answered = [], []
            for n in SIZES:
                own = _some(results["answers"], method=method, n=n, target=target)
                kept.append(_mean(own, "kept") if own else np.nan)
                answered.append(_mean(own, "answered") if own else np.nan)
            x = range(len(SIZES))
            axes[2 * column].plot(x, kept, "o-", color=colors[method], label=method)
            axes[2 * column + 1].plot(x, answered, "o-", color=colors[method], label=method)
        axes[2 * column].axhline(1 - DELTA, color="#444444", linewidth=1, linestyle="--")
        axes[2 * column].set(title=f"promise {target:g}: kept", ylim=(0.3, 1.03))
        axes[2 * column + 1].set(title=f"promise {target:g}: answered", ylim=(-0.02, 1))
    for ax in axes:
        ax.set_xticks(range(len(SIZES)), SIZES)
        ax.set_xlabel("labelled texts")
        tidy(ax)
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
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
        write_json("promises", results, **MADE)
        save_figure(draw(results), "promises")


if __name__ == "__main__":
    main()
