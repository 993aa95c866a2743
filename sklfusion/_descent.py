"""L-BFGS on many convex problems of one shape at once, each with steps and an end of its own."""

import numpy as np

#: Pairs of steps and gradient changes that stand for the curvature.
_MEMORY = 8
#: Share of the fall promised by the slope that a step must bring, and how often it is halved.
_ARMIJO, _MAX_HALVINGS = 1e-4, 20
#: Rounding of a sum of losses, as a share of it: a fall below it is none.
_LOSS_ROUNDING = {np.dtype(np.float64): 1e-15, np.dtype(np.float32): 3e-7}
#: How much longer than the step before it a step may be: where a loss runs straight, as that of
#: saturated logits, the pairs tell of no curvature, and halving finds no way back from so far.
_MAX_GROWTH = 16.0


def descend(evaluate, x, max_iter, tolerance, steepest):
    """Minimise one function per row of ``x``.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(x, rows)`` gives values (g,) as float64 and gradients (g, P) of the functions
        ``rows`` at x (g, P). A step of one against the gradient should be about right.
    x : ndarray of shape (G, P)
        Starts.
    max_iter : int
        Bound on steps.
    tolerance : float
        Relative fall of a value in one step at which its problem has ended.
    steepest : float
        Its largest slope at which it has ended.

    Returns
    -------
    ndarray of shape (G, P)
    """
    found, rows = x.copy(), np.arange(len(x))
    value, gradient = evaluate(x, rows)
    pairs: list = []
    for _ in range(max_iter):
        step = _within_reach(-_times_curvature(gradient, pairs), gradient, pairs)
        x_next, value_next, gradient_next = _line_search(evaluate, x, value, gradient, step, rows)
        pairs = [*pairs[1 - _MEMORY :], _curvature_pair(x_next - x, gradient_next - gradient)]
        fall = value - value_next
        x, value, gradient = x_next, value_next, gradient_next
        found[rows] = x
        size = np.maximum(np.maximum(np.abs(value), np.abs(value + fall)), 1.0)
        go_on = (fall > tolerance * size) & (np.abs(gradient).max(axis=1) > steepest)
        if not go_on.any():
            break
        if not go_on.all():
            rows, x, value, gradient = rows[go_on], x[go_on], value[go_on], gradient[go_on]
            pairs = [tuple(part[go_on] for part in pair) for pair in pairs]
    return found


def _dot(a, b):
    return np.einsum("gp,gp->g", a, b)[:, None]


def _curvature_pair(step, change):
    """A step, what it did to the gradient, and one over their product (0 if not positive)."""
    product = _dot(step, change)
    positive = product > 0
    return step, change, np.where(positive, 1 / np.where(positive, product, 1), 0)


def _times_curvature(gradient, pairs):
    """The gradient times the inverse curvature that the pairs tell: the two loops of L-BFGS."""
    q, alphas = gradient, []
    for step, change, rho in reversed(pairs):
        alphas.append(rho * _dot(step, q))
        q = q - alphas[-1] * change
    if pairs:
        _, change, rho = pairs[-1]
        known = rho > 0
        q = q * np.where(known, 1 / np.where(known, rho * _dot(change, change), 1), 1)
    for (step, change, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - rho * _dot(change, q)) * step
    return q


def _within_reach(step, gradient, pairs):
    """The step, cut where it is far longer than the one before and than the gradient."""
    if not pairs:
        return step
    reach = np.maximum(_MAX_GROWTH * _longest_move(pairs[-1][0]), _longest_move(gradient))
    return step * (reach / np.maximum(_longest_move(step), reach))


def _longest_move(step):
    """Largest entry of each step, shape (g, 1)."""
    return np.abs(step).max(axis=1, keepdims=True)


def _line_search(evaluate, x, value, gradient, step, rows):
    """Go the step, halved until the value falls; where it never does, stay."""
    slope = _dot(gradient, step)[:, 0]
    noise = _LOSS_ROUNDING[x.dtype] * np.abs(value)
    length = np.ones(len(x))
    x_next = x + step
    value_next, gradient_next = evaluate(x_next, rows)
    for _ in range(_MAX_HALVINGS):
        bad = ~(value_next <= value + _ARMIJO * length * slope + noise)
        if not bad.any():
            return x_next, value_next, gradient_next
        length[bad] /= 2
        x_next[bad] = x[bad] + length[bad, None].astype(x.dtype) * step[bad]
        value_next[bad], gradient_next[bad] = evaluate(x_next[bad], rows[bad])
    x_next[bad], value_next[bad], gradient_next[bad] = x[bad], value[bad], gradient[bad]
    return x_next, value_next, gradient_next
