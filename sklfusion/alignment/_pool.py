"""`DistributionPool`: one label distribution out of several, and the sets to say with it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from sklfusion._logistic import fit_shared
from sklfusion._sklearn_compat import check_parameters, number
from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.multilabel._calibration import to_logits
from sklfusion.multilabel._targets import check_target

# Beyond these odds a source is not believed: a vote of 8 to 0 is no 18 nats.
_LEAST_PROBABILITY = 1e-4
# Ridge of the intercepts: as good as none.
_INTERCEPT_RIDGE = 1e-2


class DistributionPool(ClassifierMixin, BaseEstimator):
    """Pool label distributions: probes, readings of an LLM, an encoder.

    P_l = σ(b_l + Σ_s w_s · logit p_s,l): a log-linear pool with one weight for each source,
    not below 0 and shared by all labels, and an intercept for each label. So few numbers that a
    hundred texts are enough to tell how far each source can be believed.

    Parameters
    ----------
    penalty : float, default=1.0
        Ridge of the weights, in units of a source's spread.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Column names of y if it was a frame, else ``0 .. K-1``.
    weights_ : ndarray of shape (S,)
        Weight of the log-odds of each source.
    intercept_ : ndarray of shape (K,)
        Intercept of each label.
    n_features_in_ : int
        S · K.

    See Also
    --------
    sklfusion.LabelDistributionEstimator : One source.
    sklfusion.FusionClassifier : Where labels are classes, not rates.

    Notes
    -----
    X holds the probabilities of the S sources side by side, (n, S · K), like the score columns
    of :class:`~sklfusion.FusionClassifier`. Those that were learnt from the same texts must be
    held out (``cross_val_predict``), or the pool trusts them too much. NaN is no answer: the
    source then says what it says on average. Cost: milliseconds for a thousand texts.

    References
    ----------
    Genest and Zidek, Combining probability distributions: a critique and an annotated
    bibliography (1986).

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion.alignment import DistributionPool
    >>> rng = np.random.default_rng(0)
    >>> rates = rng.random((200, 2))
    >>> good = np.clip(rates + 0.1 * rng.normal(size=rates.shape), 0.01, 0.99)
    >>> noise = rng.random((200, 2))
    >>> pool = DistributionPool().fit(np.hstack([good, noise]), rates)
    >>> bool(pool.weights_[0] > 0.5 > 0.1 > pool.weights_[1])
    True
    """

    _parameter_constraints: dict = {"penalty": [number(0)]}

    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.input_tags.allow_nan = True
        return tags

    @whole
    def fit(self, X: Any, y: Any) -> Self:
        """Learn the weights.

        Parameters
        ----------
        X : array-like of shape (n, S · K)
            Probabilities of S sources, side by side.
        y : array-like, sparse matrix or DataFrame of shape (n, K)
            Rates in [0, 1] or 0/1.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the columns of X are no whole number of sources, or no probabilities.
        """
        check_parameters(self)
        Y, self.classes_ = check_target(y, caller=type(self).__name__, soft=True)
        Z = self._logits(X, Y.shape[1])
        if len(Z) != len(Y):
            raise ValueError(f"X has {len(Z)} texts, y has {len(Y)} rows.")
        self.n_features_in_ = Z.shape[1] * Z.shape[2]
        answered = ~np.isnan(Z)
        counts = np.maximum(answered.sum(axis=0), 1)
        self._mean = np.where(answered, Z, 0).sum(axis=0) / counts
        Z = np.where(answered, Z - self._mean, 0)
        spread = np.sqrt((Z**2).mean(axis=(0, 2))) + 1e-9
        w, b = _fit_pool(Z / spread[:, None], Y, self.penalty)
        self.weights_ = w / spread
        self.intercept_ = b - self.weights_ @ self._mean
        return self

    def _logits(self, X, k):
        """Return log-odds of shape (n, S, K), NaN where there is no answer."""
        X = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
        if X.shape[1] % k:
            raise ValueError(
                f"{type(self).__name__} got {X.shape[1]} columns for {k} labels; it needs the "
                "probabilities of whole sources side by side, a multiple of the labels."
            )
        missing = np.isnan(X)
        p = np.where(missing, 0.5, X)
        if ((p < 0) | (p > 1)).any():
            raise ValueError(f"{type(self).__name__} got values outside [0, 1] in X.")
        Z = np.where(
            missing, np.nan, to_logits(np.clip(p, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
        )
        return Z.reshape(len(X), -1, k)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return independent probabilities of shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, S · K)
            Probabilities of the sources, side by side.

        Returns
        -------
        ndarray of shape (n, K)
            One column per label.
        """
        check_is_fitted(self, "weights_")
        Z = self._logits(X, len(self.classes_))
        if Z.shape[1] != len(self.weights_):
            raise ValueError(
                f"X has {Z.shape[1]} sources, {type(self).__name__} was fitted with "
                f"{len(self.weights_)}."
            )
        Z = np.where(np.isnan(Z), self._mean, Z)
        return expit(np.einsum("nsk,s->nk", Z, self.weights_) + self.intercept_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the labels of probability above 0.5 as an int indicator of shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, S · K)
            Probabilities of the sources, side by side.

        Returns
        -------
        ndarray of shape (n, K) of int
            A label indicator.
        """
        return (self.predict_proba(X) > 0.5).astype(np.int64)


@one_thread()
def _fit_pool(Z, Y, penalty):
    """Return weights (S,) of at least 0 and intercepts (K,) of least cross-entropy; convex."""
    n, n_sources, k = Z.shape
    prior = np.zeros(n_sources), np.full(n_sources, float(penalty))
    weights, intercept = fit_shared(
        Z.transpose(1, 0, 2), np.ones((n, 1)), np.zeros((n, k)), Y, np.ones((n, 1)), "sigmoid",
        penalty=_INTERCEPT_RIDGE, start=np.zeros((1, 1, k)), factor_prior=prior, tolerance=1e-13,
    )  # fmt: skip
    return weights[0], intercept[0, 0]


def expected_f1_sets(probabilities: Any) -> np.ndarray:
    """Return the label set of each text whose expected example F1 is largest.

    With independent labels that is always the m most probable ones, for an m that the
    probabilities decide: several labels at 0.4 are worth saying, although none passes 0.5. No
    threshold is tuned, so nothing is learnt from few texts; the probabilities must mean what they
    say. Two empty sets count as F1 = 1.

    Parameters
    ----------
    probabilities : array-like of shape (n, K)
        Independent probabilities of the labels.

    Returns
    -------
    ndarray of shape (n, K)
        Indicator, int.

    See Also
    --------
    example_f1 : What the sets are best for.
    sklfusion.MultiLabelThresholds : One cut per label instead.

    Notes
    -----
    Cost: n · K³ multiplications.

    References
    ----------
    Ye, Chai, Lee and Chieu, Optimizing F-measures: a tale of two approaches (2012).

    Examples
    --------
    >>> from sklfusion.alignment import expected_f1_sets
    >>> expected_f1_sets([[0.45, 0.4, 0.1], [0.1, 0.1, 0.1]]).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    p = check_array(probabilities, dtype=np.float64, ensure_min_samples=0)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("expected_f1_sets got values outside [0, 1]; it needs probabilities.")
    n, k = p.shape
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    among_rest = [np.ones((n, 1))]  # distribution of the number of true labels below rank m
    for column in ranked.T[::-1]:
        among_rest.append(_one_more(among_rest[-1], column))
    among_said = np.ones((n, 1))
    gain = np.empty((n, k + 1))
    gain[:, 0] = among_rest[k][:, 0]
    for m in range(1, k + 1):
        among_said = _one_more(among_said, ranked[:, m - 1])
        hits, missed = np.arange(m + 1)[:, None], np.arange(k - m + 1)
        gain[:, m] = ((among_said @ (2 * hits / (m + hits + missed))) * among_rest[k - m]).sum(
            axis=1
        )
    size = np.argmax(gain > gain.max(axis=1, keepdims=True) - 1e-12, axis=1)
    sets = np.zeros((n, k), dtype=np.int64)
    np.put_along_axis(sets, order, (np.arange(k) < size[:, None]).astype(np.int64), axis=1)
    return sets


def _one_more(distribution, p):
    """Distribution of a count after one more independent event of probability p."""
    more = np.zeros((len(distribution), distribution.shape[1] + 1))
    more[:, :-1] = distribution * (1 - p)[:, None]
    more[:, 1:] += distribution * p[:, None]
    return more
