"""`SimplexDiffusionClassifier`: stage II of SiDyP on any features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sklfusion._sklearn_compat import HasMethods, check_parameters, integer
from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.noise._candidates import cut_candidates
from sklfusion.noise._label_diffusion import LabelDiffusion
from sklfusion.noise._labels import noisy_target
from sklfusion.noise._prior import KNNLabelPrior


class SimplexDiffusionClassifier(ClassifierMixin, BaseEstimator):
    """Learn true labels from candidates by diffusion on the label simplex.

    Denoisers learn to rebuild a label, drawn from each row's candidates, from noise, given the
    row's features and its noisy label. A prediction sums over the noisy label that ``estimator``
    expects [1]_.

    Parameters
    ----------
    estimator : estimator, optional
        Predicts the noisy label; ``LogisticRegression`` by default.
    n_branches : int, default=2
        Denoisers with different seeds that are trained together.
    diffusion : LabelDiffusion, optional
        How they learn and are asked; ``LabelDiffusion(hidden_dim=64)`` by default.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are.
    random_state : int, RandomState or None, default=None
        Seed.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Classes among the noisy labels.
    prior_ : ndarray of shape (n, K)
        Candidate weights at the start.
    refined_labels_ : ndarray of shape (n,)
        Best candidates at the end.
    estimator_, diffusion_ : objects
        The fitted parts.

    See Also
    --------
    SiDyPClassifier : Finds the candidates itself.
    LabelDiffusion : The settings of the diffusion.

    References
    ----------
    .. [1] SiDyP: simplex diffusion with dynamic prior for denoising LLM-generated labels,
       arXiv 2505.19675.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import SimplexDiffusionClassifier
    >>> X, gold = make_blobs(150, centers=2, n_features=4, random_state=0)
    >>> llm = gold.copy()
    >>> llm[:20] = 1 - llm[:20]
    >>> model = SimplexDiffusionClassifier(random_state=0).fit(X, llm)
    >>> model.score(X, gold) > 0.9
    True
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "n_branches": [integer(1)],
        "diffusion": [LabelDiffusion, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_branches: int = 2,
        diffusion: LabelDiffusion | None = None,
        missing_label: Any = -1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_branches = n_branches
        self.diffusion = diffusion
        self.missing_label = missing_label
        self.random_state = random_state

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None, prior: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        y : array-like of shape (n,) or Annotations
            Noisy labels; ignored but for its length when ``noisy`` is passed.
        noisy : array-like of shape (n,) or Annotations, optional
            Noisy labels, as routable metadata.
        prior : array-like of shape (n, K), optional
            Candidate weights, columns in sorted class order; rows are scaled to sum to 1. By
            default those of a :class:`~sklfusion.KNNLabelPrior` on ``X``.

        Returns
        -------
        self
        """
        from sklfusion.noise._diffusion_trainer import DiffusionTrainer

        check_parameters(self)
        settings = LabelDiffusion(hidden_dim=64) if self.diffusion is None else self.diffusion
        check_parameters(settings)
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        codes, self.classes_, _ = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        check_consistent_length(X, codes)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.prior_ = self._check_prior(prior, X, codes)
        self._scale = float(max(X.std(), 1e-6))
        known = codes >= 0
        base = self.estimator if self.estimator is not None else LogisticRegression()
        with one_thread(X, openmp=False):
            self.estimator_ = clone(base).fit(X[known] / self._scale, codes[known])
        self.diffusion_ = DiffusionTrainer(settings, len(self.classes_), seed)
        weights = np.repeat(self.prior_[None], self.n_branches, axis=0)
        self.diffusion_.fit(self._features(X), codes, weights)
        self.refined_labels_ = self.classes_[self.diffusion_.prior.mean(axis=0).argmax(axis=1)]
        return self

    def _check_prior(self, prior, X, codes):
        if prior is None:
            return KNNLabelPrior().fit(X, codes).prior_
        prior = np.asarray(prior, dtype=float)
        wanted = (len(codes), len(self.classes_))
        if prior.shape != wanted or not np.isfinite(prior).all() or (prior < 0).any():
            raise ValueError(
                f"{type(self).__name__} got a prior of shape {prior.shape}; it needs finite, "
                f"non-negative weights of shape {wanted}, columns for {self.classes_.tolist()}."
            )
        if (prior.sum(axis=1) <= 0).any():
            row = int(np.argmin(prior.sum(axis=1)))
            raise ValueError(f"prior[{row}] has no candidate; every row needs at least one.")
        return cut_candidates(prior / prior.sum(axis=1, keepdims=True), certain=2, dominant=2)[0]

    def _features(self, X):
        return np.repeat((X / self._scale)[None], self.n_branches, axis=0)

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
        label_proba = self.estimator_.predict_proba(X / self._scale)
        label_proba = np.repeat(label_proba[None], self.n_branches, axis=0)
        return self.diffusion_.predict_proba(self._features(X), label_proba)

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
