"""Ordered classes: which comes before which, and what that means for the model.

With classes on a line, ``log p(k) - log p(k - 1)`` of neighbours all move together: a text has one
score, and evidence is that score times the place of the class (the adjacent-categories form of
proportional odds). So a higher score moves probability upwards at every level, and there is
one coefficient per feature where plain classes have K.
"""

from typing import Any

import numpy as np

from sklfusion._validation import plain_labels

#: How much rarer an error is for each further level that it is off, before any row is seen.
_NEARER = 0.5


def ordered_categories(y):
    """Categories of an ordered categorical column, lowest first, or None."""
    dtype: Any = getattr(y, "dtype", None)
    return list(dtype.categories) if getattr(dtype, "ordered", False) else None


def levels_of(classes, declared, categories, *, caller):
    """Return the classes from the lowest to the highest.

    Parameters
    ----------
    classes : ndarray of shape (K,)
        The classes, sorted, in the names of ``declared``.
    declared : sequence or None
        Classes in the user's order.
    categories : list or None
        Those of an ordered categorical y.
    caller : str
        Name of the estimator, for messages.

    Returns
    -------
    list of K labels

    Raises
    ------
    ValueError
        If nobody says which of two names comes first, or some class has no place.
    """
    order = plain_labels(declared) if declared is not None else categories
    if order is None and classes.dtype.kind in "biuf":
        return classes.tolist()
    if order is None:
        raise ValueError(
            f"{caller} got loss='ordinal' and the classes {classes.tolist()} as names, which do "
            "not tell their order. Pass classes=[lowest, ..., highest], or y as an ordered "
            "pandas Categorical."
        )
    return order


def places(classes, levels):
    """Place of each class on a line: centred, of norm 1, so that penalties mean what they do."""
    number = {level: place for place, level in enumerate(levels)}
    place = np.array([number[label] for label in classes.tolist()], dtype=np.float64)
    place -= place.mean()
    return place / np.linalg.norm(place)


def nearness(levels, mapping):
    """Weight of each class as an error of each vote, shape (J, K): the nearer, the likelier.

    ``levels`` are places from :func:`places`, or None where classes have no order; ``mapping``
    says which class each of J votes means, -1 for none of them.
    """
    if levels is None:
        return 1.0
    rank = np.argsort(np.argsort(levels))
    near = _NEARER ** np.abs(rank[mapping][:, None] - rank).astype(float)
    near[mapping < 0] = 1.0
    return near
