"""The confidence above which answers are right often enough: pure functions of labelled rows.

Rows are walked down by falling confidence, and each stop is an exact binomial test at the same
level: the first test that fails ends the walk, so that all tests together err no more often than
one (a fixed sequence). Where it starts is chosen by the confidences alone, without a label.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

#: After a test that passed the next one has this many times as many rows: with smaller steps more
#: tests could fail by chance and end the walk early.
_NEXT_RUNG = 1.1
#: A mean confidence of one would promise that no row fails.
_MOST_SURE = 0.9999
#: With this probability the labels that are asked for suffice.
_POWER = 0.8
#: No more labels than this are asked for.
_MOST_LABELS = 1_000_000


class Threshold(NamedTuple):
    """Answers above ``value`` are right with a probability of at least ``bound``.

    ``n_answered`` labelled rows lie above it; without a threshold ``value`` is infinite, none is
    answered, and the bound is NaN.
    """

    value: float
    n_answered: int
    bound: float


def needed_right(n, target, delta):
    """Right answers among n that show an accuracy of at least ``target`` at 1 - ``delta``.

    n + 1 where not even n would do.
    """
    return stats.binom.isf(delta, np.asarray(n), target).astype(int) + 1


def least_labels(target, delta):
    """Return the labels without which nothing can be shown, all of them right."""
    return int(np.ceil(np.log(delta) / np.log(target)))


def find_threshold(confidence, right, target, delta):
    """Return the `Threshold` that labelled rows certify.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
    right : ndarray of shape (n,) of bool
    target : float
        Accuracy that is promised of what is answered.
    delta : float
        Probability, over draws of the labelled rows, that the promise is broken.
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, hits = confidence[order], np.cumsum(right[order])
    n = len(confidence)
    rungs, power = _rungs(confidence, n, target, delta)
    best, following = 0, 0.0
    for m in rungs[power.argmax() :] if len(rungs) else ():
        if m < following and m < rungs[-1]:
            continue
        if hits[m - 1] < needed_right(m, target, delta):
            break
        best, following = int(m), _NEXT_RUNG * m
    if not best:
        return Threshold(np.inf, 0, np.nan)
    value = -np.inf if best == n else (confidence[best - 1] + confidence[best]) / 2
    k = int(hits[best - 1])
    bound = float(stats.beta.ppf(delta, k, best - k + 1))
    return Threshold(float(value), best, bound)


def _rungs(confidence, n, target, delta):
    """Row counts at which a test can be passed, and how likely that is by the confidences.

    ``confidence`` falls; no rung cuts through equal ones. ``n`` rows of the same distribution.
    """
    ends = np.flatnonzero(np.r_[confidence[:-1] > confidence[1:], True]) + 1
    mean = np.minimum(np.cumsum(confidence)[ends - 1] / ends, _MOST_SURE)
    rungs = np.maximum(np.round(ends * n / len(confidence)).astype(int), 1)
    needed = needed_right(rungs, target, delta)
    possible = needed <= rungs
    power = stats.binom.sf(needed - 1, rungs, mean)
    return rungs[possible], power[possible]


def labels_for_threshold(confidence, target, delta):
    """Return the labels at which a threshold is found four times out of five, or None.

    Judged by the confidences alone, taken at their word; None if not even a million would do.
    """
    falling = -np.sort(-confidence)
    n = least_labels(target, delta)
    while n <= _MOST_LABELS:
        _, power = _rungs(falling, n, target, delta)
        if len(power) and power.max() >= _POWER:
            return int(n)
        n = int(np.ceil(n * 1.05))
    return None
