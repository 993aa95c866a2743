"""Encoder evidence: logistic probes along a path of penalties, averaged by how well they do."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from sklfusion.fusion._folds import fold_masks, level_masks
from sklfusion.fusion._linear import fit_grouped, row_losses

#: Gaussian precisions tried, from rigid to free; features have mean squared row norm 1.
PENALTIES = tuple(10.0 ** np.arange(1.0, -2.51, -0.5))
#: Weight of the held-out log-likelihood in the average. Below 1, since the probes of a path err
#: together and the folds are few.
_TEMPER = 0.5
#: Prior over the penalties, normal in their decimal logarithm: with twenty rows the held-out
#: likelihood is mostly luck, and a free probe that was lucky is worse than a rigid one.
_USUAL_PENALTY, _DECADES = 0.1, 1.0
#: With few rows of two classes the marginal likelihood stands in for the held-out one, by the
#: share exp(-n / _EVIDENCE_ROWS). There the held-out one is high where luck was, and the probe
#: that it picks does worse than usual on other rows. (With more classes, or several labels, the
#: marginal likelihood asks for far too rigid probes.)
_EVIDENCE_ROWS, _LEAST_EVIDENCE = 200.0, 0.05
_NEGLIGIBLE = 10.0  # a probe this much (in tempered log-likelihood) below the best has no say


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


def _rotate(features):
    """Exact reduction for an L2 penalty: n rows span at most n directions."""
    n, d = features.shape
    if d <= n:
        return features, None
    gram = features @ features.T
    values, vectors = np.linalg.eigh(gram)
    keep = values > max(values[-1], 1e-12) * 1e-10
    scale = np.sqrt(values[keep])
    return vectors[:, keep] * scale, features.T @ (vectors[:, keep] / scale)


def fit_probe(features, Y, weights, folds, log_prior, family):
    """Fit probes along a path of penalties and average them by their out-of-fold likelihood.

    With few rows no penalty is clearly the best, and the luckiest one is too sure of itself; so a
    prior over the penalties counts as well, and with few rows of two classes the marginal
    likelihood (MacKay, "The evidence framework applied to classification networks", 1992). The
    average of linear probes is a linear probe.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Scaled encoder features.
    Y : ndarray of shape (n, K)
        Targets, 0 and 1.
    weights : ndarray of shape (n,)
        Row weights.
    folds : ndarray of shape (n,)
        Fold of each row.
    log_prior : ndarray of shape (K,)
        Logit of the class frequencies; the evidence is what the features add to it.
    family : {"softmax", "sigmoid"}
        Link.

    Returns
    -------
    Probe

    Notes
    -----
    The bias is penalised like a coefficient, so that a class which a fold has not seen keeps its
    prior. Cost: one pass of about 15 products of (n, min(n, d)) by (d, 6K) per penalty.
    """
    base, back = _rotate(features)
    A = np.hstack([base, np.ones((len(base), 1), dtype=base.dtype)])
    masks = level_masks(folds, weights, Y) if family == "softmax" else fold_masks(folds, weights)
    offset = np.broadcast_to(log_prior, Y.shape)
    W = np.zeros((A.shape[1], masks.shape[1], Y.shape[1]))
    share = _evidence_share(Y, weights, family)
    path = []  # (loss, log evidence, penalty, evidence, coefficients) of each that has a say
    lowest, behind = np.inf, 0
    for penalty in PENALTIES:
        W = fit_grouped(A, offset, Y, masks, family, penalty, W, max_iter=60)
        evidence = _held_out_product(A, W, folds)
        loss = float(weights @ row_losses(offset + evidence, Y, family))
        lowest = min(lowest, loss)
        whole = W[:, -1, :].copy()
        marginal = _log_evidence(A, offset, Y, weights, whole, penalty) if share else 0.0
        path.append((loss, marginal, penalty, evidence, whole))
        path = [one for one in path if _TEMPER * (one[0] - lowest) < _NEGLIGIBLE]
        behind = behind + 1 if loss > lowest else 0
        if behind >= 2 and path[-1][2] != penalty:
            break  # too free, and more so than the one before: the rest has no say either
    losses, marginals, penalties, evidences, fits = zip(*path, strict=True)
    decades = np.log10(np.array(penalties) / _USUAL_PENALTY) / _DECADES
    likelihoods = share * np.array(marginals) - (1 - share) * np.array(losses)
    shares = softmax(_TEMPER * likelihoods - 0.5 * decades**2)
    best = int(np.argmin(losses))
    mean = np.tensordot(shares, fits, 1)
    coef = mean[:-1] if back is None else back @ mean[:-1]
    evidence = np.tensordot(shares, evidences, 1)
    return Probe(coef, mean[-1], evidence, penalties[best], losses[best] / weights.sum())


def _evidence_share(Y, weights, family):
    """Share of the marginal likelihood in the choice of penalties; 0 where it has no place."""
    if family != "softmax" or Y.shape[1] != 2:
        return 0.0
    share = float(np.exp(-weights.sum() / _EVIDENCE_ROWS))
    return share if share >= _LEAST_EVIDENCE else 0.0


def _log_evidence(A, offset, Y, weights, W, penalty):
    """Log-likelihood of two classes with the coefficients integrated out, after Laplace.

    The columns of W (d, 2) are opposites: a Gaussian of this precision on each is one of half the
    precision on their difference, which alone matters.
    """
    logits = offset + A @ W
    p = softmax(logits, axis=1)
    curvature = (A.T * (weights * p[:, 0] * p[:, 1])) @ A
    _, log_volume = np.linalg.slogdet(np.eye(len(curvature)) + 2 / penalty * curvature)
    fit = weights @ row_losses(logits, Y, "softmax") + 0.5 * penalty * (W**2).sum()
    return float(-fit - 0.5 * log_volume)


def _held_out_product(A, W, folds):
    evidence = np.empty((len(A), W.shape[2]))
    for fold in range(folds.max() + 1):
        rows = folds == fold
        evidence[rows] = A[rows] @ W[:, fold, :]
    return evidence
