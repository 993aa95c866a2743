"""Decision cut for multi-label predictions, chosen on out-of-fold probabilities."""

import numpy as np

_CUTS = np.round(np.arange(0.2, 0.81, 0.05), 2)


def resolve_cut(threshold, proba, Y, weights):
    """Return (threshold, fill): what was set, one half without probabilities, or a choice."""
    if threshold != "auto":
        return float(threshold), False
    return (0.5, False) if proba is None else choose_cut(proba, Y, weights)


def choose_cut(proba, Y, weights):
    """Return (threshold, fill): the shared cut, and whether empty sets get their likeliest label.

    Of all cuts whose exact match out of fold is within two paired standard errors of the
    best, the one nearest to 0.5: the curve is flat and its maximum mostly noise.
    Empty sets are filled when no training row is empty.
    """
    total = weights.sum()
    fill = bool(Y[weights > 0].any(axis=1).all()) and total >= 10
    exact = np.array([_exact(proba, Y, cut, fill) for cut in _CUTS])
    best = exact[np.argmax(exact @ weights)]
    loss = best - exact
    mean = loss @ weights / total
    error = np.sqrt((loss - mean[:, None]) ** 2 @ weights) / total
    eligible = np.flatnonzero(mean <= 2 * error + 1e-12)
    return float(min(_CUTS[eligible], key=lambda cut: abs(cut - 0.5))), fill


def apply_cut(proba, cut, fill):
    """Label sets (n, K) of 0 and 1."""
    labels = (proba >= cut).astype(int)
    if fill:
        empty = ~labels.any(axis=1)
        labels[empty, proba[empty].argmax(axis=1)] = 1
    return labels


def _exact(proba, Y, cut, fill):
    return (apply_cut(proba, cut, fill) == Y).all(axis=1).astype(float)
