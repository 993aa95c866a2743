"""Encoder evidence: a logistic probe whose strength is chosen out of fold."""

from dataclasses import dataclass

import numpy as np

from sklfusion.fusion._folds import fold_masks
from sklfusion.fusion._linear import fit_grouped, row_losses

#: Gaussian precisions tried, from rigid to free; features have mean squared row norm 1.
PENALTIES = tuple(10.0 ** np.arange(0.0, -2.51, -0.5))


@dataclass
class Probe:
    """A fitted probe: evidence = features @ coef + bias, relative to the class prior."""

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
    """Fit the probe along a path of penalties and keep the one with the best out-of-fold loss.

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
    masks = fold_masks(folds, weights)
    offset = np.broadcast_to(log_prior, Y.shape)
    W = np.zeros((A.shape[1], masks.shape[1], Y.shape[1]))
    best, worse = None, 0
    for penalty in PENALTIES:
        W = fit_grouped(A, offset, Y, masks, family, penalty, W, max_iter=60)
        held_out = W[:, folds, :].transpose(1, 0, 2)
        evidence = (
            np.einsum("nd,ndk->nk", A, held_out)
            if len(A) * A.shape[1] * Y.shape[1] < 2e6
            else _held_out_product(A, W, folds)
        )
        losses = row_losses(offset + evidence, Y, family)
        loss = float(weights @ losses / weights.sum())
        if best is None or loss < best[0] - 1e-6:
            best, worse = (loss, penalty, evidence, W[:, -1, :].copy()), 0
        else:
            worse += 1
            if worse == 2:
                break
    loss, penalty, evidence, full = best
    coef = full[:-1] if back is None else back @ full[:-1]
    return Probe(coef, full[-1], evidence, penalty, loss)


def _held_out_product(A, W, folds):
    evidence = np.empty((len(A), W.shape[2]))
    for fold in range(folds.max() + 1):
        rows = folds == fold
        evidence[rows] = A[rows] @ W[:, fold, :]
    return evidence
