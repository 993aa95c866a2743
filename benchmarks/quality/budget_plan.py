"""Accuracy that more labels would bring, told from few: the prior of curves, and what bands cover.

    python -m benchmarks.quality.budget_plan [--quick]

Curves that the results file has are kept; delete it to measure all anew.
First the mean error of the default `FusionClassifier` is measured on every data set with recorded
LLM answers at 30 to 1,000 labels, judged on the rows that are left. An inverse power law is fitted
to each curve, with a normal prior whose mean and covariance come from all of them (empirical
Bayes); these are the numbers in `sklfusion/promises/_learning_curve.py`. Then `plan_budget` looks
at 30, 50 or 100 labels of a data set, with the prior of the *other* data sets, and its 90 % band
at each later size is held against the measured mean. Beside it stands the level of today, as the
same look tells it, with the binomial band of so many labels and no rise. Data sets with several
labels per text are left out.
"""

import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy import stats
from scipy.optimize import least_squares

from benchmarks._common import earlier
from benchmarks.quality._contest import fusion, head, hits, load_sets, program, vectors
from sklfusion.promises._budget_plan import look_at_labels
from sklfusion.promises._learning_curve import CurvePrior, error_at, forecast_accuracy

PAIRS = (
    ("AG News", "gpt-5-nano"),
    ("FPB", "gpt4"),
    ("FPB", "chatgpt"),
    ("FPB", "falcon_7b"),
    ("BABE", "gpt_4"),
    ("BABE", "zephyr"),
    ("CSS discourse", "chatgpt"),
    ("CSS emotion", "chatgpt"),
    ("CSS reddit_humor", "flan-ul2"),
    ("CSS semeval_stance", "chatgpt"),
    ("CSS wiki_politeness", "text-davinci-003"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Global warming", "gpt"),
)
SIZES = (30, 50, 100, 200, 500, 1000)
NOW = (30, 50, 100)
LATER = (100, 200, 500, 1000)
ROWS = 2000
CURVE_DRAWS, DRAWS = 2, 5
CONFIDENCE = 0.9
WAYS = ("plan_budget", "as today")
#: Where the search for the prior begins, and how wide: any curve is possible.
_START = CurvePrior(np.array([-1.0, 0.0, -0.7]), np.diag([1.0, 2.0, 0.5]))
#: Of a mean error: the law is no better than this.
_LEAST_ERROR = 0.003
_STEPS = 8
#: Added to the variance of the level: a data set may be easier, or harder, than all of these.
_OTHER_LEVELS = 1.0
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}, curves of {CURVE_DRAWS}",
    "interval": "coverage of 90 % bands, counted over draws and data sets",
    "kept": True,
}


def measured_curve(data, X, draws):
    """Return the mean error at each size, and its standard error over draws."""
    found: dict = {n: [] for n in SIZES if n <= 0.6 * len(X)}
    width = X.shape[1] - len(data.classes)
    for draw in draws:
        order = np.random.default_rng([draw, 3]).permutation(len(X))
        for n, errors in found.items():
            train, test = order[:n], order[n:]
            model = fusion(data, draw, n_embedding=width).fit(X[train], data.y[train])
            errors.append(1 - hits(model.predict(X[test]), data.y[test]).mean())
    return {
        str(n): [float(np.mean(e)), float(np.std(e, ddof=1) / len(e) ** 0.5)]
        for n, e in found.items()
    }


def fitted_curve(measured, prior):
    """Return the likeliest curve (3,) for a measured one, and its covariance (3, 3)."""
    sizes = [int(n) for n in measured]
    error, spread = np.transpose(list(measured.values()))
    spread = np.hypot(spread, _LEAST_ERROR)
    root = np.linalg.cholesky(np.linalg.inv(prior.covariance)).T

    def residuals(curve):
        told = (error_at(sizes, curve[None])[0] - error) / spread
        return np.concatenate([told, root @ (curve - prior.mean)])

    found = least_squares(residuals, prior.mean)
    return found.x, np.linalg.inv(found.jac.T @ found.jac)


def learnt_prior(curves):
    """Return the prior that makes the measured curves likeliest, by expectation-maximisation."""
    prior = _START
    for _ in range(_STEPS):
        fits = [fitted_curve(curve, prior) for curve in curves]
        points = np.array([point for point, _ in fits])
        own = np.mean([covariance for _, covariance in fits], axis=0)
        prior = CurvePrior(points.mean(axis=0), np.cov(points.T) + own)
    return prior._replace(covariance=prior.covariance + np.diag([_OTHER_LEVELS, 0, 0]))


def looks(data, X, now, draws):
    """Yield what `plan_budget` sees in each draw of so many labels."""
    width = X.shape[1] - len(data.classes)
    for draw in draws:
        order = np.random.default_rng([draw, now, 4]).permutation(len(X))
        rows, rest = order[:now], order[now:]
        model = fusion(data, draw, n_embedding=width)
        yield look_at_labels(model, X[rows], data.y[rows], X[rest], random_state=draw)[0]


