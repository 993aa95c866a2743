"""Penalised linear models by L-BFGS: the convex half of anchored fusion, in numpy only.

A *family* says how logits become probabilities: ``"softmax"`` (one class per row) or
``"sigmoid"`` (independent labels). Targets always are an (n, K) array of 0 and 1.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax

#: Bound on log-probabilities, so that one confident error cannot weigh without limit.
LOG_FLOOR = float(np.log(1e-4))


def probabilities(logits, family):
    """Probabilities of (n, K) logits."""
    return softmax(logits, axis=1) if family == "softmax" else expit(logits)


def row_losses(logits, Y, family):
    """Log-loss per row, shape (n,): cross-entropy, or the sum of the K binary ones."""
    if family == "softmax":
        return -(Y * log_softmax(logits, axis=1)).sum(axis=1)
    return -(Y * log_expit(logits) + (1 - Y) * log_expit(-logits)).sum(axis=1)


def mean_loss(evidence, Y, weights, log_prior, family):
    """Weighted mean log-loss of evidence (n, K) on top of the class frequencies."""
    total = weights.sum()
    if total == 0:
        return 0.0
    return float(weights @ row_losses(log_prior + evidence, Y, family) / total)


def smoothed_log_prior(Y, weights, family, strength=1.0):
    """Log-odds offset of the class frequencies, smoothed so that no class is impossible."""
    total = weights.sum()
    counts = weights @ Y
    if family == "softmax":
        return np.log((counts + strength) / (total + strength * Y.shape[1]))
    rate = (counts + 0.5 * strength) / (total + strength)
    return np.log(rate) - np.log1p(-rate)


def fit_grouped(A, offset, Y, masks, family, penalty, start, target=None, max_iter=100):
    """Minimise penalised log-loss of ``offset + A @ W`` for several row weightings at once.

    All groups (cross-validation folds and the fit on all rows) share one matrix product, which
    makes the whole path about as dear as one fit.

    Parameters
    ----------
    A : ndarray of shape (n, d)
        Design matrix.
    offset : ndarray of shape (n, K)
        Fixed part of the logits.
    Y : ndarray of shape (n, K)
        Targets.
    masks : ndarray of shape (n, G)
        Row weights of each group; 0 leaves a row out.
    family : {"softmax", "sigmoid"}
        Link.
    penalty : float or ndarray of shape (d, K)
        Gaussian precision of the coefficients.
    start : ndarray of shape (d, G, K)
        Where to start.
    target : ndarray of shape (d, K), optional
        Mean of the Gaussian prior, 0 by default.
    max_iter : int
        Bound on L-BFGS iterations.

    Returns
    -------
    ndarray of shape (d, G, K)
    """
    n, d = A.shape
    n_groups, n_classes = masks.shape[1], Y.shape[1]
    center = 0.0 if target is None else target[:, None, :]
    precision = penalty if np.isscalar(penalty) else penalty[:, None, :]
    axis_last = {"axis": 2}

    def objective(flat):
        W = flat.reshape(d, n_groups, n_classes)
        logits = (A @ W.reshape(d, -1).astype(A.dtype, copy=False)).reshape(n, n_groups, -1)
        logits = logits + offset[:, None, :]
        if family == "softmax":
            logp = log_softmax(logits, **axis_last)
            loss = -(Y[:, None, :] * logp).sum(2)
            residual = np.exp(logp) - Y[:, None, :]
        else:
            loss = (np.logaddexp(0, logits) - Y[:, None, :] * logits).sum(2)
            residual = expit(logits) - Y[:, None, :]
        residual *= masks[:, :, None]
        gradient = (A.T @ residual.reshape(n, -1).astype(A.dtype, copy=False)).reshape(W.shape)
        shift = W - center
        value = (masks * loss).sum() + 0.5 * (precision * shift**2).sum()
        return float(value), (gradient + precision * shift).ravel().astype(np.float64)

    result = minimize(
        objective,
        np.asarray(start, dtype=np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iter, "ftol": 1e-9, "gtol": 1e-6 * max(1.0, masks.max())},
    )
    return result.x.reshape(d, n_groups, n_classes)
