"""Decision cut for multi-label predictions, chosen on out-of-fold probabilities."""

import numpy as np

_GRID = np.round(np.arange(0.2, 0.81, 0.05), 2)


def choose_cut(proba, Y, weights):
    """Return (threshold, fill): the shared cut, and whether empty sets get their likeliest label.

    The cut maximises exact match out of fold and leaves 0.5 only for a gain above one paired
    standard error. Empty sets are filled when no training row is empty.
    """
    total = weights.sum()
    fill = bool(Y[weights > 0].any(axis=1).all()) and total >= 10
    exact = {cut: _exact(proba, Y, cut, fill) for cut in _GRID}
    base = exact[0.5]
    best, best_gain = 0.5, 0.0
    for cut in sorted(_GRID, key=lambda c: abs(c - 0.5)):
        gain = exact[cut] - base
        mean = weights @ gain / total
        error = np.sqrt(weights @ (gain - mean) ** 2) / total
        if mean > best_gain + 1e-9 and mean > error:
            best, best_gain = float(cut), mean
    return best, fill


def apply_cut(proba, cut, fill):
    """Label sets (n, K) of 0 and 1."""
    labels = (proba >= cut).astype(int)
    if fill:
        empty = ~labels.any(axis=1)
        labels[empty, proba[empty].argmax(axis=1)] = 1
    return labels


def _exact(proba, Y, cut, fill):
    return (apply_cut(proba, cut, fill) == Y).all(axis=1).astype(float)
