"""Penalised logistic models by L-BFGS, many fits at once: the convex core, in numpy only.

A *family* says how logits become probabilities: ``"softmax"`` (one class per row) or
``"sigmoid"`` (independent labels). Targets always are an (n, K) array, 0 and 1 or rates between.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

from sklfusion._descent import descend

#: Curvature of a coefficient that neither rows nor penalty hold, so that its unit is finite.
_LEAST_CURVATURE = 1e-12
#: Newton's method for slopes: most steps, the longest of a step (halved whenever one has led past
#: the lowest point on its way), and the last one worth while.
_NEWTON_STEPS, _NEWTON_REACH, _NEWTON_END = 50, 1.0, 1e-7


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
    A,
    offset,
    Y,
    masks,
    family,
    penalty,
    start,
    target=None,
    max_iter=100,
    tolerance=1e-9,
    levels=None,
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
    levels : ndarray of shape (K,), optional
        Place of each class on a line, of norm 1, for ordered classes: W is held to multiples of
        it, one per column of ``A``. Then there is no ``target``.

    Returns
    -------
    ndarray of shape (d, G, K)
    """
    if levels is not None:
        start = (start @ levels)[..., None]
    objective = _Objective(A, offset, Y, masks, family, penalty, target, levels=levels)
    x = objective.pack(np.empty((masks.shape[1], 0)), start)
    x = descend(objective, x, max_iter, tolerance, objective.steepest)
    W = objective.unpack(x)[1]
    return W if levels is None else W * levels


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
    means, tightness = (np.asarray(v, dtype=float) for v in factor_prior)
    n_groups, n_factors = masks.shape[1], len(shared)
    objective = _Objective(A, offset, Y, masks, family, penalty, target, shared, means, tightness)
    first = objective.pack(np.tile(means, (n_groups, 1)), start)
    bounds = np.full((*first.shape, 2), [-np.inf, np.inf])
    bounds[:, :n_factors, 0] = 0.0

    def together(flat):
        values, gradients = objective(flat.reshape(first.shape), np.arange(n_groups))
        return float(values.sum()), gradients.ravel()

    result = minimize(
        together,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds.reshape(-1, 2),
        options={"maxiter": max_iter, "ftol": tolerance, "gtol": objective.steepest},
    )
    return objective.unpack(result.x.reshape(first.shape))


def fit_lines(Z, offset, Y, masks, slope, precision):
    """Slope and intercept of each label on its own score, for several row weightings at once.

    Newton's method on all of them together, two unknowns each.

    Parameters
    ----------
    Z, offset, Y : ndarray of shape (n, K)
        Scores, fixed part of the logits, labels.
    masks : ndarray of shape (n, G)
        Row weights of each group.
    slope : float
        Mean of the Gaussian prior of the slopes, from which they start; that of intercepts is 0.
    precision : float
        Its precision.

    Returns
    -------
    ndarray of shape (2, G, K)
        Slopes and intercepts.
    """
    line = np.zeros((2, masks.shape[1], Y.shape[1]))
    line[0] = slope
    prior, step = line.copy(), np.zeros_like(line)
    reach = np.full(line.shape[1:], _NEWTON_REACH)
    for _ in range(_NEWTON_STEPS):
        p = expit(offset + line[0][:, None] * Z + line[1][:, None])  # (G, n, K)
        residual, curve = masks.T[:, :, None] * np.stack([p - Y, p * (1 - p)])
        slopes, both = (residual * Z).sum(axis=1), (curve * Z).sum(axis=1)
        gradient = np.stack([slopes, residual.sum(axis=1)]) + precision * (line - prior)
        reach[(step * gradient).sum(axis=0) < 0] /= 2
        steep, flat = (curve * Z**2).sum(axis=1) + precision, curve.sum(axis=1) + precision
        step = np.stack([flat, steep]) * gradient - both * gradient[::-1]
        step /= steep * flat - both**2
        step /= np.maximum(np.abs(step).max(axis=0) / reach, 1)
        line = line - step
        if np.abs(step).max() < _NEWTON_END:
            break
    return line


