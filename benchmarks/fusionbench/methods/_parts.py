"""The sources alone, as classifiers on [embedding, scores]."""

import hashlib
from collections import OrderedDict

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.quality._parts import fit_encoder, hits, llm_alone, wide

_fits = OrderedDict()  # of the encoder: data sets with many LLMs ask for the same
_MOST_FITS = 100  # all cells of one data set


def encoder_fit(E, y, seed):
    """`fit_encoder`, once for the same rows and draw; fitted models are not changed."""
    key = hashlib.sha256(E.tobytes() + y.tobytes()).digest() + bytes([seed])
    if key not in _fits:
        _fits[key] = fit_encoder(E, y, seed)
        while len(_fits) > _MOST_FITS:
            _fits.popitem(last=False)
    return _fits[key]


class LLMAlone(ClassifierMixin, BaseEstimator):
    """The LLM's answers as given; of several LLMs the one right most often on labelled rows.

    Lots are drawn where LLMs are level: their order in the data must not help.
    """

    def __init__(self, task):
        self.task = task

    def fit(self, X, y):
        """Count who is right."""
        self.y_ = y
        self.right_ = np.array([hits(a, y).mean() for a in self.answers(X)])
        level = np.flatnonzero(self.right_ == self.right_.max())
        self.chosen_ = int(np.random.default_rng(self.task.seed).choice(level))
        return self

    def answers(self, X):
        """Answers of each LLM; texts without one get the commonest class."""
        return [llm_alone(X[:, block], self.y_) for block in self.task.blocks]

    def predict(self, X):
        """The chosen LLM's answers."""
        return self.answers(X)[self.chosen_]


class TunedLogistic(ClassifierMixin, BaseEstimator):
    """Logistic regression on all columns, C by cross-validation; several labels: a tuned cut."""

    def __init__(self, task):
        self.task = task

    def fit(self, X, y, *more):
        """Choose C and fit."""
        self.model_ = encoder_fit(self.features(X, *more), y, self.task.seed)
        self.classes_ = self.model_.classes_
        return self

    def features(self, X):
        """The columns that it looks at."""
        return X

    def predict(self, X):
        """Classes or label sets."""
        return self.model_.predict(self.features(X))

    def predict_proba(self, X):
        """Probabilities of the classes that the labelled rows have, or of the labels."""
        return self.model_.predict_proba(self.features(X))


class EncoderAlone(TunedLogistic):
    """The same on the embedding."""

    def features(self, X):
        """The embedding."""
        return X[:, : self.task.n_embedding]


class BetterPart(ClassifierMixin, BaseEstimator):
    """The LLM or the encoder, whichever was right more often on the labelled rows.

    The encoder in cross-validation; level with it, the LLM is taken.
    """

    def __init__(self, task):
        self.task = task

    def fit(self, X, y):
        """Compare the two."""
        llm = LLMAlone(self.task).fit(X, y)
        E = X[:, : self.task.n_embedding]
        P, _ = held_out_proba(E, y, self.task)
        told = (P > 0.5).astype(int) if y.ndim == 2 else P.argmax(axis=1)
        better = hits(told, y).mean() > llm.right_.max()
        self.part_ = EncoderAlone(self.task).fit(X, y) if better else llm
        return self

    def predict(self, X):
        """Answers of the chosen part."""
        return self.part_.predict(X)


def held_out_proba(E, y, task):
    """Cross-validated probabilities (n, K) of the encoder's logistic regression, and it."""
    model = encoder_fit(E, y, task.seed)
    best = model.estimator_ if task.multilabel else getattr(model, "best_estimator_", model)
    folds = KFold(5, shuffle=True, random_state=task.seed)
    P = cross_val_predict(best, E, y, cv=folds, method="predict_proba")
    return wide(P, best.classes_, task.n_classes), best
