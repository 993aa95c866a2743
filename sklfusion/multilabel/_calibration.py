"""`MultiLabelCalibrator`: probabilities per label that mean what they say."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._logistic import fit_labels
from sklfusion._sklearn_compat import check_parameters, one_of
from sklfusion._threads import one_thread
from sklfusion._validation import check_scores
from sklfusion._whole import whole
from sklfusion.multilabel._splitting import check_multilabel_cv
from sklfusion.multilabel._targets import (
    check_target,
    fit_inner,
    has_scores,
    label_scores,
    multilabel_tags,
    out_of_fold_scores,
    warn_one_sided,
)

_EPSILON = 1e-8
# Ridge of a map per row: as good as none, but separable scores get a finite slope.
_RIDGE = 1e-6


class MultiLabelCalibrator(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Calibrate a multi-label classifier label by label, on held-out scores.

    The multi-label sibling of :class:`~sklearn.calibration.CalibratedClassifierCV`, which
    refuses indicator targets. (For one label per text use that one, ``method="temperature"``.)

    Parameters
    ----------
    estimator : classifier or None, default=None
        A multi-label classifier with ``predict_proba`` or ``decision_function``. With None, X
        itself is the (n, K) matrix of probabilities.
    method : {"sigmoid", "temperature", "isotonic"}, default="sigmoid"
        "sigmoid" is Platt scaling, σ(w·logit p + b) with Platt's smoothed targets;
        "temperature" σ(logit p / T), which cannot move p = 0.5; "isotonic" any increasing map,
        for labels with hundreds of positives.
    per_label : bool, default=True
        One map per label; False fits one map to all labels together.
    cv : int, splitter, iterable, "prefit" or None, default=None
        Folds of the scores. None is 5 folds by :class:`IterativeStratifiedKFold`. With "prefit"
        ``estimator`` must be fitted and the rows given to ``fit`` should be new to it.
    n_jobs : int or None, default=None
        Folds fitted at once.
    random_state : int, RandomState instance or None, default=0
        Seeds the folds.

    Attributes
    ----------
    estimator_ : classifier or None
        Fitted on all rows.
    calibrators_ : list of K objects
        The map of each label, with ``predict(scores)``.
    classes_ : ndarray of shape (K,)
        Column names of y if it was a frame, else ``0 .. K-1``.

    Warns
    -----
    DataWarning
        For labels that no row has, or every row: nothing can be learnt, their probabilities
        pass unchanged.

    See Also
    --------
    MultiLabelThresholds : Chooses the cut, not the probabilities.
    IterativeStratifiedKFold : Its folds.
    sklearn.calibration.CalibratedClassifierCV : For one label per row.

    Notes
    -----
    Targets may be rates in [0, 1] (shares of annotators); ``estimator`` must accept them then.

    References
    ----------
    Platt, Probabilistic outputs for support vector machines (1999). Guo et al., On calibration
    of modern neural networks (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion import MultiLabelCalibrator
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random((4000, 2))
    >>> y = (rng.random((4000, 2)) < truth).astype(int)
    >>> overconfident = 1 / (1 + ((1 - truth) / truth) ** 3)
    >>> fixed = MultiLabelCalibrator().fit(overconfident, y).predict_proba(overconfident)
    >>> bool(np.abs(fixed - truth).mean() < 0.03 < np.abs(overconfident - truth).mean())
    True
    """

    _parameter_constraints: dict = {
        "method": [one_of("sigmoid", "temperature", "isotonic")],
        "per_label": ["boolean"],
        "cv": ["cv_object", one_of("prefit")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: str = "sigmoid",
        per_label: bool = True,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.per_label = per_label
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        return multilabel_tags(super().__sklearn_tags__(), self.estimator)

    @whole
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the estimator and the maps.

        Parameters
        ----------
        X : sequence of length n, or (n, K) probabilities
            Whatever ``estimator`` takes; probabilities when it is None.
        y : array-like, sparse matrix or DataFrame of shape (n, K)
            Label indicator matrix, or rates in [0, 1].
        **params : dict
            Passed to ``estimator.fit``; values of length n are cut to the folds.

        Returns
        -------
        self
        """
        name = type(self).__name__
        check_parameters(self)
        Y, self.classes_ = check_target(y, caller=name, soft=True)
        hard = bool(((Y == 0) | (Y == 1)).all())
        scores = self._held_out_logits(X, Y.astype(np.int64) if hard else Y, params)
        scores = check_scores(scores, Y.shape[1], caller=name)
        one_sided = warn_one_sided(
            Y, self.classes_, caller=name, consequence="Their probabilities pass unchanged."
        )
        if hasattr(X, "shape") and len(X.shape) == 2:
            self.n_features_in_ = X.shape[1]
        self.calibrators_ = fit_maps(
            scores, Y, method=self.method, per_label=self.per_label, skip=one_sided
        )
        return self

    def _held_out_logits(self, X, Y, params):
        self._method = None
        if self.estimator is None:
            self.estimator_ = None
            return self._logits(X)
        if not has_scores(self.estimator):
            raise TypeError(
                f"{type(self.estimator).__name__} has neither predict_proba nor "
                "decision_function; MultiLabelCalibrator needs one of them."
            )
        has_proba = hasattr(self.estimator, "predict_proba")
        self._method = "predict_proba" if has_proba else "decision_function"
        if isinstance(self.cv, str) and self.cv == "prefit":
            check_is_fitted(self.estimator)
            self.estimator_ = self.estimator
            return self._logits(X)
        splits = list(check_multilabel_cv(self.cv, Y, self.random_state).split(X, Y))
        scores = out_of_fold_scores(
            self.estimator, X, Y, splits, method=self._method, params=params, n_jobs=self.n_jobs
        )
        self.estimator_ = fit_inner(self.estimator, X, Y, params)
        return to_logits(scores) if has_proba else scores

    def _logits(self, X):
        if self.estimator_ is None:
            k = len(self.classes_)
            return to_logits(check_scores(X, k, caller=type(self).__name__))
        scores = label_scores(self.estimator_, X, self._method, len(self.classes_))
        return to_logits(scores) if self._method == "predict_proba" else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return calibrated probabilities per label, independent, shape (n, K).

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "calibrators_")
        return apply_maps(self.calibrators_, self._logits(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the labels of probability at least 0.5 as an int indicator of shape (n, K).

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K) of int
            A label indicator.
        """
        return (self.predict_proba(X) >= 0.5).astype(np.int64)


def to_logits(probabilities):
    """Return log-odds, with probabilities kept 1e-8 away from 0 and 1.

    Raises
    ------
    ValueError
        If a value is not a probability.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("Calibration got a value outside [0, 1]; it needs probabilities.")
    return logit(np.clip(p, _EPSILON, 1 - _EPSILON))


@one_thread()
def fit_maps(logits, Y, *, method="sigmoid", per_label=True, skip=None):
    """Fit the map of each label on log-odds ``logits`` and targets ``Y``, both (n, K).

    Labels in the boolean mask ``skip`` get the identity.
    """
    k = Y.shape[1]
    skip = np.zeros(k, dtype=bool) if skip is None else skip
    if not per_label:
        if skip.all():
            return [PlattScaling()] * k
        shared = _MAPS[method]().fit(logits[:, ~skip].ravel(), Y[:, ~skip].ravel())
        return [PlattScaling() if s else shared for s in skip]
    return [
        PlattScaling() if skip[j] else _MAPS[method]().fit(logits[:, j], Y[:, j]) for j in range(k)
    ]


def apply_maps(maps, logits):
    """Return calibrated probabilities of shape (n, K)."""
    return np.column_stack([m.predict(column) for m, column in zip(maps, logits.T, strict=True)])


class PlattScaling:
    """p = σ(slope · s + intercept), of largest likelihood; the identity until fitted.

    Targets are pulled to (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) as Platt does, so that separable
    scores give a finite slope. The slope is kept at 0 or above: a map that turns the ranking
    round would be noise.
    """

    def __init__(self):
        self.slope, self.intercept = 1.0, 0.0

    def fit(self, s, t):
        """Fit to log-odds ``s`` and targets ``t`` in [0, 1], both of shape (n,)."""
        positives = t.sum()
        high, low = (positives + 1) / (positives + 2), 1 / (len(t) - positives + 2)
        t = low + t * (high - low)
        design = np.column_stack([s, np.ones_like(s)])
        self.slope, self.intercept = map(float, _fit_line(design, t, [1.0, 0.0]))
        if self.slope < 0:
            self.slope, self.intercept = 0.0, float(logit(t.mean()))
        return self

    def predict(self, s):
        """Return probabilities."""
        return expit(self.slope * s + self.intercept)


class TemperatureScaling:
    """p = σ(s / temperature) for one label; the identity until fitted."""

    def __init__(self):
        self.temperature = 1.0

    def fit(self, s, t):
        """Fit to log-odds ``s`` and targets ``t`` in [0, 1], both of shape (n,)."""
        slope = _fit_line(s[:, None], t, [1.0])[0]
        # A slope of zero or less says that the scores carry nothing: 0.5 throughout.
        self.temperature = 1.0 / max(slope, 1e-6)
        return self

    def predict(self, s):
        """Return probabilities."""
        return expit(s / self.temperature)


class IsotonicScaling:
    """An increasing step function from log-odds to probabilities."""

    def fit(self, s, t):
        """Fit to log-odds ``s`` and targets ``t`` in [0, 1], both of shape (n,)."""
        self.regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(s, t)
        return self

    def predict(self, s):
        """Return probabilities."""
        return self.regression.predict(s)


_MAPS: dict[str, Any] = {
    "sigmoid": PlattScaling,
    "temperature": TemperatureScaling,
    "isotonic": IsotonicScaling,
}


def _fit_line(A, t, start):
    """Logistic coefficients (d,) of soft targets ``t`` (n,), with a trace of ridge."""
    return fit_labels(A, t[:, None], _RIDGE * len(t), np.array(start)[:, None])[:, 0]