class _Objective:
    """Penalised loss and its gradient, one row of parameters per group, in the dtype of ``A``.

    Classes come before rows, so that sums over the classes run along the memory, and parameters
    are counted in units in which the loss curves alike in all: the factors, then W (K, d).
    """

    def __init__(
        self,
        A,
        offset,
        Y,
        masks,
        family,
        penalty,
        target,
        shared=(),
        means=(),
        tightness=(),
        levels=None,
    ):
        dtype, n_classes = A.dtype, Y.shape[1]
        self.A, self.family = A, family
        self.levels = None if levels is None else levels.astype(dtype)
        self.shape = (n_classes if levels is None else 1, A.shape[1])
        self.offset, self.Y, self.weights = (_rows_last(v, dtype) for v in (offset, Y, masks))
        self.precision = _rows_last(penalty, dtype)
        self.center = 0.0 if target is None else _rows_last(target, dtype)
        self.unit = _rows_last(_units(A, masks[:, -1], family, n_classes, penalty), dtype)
        self.means, self.tightness = np.asarray(means, dtype), np.asarray(tightness, dtype)
        self.shared = np.empty((0, Y.size), dtype)
        if len(shared):
            self.shared = np.stack([_rows_last(one, dtype).ravel() for one in shared])
        self.factor_unit = self._factor_units()
        #: Slope below which a fit has ended.
        self.steepest = 1e-6 * max(1.0, masks.max())

    def _factor_units(self):
        """Scale of each factor, by the curvature of the loss of all rows at its prior mean."""
        logits = self.offset + (self.means @ self.shared).reshape(self.Y.shape)
        _loss_to_residual(logits[None], self.Y, self.family)
        p = logits + self.Y
        values = self.shared.reshape(-1, *p.shape)
        spread = (p * values**2).sum(axis=1)
        if self.family == "softmax":
            spread -= (p * values).sum(axis=1) ** 2
        else:
            spread -= (p**2 * values**2).sum(axis=1)
        return 1 / np.sqrt(spread @ self.weights[-1] + self.tightness + _LEAST_CURVATURE)

    def pack(self, factors, W):
        """Parameters (G, P) of factors (G, J) and W (d, G, K)."""
        W = (W.transpose(1, 2, 0) / self.unit).reshape(len(factors), -1)
        return np.hstack([factors / self.factor_unit, W]).astype(self.A.dtype)

    def unpack(self, x):
        """Factors (G, J) and W (d, G, K) of parameters (G, P)."""
        factors, W = self._parts(x)
        return factors, np.ascontiguousarray(W.transpose(2, 0, 1))

    def _parts(self, x):
        n_factors = len(self.shared)
        return self.factor_unit * x[:, :n_factors], self.unit * x[:, n_factors:].reshape(
            len(x), *self.shape
        )

    def __call__(self, x, groups):
        factors, W = self._parts(x)
        (n, d), weights = self.A.shape, self.weights[groups]
        residual = (W.reshape(-1, d) @ self.A.T).reshape(len(x), -1, n)
        if self.levels is not None:
            residual = self.levels[:, None] * residual
        residual += self.offset
        if len(self.shared):
            residual += (factors @ self.shared).reshape(residual.shape)
        loss = _loss_to_residual(residual, self.Y, self.family)
        residual *= weights[:, None, :]
        pull, draw = self.precision * (W - self.center), self.tightness * (factors - self.means)
        value = (weights * loss).sum(axis=1, dtype=float)
        value += 0.5 * (pull * (W - self.center)).sum(axis=(1, 2), dtype=float)
        value += 0.5 * (draw * (factors - self.means)).sum(axis=1, dtype=float)
        along = residual if self.levels is None else self.levels @ residual
        of_W = self.unit * ((along.reshape(-1, n) @ self.A).reshape(W.shape) + pull)
        of_factors = self.factor_unit * (residual.reshape(len(x), -1) @ self.shared.T + draw)
        return value, np.hstack([of_factors, of_W.reshape(len(x), -1)])


def _rows_last(values, dtype):
    """The transpose, in one piece of memory."""
    return np.ascontiguousarray(np.transpose(values), dtype)


def _units(A, weights, family, n_classes, precision):
    """Scale of each coefficient in which the loss curves alike in all, shape (d, 1 or K).

    By the curvature where all classes are as likely: exact for columns at right angles, and it
    saves most of the iterations there.
    """
    curvature = 0.25 if family == "sigmoid" else (n_classes - 1) / n_classes**2
    return 1 / np.sqrt(curvature * (weights @ A**2)[:, None] + precision + _LEAST_CURVATURE)


def _loss_to_residual(logits, Y, family):
    """Log-loss (g, n) of logits (g, K, n), which become their gradient in place."""
    picked = np.einsum("kn,gkn->gn", Y, logits)
    if family == "softmax":
        top = logits.max(axis=1)
        logits -= top[:, None]
        np.exp(logits, out=logits)
        total = logits.sum(axis=1)
        logits /= total[:, None]
        logits -= Y
        return np.log(total) + top - picked
    loss = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0)
    expit(logits, out=logits)
    logits -= Y
    return loss.sum(axis=1) - picked
