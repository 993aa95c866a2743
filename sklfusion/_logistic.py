"""Penalised logistic models by L-BFGS, many fits at once: the convex core, in numpy only.

A *family* says how logits become probabilities: ``"softmax"`` (one class per row) or
``"sigmoid"`` (independent labels). Targets always are an (n, K) array, 0 and 1 or rates between.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

#: Curvature of a coefficient that neither rows nor penalty hold, so that its unit is finite.
_LEAST_CURVATURE = 1e-12


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


def fit_labels(A, Y, penalty, start, tolerance=1e-13):
    """Coefficients (d, K) of one model per label on all rows, found to many digits.

    Parameters
    ----------
    A : ndarray of shape (n, d)
        Design matrix; a column of ones is an intercept.
    Y : ndarray of shape (n, K)
        Labels, or rates in [0, 1].
    penalty : float or ndarray of shape (d, K) or (d, 1)
        Gaussian precision of the coefficients.
    start : ndarray of shape (d, K)
        Where to start.
    tolerance : float
        Relative fall of the loss at which to stop.

    Returns
    -------
    ndarray of shape (d, K)
    """
    rows = np.ones((len(Y), 1))
    found = fit_grouped(
        A, np.zeros(Y.shape), Y, rows, "sigmoid", penalty, start[:, None, :],
        max_iter=300, tolerance=tolerance,
    )  # fmt: skip
    return found[:, 0, :]


def fit_grouped(
    A, offset, Y, masks, family, penalty, start, target=None, max_iter=100, tolerance=1e-9
):
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
    max_iter, tolerance : int and float
        Bounds on L-BFGS iterations and on the relative fall of the loss in the last of them.

    Returns
    -------
    ndarray of shape (d, G, K)
    """
    _, W = fit_shared(
        np.empty((0, *Y.shape)), A, offset, Y, masks, family, penalty, start, target, max_iter,
        tolerance=tolerance,
    )  # fmt: skip
    return W


def fit_shared(
    shared,
    A,
    offset,
    Y,
    masks,
    family,
    penalty,
    start,
    target=None,
    max_iter=100,
    factor_prior=((), ()),
    tolerance=1e-9,
):
    """As :func:`fit_grouped`, with one factor for all classes on each of some given logits.

    The logits are ``offset + sum_j factor_j * shared_j + A @ W``, the factors 0 or above.

    Parameters
    ----------
    shared : ndarray of shape (J, n, K)
        Logits that enter with a factor each.
    A, offset, Y, masks, family, penalty, start, target, max_iter, tolerance
        As in :func:`fit_grouped`.
    factor_prior : pair of ndarray of shape (J,)
        Means and precisions of the Gaussian prior of the factors; they start at the means.

    Returns
    -------
    factors : ndarray of shape (G, J)
    W : ndarray of shape (d, G, K)
    """
    (n, d), (n_groups, n_classes) = A.shape, (masks.shape[1], Y.shape[1])
    center = 0.0 if target is None else target[:, None, :]
    precision = penalty if np.isscalar(penalty) else penalty[:, None, :]
    means, tightness = (np.asarray(v, dtype=float) for v in factor_prior)
    n_factors = n_groups * len(shared)
    unit = _units(A, masks[:, -1], family, n_classes, precision)

    def objective(flat):
        factors = flat[:n_factors].reshape(n_groups, len(shared))
        W = unit * flat[n_factors:].reshape(d, n_groups, n_classes)
        logits = (A @ W.reshape(d, -1).astype(A.dtype, copy=False)).reshape(n, n_groups, -1)
        logits = logits + offset[:, None, :]
        if n_factors:
            logits = logits + np.einsum("gj,jnk->ngk", factors, shared)
        loss, residual = _loss_and_residual(logits, Y[:, None, :], family)
        residual *= masks[:, :, None]
        gradient = (A.T @ residual.reshape(n, -1).astype(A.dtype, copy=False)).reshape(W.shape)
        shift, pull = W - center, tightness * (factors - means)
        value = (masks * loss).sum() + 0.5 * (precision * shift**2).sum()
        value += 0.5 * (pull * (factors - means)).sum()
        of_factors = np.einsum("ngk,jnk->gj", residual, shared) + pull
        of_W = unit * (gradient + precision * shift)
        return float(value), np.concatenate([of_factors.ravel(), of_W.ravel()]).astype(float)

    first = np.concatenate([np.tile(means, n_groups), (start / unit).ravel()])
    free = [(None, None)] * (len(first) - n_factors)
    result = minimize(
        objective,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * n_factors + free if n_factors else None,
        options={"maxiter": max_iter, "ftol": tolerance, "gtol": 1e-6 * max(1.0, masks.max())},
    )
    factors = result.x[:n_factors].reshape(n_groups, len(shared))
    return factors, unit * result.x[n_factors:].reshape(d, n_groups, n_classes)


def _units(A, weights, family, n_classes, precision):
    """Scale of each coefficient in which the loss curves alike in all, shape (d, 1, 1 or K).

    By the curvature where all classes are as likely: exact for columns at right angles, and it
    saves most of the iterations there.
    """
    curvature = 0.25 if family == "sigmoid" else (n_classes - 1) / n_classes**2
    return 1 / np.sqrt(curvature * (weights @ A**2)[:, None, None] + precision + _LEAST_CURVATURE)


def _loss_and_residual(logits, Y, family):
    """Log-loss (n, G) and its gradient by the logits (n, G, K)."""
    if family == "softmax":
        logp = log_softmax(logits, axis=2)
        return -(Y * logp).sum(2), np.exp(logp) - Y
    return (np.logaddexp(0, logits) - Y * logits).sum(2), expit(logits) - Y
