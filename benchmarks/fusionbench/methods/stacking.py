"""Logistic regression on votes and the encoder's cross-validated probabilities."""

import numpy as np

from benchmarks.fusionbench.methods._parts import TunedLogistic, held_out_proba
from benchmarks.quality._parts import wide

NAME = "stacking"


class Stacking(TunedLogistic):
    """The usual stacker, with the encoder's logistic regression below."""

    def fit(self, X, y):
        """Fit the encoder out of fold, then the stacker."""
        P, self.encoder_ = held_out_proba(X[:, : self.task.n_embedding], y, self.task)
        return super().fit(X, y, P)

    def features(self, X, P=None):
        """Probabilities of the encoder beside the votes."""
        if P is None:
            P = self.encoder_.predict_proba(X[:, : self.task.n_embedding])
            P = wide(P, self.encoder_.classes_, self.task.n_classes)
        return np.hstack([P, X[:, self.task.scores]])


make = Stacking
