"""How much of a budget a cascade spends: pure functions of the cost curve and its error."""

import warnings
from functools import partial

import numpy as np
from sklearn.metrics import check_scoring

from sklfusion._text_input import distinct
from sklfusion.cascade._certificate import share_for
from sklfusion.cascade._cost_curve import Answers, mixed

#: Groups of texts that are left out in turn, for the error of a difference between two shares.
_GROUPS = 20
#: Scores that differ by less are the same.
_SAME = 1e-12


def chosen_shares(cascade, curve, most, verdicts, rows):
    """Return the share of texts to ask about, and the one whose threshold decides in a call.

    Parameters
    ----------
    cascade : CascadeClassifier
        Whose parameters decide what is asked for: to keep a risk, to spend a budget, or the best.
    curve : dict of ndarray
        The cost curve.
    most : float
        Largest share that the budget allows.
    verdicts : Verdicts
        Of the out-of-fold answers.
    rows : tuple
        What :func:`scores_left_out` takes by place.
    """
    if cascade.risk is not None:
        share = share_for(verdicts, cascade.risk, cascade.delta, most)
        return share, share
    if cascade.budget is None or cascade.cost:
        choose = partial(best_share, curve, cascade.cost)
    else:
        told = {"multilabel": cascade.multilabel_, "scoring": cascade.scoring}
        choose = partial(
            share_to_spend, curve, scores_left_out(*rows, **told, points=curve["share"])
        )
    share = choose(most)
    # a budget that binds holds every call by itself; the doubts of new texts may lie lower
    return share, choose(1.0) if cascade.strict and share >= most else share


def best_share(curve, cost, most):
    """Return the share of the best score less its cost, of equal ones the smallest."""
    worth = curve["score"] - cost * curve["share"]
    return float(curve["share"][np.argmax(np.where(curve["share"] <= most, worth, -np.inf))])


def share_to_spend(curve, left_out, most):
    """Return the largest share within a budget that is not clearly worse than the best one.

    The best point of a noisy curve is mostly too early: the next few texts gain little each, and
    one unlucky row hides it. A share is clearly worse than another where its score is lower by
    more than one standard error of their paired difference; and where asking further changes
    nothing, it is not done.

    Parameters
    ----------
    curve : dict of ndarray of shape (m,)
        With ``share`` and ``score``.
    left_out : ndarray of shape (G, m)
        The scores without each group of texts, from :func:`scores_left_out`.
    most : float
        Largest share allowed.
    """
    within = curve["share"] <= most
    score, parts = curve["score"][within], left_out[:, within]

    def gains(place):
        return score - score[place], _errors(parts - parts[:, [place]])

    gain, error = gains(np.argmax(score))
    spent = np.flatnonzero(gain + error >= -_SAME)[-1]
    gain, error = gains(spent)  # of each share over the one spent
    level = np.flatnonzero(gain - error >= -_SAME)[0]
    return float(curve["share"][within][min(level, spent)])


def _errors(parts):
    """Standard error by the jackknife, from values without each group (G, m)."""
    n_groups = len(parts)
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt((n_groups - 1) / n_groups * spread)


def scores_left_out(first, fused, unsure, y, classes, texts, *, multilabel, scoring, points):
    """Measure the cascade at each share without each group of texts, shape (G, m).

    Parameters are those of :func:`cost_curve`, with the shares ``points`` (m,) and the ``texts``
    (n,) of the rows: equal ones are left out together, and no class is left out as a whole.
    """
    group = _groups(texts, y, multilabel)
    answers = Answers(classes, multilabel)
    scorer = check_scoring(answers, scoring=scoring)
    kept = [group != number for number in range(max(group.max(), 1) + 1)]
    found = np.empty((len(kept), len(points)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the whole curve has said it already
        for column, share in enumerate(points):
            proba = mixed(first, fused, unsure, int(share * len(y) + 1e-9))
            found[:, column] = [scorer(answers, proba[rows], y[rows]) for rows in kept]
    return found


def _groups(texts, y, multilabel):
    """Number of each row's group, -1 for a class of one text, which is never left out."""
    places = distinct(texts)[1]
    _, first = np.unique(places, return_index=True)
    n_groups = min(_GROUPS, len(first))
    if multilabel:
        return (np.arange(len(first)) % n_groups)[places]
    _, number, counts = np.unique(y[first], return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable")
    group = np.empty(len(first), dtype=int)
    group[order] = np.arange(len(first)) % n_groups
    group[counts[number] == 1] = -1
    return group[places]
