"""`MultiLabelThresholds`: one decision threshold per label, tuned on held-out scores."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklfusion._sklearn_compat import check_parameters, integer, number, one_of
from sklfusion._validation import check_scores
from sklfusion._whole import whole
from sklfusion.multilabel._splitting import check_multilabel_cv, iterative_folds
from sklfusion.multilabel._targets import (
    check_target,
    f1_per_label,
    fit_inner,
    has_scores,
    label_scores,
    multilabel_tags,
    out_of_fold_scores,
    warn_one_sided,
)
from sklfusion.multilabel._threshold_search import ROUNDING, Tuner, apply_thresholds, metric_of


def _inner_has(name):
    def check(self):
        estimator = getattr(self, "estimator_", self.estimator)
        if estimator is None:
            return name == "predict_proba"
        getattr(estimator, name)
        return True

    return check


class MultiLabelThresholds(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier that tunes one decision threshold per label by cross-validation.

    The multi-label sibling of :class:`~sklearn.model_selection.TunedThresholdClassifierCV`,
    which takes binary targets only. Scores come from cross-validation and are pooled, so no
    threshold is chosen on a score whose model saw the row. The choice itself is
    cross-validated too: thresholds tuned on all folds but one are judged on that one, and where
    they do not beat the default there, the default stays.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A multi-label classifier with ``predict_proba`` or ``decision_function``. With None, X
        itself is the (n, K) matrix of scores: use it as the last step after something that gives
        held-out probabilities.
    scoring : {"f1", "f1_micro", "f1_samples", "exact_match"}, str or callable, default="f1"
        What to maximise. "f1" is the macro average: every label on its own. "exact_match" is the
        share of rows whose whole label set is right. Else any scikit-learn scorer name or
        ``scorer(estimator, X, y)`` that needs ``predict`` alone.
    per_label : bool, default=True
        One threshold per label; False shares one between all labels.
    thresholds : int or array-like, default=100
        Number of candidates per label, taken between the quantiles of its scores, or the
        candidates themselves.
    default : float or "auto", default="auto"
        Threshold of labels that cannot be tuned, and the one to beat. "auto" is 0.5 for
        probabilities and 0 for decision values.
    at_least_one : bool, default=False
        Whether a row in which no label passes gets the label that comes nearest (largest score
        minus threshold).
    response_method : {"auto", "predict_proba", "decision_function"}, default="auto"
        Where scores come from; "auto" takes the first that the estimator has.
    cv : int, splitter, iterable, "prefit" or None, default=None
        Folds of the scores. None is 5 folds by :class:`IterativeStratifiedKFold`. With "prefit"
        ``estimator`` must be fitted and the rows given to ``fit`` should be new to it.
    n_jobs : int or None, default=None
        Folds fitted at once.
    random_state : int, RandomState instance or None, default=0
        Seeds the folds. A number by default, so that two fits agree.

    Attributes
    ----------
    estimator_ : classifier or None
        Fitted on all rows.
    thresholds_ : ndarray of shape (K,)
        A label is on when its score is at least this.
    tuned_ : ndarray of bool of shape (K,)
        False where the default stayed.
    best_score_ : float
        Cross-validated score of the tuned thresholds: each fold judged by thresholds from the
        others.
    default_score_ : float
        Score of the default threshold on the same rows.
    classes_ : ndarray of shape (K,)
        Column names of y if it was a frame, else ``0 .. K-1``.

    Warns
    -----
    DataWarning
        For labels that no training row has, or every row; they keep the default.

    See Also
    --------
    MultiLabelCalibrator : Sets the probabilities right, not the cut.
    IterativeStratifiedKFold : Its folds.
    sklearn.model_selection.TunedThresholdClassifierCV : For two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion import MultiLabelThresholds
    >>> rng = np.random.default_rng(0)
    >>> y = (rng.random((200, 3)) < 0.3).astype(int)
    >>> p = 0.3 * y + 0.2 * rng.random((200, 3))  # the right order, but seldom above 0.5
    >>> clf = MultiLabelThresholds().fit(p, y)
    >>> clf.thresholds_.shape
    (3,)
    >>> clf.predict([[0.1, 0.3, 0.1]]).tolist()
    [[0, 1, 0]]
    """

    _parameter_constraints: dict = {
        "scoring": [str, callable],
        "per_label": ["boolean"],
        "thresholds": [integer(1), "array-like"],
        "default": [number(), one_of("auto")],
        "at_least_one": ["boolean"],
        "response_method": [one_of("auto", "predict_proba", "decision_function")],
        "cv": ["cv_object", one_of("prefit")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        scoring: Any = "f1",
        per_label: bool = True,
        thresholds: Any = 100,
        default: float | str = "auto",
        at_least_one: bool = False,
        response_method: str = "auto",
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.per_label = per_label
        self.thresholds = thresholds
        self.default = default
        self.at_least_one = at_least_one
        self.response_method = response_method
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__(), self.estimator)

    @whole
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the estimator and tune the thresholds.

        Parameters
        ----------
        X : sequence of length n, or (n, K) scores
            Whatever ``estimator`` takes; scores when it is None.
        y : array-like, sparse matrix or DataFrame of shape (n, K)
            Label indicator matrix.
        **params : dict
            Passed to ``estimator.fit``; values of length n are cut to the folds.

        Returns
        -------
        self
        """
        check_parameters(self)
        Y, self.classes_ = check_target(y, caller=type(self).__name__)
        self._method = self._check_method()
        default = self.default
        if default == "auto":
            default = 0.0 if self._method == "decision_function" else 0.5
        scores, folds = self._held_out_scores(X, Y, params)
        scores = check_scores(scores, Y.shape[1], caller=type(self).__name__)
        one_sided = warn_one_sided(
            Y,
            self.classes_,
            caller=type(self).__name__,
            consequence=f"They keep the default threshold {default:g}.",
        )
        if hasattr(X, "shape") and len(X.shape) == 2:
            self.n_features_in_ = X.shape[1]
        tuner = Tuner(
            metric_of(self.scoring), self.per_label, self.thresholds, default,
            self.at_least_one, ~one_sided,
        )  # fmt: skip
        self._choose(tuner, Y, scores, folds)
        return self

    def _check_method(self):
        if self.estimator is None:
            return None
        if self.response_method != "auto":
            return self.response_method
        if not has_scores(self.estimator):
            raise TypeError(
                f"{type(self.estimator).__name__} has neither predict_proba nor "
                "decision_function; MultiLabelThresholds needs one of them."
            )
        has_proba = hasattr(self.estimator, "predict_proba")
        return "predict_proba" if has_proba else "decision_function"

    def _held_out_scores(self, X, Y, params):
        """Scores of every row by a model that did not see it, and the row's fold."""
        if self.estimator is None or (isinstance(self.cv, str) and self.cv == "prefit"):
            self.estimator_ = self.estimator
            if self.estimator is None:
                scores = np.asarray(X, dtype=np.float64)
            else:
                check_is_fitted(self.estimator)
                scores = label_scores(self.estimator, X, self._method, Y.shape[1])
            n_splits = min(5, max(len(Y) // 2, 1))
            rng = np.random.default_rng(0)
            return scores, iterative_folds(Y, n_splits, rng)
        cv = check_multilabel_cv(self.cv, Y, self.random_state)
        splits = list(cv.split(X, Y))
        scores = out_of_fold_scores(
            self.estimator, X, Y, splits, method=self._method, params=params, n_jobs=self.n_jobs
        )
        self.estimator_ = fit_inner(self.estimator, X, Y, params)
        folds = np.empty(len(Y), dtype=int)
        for fold, (_, test) in enumerate(splits):
            folds[test] = fold
        return scores, folds

    def _choose(self, tuner, Y, scores, folds):
        """Tune on all rows; keep per label what also wins on folds it was not tuned on."""
        by_default = np.full(Y.shape[1], tuner.default)
        base = apply_thresholds(scores, by_default, self.at_least_one)
        held_out = base.copy()
        for fold in np.unique(folds) if len(np.unique(folds)) > 1 else ():
            test = folds == fold
            found = tuner.tune(Y[~test], scores[~test])
            held_out[test] = apply_thresholds(scores[test], found, self.at_least_one)
        self.best_score_ = float(tuner.metric(Y, held_out))
        self.default_score_ = float(tuner.metric(Y, base))
        if tuner.separable:
            better = f1_per_label(Y, held_out) > f1_per_label(Y, base) + ROUNDING
        else:
            better = np.full(Y.shape[1], self.best_score_ > self.default_score_ + ROUNDING)
        tuned = tuner.tune(Y, scores) if better.any() else by_default
        self.tuned_ = better & tuner.tunable & (tuned != tuner.default)
        self.thresholds_ = np.where(self.tuned_, tuned, tuner.default)
        if tuner.separable:
            kept = np.where(better, f1_per_label(Y, held_out), f1_per_label(Y, base))
            self.best_score_ = float(kept.mean())
        else:
            self.best_score_ = max(self.best_score_, self.default_score_)

    def _scores(self, X):
        check_is_fitted(self, "thresholds_")
        if self.estimator_ is None:
            X = np.asarray(X, dtype=np.float64)
            return check_scores(X, len(self.classes_), caller=type(self).__name__)
        return label_scores(self.estimator_, X, self._method, len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        """Return the label sets as an int indicator matrix of shape (n, K).

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K) of int
            A label indicator.
        """
        return apply_thresholds(self._scores(X), self.thresholds_, self.at_least_one)

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the estimator, shape (n, K), unchanged.

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "thresholds_")
        if self.estimator_ is None:
            return self._scores(X)
        return label_scores(self.estimator_, X, "predict_proba", len(self.classes_))

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the decision values of the estimator, shape (n, K), unchanged.

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "thresholds_")
        return label_scores(self.estimator_, X, "decision_function", len(self.classes_))
