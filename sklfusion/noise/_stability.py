"""`StabilityReport`: what do LLM labels cost, and how much does the outcome depend on luck?"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.utils import check_random_state

from sklfusion._sklearn_compat import safe_indexing
from sklfusion._threads import one_thread
from sklfusion.noise._labels import as_annotations, encode_labels, missing_mask
from sklfusion.noise._metrics import krippendorff_alpha, plateau_slope, share_unchanged


@dataclass(frozen=True, eq=False)
class StabilityResult:
    """What repeated trainings on one set of labels gave.

    Attributes
    ----------
    classes : ndarray of shape (K,)
        The classes all figures refer to, also those that were never predicted.
    predictions : ndarray of shape (n_runs, n_test)
        Predicted labels.
    accuracy, macro_f1 : ndarray of shape (n_runs,)
        Scores against the gold labels of the test rows.
    recall : ndarray of shape (n_runs, K)
        Recall per class.
    alpha : float
        Krippendorff's alpha between the runs.
    unchanged : float
        Share of test rows on which all runs agree.
    sizes : ndarray of shape (n_sizes,), or None
        Training sizes of the learning curve.
    curve : ndarray of shape (n_runs, n_sizes), or None
        Accuracy along it.
    """

    classes: np.ndarray
    predictions: np.ndarray
    accuracy: np.ndarray
    macro_f1: np.ndarray
    recall: np.ndarray
    alpha: float
    unchanged: float
    sizes: np.ndarray | None = None
    curve: np.ndarray | None = None
    meta: dict = field(default_factory=dict)

    def summary(self):
        """Return the means and standard deviations as a dict of float."""
        out = {"alpha": self.alpha, "unchanged": self.unchanged}
        for name in ("accuracy", "macro_f1"):
            values = getattr(self, name)
            out[f"{name}_mean"] = float(values.mean())
            out[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        return out

    def plateau(self, **kwargs):
        """Return the gain per doubling at the end of the learning curve and its interval.

        See :func:`sklfusion.noise._metrics.plateau_slope`.
        """
        if self.curve is None:
            raise ValueError("There is no learning curve; pass train_sizes to StabilityReport.")
        return plateau_slope(self.sizes, self.curve, **kwargs)


class StabilityReport:
    """Train an estimator several times and report level, spread and agreement.

    An encoder trained on LLM labels is often less accurate than one trained on gold labels, and
    nearly always less *stable*: another seed gives other predictions for the same texts [1]_. This
    report measures both, with the same seeds for every set of labels, so that two sets are
    compared run by run.

    Parameters
    ----------
    estimator : estimator
        Classifier. Every ``random_state`` parameter in it, nested ones too, is set per run.
    n_runs : int, default=5
        Trainings per set of labels.
    train_sizes : list of int or float, optional
        Sizes (or shares) of a learning curve. Smaller sets are nested in larger ones.
    reseed : {"student", "both"}, default="student"
        ``"student"`` changes the seed of the estimator between runs; ``"both"`` also takes
        another column of labels per run, from labels of shape (n, R) or annotations with repeats.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; such rows are not trained on.
    random_state : int, RandomState or None, default=0
        Seed of the seeds.

    Attributes
    ----------
    results_ : dict of str to StabilityResult
        One entry per set of labels that was evaluated, by name.

    See Also
    --------
    sklfusion.plotting.StabilityDisplay : Draws it.
    LabelRepairClassifier : Repairs some of the labels.

    Notes
    -----
    Alpha and the share of unchanged predictions are high for a classifier that always says the
    same; read them beside macro-F1. Validation labels inside the estimator (early stopping) are
    the labels it is given: LLM labels in a setting without gold. Cost: ``n_runs`` trainings per
    set of labels, times the number of training sizes.

    References
    ----------
    .. [1] Feeding LLM annotations to BERT classifiers at your own risk, arXiv 2504.15432.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import SGDClassifier
    >>> from sklfusion import StabilityReport
    >>> X, gold = make_classification(200, random_state=0)
    >>> llm = gold.copy()
    >>> llm[:30] = 1 - llm[:30]
    >>> report = StabilityReport(SGDClassifier(), n_runs=3)
    >>> table = report.compare(X[:150], {"gold": gold[:150], "llm": llm[:150]},
    ...                        X[150:], gold[150:])
    >>> sorted(table["llm"])[:3]
    ['accuracy_gap', 'accuracy_gap_std', 'accuracy_mean']
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_runs: int = 5,
        train_sizes: Any = None,
        reseed: str = "student",
        missing_label: Any = -1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.estimator = estimator
        self.n_runs = n_runs
        self.train_sizes = train_sizes
        self.reseed = reseed
        self.missing_label = missing_label
        self.random_state = random_state

    def evaluate(
        self, X: Any, y: Any, X_test: Any, y_test: Any, *, name: str = "labels"
    ) -> StabilityResult:
        """Train ``n_runs`` times on one set of labels.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Training rows: features, or texts if the estimator takes texts.
        y : array-like of shape (n,) or (n, R), or Annotations
            Labels to train on.
        X_test, y_test : array-like
            Test rows with gold labels.
        name : str
            Key in ``results_``.

        Returns
        -------
        StabilityResult
        """
        self._check()
        draws = self._label_draws(y)
        # str() so that one list of classes holds what numpy would refuse to sort together
        seen = [np.asarray(d)[~missing_mask(d, self.missing_label)] for d in draws]
        classes = np.unique(
            np.concatenate([np.asarray(y_test), *[np.array(s.tolist()) for s in seen]])
        )
        sizes = self._sizes(len(draws[0]))
        predictions, curve = [], np.empty((self.n_runs, len(sizes)))
        for run, seed in enumerate(self._seeds()):
            labels = draws[run % len(draws)]
            order = np.random.default_rng(seed).permutation(len(labels))
            for j, size in enumerate(sizes):
                rows = np.sort(order[:size])
                rows = rows[~missing_mask(np.asarray(labels)[rows], self.missing_label)]
                predicted = self._train(X, labels, rows, seed).predict(X_test)
                curve[run, j] = accuracy_score(y_test, predicted)
            predictions.append(predicted)
        result = _summarise(np.array(predictions), np.asarray(y_test), classes)
        if self.train_sizes is not None:
            object.__setattr__(result, "sizes", np.array(sizes))
            object.__setattr__(result, "curve", curve)
        if not hasattr(self, "results_"):
            self.results_ = {}
        self.results_[name] = result
        return result

    def compare(
        self, X: Any, labels: Any, X_test: Any, y_test: Any, *, reference: str | None = None
    ) -> dict:
        """Compare several sets of labels run by run.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Training rows.
        labels : dict of str to labels
            The sets, by name.
        X_test : array-like of shape (n_test, ...)
            Test rows.
        y_test : array-like of shape (n_test,)
            Their gold labels.
        reference : str, optional
            The set that the gaps refer to; by default the first.

        Returns
        -------
        dict of str to dict
            Per set: what ``summary()`` gives, ``accuracy_gap`` (mean over runs of reference
            minus this, equal seeds), its standard deviation ``accuracy_gap_std``, and
            ``recall_gap``, a dict from class to the same difference in recall.
        """
        if not labels:
            raise ValueError(
                "StabilityReport.compare got no labels; pass a dict of name to labels."
            )
        reference = next(iter(labels)) if reference is None else reference
        if reference not in labels:
            raise ValueError(f"reference={reference!r} is none of {list(labels)}.")
        results = {
            name: self.evaluate(X, y, X_test, y_test, name=name) for name, y in labels.items()
        }
        base, table = results[reference], {}
        for name, result in results.items():
            gap = base.accuracy - result.accuracy
            recall = {c: r for c, r in zip(result.classes.tolist(), result.recall.T, strict=True)}
            table[name] = result.summary() | {
                "accuracy_gap": float(gap.mean()),
                "accuracy_gap_std": float(gap.std(ddof=1)) if len(gap) > 1 else 0.0,
                "recall_gap": {
                    c: float((base_recall - recall[c]).mean())
                    for c, base_recall in zip(base.classes.tolist(), base.recall.T, strict=True)
                    if c in recall
                },
            }
        return table

    def _check(self):
        if not isinstance(self.n_runs, Integral) or self.n_runs < 2:
            raise ValueError(
                f"StabilityReport got n_runs={self.n_runs!r}; agreement needs an int, at least 2."
            )
        if self.reseed not in ("student", "both"):
            raise ValueError(f"reseed={self.reseed!r}; use 'student' or 'both'.")

    def _seeds(self):
        rng = check_random_state(self.random_state)
        return rng.randint(2**31 - 1, size=self.n_runs)

    def _label_draws(self, y):
        annotations = as_annotations(y)
        if annotations is not None:
            encode_labels(annotations, caller="StabilityReport")  # refuses what cannot be used
            if self.reseed == "both" and annotations.repeats is not None:
                names = np.array([*annotations.classes, None], dtype=object)
                gone = np.isnan(annotations.repeats).any(axis=2)
                codes = np.where(gone, -1, np.nan_to_num(annotations.repeats).argmax(axis=2))
                return list(names[codes])
            return [annotations.labels()]
        y = np.asarray(y)
        if y.ndim == 2:
            return list(y.T) if self.reseed == "both" else [y[:, 0]]
        return [y]

    def _sizes(self, n):
        if self.train_sizes is None:
            return [n]
        sizes = sorted({int(s * n) if isinstance(s, float) else int(s) for s in self.train_sizes})
        if sizes[0] < 1 or sizes[-1] > n:
            raise ValueError(
                f"train_sizes={list(self.train_sizes)!r} must lie between 1 and {n} rows "
                "(or be shares in (0, 1])."
            )
        # the last point of the curve is what the report is about
        return sizes if sizes[-1] == n else [*sizes, n]

    def _train(self, X, labels, rows, seed):
        estimator = clone(self.estimator)
        seeds = {
            k: int(seed)
            for k in estimator.get_params(deep=True)
            if k == "random_state" or k.endswith("__random_state")
        }
        estimator.set_params(**seeds)
        picked = np.asarray(labels)[rows]
        if picked.dtype.kind == "O":
            picked = np.array(picked.tolist())
        elif picked.dtype.kind == "f" and (picked == picked.astype(int)).all():
            picked = picked.astype(int)
        with one_thread(X, openmp=False):
            return estimator.fit(safe_indexing(X, rows), picked)


def _summarise(predictions, y_test, classes):
    def f1(p):
        return f1_score(y_test, p, labels=classes, average="macro", zero_division=0.0)

    present = np.isin(classes, y_test)
    recall = np.full((len(predictions), len(classes)), np.nan)
    recall[:, present] = [
        recall_score(y_test, p, labels=classes[present], average=None, zero_division=0.0)
        for p in predictions
    ]
    return StabilityResult(
        classes=classes,
        predictions=predictions,
        accuracy=np.array([accuracy_score(y_test, p) for p in predictions]),
        macro_f1=np.array([f1(p) for p in predictions]),
        recall=recall,
        alpha=krippendorff_alpha(predictions),
        unchanged=share_unchanged(predictions),
    )
