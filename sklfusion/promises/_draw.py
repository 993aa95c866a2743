"""Rows drawn with known, unequal probabilities, and the weights that make up for it."""

import numpy as np


def doubt_of(proba, *, multilabel):
    """Return how unsure a model is of each row, from 0 to 1.

    Parameters
    ----------
    proba : ndarray of shape (n, K)
    multilabel : bool
        Whether the columns are labels that hold or not, each by itself.

    Returns
    -------
    ndarray of shape (n,)
        ``(1 - margin)^2``, the margin being that of the likeliest class over the second; for
        several labels the mean over labels. A row without probabilities (NaN) has 1.
    """
    if multilabel:
        doubt = ((1 - np.abs(2 * proba - 1)) ** 2).mean(axis=1)
    elif proba.shape[1] < 2:
        doubt = np.ones(len(proba))
    else:
        top = np.partition(proba, -2, axis=1)
        doubt = (1 - (top[:, -1] - top[:, -2])) ** 2
    return np.where(np.isnan(doubt), 1.0, doubt)


def drawing_weights(doubt, floor):
    """Return the probability of each row at the first turn: a floor for all, the rest by doubt."""
    total = doubt.sum()
    by_doubt = doubt / total if total > 0 else np.full(len(doubt), 1 / len(doubt))
    return floor / len(doubt) + (1 - floor) * by_doubt


def draw_in_turn(weights, size, rng):
    """Draw rows one by one, without replacement, in proportion to the weights that are left.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Positive.
    size : int
        If more than n, all are drawn.
    rng : Generator or RandomState

    Returns
    -------
    places : ndarray of int
        In the order in which they were drawn.
    q : ndarray
        The probability that each had at its turn.
    """
    left, places, q = np.array(weights, dtype=np.float64), [], []
    for _ in range(min(size, len(left))):
        there = np.flatnonzero(left)
        upto = np.cumsum(left[there])
        hit = np.searchsorted(upto, rng.random() * upto[-1], side="right")
        place = there[min(hit, len(there) - 1)]  # rounding can lead past the last one
        places.append(place)
        q.append(left[place] / upto[-1])
        left[place] = 0.0
    return np.array(places, dtype=np.int64), np.array(q)


def lure_weights(q, n_pool, left=None):
    """Return weights whose mean over the drawn rows is unbiased for the pool.

    Parameters
    ----------
    q : array-like of shape (M,)
        Probability of each drawn row at its turn, in the order drawn.
    n_pool : int
        Rows that could be drawn, the M drawn ones among them.
    left : array-like of shape (M,), optional
        Rows that were there at each turn, where others than these M went away too.

    Returns
    -------
    ndarray of shape (M,)
        All 1 where every row was as likely as another.

    References
    ----------
    Farquhar, Gal and Rainforth, "On statistical bias in active learning", ICLR 2021.
    """
    q = np.asarray(q, dtype=np.float64)
    if len(q) == n_pool:  # nothing is left out
        return np.ones(len(q))
    still = n_pool - np.arange(len(q))
    odds = 1 / ((still if left is None else np.asarray(left)) * q)  # 1 in an even draw
    return 1 + (n_pool - len(q)) / (still - 1) * (odds - 1)
