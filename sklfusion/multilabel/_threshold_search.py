"""The search for thresholds that maximise a metric on given rows; pure numpy, no estimator."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring

from sklfusion.multilabel._targets import f1_macro, f1_of_counts

#: A gain below this is rounding.
ROUNDING = 1e-9
#: Rounds of coordinate ascent at most.
_MAX_SWEEPS = 5


def apply_thresholds(scores, thresholds, at_least_one=False):
    """Return the (n, K) int indicator of ``scores >= thresholds``.

    With ``at_least_one`` a row in which none passes gets the label of largest margin; among
    equals the first.
    """
    on = (scores >= thresholds).astype(np.int64)
    if at_least_one and len(on):
        empty = np.flatnonzero(on.sum(axis=1) == 0)
        on[empty, (scores[empty] - thresholds).argmax(axis=1)] = 1
    return on


class Tuner:
    """Finds the thresholds that maximise a metric on given rows; pure numpy, no estimator."""

    def __init__(self, metric, per_label, candidates, default, at_least_one, tunable):
        self.metric = metric
        self.per_label = per_label
        self.candidates = candidates
        self.default = default
        self.at_least_one = at_least_one
        self.tunable = tunable
        # Macro F1 falls apart into labels unless at_least_one couples them.
        self.separable = metric is f1_macro and per_label and not at_least_one

    def tune(self, Y, scores):
        thresholds = np.full(Y.shape[1], self.default)
        if not self.per_label:
            pool = np.unique(scores[:, self.tunable])
            return self._best(Y, scores, thresholds, slice(None), pool)[0]
        columns = np.flatnonzero(self.tunable)
        if self.separable:
            for k in columns:
                thresholds[k] = best_f1_threshold(
                    Y[:, k], scores[:, k], self._grid(np.unique(scores[:, k])), self.default
                )
            return thresholds
        score = -np.inf
        for _ in range(_MAX_SWEEPS):  # coordinate ascent
            before = score
            for k in columns:
                pool = np.unique(scores[:, k])
                thresholds, score = self._best(Y, scores, thresholds, [k], pool)
            if score <= before + ROUNDING:
                break
        return thresholds

    def _grid(self, values):
        """Candidate thresholds midway between neighbouring scores, thinned to quantiles."""
        if np.ndim(self.candidates):
            return np.asarray(self.candidates, dtype=np.float64)
        middle = (values[1:] + values[:-1]) / 2
        if len(middle) > self.candidates:
            middle = middle[np.linspace(0, len(middle) - 1, self.candidates).astype(int)]
        return middle

    def _best(self, Y, scores, thresholds, columns, pool):
        """Best candidate for some columns with the others held; ties to the nearest default."""
        current = apply_thresholds(scores, thresholds, self.at_least_one)
        best, best_score = thresholds, self.metric(Y, current)
        grid = self._grid(pool)
        for candidate in grid[np.argsort(np.abs(grid - self.default), kind="stable")]:
            trial = thresholds.copy()
            trial[columns] = candidate
            score = self.metric(Y, apply_thresholds(scores, trial, self.at_least_one))
            if score > best_score + ROUNDING:
                best, best_score = trial, score
        return best, best_score


def best_f1_threshold(y, score, grid, default):
    """Return the candidate of largest F1; the default if none beats it, ties nearest to it."""
    grid = np.append(grid, default)
    order = np.argsort(score)
    positives_below = np.concatenate([[0], np.cumsum(y[order])])
    below = np.searchsorted(score[order], grid, side="left")
    true_positive = y.sum() - positives_below[below]
    f1 = 2 * true_positive / np.maximum(len(y) - below + y.sum(), 1)
    best = np.flatnonzero(f1 >= f1.max() - ROUNDING)
    return grid[best[np.abs(grid[best] - default).argmin()]]


_METRICS = {
    "f1": f1_macro,
    "f1_macro": f1_macro,
    "f1_micro": lambda Y, on: float(f1_of_counts((Y * on).sum(), Y.sum() + on.sum())),
    "f1_samples": lambda Y, on: f1_of_counts(
        (Y * on).sum(axis=1), Y.sum(axis=1) + on.sum(axis=1)
    ).mean(),
    "exact_match": lambda Y, on: float((on == Y).all(axis=1).mean()),
    "accuracy": lambda Y, on: float((on == Y).all(axis=1).mean()),
}


def metric_of(scoring):
    """Return ``metric(Y, indicator)`` for a name or a scikit-learn scorer."""
    if isinstance(scoring, str) and scoring in _METRICS:
        return _METRICS[scoring]

    def metric(Y, on):
        fixed = _Fixed(on)
        return check_scoring(fixed, scoring)(fixed, on, Y)

    return metric


class _Fixed(ClassifierMixin, BaseEstimator):
    """A classifier whose predictions are given, so that any scorer can judge them."""

    def __init__(self, indicator=None):
        self.indicator = indicator
        self.classes_ = [np.array([0, 1])] * (0 if indicator is None else indicator.shape[1])

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return self.indicator
