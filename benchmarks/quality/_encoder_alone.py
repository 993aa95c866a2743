"""The encoder alone, its penalty by log-loss over folds that need not hold every class."""

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

_C_GRID = np.logspace(-1, 3, 5)


class EncoderAlone:
    """Logistic regression on the embedding with C tuned by cross-validated log-loss."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, E, y):
        """Fit one model, or one per label with a common C."""
        self.multilabel = y.ndim == 2
        losses = [self._cv_loss(E, y, c) for c in _C_GRID]
        self.C = _C_GRID[int(np.argmin(losses))]
        self.models = self._fit(E, y, self.C)
        self.fill = self.multilabel and bool(y.any(axis=1).all())
        self.n_classes = y.shape[1] if self.multilabel else None
        return self

    def _cv_loss(self, E, y, c):
        total = 0.0
        for train, test in KFold(5, shuffle=True, random_state=self.seed).split(E):
            models = self._fit(E[train], y[train], c)
            if self.multilabel:
                P = np.clip(self._proba(models, E[test]), 1e-4, 1 - 1e-4)
                total -= (y[test] * np.log(P) + (1 - y[test]) * np.log(1 - P)).sum()
            else:
                model = models[0]
                known = {label: i for i, label in enumerate(model.classes_)}
                P = model.predict_proba(E[test])
                p = [P[i, known[v]] if v in known else 1e-4 for i, v in enumerate(y[test])]
                total -= np.log(np.maximum(p, 1e-4)).sum()
        return total

    @staticmethod
    def _fit(E, y, c):
        targets = [y] if y.ndim == 1 else list(y.T)
        models = []
        for target in targets:
            constant = len(np.unique(target)) == 1
            model = DummyClassifier() if constant else LogisticRegression(C=c, max_iter=300)
            models.append(model.fit(E, target))
        return models

    @staticmethod
    def _proba(models, E):
        return np.column_stack(
            [
                m.predict_proba(E)[:, 1]
                if len(m.classes_) == 2
                else np.full(len(E), m.classes_[0])
                for m in models
            ]
        )

    def predict_proba(self, E):
        """Probabilities, columns in the order of ``models[0].classes_`` or of the labels."""
        return self._proba(self.models, E) if self.multilabel else self.models[0].predict_proba(E)

    def predict(self, E):
        """Labels; empty label sets get their likeliest label if no training row was empty."""
        if not self.multilabel:
            return self.models[0].predict(E)
        P = self.predict_proba(E)
        labels = (P >= 0.5).astype(int)
        empty = ~labels.any(axis=1)
        if self.fill:
            labels[empty, P[empty].argmax(axis=1)] = 1
        return labels
