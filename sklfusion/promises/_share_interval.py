"""The interval of one share: a regression estimate, and a hull of two exact-like intervals.

The estimate is the difference estimator of survey sampling with a fitted slope, which is PPI++
when the model comes from other data: the mean of the model's probabilities over all texts, and
the mean error of that model on the labelled ones.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

#: Residual variance carries this many squared normal quantiles of made-up errors: a handful of
#: labelled rows without an error does not show that the model makes none.
_PSEUDO_ERRORS = 0.25
#: A model whose probabilities vary less than this tells nothing.
_LEAST_VARIANCE = 1e-9
#: Keeps a division finite where the labelled rows leave no doubt.
_LEAST_ERROR = 1e-15


class ShareInterval(NamedTuple):
    """A share with its interval, its variance, and what it stands on.

    ``labels_worth`` is how many labels drawn at random, and no model, would tell as much as one
    label here.
    """

    share: float
    low: float
    high: float
    variance: float
    n_effective: float
    slope: float
    labels_worth: float


def share_interval(y, proba, rest_mean, n_total, *, weights=None, confidence=0.95, finite=True):
    """Return the interval of the share of one class.

    Parameters
    ----------
    y : array-like of shape (n,) of 0 and 1
        Whether each labelled text has the class.
    proba : array-like of shape (n,)
        Out-of-fold probability of the class for the labelled texts.
    rest_mean : float
        Mean probability over the ``n_total - n`` other texts.
    n_total : int
        Texts in all, the labelled ones included.
    weights : array-like of shape (n,), optional
        One over the probability with which each labelled text came into the sample. None is a
        simple random sample, as equal weights are.
    confidence : float
    finite : bool
        Whether the share of these ``n_total`` texts is wanted, rather than that of the process
        that they come from.

    Returns
    -------
    ShareInterval
    """
    y, proba = np.asarray(y, dtype=np.float64), np.asarray(proba, dtype=np.float64)
    n = len(y)
    if n == 0:
        return ShareInterval(float(rest_mean), 0.0, 1.0, np.nan, 0.0, 1.0, np.nan)
    if finite and n >= n_total:
        share = float(y.mean())
        return ShareInterval(share, share, share, 0.0, np.inf, 0.0, np.nan)
    if weights is not None and np.ptp(weights) <= 1e-9 * np.max(weights):
        weights = None
    z = stats.norm.ppf(0.5 + confidence / 2)
    sample = _Sample(y, proba, rest_mean, n_total, weights, finite)
    error, of_a_coin = sample.variances(_PSEUDO_ERRORS * z * z)
    p = sample.smooth_share
    n_effective = p * (1 - p) / max(error, _LEAST_ERROR)
    low, high = _hull(sample.share, n_effective, 1 - confidence, z)
    share = sample.share
    if finite:
        low, high = max(low, y.sum() / n_total), min(high, 1 - (n - y.sum()) / n_total)
        share = float(np.clip(share, low, high))
    worth = of_a_coin / max(error, _LEAST_ERROR)
    return ShareInterval(
        share,
        float(low),
        float(high),
        float(error),
        float(n_effective),
        sample.slope,
        float(worth),
    )


class _Sample:
    """The labelled rows of one class, and the regression estimate from them."""

    def __init__(self, y, proba, rest_mean, n_total, weights, finite):
        n = len(y)
        self.n, self.n_total, self.finite, self.random = n, n_total, finite, weights is None
        self.weights = np.full(n, n_total / n) if weights is None else np.asarray(weights, float)
        self.parts = self.weights / self.weights.sum()
        y_mean, proba_mean = self.parts @ y, self.parts @ proba
        spread = self.parts @ (proba - proba_mean) ** 2
        self.slope = 0.0
        if spread > _LEAST_VARIANCE:
            together = self.parts @ ((y - y_mean) * (proba - proba_mean))
            self.slope = float(np.clip(together / spread, 0, 1))
        self.errors = (y - y_mean) - self.slope * (proba - proba_mean)
        rest = n_total - n
        if self.random and finite:  # the known labels are put in as they are
            unknown = self.slope * rest_mean + y_mean - self.slope * proba_mean
            share = (n * y_mean + rest * unknown) / n_total
        else:
            everywhere = (proba.sum() + rest * rest_mean) / n_total
            share = y_mean + self.slope * (everywhere - proba_mean)
        self.share = float(np.clip(share, 0, 1))

    @property
    def rows(self):
        """Rows of equal weight that are worth as much; the number of rows in a random sample."""
        return 1 / (self.parts @ self.parts)

    @property
    def smooth_share(self):
        return (self.rows * self.share + 0.5) / (self.rows + 1)

    def variances(self, pseudo_errors):
        """Variance of the estimate, and of the share of a random sample without a model."""
        n, total, p = self.n, self.n_total, self.smooth_share
        freedom = max(self.rows - 1, 0.5)
        if self.random:
            left = (total - n) / (total - 1) if total > 1 else 0.0
            plain = p * (1 - p) / n * left
            squares = self.errors @ self.errors + pseudo_errors
            error = min(squares / (n * freedom) * left, plain)
        else:
            left = 1 - 1 / np.maximum(self.weights, 1)
            squared = self.parts**2
            error = (squared * (self.errors**2 + pseudo_errors / n)) @ left * self.rows / freedom
            plain = p * (1 - p) * (squared @ left)
        if not self.finite:  # these texts are themselves a sample
            error, plain = error + p * (1 - p) / total, plain + p * (1 - p) / total
        return error, plain


def _hull(share, n, alpha, z):
    """The wider end, on each side, of Wilson's interval and of Jeffreys' for n rows."""
    wilson_low, wilson_high = wilson(share, n, z)
    hits = share * n
    low = stats.beta.ppf(alpha / 2, hits + 0.5, n - hits + 0.5) if hits > 1e-9 else 0.0
    high = stats.beta.ppf(1 - alpha / 2, hits + 0.5, n - hits + 0.5) if hits < n - 1e-9 else 1.0
    return min(wilson_low, low, share), max(wilson_high, high, share)


def wilson(share, n, z):
    """Wilson's score interval of a share of n rows."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def labels_needed(half_width, share, residual, n_total, confidence=0.95):
    """Return the labels in all that bring an interval to a half width.

    Parameters
    ----------
    half_width : float
    share : float
        Share that is expected.
    residual : float
        Part of the variance that the model leaves, 1 / ``labels_worth`` of a first sample; 1 is a
        model that is worth nothing.
    n_total : float
        Texts in all; may be infinite.
    confidence : float

    Returns
    -------
    int
    """
    z = stats.norm.ppf(0.5 + confidence / 2)
    variance, square = share * (1 - share), half_width**2
    over = variance - 2 * square
    quarter = 0.25 - square
    if quarter <= 0:
        return 0
    ratio = (np.sqrt(over**2 + 4 * square * quarter) - over) / (2 * quarter)
    rows = z * z / ratio
    left = rows * residual
    pseudo = 4 * _PSEUDO_ERRORS * z * z * rows / max(variance, _LEAST_VARIANCE)
    needed = min(rows, (left + np.sqrt(left**2 + pseudo)) / 2)
    if np.isfinite(n_total):
        needed = needed / (1 + needed / n_total)
    return int(np.ceil(needed))


def sum_to_one(shares, variances, low, high):
    """Return shares that sum to one, each within its interval; the least sure give most way."""
    shares = np.array(shares, dtype=np.float64)
    free = np.ones(len(shares), dtype=bool)
    for _ in shares:
        missing, room = 1 - shares.sum(), np.where(free, variances, 0)
        if abs(missing) < 1e-12 or room.sum() <= 0:
            break
        shares = np.clip(shares + missing * room / room.sum(), low, high)
        free = (shares > low) & (shares < high)
    return shares
