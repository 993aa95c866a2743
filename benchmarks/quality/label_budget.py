"""Accuracy against an honest label budget: every row whose label is used is counted.

The published sweep trains the encoder on a share of the training rows but fits the fusion on all
validation rows, 500 or 647 of them, at every share. Here one budget pays for everything: the
encoder's head, the fusion, and the choice of settings by cross-validation. The encoder is frozen.
AG News: 8 to 250 of the rows with real votes, tested on 250 others. Reuters (several topics per
text, exact match): 20 to 647 validation rows, tested on the shared half of the test rows.

python -m benchmarks.quality.label_budget [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks.quality import _contest
from sklfusion.plotting import DataEfficiencyDisplay

BUDGETS = {
    "AG News": ("gpt-5-nano", (8, 20, 40, 80, 160, 250), 10),
    "Reuters": ("gpt-5-nano", (20, 50, 100, 200, 400, 647), 4),
}
METHODS = ("LLM alone", "encoder alone", "concatenation", "fusion")
#: What the results file says about its making.
MADE = {
    "seeds": "draws 0 to 9",
    "interval": "± is the standard deviation over draws, SE the paired standard error over draws",
}


def compare(data, X, train, test, seed):
    """Return accuracy (or exact match) of each method in one draw."""
    width = len(data.classes) * len(data.votes)
    n_embedding = X.shape[1] - width
    y = data.y
    answers = {"LLM alone": _contest.llm_alone(data.votes[0][test], y[train])}
    if data.multilabel or len(np.unique(y[train])) > 1:
        encoder = _contest.fit_encoder(X[train, :n_embedding], y[train], seed)
        answers["encoder alone"] = encoder.predict(X[test, :n_embedding])
        for name, kind in (("concatenation", "concat"), ("fusion", "anchored")):
            clf = _contest.fusion(data, seed, n_embedding=n_embedding, fusion=kind)
            answers[name] = clf.fit(X[train], y[train]).predict(X[test])
    return {name: _contest.hits(a, y[test]).mean() for name, a in answers.items()}


def run(quick=False):
    """Sweep the number of labelled rows."""
    results = {}
    for name, (llm, sizes, n_draws) in BUDGETS.items():
        [data] = _contest.load_sets((name, llm))
        if quick:
            data, sizes, n_draws = _contest.head(data, 80), sizes[:1], 1
        X = _contest.features(data)
        scores = {m: np.full((len(sizes), n_draws), np.nan) for m in METHODS}
        for row, size in enumerate(sizes):
            for train, test, seed in _contest.splits(data, size, n_draws):
                for method, score in compare(data, X, train, test, seed).items():
                    scores[method][row, seed] = score
        results[name] = {
            "sizes": sizes,
            "draws": n_draws,
            "test_rows": len(test),
            "metric": "exact match" if data.multilabel else "accuracy",
            "scores": {m: v.tolist() for m, v in scores.items()},
        }
    return results


def table(results):
    """One row per data set and budget; the gain is fusion minus the better part, paired."""
    rows = []
    for name, part in results.items():
        scores = {m: np.array(v) for m, v in part["scores"].items()}
        for row, size in enumerate(part["sizes"]):
            llm, encoder = scores["LLM alone"][row], scores["encoder alone"][row]
            best = llm if np.nanmean(llm) >= np.nanmean(encoder) else encoder
            cells = [mean_spread(scores[m][row]) for m in METHODS]
            gain = _contest.paired_cell(scores["fusion"][row] - best)
            rows.append([f"{name}, {part['metric']}", size, *cells, gain])
    return ["data", "labelled rows", *METHODS, "fusion minus best part"], rows


def draw(results):
    """One panel per data set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(11, 4.2), layout="constrained")
    for ax, (name, part) in zip(axes, results.items(), strict=True):
        DataEfficiencyDisplay(part["sizes"], part["scores"], score_name=part["metric"]).plot(ax)
        ax.set_title(name)
    return figure


if __name__ == "__main__":
    _contest.program("label_budget", run, table, draw, **MADE)
