"""Calibrating decision models on few labels: fusion, plain and ordinal, beside what is done.

    python -m benchmarks.quality.decision_models [--quick]

Three decision models rated 300 sentences of SST-5 on five ordered levels. From each draw n
labelled sentences, as many per level, teach every method; the others judge it. Two of the models
round to two decimals: for raw use, temperature, vector scaling and logistic regression a
probability counts as at least half a unit of that rounding (.005), and rows are brought to sum to
one. Without such a floor the log-loss of the raw answers of both is infinite. The fusion gets the
answers as they came. Of the 300 sentences 250 are among the MR data too, which nothing here has
seen.

Other models on other sets gave soft scores without order: a GPT's stated confidence, and
RoBERTa trained on few rows of AG News.
"""

import warnings

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from benchmarks._common import data_dir, embed, read
from benchmarks.quality import _contest
from sklfusion import FusionClassifier

LEVELS = ("very negative", "negative", "neutral", "positive", "very positive")
#: Decision model to the unit its probabilities are rounded to.
MODELS = {"jev-1.13.0": 0.01, "kev": 0.01, "open-jev": 0.0}
#: Fractions of 4,000 rows that the RoBERTas of AG News were trained on.
ROBERTAS = ("roberta_005pct", "roberta_010pct")
SIZES, DRAWS = (20, 50, 100, 200), 20
BINS = 10
ORDERED = ("cumulative link, model alone", "ordinal fusion")
METHODS = (
    "raw",
    "temperature",
    "vector scaling",
    "logistic regression",
    "cumulative link, model alone",
    "fusion",
    "ordinal fusion",
)
MEASURES = ("accuracy", "log-loss", "ECE", "ECE by chance", "levels off")
#: Answers drawn from a model's own probabilities, for the ECE that chance alone gives.
_REPEATS = 50


# -- data ----------------------------------------------------------------------------------
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "± is the standard error over draws",
}


def floored(P, unit):
    """Probabilities of at least half a rounding unit that sum to one."""
    P = np.maximum(P, max(unit / 2, 1e-12))
    return P / P.sum(axis=1, keepdims=True)


def sets():
    """Yield (name, model, texts, y, probabilities as sent, rounding unit, whether ordered)."""
    rows = read("decisions/jeveval_sst5")
    y = rows.gold_name.map({level: place for place, level in enumerate(LEVELS)}).to_numpy()
    for model, unit in MODELS.items():
        P = rows[[f"{model}__{level}" for level in LEVELS]].to_numpy(dtype=float)
        yield "SST-5", model, rows.text.tolist(), y, P, unit, True
    [data] = _contest.load_sets(("Global warming", "gpt"))
    yield data.name, data.llm, data.texts, data.y, data.votes[0], 0.01, False
    rows = read("replay/agnews_test")
    texts = (rows.title + ". " + rows.description).tolist()
    for model in ROBERTAS:
        P = rows[[f"{model}__{c}" for c in ("World", "Sports", "Business", "SciTech")]]
        yield "AG News", model, texts, rows.gold.to_numpy(), P.to_numpy(dtype=float), 0.0, False


def split(y, n, draw):
    """Training rows, as many of each class, and the others."""
    rng = np.random.default_rng([draw, n])
    classes = np.unique(y)
    each = n // len(classes)
    train = [rng.permutation(np.flatnonzero(y == c))[:each] for c in classes]
    return np.concatenate(train), np.setdiff1d(np.arange(len(y)), np.concatenate(train))


# -- methods -------------------------------------------------------------------------------


def temperature(log_p, y):
    """Probabilities at the temperature of least log-loss."""
    grid = np.geomspace(0.1, 10, 200)
    best = min(grid, key=lambda t: log_loss(softmax(log_p / t, axis=1), y))
    return lambda log_p: softmax(log_p / best, axis=1)


