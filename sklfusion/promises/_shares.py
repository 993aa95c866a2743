"""Shares of all classes, in all groups, as one table."""

import warnings
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklfusion._optional import import_optional
from sklfusion.exceptions import DataWarning
from sklfusion.promises._share_interval import share_interval, sum_to_one

#: Below this many labelled rows a model adds nothing to a group's interval, by measurement.
_FEW_LABELS = 10

_PER_CLASS = ("share", "low", "high", "labels_worth", "n_labelled", "n_total")


class Shares(Bunch):
    """Shares with their intervals; see :meth:`PrevalenceEstimator.estimate`."""

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of one row per class, or per group and class."""
        pd = import_optional("pandas", extra="cli", purpose="to_frame()")
        columns = {name: np.ravel(self[name]) for name in _PER_CLASS}
        n_groups = len(self.group) if "group" in self else 1
        named = {"class": np.tile(self.classes, n_groups)}
        if "group" in self:
            named = {"group": np.repeat(self.group, len(self.classes)), **named}
        return pd.DataFrame({**named, **columns})


def estimate_shares(sample, classes, by, settings):
    """Return `Shares` of a `LabelledSample`, for each group of ``by`` if there is one."""
    n, rest = len(sample.indicators), len(sample.rest)
    if by is None:
        groups, of_labelled, of_rest = np.zeros(1), np.zeros(n, int), np.zeros(rest, int)
    else:
        groups, number = np.unique(np.asarray(by), return_inverse=True)
        of_labelled, of_rest = number[sample.labelled], number[sample.rest]
    rows = [
        _one_group(sample, of_labelled == g, of_rest == g, settings) for g in range(len(groups))
    ]
    answer = Shares(classes=classes, confidence=settings["confidence"])
    for name in _PER_CLASS:
        values = np.array([row[name] for row in rows])
        answer[name] = values[0] if by is None else values
    if by is not None:
        answer["group"] = groups
        _warn_of_small(groups, answer.n_labelled[:, 0])
    elif n < _FEW_LABELS:
        _warn_of_small(["all texts"], [n])
    return answer


def _one_group(sample, labelled, rest, settings):
    n, total = int(labelled.sum()), int(labelled.sum() + rest.sum())
    weights = None if sample.weights is None else _scaled(sample.weights, labelled, total)
    rest_means = sample.rest_proba[rest].mean(axis=0) if rest.any() else sample.proba.mean(axis=0)
    found = [
        share_interval(
            sample.indicators[labelled, k],
            sample.proba[labelled, k],
            rest_means[k],
            total,
            weights=weights,
            confidence=settings["confidence"],
            finite=settings["finite"],
        )
        for k in range(sample.indicators.shape[1])
    ]
    columns = {name: np.array([getattr(f, name) for f in found]) for name in _PER_CLASS[:4]}
    if settings["sums_to_one"] and n:
        variances = np.array([f.variance for f in found])
        columns["share"] = sum_to_one(columns["share"], variances, columns["low"], columns["high"])
    counts = {"n_labelled": np.full(len(found), n), "n_total": np.full(len(found), total)}
    return {**columns, **counts}


def _scaled(weights, rows, total):
    """Weights of some rows, of the sum that they would have were each one over a probability."""
    own = weights[rows]
    return own * total / own.sum() if len(own) else own


def _warn_of_small(groups, counts):
    small = [(group, n) for group, n in zip(groups, counts, strict=True) if n < _FEW_LABELS]
    if not small:
        return
    shown = ", ".join(f"{group} ({n})" for group, n in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    warnings.warn(
        f"PrevalenceEstimator: fewer than {_FEW_LABELS} labelled texts in {shown}{more}: the "
        "intervals there are about those of counting alone, and 0 to 1 where there is none. "
        "Label more of them.",
        DataWarning,
        stacklevel=4,
    )
