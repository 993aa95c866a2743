"""`KNNLabelPrior`: which labels a text could truly have, from the labels of its neighbours."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sklfusion._sklearn_compat import HasMethods, check_parameters, integer, number, one_of
from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.exceptions import DataWarning
from sklfusion.noise._candidates import cut_candidates
from sklfusion.noise._labels import noisy_target
from sklfusion.noise._transition import (
    choose_prior_power,
    deconvolve,
    estimate_transition,
    posterior,
)

_NEIGHBORHOODS = (10, 20, 50, 100)


class KNNLabelPrior(BaseEstimator):
    """Candidate true labels with weights, for every text with a noisy label.

    Texts that mean the same mostly have the same true label, so the noisy labels around a text
    say what its own label should have been. Three steps: the label shares among the nearest
    neighbours; a correction for how the annotator confuses classes; and a cut that keeps one, two
    or all candidates, depending on how sure the neighbourhood is [1]_.

    Parameters
    ----------
    n_neighbors : int or "auto", default="auto"
        Neighbours, capped at the number of rows with a warning. ``"auto"`` takes the largest of
        10, 20, 50 and 100 that predicts the noisy labels (leave-one-out log-likelihood) as well
        as the best of them, within a standard error. The reference uses 10.
    weights : {"uniform", "distance"}, default="uniform"
        Weight of a neighbour: equal, or inverse to its distance.
    correction : {"transition"} or None, default="transition"
        ``"transition"`` estimates the annotator's confusion matrix without gold labels and
        undoes it, then adds the evidence of the text's own label. None takes the shares as they
        are, as the reference does.
    exclude_self : bool, default=True
        Whether a text is no neighbour of itself. The reference counts it, at distance 0 and with
        all the weight, so that no text marked clean is ever corrected.
    certain_threshold : float, default=0.9
        From this weight on the best candidate stands alone.
    dominant_threshold : float, default=0.8
        From this sum on the two best candidates stand alone.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are. Such a text is nobody's
        neighbour and gets its neighbours' opinion.

    Attributes
    ----------
    prior_ : ndarray of shape (n, K)
        Weights of the candidates of the training rows; they sum to 1.
    candidate_mask_ : ndarray of shape (n, K) of bool
        Which classes are candidates.
    uncertain_ : ndarray of shape (n,) of bool
        Rows with more than one candidate.
    transition_matrix_ : ndarray of shape (K, K)
        Row z: estimated distribution of the noisy label where z is true; the identity without
        correction.
    n_neighbors_ : int
        Neighbours used.
    prior_power_ : float
        How far the correction trusts the class frequencies; chosen by the mutual information of
        the corrected classes with the noisy labels.
    noise_rate_ : float
        Estimated share of wrong labels.
    classes_ : ndarray of shape (K,)
        Classes among the noisy labels.
    n_corrected_ : int
        Wrong labels whose best candidate is right, if gold labels were passed.

    See Also
    --------
    NoisyLabelKNNClassifier : Classifies by it.
    SiDyPClassifier : Learns through it.

    References
    ----------
    .. [1] SiDyP: simplex diffusion with dynamic prior for denoising LLM-generated labels,
       arXiv 2505.19675.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import KNNLabelPrior
    >>> X, gold = make_blobs(200, centers=3, random_state=0, cluster_std=0.5)
    >>> noisy = gold.copy()
    >>> noisy[:20] = (gold[:20] + 1) % 3
    >>> prior = KNNLabelPrior().fit(X, noisy)
    >>> bool(np.mean(prior.prior_.argmax(axis=1) == gold) > 0.98)
    True
    """

    _parameter_constraints = {
        "n_neighbors": [integer(1), one_of("auto")],
        "weights": [one_of("uniform", "distance")],
        "correction": [one_of("transition"), None],
        "exclude_self": ["boolean"],
        "certain_threshold": [number(0, 1)],
        "dominant_threshold": [number(0, 1)],
    }

    def __init__(
        self,
        n_neighbors: Any = "auto",
        *,
        weights: str = "uniform",
        correction: str | None = "transition",
        exclude_self: bool = True,
        certain_threshold: float = 0.9,
        dominant_threshold: float = 0.8,
        missing_label: Any = -1,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.correction = correction
        self.exclude_self = exclude_self
        self.certain_threshold = certain_threshold
        self.dominant_threshold = dominant_threshold
        self.missing_label = missing_label

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None, suspicious: Any = None) -> Self:
        """Look at the neighbours of every row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,) or Annotations
            Noisy labels; gold labels (for diagnosis only) when ``noisy`` is passed.
        noisy : array-like of shape (n,) or Annotations, optional
            Noisy labels, as routable metadata.
        suspicious : array-like of shape (n,) of bool, optional
            Rows that are nobody's neighbour and whose own label is no evidence, see
            :class:`~sklfusion.TrainingDynamicsNoiseDetector`.

        Returns
        -------
        self
        """
        check_parameters(self)
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        codes, self.classes_, gold = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        self._index(X, codes, suspicious)
        shares = self._shares(X, own=self.exclude_self)
        trusted = codes if suspicious is None else np.where(suspicious, -1, codes)
        weights = self._correct(shares, trusted)
        self.prior_, self.candidate_mask_ = cut_candidates(
            weights, certain=self.certain_threshold, dominant=self.dominant_threshold
        )
        self.uncertain_ = self.candidate_mask_.sum(axis=1) > 1
        known = codes >= 0
        self.noise_rate_ = float(1 - weights[known, codes[known]].mean())
        if gold is not None:
            said = np.r_[self.classes_, self.classes_[:1]][codes]
            refined = self.classes_[self.prior_.argmax(axis=1)]
            self.n_corrected_ = int(((said != gold) & (refined == gold)).sum())
        return self

    def _index(self, X, codes, suspicious):
        usable = codes >= 0
        if suspicious is not None:
            usable &= ~np.asarray(suspicious, dtype=bool)
        if not usable.any():
            raise ValueError(
                f"{type(self).__name__} has no row left to be a neighbour: all {len(codes)} are "
                "suspicious or without a label. Lower noise_ratio."
            )
        self._index_rows = np.flatnonzero(usable)
        self._index_codes = codes[usable]
        counts = np.bincount(self._index_codes, minlength=len(self.classes_))
        self._rate = counts / len(self._index_codes)
        available = max(1, len(self._index_rows) - bool(self.exclude_self))
        self._neighbors = NearestNeighbors(n_neighbors=1).fit(X[usable])
        if self.n_neighbors == "auto":
            self.n_neighbors_ = self._choose_k(X, codes, available)
            return
        if self.n_neighbors > available:
            warnings.warn(
                f"n_neighbors={self.n_neighbors} is more than the {available} usable neighbours; "
                f"{available} are used.",
                DataWarning,
            )
        self.n_neighbors_ = min(self.n_neighbors, available)

    def _choose_k(self, X, codes, available):
        # a neighbourhood larger than a fifth of the rows is no neighbourhood
        grid = sorted({min(k, max(1, available // 5)) for k in _NEIGHBORHOODS})
        rows = self._index_rows
        score = []
        for k in grid:
            self.n_neighbors_ = k
            smooth = self._smooth(self._shares(X, own=True))
            score.append(np.log(smooth[rows, codes[rows]]))
        best = score[int(np.argmax([s.mean() for s in score]))]
        within = [
            (best - s).mean() <= (best - s).std() / np.sqrt(len(rows)) * (1 + 1e-9) for s in score
        ]
        return grid[np.flatnonzero(within)[-1]]

    def _shares(self, X, own):
        """Label shares of the neighbours; ``own`` leaves each training row's own entry out."""
        k = min(self.n_neighbors_ + bool(own), len(self._index_rows))
        distances, columns = self._neighbors.kneighbors(X, n_neighbors=k)
        weights = np.ones_like(distances)
        if self.weights == "distance":
            at_zero = distances == 0
            weights = np.where(
                at_zero.any(axis=1, keepdims=True), at_zero, 1 / np.maximum(distances, 1e-30)
            )
        if own:
            weights = self._without_self(distances, columns, k)
        shares = np.zeros((len(X), len(self.classes_)))
        rows = np.repeat(np.arange(len(X)), k)
        np.add.at(shares, (rows, self._index_codes[columns].ravel()), weights.ravel())
        total = shares.sum(axis=1, keepdims=True)
        return np.where(total > 0, shares / np.maximum(total, 1e-30), self._rate)

    def _without_self(self, distances, columns, k):
        """Weights in which a row's own entry, or else its farthest neighbour, counts nothing."""
        own = self._index_rows[columns] == np.arange(len(columns))[:, None]
        drop = np.where(own.any(axis=1), own.argmax(axis=1), k - 1)
        keep = np.arange(k)[None, :] != drop[:, None]
        if k == 1:
            return keep * 1.0
        if self.weights == "uniform":
            return keep * 1.0
        at_zero = (distances == 0) & keep
        inverse = keep / np.maximum(distances, 1e-30)
        return np.where(at_zero.any(axis=1, keepdims=True), at_zero, inverse)

    def _correct(self, shares, codes):
        n_classes = len(self.classes_)
        if self.correction is None:
            self.transition_matrix_ = np.eye(n_classes)
            return shares
        smooth = self._smooth(shares)
        with one_thread():
            self.transition_matrix_ = estimate_transition(smooth, codes)
            self.prior_power_, clean = choose_prior_power(smooth, self.transition_matrix_, codes)
        return posterior(clean, self.transition_matrix_, codes)

    def _smooth(self, shares):
        # one pseudo-neighbour with the average labels, so that no share is exactly zero
        return (self.n_neighbors_ * shares + self._rate) / (self.n_neighbors_ + 1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the neighbourhood's opinion about the true label of new rows, shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        shares = self._shares(X, own=False)
        if self.correction is None:
            return shares
        return deconvolve(
            self._smooth(shares), self.transition_matrix_, prior_power=self.prior_power_
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "prior_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class NoisyLabelKNNClassifier(ClassifierMixin, BaseEstimator):
    """Any classifier, trained on the candidates of a neighbour prior as soft labels.

    The cheap way to learn from LLM labels: mark suspicious rows, look at their neighbours, train
    on the candidates with their weights. What a more elaborate method must beat.

    Parameters
    ----------
    estimator : estimator, optional
        Takes ``sample_weight``; ``LogisticRegression`` by default.
    prior : KNNLabelPrior, optional
        The prior; by default with 10 neighbours and no correction of the annotator's confusions,
        as in the reference, but without the row itself.
    detector : TrainingDynamicsNoiseDetector, optional
        Marks rows that are nobody's neighbour; none by default.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are.

    Attributes
    ----------
    estimator_, prior_estimator_, detector_ : estimators
        The fitted parts.
    refined_labels_ : ndarray of shape (n,)
        The best candidate of each training row.
    classes_ : ndarray of shape (K,)
        Classes among the noisy labels.

    See Also
    --------
    KNNLabelPrior : Its neighbourhood's opinion.
    SiDyPClassifier : Dearer, and mostly better.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import NoisyLabelKNNClassifier
    >>> X, gold = make_blobs(200, centers=2, random_state=0)
    >>> llm = gold.copy()
    >>> llm[:30] = 1 - llm[:30]
    >>> NoisyLabelKNNClassifier().fit(X, llm).score(X, gold) > 0.9
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "prior": [HasMethods(["fit"]), None],
        "detector": [HasMethods(["fit"]), None],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        prior: Any = None,
        detector: Any = None,
        missing_label: Any = -1,
    ) -> None:
        self.estimator = estimator
        self.prior = prior
        self.detector = detector
        self.missing_label = missing_label

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None) -> Self:
        """Find the candidates and train on them.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,) or Annotations
            Noisy labels; gold labels (for diagnosis only) when ``noisy`` is passed.
        noisy : array-like of shape (n,) or Annotations, optional
            Noisy labels, as routable metadata.

        Returns
        -------
        self
        """
        check_parameters(self)
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        codes, self.classes_, _ = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        check_consistent_length(X, codes)
        suspicious = None
        if self.detector is not None:
            self.detector_ = clone(self.detector).fit(X, codes)
            suspicious = self.detector_.suspicious_
        prior = self.prior
        if prior is None:
            n_known = int((codes >= 0).sum())
            prior = KNNLabelPrior(max(1, min(10, n_known - 1)), correction=None)
        self.prior_estimator_ = clone(prior).fit(X, codes, suspicious=suspicious)
        weights = self.prior_estimator_.prior_
        self.refined_labels_ = self.classes_[weights.argmax(axis=1)]
        rows, columns = np.nonzero(weights)
        estimator = self.estimator if self.estimator is not None else LogisticRegression()
        with one_thread(X, openmp=False):
            self.estimator_ = clone(estimator).fit(
                X[rows], columns, sample_weight=weights[rows, columns]
            )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities of shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        out = np.zeros((len(X), len(self.classes_)))
        out[:, self.estimator_.classes_] = self.estimator_.predict_proba(X)
        return out

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class per row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]
