"""The rates that an estimator of label distributions learns from, in the order of its labels."""

import numpy as np

from sklfusion.annotations import Annotations
from sklfusion.multilabel._targets import check_target

#: A row of rates may miss 1 by this for each label.
_SUM_SLACK = 1e-6


def read_rates(X, y, multilabel, caller):
    """Return rates of shape (n, K) for annotations or features X, and the names of the labels.

    Raises
    ------
    ValueError
        If the rows or labels of y are not those of X, or if one label per text was asked for and
        a row is no distribution.
    """
    names = list(X.classes) if isinstance(X, Annotations) else None
    if not multilabel and np.ndim(y) == 1:
        y = _one_hot(y, names)
    Y, given = check_target(y, caller=caller, soft=True)
    if len(Y) != len(X):
        raise ValueError(f"X has {len(X)} texts, y has {len(Y)} rows.")
    if names is not None and Y.shape[1] != len(names):
        raise ValueError(f"y has {Y.shape[1]} columns; the annotations have labels {names}.")
    if names is not None and hasattr(y, "columns") and set(given) == set(map(str, names)):
        Y = Y[:, [list(given).index(str(name)) for name in names]]
    if not multilabel:
        _check_sums(Y)
    return Y, given


def _one_hot(y, names):
    y = np.asarray(y)[:, None] == np.array(names)[None, :]
    if not y.any(axis=1).all():
        raise ValueError(f"y holds a label that the annotations lack; they have {names}.")
    return y


def _check_sums(Y):
    """One label per text: a row of rates is a distribution over the labels."""
    off = np.abs(Y.sum(axis=1) - 1) > _SUM_SLACK * max(1, Y.shape[1])
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(
            f"y sums to {Y[row].sum():.6g} in row {row}; with one label per text each row is "
            "a distribution that sums to 1. Divide each row by its sum, or pass "
            "Annotations(..., multilabel=True) if several labels can hold at once."
        )
