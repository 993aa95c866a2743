"""Which classes a row may have, out of the weights of all."""

import numpy as np

#: A weight that is no larger is no candidate.
_TRACE_OF_SMOOTHING = 1e-6


def cut_candidates(proba, *, certain=0.9, dominant=0.8):
    """Reduce each row to one, two or all of its candidates.

    Parameters
    ----------
    proba : ndarray of shape (n, K)
        Rows on the simplex.
    certain, dominant : float
        Thresholds on the largest weight and on the sum of the two largest.

    Returns
    -------
    weights : ndarray of shape (n, K)
        Rows that sum to 1 and are zero outside the candidates.
    mask : ndarray of shape (n, K) of bool
        The candidates.
    """
    order = np.argsort(-proba, axis=1, kind="stable")
    rows = np.arange(len(proba))
    first = proba[rows, order[:, 0]]
    second = proba[rows, order[:, min(1, proba.shape[1] - 1)]]
    rank = np.argsort(order, axis=1)
    is_certain = first >= certain
    is_dominant = ~is_certain & (first + second >= dominant)
    mask = (proba > _TRACE_OF_SMOOTHING) & (
        rank < np.where(is_certain, 1, np.where(is_dominant, 2, rank.max() + 1))[:, None]
    )
    weights = np.where(mask, proba, 0.0)
    return weights / weights.sum(axis=1, keepdims=True), mask