def _as_today(seen, n_later):
    low, high = stats.beta.ppf(
        [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2],
        seen.accuracy * seen.n + 0.5,
        (1 - seen.accuracy) * seen.n + 0.5,
    )
    return [np.full(n_later, value) for value in (seen.accuracy, low, high)]


def judged(data, seen, measured, prior):
    """Return a record per later size: mean and band of both ways, and the measured accuracy."""
    later = [n for n in LATER if n > seen.n and str(n) in measured]
    told = forecast_accuracy(seen, later, CONFIDENCE, prior), _as_today(seen, len(later))
    return [
        {
            "data": data.name,
            "llm": data.llm,
            "now": seen.n,
            "later": n,
            "truth": 1 - measured[str(n)][0],
            "told": {
                way: [round(float(part[place]), 5) for part in parts]
                for way, parts in zip(WAYS, told, strict=True)
            },
        }
        for place, n in enumerate(later)
    ]


def run(quick=False):
    """Measure the curves, learn the prior, and judge the plans."""
    sets = [head(s, 500 if quick else ROWS) for s in load_sets(*PAIRS[: 5 if quick else None])]
    E = vectors(sets)
    n_curve, n_draws = (2, 2) if quick else (CURVE_DRAWS, DRAWS)
    tables = [(s, np.hstack([E[s.name], s.votes[0]])) for s in sets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that a small draw does not show
        kept = {} if quick else {_pair(c): c for c in earlier("budget_plan").get("curves", ())}
        curves = [
            kept[s.name, s.llm]["errors"]
            if (s.name, s.llm) in kept
            else measured_curve(s, X, range(n_curve))
            for s, X in tables
        ]
        records = []
        for (data, X), own in zip(tables, curves, strict=True):
            others = [c for s, c in zip(sets, curves, strict=True) if s.name != data.name]
            prior = learnt_prior(others)
            for now in NOW:
                for seen in looks(data, X, now, range(n_draws)):
                    records += judged(data, seen, own, prior)
    prior = learnt_prior(curves)
    named = [
        {"data": s.name, "llm": s.llm, "errors": c} for s, c in zip(sets, curves, strict=True)
    ]
    told = {"mean": prior.mean.round(3).tolist(), "covariance": prior.covariance.round(3).tolist()}
    print("prior:", told)
    return {"curves": named, "prior": told, "draws": n_draws, "plans": records}


def _pair(record):
    return record["data"], record["llm"]


def _cells(results, way, now, later):
    found = [r for r in results["plans"] if (r["now"], r["later"]) == (now, later)]
    told, truth = np.array([r["told"][way] for r in found]), np.array([r["truth"] for r in found])
    inside = (told[:, 1] <= truth) & (truth <= told[:, 2])
    return found, told, truth, inside


def table(results):
    """Header and rows: coverage, width and error of both ways, by labels now and later."""
    header = ["labels now", "later", "data sets", "way", "band covers", "worst set"]
    header += ["width, points", "error, points", "bias, points"]
    rows = []
    for now in NOW:
        for later in LATER:
            there = any((r["now"], r["later"]) == (now, later) for r in results["plans"])
            for way in WAYS if there else ():
                found, told, truth, inside = _cells(results, way, now, later)
                pairs = [_pair(r) for r in found]
                names = sorted(set(pairs))
                by_set = [
                    np.mean([i for i, p in zip(inside, pairs, strict=True) if p == name])
                    for name in names
                ]
                off = 100 * (told[:, 0] - truth)
                rows.append(
                    [
                        *(now, later, len(names), way),
                        *(f"{inside.mean():.2f}", f"{min(by_set):.2f}"),
                        f"{100 * (told[:, 2] - told[:, 1]).mean():.1f}",
                        *(f"{np.abs(off).mean():.1f}", f"{off.mean():+.1f}"),
                    ]
                )
    return header, rows


def draw(results):
    """The measured curves, and plans from 50 labels against what was measured."""
    import matplotlib.pyplot as plt

    from sklfusion.plotting import tidy

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    for curve in results["curves"]:
        sizes = [int(n) for n in curve["errors"]]
        accuracy = [100 - 100 * mean for mean, _ in curve["errors"].values()]
        left.plot(sizes, accuracy, "o-", markersize=3, linewidth=1.2)
    left.set(xscale="log", xlabel="labelled texts", ylabel="accuracy, %")
    left.set_xticks(SIZES, SIZES)
    left.minorticks_off()
    left.set_title("measured: one line per data set and LLM", fontsize=9)
    colors = ("#009E73", "#999999")
    for way, color in zip(WAYS, colors, strict=True):
        _, told, truth, _ = _cells(results, way, 50, 200)
        right.plot(100 * truth, 100 * told[:, 0], ".", color=color, alpha=0.6, label=way)
    right.axline((60, 60), slope=1, color="#444444", linewidth=1)
    right.set(xlabel="measured accuracy at 200 labels, %", ylabel="told from 50 labels, %")
    right.legend(frameon=False, fontsize=8)
    right.set_title("one dot per draw of 50 labels", fontsize=9)
    for ax in (left, right):
        tidy(ax)
    return figure


if __name__ == "__main__":
    program("budget_plan", run, table, draw, **MADE)