def vector_scaling(log_p, y):
    """A slope and a bias per class, of least log-loss."""
    k = log_p.shape[1]

    def loss(x):
        logits = x[:k] * log_p + x[k:]
        residual = softmax(logits, axis=1) - np.eye(k)[y]
        gradient = np.r_[(residual * log_p).mean(axis=0), residual.mean(axis=0)]
        return -log_softmax(logits, axis=1)[np.arange(len(y)), y].mean(), gradient

    x = minimize(loss, np.r_[np.ones(k), np.zeros(k)], jac=True, method="L-BFGS-B").x
    return lambda log_p: softmax(x[:k] * log_p + x[k:], axis=1)


def cumulative_link(P, y):
    """Proportional odds: the model's own cumulative log-odds, times a slope, between new cuts."""

    def below(P):
        share = np.clip(np.cumsum(P, axis=1)[:, :-1], 1e-4, 1 - 1e-4)
        return np.log(share) - np.log1p(-share)

    def proba(x, P):
        inner = np.maximum.accumulate(expit(np.exp(x[0]) * below(P) + x[1:]), axis=1)
        edges = np.hstack([np.zeros((len(P), 1)), inner, np.ones((len(P), 1))])
        found = np.maximum(np.diff(edges, axis=1), 1e-6)
        return found / found.sum(axis=1, keepdims=True)

    def loss(x):  # drawn towards the answers as they are, as the trusts of the fusion are
        return len(y) * log_loss(proba(x, P), y) + 2 * x[0] ** 2 + (x[1:] ** 2).sum()

    x = minimize(loss, np.zeros(P.shape[1]), method="L-BFGS-B").x
    return lambda P: proba(x, P)


def answers(E, P, unit, y, train, test, seed, ordered):
    """Probabilities of the test rows by each method."""
    sent, P = P, floored(P, unit)
    log_p, k = np.log(P), P.shape[1]
    wide, both = np.hstack([log_p, E]), np.hstack([E, sent])
    yt, joint = y[train], LogisticRegression(max_iter=1000)
    found = {
        "raw": P[test],
        "temperature": temperature(log_p[train], yt)(log_p[test]),
        "vector scaling": vector_scaling(log_p[train], yt)(log_p[test]),
        "logistic regression": joint.fit(wide[train], yt).predict_proba(wide[test]),
    }
    losses = {"fusion": "auto"}
    if ordered:
        found[ORDERED[0]] = cumulative_link(P[train], yt)(P[test])
        losses["ordinal fusion"] = "ordinal"
    for name, loss in losses.items():
        model = FusionClassifier(loss=loss, score_columns=slice(-k, None), random_state=seed)
        found[name] = model.fit(both[train], yt).predict_proba(both[test])
    return found


# -- judging -------------------------------------------------------------------------------


def log_loss(P, y):
    """Mean log-loss; scaling without a prior may say exactly 0."""
    return float(-np.log(np.maximum(P[np.arange(len(y)), y], 1e-12)).mean())


