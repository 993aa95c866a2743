"""Encoder evidence: logistic probes along a path of penalties, averaged by how well they do."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from sklfusion._logistic import fit_grouped

#: Gaussian precisions tried, from rigid to free; features have mean squared row norm 1.
PENALTIES = tuple(10.0 ** np.arange(1.0, -2.51, -0.5))
#: Weight of the held-out log-likelihood in the average. Below 1, since the probes of a path err
#: together and the folds are few.
TEMPER = 0.5
#: Prior over the penalties, normal in their decimal logarithm: with twenty rows the held-out
#: likelihood is mostly luck, and a free probe that was lucky is worse than a rigid one.
USUAL_PENALTY, DECADES = 0.1, 1.0
#: A probe this much (in tempered log-likelihood) below the best has no say.
_NEGLIGIBLE = 10.0
#: L-BFGS iterations per penalty; each starts where the one before ended.
_MAX_ITER = 60
#: Relative fall of the loss at which a fit ends.
_TOLERANCE = 1e-7
#: Single precision is twice as fast. Among the summed losses of many labels, rounding would hide
#: what a rare one gains.
_PRECISION = {"softmax": np.float32, "sigmoid": np.float64}
#: Directions whose variance is below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-10


@dataclass
class Probe:
    """A fitted probe: evidence = features @ coef + bias, relative to the class prior.

    ``penalty`` and ``oof_loss`` are those of the best single probe.
    """

    coef: np.ndarray
    bias: np.ndarray
    oof_evidence: np.ndarray
    penalty: float
    oof_loss: float

    def evidence(self, features):
        """Evidence (n, K) of scaled features (n, d)."""
        return features @ self.coef + self.bias


def fit_probe(features, problem):
    """Fit probes along a path of penalties and average them by their out-of-fold likelihood.

    With few rows no penalty is clearly the best, and the luckiest one is too sure of itself; so a
    prior over the penalties counts as well. The average of linear probes is a linear probe.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Scaled encoder features.
    problem : Problem
        Targets, weights, folds and link.

    Returns
    -------
    Probe

    Notes
    -----
    The bias is penalised like a coefficient, so that a class which a fold has not seen keeps its
    prior. Cost: one pass of about 15 products of (n, min(n, d)) by (d, 6K) per penalty.
    """
    base, axes = _rotate(features)
    A = np.hstack([base, np.ones((len(base), 1))]).astype(_PRECISION[problem.family])
    path = _fit_path(A, problem)
    losses, penalties, evidences, fits = zip(*path, strict=True)
    decades = np.log10(np.array(penalties) / USUAL_PENALTY) / DECADES
    shares = softmax(-TEMPER * np.array(losses) - 0.5 * decades**2)
    best = int(np.argmin(losses))
    mean = np.tensordot(shares, fits, 1)
    coef = axes @ mean[:-1]
    evidence = np.tensordot(shares, evidences, 1)
    return Probe(coef, mean[-1], evidence, penalties[best], losses[best] / problem.weights.sum())


def _fit_path(A, problem):
    """(held-out loss, penalty, held-out evidence, coefficients) of each penalty with a say."""
    W = np.zeros((A.shape[1], problem.masks.shape[1], problem.Y.shape[1]))
    path, lowest, behind = [], np.inf, 0
    for penalty in PENALTIES:
        W = fit_grouped(
            A,
            problem.offset,
            problem.Y,
            problem.masks,
            problem.family,
            penalty,
            W,
            max_iter=_MAX_ITER,
            tolerance=_TOLERANCE,
            levels=problem.levels,
        )
        evidence = problem.held_out(A, W)
        loss = float(problem.weights @ problem.losses(evidence))
        lowest = min(lowest, loss)
        path.append((loss, penalty, evidence, W[:, -1, :].copy()))
        path = [one for one in path if TEMPER * (one[0] - lowest) < _NEGLIGIBLE]
        behind = behind + 1 if loss > lowest else 0
        if behind >= 2 and path[-1][1] != penalty:
            break  # too free, and more so than the one before: the rest has no say either
    return path


def _rotate(features):
    """Features on their principal axes, and those axes (d, r).

    An L2 penalty makes the same fit of both; n rows span at most n directions, and at right
    angles the fit takes few iterations.
    """
    n, d = features.shape
    gram = features.T @ features if d <= n else features @ features.T
    values, vectors = np.linalg.eigh(gram)
    keep = values > max(values[-1], 1e-12) * _RANK_TOLERANCE
    if d <= n:
        return features @ vectors[:, keep], vectors[:, keep]
    scale = np.sqrt(values[keep])
    return vectors[:, keep] * scale, features.T @ (vectors[:, keep] / scale)
