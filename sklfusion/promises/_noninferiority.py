"""At most so much worse: an exact test that one of two classifiers loses little to the other.

Two classifiers answer the same n labelled rows; b rows only the reference has right, c rows only
ours. "Ours is at most eps worse" is tested by the score statistic of the paired difference, with
the critical value that keeps the level whatever the share of such rows is.
"""

from functools import lru_cache

import numpy as np
from scipy.special import gammaln

#: The level is held for shares of rows that only ours has right up to this.
_MOST_WON = 0.15
#: Shares at which it is computed: none, and a geometric grid between the least here and the most.
_SHARES = np.r_[0.0, np.geomspace(5e-4, _MOST_WON, 18)]
#: Above this number of rows the critical value is its limit, with some slack; the exact one would
#: take seconds.
_EXACT_UP_TO, _LIMIT_SLACK = 3000, 0.08
#: The losses that a certificate may state.
LOSSES = np.r_[np.arange(0.005, 0.1, 0.005), np.arange(0.1, 0.3001, 0.01)].round(4)


def score(b, c, n, eps):
    """The score statistic of "ours is eps worse"; small values speak for better than that."""
    both = b + c - (2 * n - b + c) * eps
    root = np.sqrt(np.maximum(both**2 + 8 * n * c * eps * (1 - eps), 0))
    won = (both + root) / (4 * n)  # likeliest share of rows that only ours has right
    return (b - c - n * eps) / np.sqrt(n * (2 * won + eps * (1 - eps)))


@lru_cache(maxsize=512)
def critical(n, eps, delta):
    """The largest value at which the test rejects: its size is at most ``delta``.

    The size is summed over all outcomes of a trinomial (both right or wrong, only one right).
    """
    if n > _EXACT_UP_TO:
        from scipy.stats import norm

        return float(norm.ppf(delta)) - _LIMIT_SLACK
    most = n * (_MOST_WON + eps)
    top = int(min(n, most + 6 * np.sqrt(most) + 10))  # more rows of a kind have no probability
    b, c = np.arange(top + 1)[:, None], np.arange(top + 1)[None]
    possible = b + c <= n
    rest = np.where(possible, n - b - c, 0)
    z = np.where(possible, score(b, c, n, eps), np.inf)
    order = np.argsort(z, axis=None)
    sorted_z = z.ravel()[order]
    falls = np.r_[sorted_z[1:] > sorted_z[:-1] + 1e-12, True]  # never cut through equal ones
    factorial = gammaln(np.arange(n + 2) + 1)
    ways = factorial[n] - factorial[b] - factorial[c] - factorial[rest]
    size = np.zeros(z.size)
    for won in _SHARES:
        log_won = np.where(c > 0, c * np.log(won), 0.0) if won else np.where(c > 0, -np.inf, 0.0)
        log_p = ways + b * np.log(won + eps) + log_won + rest * np.log(1 - eps - 2 * won)
        mass = np.where(possible, np.exp(log_p), 0).ravel()[order]
        size = np.maximum(size, np.cumsum(mass))
    good = np.flatnonzero(falls & (size <= delta))
    return float(sorted_z[good[-1]]) if len(good) else -np.inf


def not_worse(b, c, n, eps, delta):
    """Whether ours is at most ``eps`` worse, with probability 1 - ``delta`` over draws of rows."""
    eps = round(float(eps), 6)
    return bool(score(b, c, n, eps) <= critical(n, eps, delta) + 1e-9)


def certified_loss(b, c, n, delta):
    """The smallest of `LOSSES` that is certified, 1.0 if none is."""
    return next((float(e) for e in LOSSES if not_worse(b, c, n, e, delta)), 1.0)


def least_rows(eps, delta):
    """The fewest rows on which ``eps`` can be certified: with none of them lost."""
    low, high = 1, 2
    while not not_worse(0, 0, high, eps, delta):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if not_worse(0, 0, middle, eps, delta) else (middle, high)
    return high


def certified_share(doubt, first_right, fused_right, eps, delta, steps=20):
    """The smallest share of rows to ask about that loses at most ``eps`` to asking about all.

    Walks from all rows downwards, and stops where the test fails first; 1.0 if that is at once.

    Parameters
    ----------
    doubt : ndarray of shape (n,)
        Of the first stage; rows of the least doubt are not asked about first.
    first_right, fused_right : ndarray of shape (n,) of bool
    eps, delta : float
    steps : int
        The share falls by one part of so many.
    """
    n, best = len(doubt), 1.0
    order = np.argsort(doubt, kind="stable")
    lost = (fused_right & ~first_right)[order].cumsum()
    won = (first_right & ~fused_right)[order].cumsum()
    for step in range(1, steps + 1):
        m = int(step * n / steps + 1e-9)
        if m and not not_worse(int(lost[m - 1]), int(won[m - 1]), n, eps, delta):
            break
        best = 1 - step / steps
    return round(best, 6)
