"""A logistic probe on embeddings whose targets may be probabilities."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit, log_softmax

from sklfusion._threads import one_thread
from sklfusion.fusion._probe import fit_probe
from sklfusion.fusion._problem import Problem

_N_FOLDS = 4


@dataclass
class SoftProbe:
    """A fitted probe: logits = (X - mean) * scale @ coef + bias.

    ``family`` is "softmax" (one class per row) or "sigmoid" (several labels).
    """

    mean: np.ndarray
    scale: float
    coef: np.ndarray
    bias: np.ndarray
    family: str
    penalty: float

    def proba(self, X):
        """Probabilities (n, K) of embeddings (n, d)."""
        logits = (X - self.mean) * self.scale @ self.coef + self.bias
        logs = log_softmax(logits, axis=1) if self.family == "softmax" else log_expit(logits)
        return np.exp(logs)


def fit_soft_probe(X, targets, family, rng):
    """Fit a `SoftProbe` on embeddings (n, d) and targets (n, K) in [0, 1].

    ``rng`` draws the folds on which the penalty is chosen.
    """
    mean = X.mean(axis=0)
    centred = X - mean
    norm = np.sqrt((centred**2).sum(axis=1).mean())
    scale = 1.0 / norm if norm > 0 else 1.0
    n = len(X)
    folds = rng.permutation(n) % min(_N_FOLDS, n)
    problem = Problem(targets, np.ones(n), folds, family)
    with one_thread(X):
        probe = fit_probe(centred * scale, problem)
    bias = probe.bias + problem.log_prior
    return SoftProbe(mean, scale, probe.coef, bias, family, probe.penalty)
