"""How many more labels, and from where: the plan of a `PrevalenceEstimator`."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch

from sklfusion.promises._share_interval import labels_needed

#: Strata are drawn in proportion to their size unless a class has a share below this: elsewhere a
#: guess gains little over a random sample, and a wrong one loses.
_RARE_SHARE = 0.1
#: No stratum is drawn more often than this, relative to the one drawn least: a wrong guess of
#: where a class lies then costs little.
_MOST_UNEQUAL = 3.0


class LabelPlan(Bunch):
    """Labels to draw; see :meth:`PrevalenceEstimator.plan`."""


class Strata(NamedTuple):
    """Per class that a model finds likeliest: other texts, labelled ones, and the labels of these.

    ``found`` is of shape (S, K): labelled texts of stratum s that are of class k.
    """

    n_rest: np.ndarray
    n_labelled: np.ndarray
    found: np.ndarray


def strata(sample, classes):
    """Return the `Strata` of a `LabelledSample`."""
    centre = sample.proba.mean(axis=0) if _overlap(sample.indicators) else 0
    of_labelled = (sample.proba - centre).argmax(axis=1)
    of_rest = (sample.rest_proba - centre).argmax(axis=1)
    n = len(classes)
    found = np.zeros((n, n))
    np.add.at(found, of_labelled, sample.indicators)
    return Strata(np.bincount(of_rest, minlength=n), np.bincount(of_labelled, minlength=n), found)


def _overlap(indicators):
    return (indicators.sum(axis=1) != 1).any()


def plan(answer, told, width, confidence):
    """Return a `LabelPlan` that brings the intervals of ``answer`` to a width."""
    n, total = answer.n_labelled, answer.n_total
    residual = np.where(np.isfinite(answer.labels_worth), 1 / answer.labels_worth, 1.0)
    needed = np.array(
        [
            labels_needed(width / 2, np.clip(p, 1 / (t + 1), t / (t + 1)), r, t, confidence)
            for p, r, t in zip(answer.share, residual, total, strict=True)
        ]
    )
    more = np.maximum(needed - n, 0)
    hardest = int(more.argmax())
    rate = _rates(told, hardest, answer.share[hardest])
    drawn = _spread(int(more[hardest]), told.n_rest * rate, told.n_rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(drawn > 0, told.n_rest / drawn, np.nan)
    return LabelPlan(
        classes=answer.classes,
        labels_needed=needed,
        labels_more=more,
        stratum=answer.classes,
        stratum_total=told.n_rest,
        stratum_more=drawn,
        stratum_weight=weight,
    )


def _rates(told, k, share):
    """How often a text of each stratum is drawn, relative to the others."""
    if share >= _RARE_SHARE:
        return np.ones(len(told.n_rest))
    p = (told.found[:, k] + 0.5) / (told.n_labelled + 1)
    spread = np.sqrt(p * (1 - p))
    return np.maximum(spread, spread.max() / _MOST_UNEQUAL)


def _spread(more, sizes, most):
    """Whole numbers in proportion to ``sizes`` that sum to ``more``, none above ``most``."""
    more = min(more, int(most.sum()))
    if not more:
        return np.zeros(len(sizes), dtype=int)
    exact = more * sizes / sizes.sum()
    drawn = np.minimum(np.floor(exact).astype(int), most)
    while drawn.sum() < more:
        gap = np.where(drawn < most, exact - drawn, -np.inf)
        drawn[gap.argmax()] += 1
    return drawn
