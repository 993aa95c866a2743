"""The error of a classifier by its number of labels: an inverse power law with a learnt prior."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

#: Labels at which the level of a curve is told.
REFERENCE = 100
#: Curves drawn from the prior; their weights are the posterior.
_N_CURVES = 20_000
#: Made-up errors and hits: no error among a few labels does not show that there is none.
_PSEUDO_COUNT = 0.5
#: Degrees of freedom of a rise: one that no curve has, as from repeated rows, is not believed.
_FREEDOM = 4


class CurvePrior(NamedTuple):
    """Mean (3,) and covariance (3, 3) of the logit of the error at 100 labels, the logit of the
    part of it that no number of labels removes, and the logarithm of the exponent.
    """

    mean: np.ndarray
    covariance: np.ndarray


class Seen(NamedTuple):
    """What the labels at hand tell of the curve.

    ``accuracy`` at ``n`` labels is worth ``n_effective`` texts; from half the labels to all it
    rose by ``rise``, with the standard error ``rise_error``.
    """

    n: int
    accuracy: float
    n_effective: float
    rise: float
    rise_error: float


#: Of the curves of FusionClassifier on recorded LLM answers, as `benchmarks.quality.budget_plan`
#: prints it.
CURVE_PRIOR = CurvePrior(
    np.array([-1.215, 2.181, -0.938]),
    np.array([[1.854, -0.567, -0.216], [-0.567, 2.163, 1.128], [-0.216, 1.128, 1.042]]),
)


def error_at(n, curves):
    """Return the error of each curve at each number of labels.

    Parameters
    ----------
    n : array-like of shape (m,)
    curves : ndarray of shape (c, 3)
        As in `CurvePrior`.

    Returns
    -------
    ndarray of shape (c, m)
        ``a + b n^-c``, a and b written by the error at 100 labels and the part that stays.
    """
    at_reference, stays = expit(curves[:, :1]), expit(curves[:, 1:2])
    shrunk = (np.asarray(n, dtype=np.float64) / REFERENCE) ** -np.exp(curves[:, 2:])
    return np.minimum(at_reference * (stays + (1 - stays) * shrunk), 1.0)


def posterior_curves(seen, prior=CURVE_PRIOR, seed=0):
    """Return curves (c, 3) and their weights (c,) in the light of what was seen."""
    rng = np.random.default_rng(seed)
    curves = rng.multivariate_normal(prior.mean, prior.covariance, size=_N_CURVES)
    now, half = np.clip(error_at([seen.n, seen.n / 2], curves), 1e-6, 1 - 1e-6).T
    hits = seen.accuracy * seen.n_effective + _PSEUDO_COUNT
    misses = (1 - seen.accuracy) * seen.n_effective + _PSEUDO_COUNT
    log_weight = hits * np.log1p(-now) + misses * np.log(now)
    surprise = ((half - now - seen.rise) / seen.rise_error) ** 2
    log_weight -= (_FREEDOM + 1) / 2 * np.log1p(surprise / _FREEDOM)
    weights = np.exp(log_weight - log_weight.max())
    return curves, weights / weights.sum()


def forecast_accuracy(seen, sizes, confidence, prior=CURVE_PRIOR):
    """Return (m,) expected accuracies at each size, and the ends of their bands."""
    curves, weights = posterior_curves(seen, prior)
    accuracy = 1 - error_at(sizes, curves)
    expected = weights @ accuracy
    order = np.argsort(accuracy, axis=0)
    upto = np.cumsum(weights[order], axis=0)
    ends = []
    for level in ((1 - confidence) / 2, (1 + confidence) / 2):
        place = np.minimum((upto < level).sum(axis=0), len(curves) - 1)
        ends.append(accuracy[order[place, range(len(sizes))], range(len(sizes))])
    return expected, ends[0], ends[1]