def calibration_error(confidence, right):
    """Expected calibration error of the likeliest class, in bins of equal width."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, confidence - right, BINS)
    return float(np.abs(gaps).sum() / len(right))


def by_chance(confidence, rng):
    """The same of answers that are right as often as the confidences say."""
    drawn = rng.random((_REPEATS, len(confidence))) < confidence
    return float(np.mean([calibration_error(confidence, right) for right in drawn]))


def measures(P, y, rng):
    """The `MEASURES` of one method on the test rows."""
    confidence, said = P.max(axis=1), P.argmax(axis=1)
    right = said == y
    return (
        right.mean(),
        log_loss(P, y),
        calibration_error(confidence, right),
        by_chance(confidence, rng),
        np.abs(said - y).mean(),
    )


def cell(one, n, n_draws):
    """Judge every method on the draws of one set and number of labels."""
    name, model, texts, y, P, unit, ordered = one
    E, found = np.asarray(embed(texts)), {}
    for draw in range(n_draws):
        train, test = split(y, n, draw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few rows: a penalty that did not converge
            said = answers(E, P, unit, y, train, test, draw, ordered)
        rng = np.random.default_rng(draw)
        for method, proba in said.items():
            found.setdefault(method, []).append(measures(proba, y[test], rng))
    judged = {method: _mean_and_error(values) for method, values in found.items()}
    return {"data": name, "model": model, "labels": n, "ordered": ordered, **judged}


def run(quick=False):
    """Judge every method on every draw."""
    sizes, n_draws = (SIZES[:1], 2) if quick else (SIZES, DRAWS)
    cells = [cell(one, n, n_draws) for one in sets() for n in sizes]
    return {"draws": n_draws, "cells": cells}


def _mean_and_error(values):
    values = np.array(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return {m: [v, e] for m, v, e in zip(MEASURES, values.mean(axis=0), error, strict=True)}


# -- showing -------------------------------------------------------------------------------


def table(results, ordered=True, sizes=SIZES):
    """Header and rows: a line per model and number of labels, all methods."""
    cells = [c for c in results["cells"] if c["ordered"] == ordered and c["labels"] in sizes]
    header = ["data, model", "labels", "method", "accuracy", "log-loss", "ECE", "ECE by chance"]
    header += ["levels off"] if ordered else []
    rows = []
    for cell in cells:
        for method in METHODS:
            if method not in cell:
                continue
            shown = [f"{cell[method][m][0]:.3f}" for m in MEASURES[: len(header) - 3]]
            shown[0] += f" ± {cell[method]['accuracy'][1]:.3f}"
            rows.append([f"{cell['data']}, {cell['model']}", cell["labels"], method, *shown])
    return header, rows


def lines(results):
    """Header and rows: what was to be held at 50 labels, and what came."""
    rows = []
    for cell in results["cells"]:
        if not cell["ordered"] or cell["labels"] != 50:
            continue
        raw, heat, ours = (cell[m] for m in ("raw", "temperature", "ordinal fusion"))
        loss, ece, right = (ours[m] for m in ("log-loss", "ECE", "accuracy"))
        crude = raw["ECE"][0] > 0.1
        limit = raw["ECE"][0] / 2 if crude else raw["ECE"][0] + 0.01
        rows.append(
            [
                cell["model"],
                f"{loss[0]:.3f} / {raw['log-loss'][0]:.3f} / {heat['log-loss'][0]:.3f}",
                f"{ece[0]:.3f} / {limit:.3f} / {ours['ECE by chance'][0]:.3f}",
                f"{right[0]:.3f} / {raw['accuracy'][0]:.3f} ± {right[1]:.3f}",
            ]
        )
    header = ["model", "log-loss: ours / raw / temperature", "ECE: ours / limit / by chance"]
    return [*header, "accuracy: ours / raw"], rows


def draw(results):
    """Log-loss and calibration error by number of labels, a panel per decision model."""
    import matplotlib.pyplot as plt

    from sklfusion.plotting import tidy

    colors = ("#999999", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00", "#0072B2", "#009E73")
    figure, axes = plt.subplots(2, len(MODELS), figsize=(10, 6), sharex=True, layout="constrained")
    for column, model in zip(axes.T, MODELS, strict=True):
        cells = [c for c in results["cells"] if c["model"] == model]
        sizes = [c["labels"] for c in cells]
        for ax, measure in zip(column, ("log-loss", "ECE"), strict=True):
            for method, color in zip(METHODS, colors, strict=True):
                values = [c[method][measure][0] for c in cells]
                ax.plot(sizes, values, "o-", ms=3.5, lw=1.5, color=color, label=method)
            ax.set_xscale("log")
            ax.set_xticks(sizes, sizes)
            ax.minorticks_off()
            tidy(ax)
        top = 1.35 * max(c["raw"]["log-loss"][0] for c in cells)
        low = min(c["ordinal fusion"]["log-loss"][0] for c in cells)
        column[0].set_ylim(low - 0.03, top)  # vector scaling of 20 rows is far above
        column[0].set_title(model, fontsize=10)
        column[1].set_xlabel("labels")
        column[1].set_ylim(0, 0.25)
    axes[0, 0].set_ylabel("log-loss")
    axes[1, 0].set_ylabel("expected calibration error")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4,
                  frameon=False, fontsize=9)  # fmt: skip
    return figure


if __name__ == "__main__":
    data_dir()
    _contest.program("decision_models", run, table, draw, **MADE)
