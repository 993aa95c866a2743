"""`TrainingDynamicsNoiseDetector`: which labels look wrong, from how training went."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklfusion._sklearn_compat import check_parameters, number
from sklfusion._whole import whole
from sklfusion.noise._labels import noisy_target


class TrainingDynamicsNoiseDetector(BaseEstimator):
    """Mark the texts whose noisy label fits badly to how an encoder learnt them.

    While a small network learns the noisy labels, the distance of every text from the centre of
    the class it was given is recorded after each epoch. A text that stays far from its class, or
    jumps about, is suspicious: ``score = mean + standard deviation`` of its distances over epochs
    [1]_.

    Parameters
    ----------
    encoder : object, optional
        Gives features per epoch; :class:`~sklfusion.MLPTrajectoryEncoder` by default.
    noise_ratio : float, default=0.3
        Share of rows to mark. Best set to the annotator's error rate if that is known.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are.
    random_state : int, RandomState or None, default=None
        Seed of the encoder where it has none of its own.

    Attributes
    ----------
    suspicion_scores_ : ndarray of shape (n_branches, n)
        NaN for rows without a label.
    noise_markers_ : ndarray of shape (n_branches, n) of bool
        The ``int(noise_ratio * n)`` most suspicious rows of each branch, and all rows without a
        label.
    suspicious_ : ndarray of shape (n,) of bool
        Majority of the branches.
    encoder_ : object
        The fitted encoder.
    classes_ : ndarray of shape (K,)
        Classes among the noisy labels.
    detection_rate_ : float
        Share of wrong labels among the marked rows; only when gold labels were passed.

    See Also
    --------
    LabelRepairClassifier : Acts on doubtful labels.
    MLPTrajectoryEncoder : Whose training it watches.

    Notes
    -----
    Class centres come from the training rows only. (The reference implementation also pools the
    test rows, with their gold labels, into the centres.) Cost: one training of the encoder.

    References
    ----------
    .. [1] SiDyP: simplex diffusion with dynamic prior for denoising LLM-generated labels,
       arXiv 2505.19675.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import TrainingDynamicsNoiseDetector
    >>> X, gold = make_blobs(200, centers=2, n_features=5, random_state=0)
    >>> noisy = gold.copy()
    >>> noisy[:20] = 1 - noisy[:20]
    >>> detector = TrainingDynamicsNoiseDetector(noise_ratio=0.1, random_state=0).fit(X, noisy)
    >>> bool(detector.suspicious_[:20].mean() > 0.9)
    True
    """

    _parameter_constraints = {
        "noise_ratio": [number(0, 1)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        noise_ratio: float = 0.3,
        missing_label: Any = -1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.encoder = encoder
        self.noise_ratio = noise_ratio
        self.missing_label = missing_label
        self.random_state = random_state

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None) -> Self:
        """Train the encoder on the noisy labels and score every row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features, for example embeddings.
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
        codes, self.classes_, gold = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        self.encoder_ = _make_encoder(self.encoder, self.random_state)
        self.encoder_.fit(X, codes, n_classes=len(self.classes_))
        features = self.encoder_.transform_epochs(X)
        self.suspicion_scores_ = suspicion_scores(features, codes, len(self.classes_))
        self.noise_markers_ = mark_suspicious(self.suspicion_scores_, self.noise_ratio)
        self.suspicious_ = self.noise_markers_.mean(axis=0) > 0.5
        if gold is not None and self.suspicious_.any():
            wrong = np.r_[self.classes_, self.classes_[:1]][codes] != gold
            self.detection_rate_ = float(wrong[self.suspicious_].mean())
        return self

    def fit_predict(self, X: Any, y: Any = None, *, noisy: Any = None) -> np.ndarray:
        """Fit and return ``suspicious_``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows.
        y : array-like of shape (n,), optional
            Labels that may be wrong.
        noisy : array-like of shape (n,), optional
            The same, as routable metadata.

        Returns
        -------
        ndarray of shape (n,) of bool
            True where the label is doubted.
        """
        return self.fit(X, y, noisy=noisy).suspicious_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "suspicious_")

    def rank(self) -> np.ndarray:
        """Return row indices, most suspicious first; rows without a label lead.

        Returns
        -------
        ndarray of shape (n,) of int
            Rows of ``fit``.
        """
        check_is_fitted(self)
        score = np.nan_to_num(self.suspicion_scores_, nan=np.inf).mean(axis=0)
        return np.argsort(-score, kind="stable")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _make_encoder(encoder, random_state, legacy=False):
    """A clone of the encoder that was passed, or of the light default.

    It gets the seed where it has none of its own.
    """
    if encoder is None:
        from sklfusion.noise._encoder import MLPTrajectoryEncoder

        encoder = MLPTrajectoryEncoder()
    encoder = clone(encoder)
    own = encoder.get_params(deep=False)
    if "random_state" in own and own["random_state"] is None:
        encoder.set_params(random_state=random_state)
    return encoder.set_params(legacy=True) if legacy and "legacy" in own else encoder


def class_distances(features, codes, n_classes):
    """Distance of every row to every class centre, per branch and epoch.

    Parameters
    ----------
    features : ndarray of shape (M, E, n, d)
    codes : ndarray of shape (n,)
        Noisy labels; rows of -1 have no part in a centre.
    n_classes : int

    Returns
    -------
    ndarray of shape (M, E, n, K)
        NaN for a class without rows.
    """
    out = np.full((*features.shape[:3], n_classes), np.nan)
    for branch in range(features.shape[0]):
        for epoch in range(features.shape[1]):
            z = features[branch, epoch]
            for c in range(n_classes):
                if (codes == c).any():
                    centre = z[codes == c].mean(axis=0, keepdims=True)
                    out[branch, epoch, :, c] = cdist(z, centre)[:, 0]
    return out


def suspicion_scores(features, codes, n_classes):
    """Mean plus standard deviation over epochs of the distance to the own class, (M, n)."""
    distances = class_distances(features, codes, n_classes)
    known = np.flatnonzero(codes >= 0)
    own = distances[:, :, known, codes[known]]
    spread = own.std(axis=1, ddof=1) if own.shape[1] > 1 else 0.0
    scores = np.full((features.shape[0], features.shape[2]), np.nan)
    scores[:, known] = own.mean(axis=1) + spread
    return scores


def mark_suspicious(scores, noise_ratio):
    """Mark the ``int(noise_ratio * n)`` largest scores of each branch, and all NaN rows."""
    marks = np.isnan(scores)
    n_known = int((~marks[0]).sum())
    top = int(noise_ratio * n_known)
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")
    np.put_along_axis(marks, order[:, :top], True, axis=1)
    return marks


def flat_epochs(features):
    """Lay the epochs side by side: (M, E, n, d) -> (M, n, E * d)."""
    m, e, n, d = features.shape
    return features.transpose(0, 2, 1, 3).reshape(m, n, e * d)
