"""What the last fit said of the pool, and how it comes about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklfusion.multilabel._targets import label_scores


class PoolOpinion(BaseEstimator):
    """A fitted model's probabilities of all texts of a pool, in the shape of a classifier.

    `LabelAcquirer` fits whatever model it has before it draws. This one is fitted when a person
    asks for it, and stays as it is in between: so the next texts are there at once.

    Parameters
    ----------
    model : classifier or None
        Fitted; None knows nothing, and makes all texts alike.
    texts : sequence of str
        Those of the pool, each once.
    n_labels : int
        Labels that it was fitted on.
    names : sequence of str, optional
        Its classes, in the order of its columns, where it knows them by numbers only.
    """

    def __init__(
        self,
        model: Any,
        texts: Sequence[str],
        n_labels: int = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.n_labels = n_labels
        self.classes_ = [] if model is None else np.asarray(model.classes_).tolist()
        self.names = self.classes_ if names is None else names
        proba = [] if model is None else label_scores(model, list(texts))
        self._rows = dict(zip(texts, proba, strict=False))

    def __sklearn_clone__(self) -> PoolOpinion:
        return self

    def fit(self, X: Any, y: Any) -> PoolOpinion:
        """Return self: it is fitted elsewhere."""
        return self

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """Return what the model said of texts of the pool, (n, K); NaN where there is none."""
        unknown = np.full(max(len(self.classes_), 1), np.nan)
        return np.array([self._rows.get(text, unknown) for text in X])

    def of_text(self, text: str) -> dict[str, float] | None:
        """Return the probabilities of one text by class, None where nothing is known."""
        proba = self._rows.get(text)
        if proba is None or not np.isfinite(proba).all():
            return None
        return dict(zip(map(str, self.names), map(float, proba), strict=True))
