"""Class labels as they arrive in y and in ``classes``: read, named, and refused where unclear.

scikit-learn's meta-estimators hand 0..K-1 in place of the labels that the user wrote. An LLM has
to be asked about names, so whoever has a list of names reads such numbers as codes of the sorted
names, and answers in the labels of y.
"""

import numbers
import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from sklfusion._validation import is_missing, plain_labels, refuse_label_sets
from sklfusion.exceptions import DataWarning

_WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.0+)?")
_ROWS_SHOWN = 5  # rows or labels that a message lists


def read_labels(y, *, caller="this estimator"):
    """Return class labels as an array of shape (n,).

    Parameters
    ----------
    y : array-like of shape (n,), or a column of shape (n, 1)
        Strings, numbers, booleans, members of an Enum, nullable and categorical columns.
    caller : str
        Name of the estimator, for messages.

    Returns
    -------
    ndarray of shape (n,)
        Numbers and booleans in their own type; an object array stays one of str.

    Raises
    ------
    ValueError
        If a label is missing (the message names the rows) or ``y`` has several columns.
    TypeError
        If labels are neither all strings nor all numbers.
    """
    if y is None:
        raise ValueError(f"{caller} requires y to be passed, but the target y is None.")
    refuse_label_sets(y, caller=caller)
    if isinstance(y, np.ma.MaskedArray):
        mask, y = np.ma.getmaskarray(y), y.data.astype(object)
        y[mask] = None
    listed = not (hasattr(y, "__array__") or hasattr(y, "dtype"))
    values = _object_array(y) if listed else np.asarray(y)
    if values.dtype.kind == "T":  # numpy's strings of any length, which scikit-learn cannot sort
        values = values.astype(object)
    values = column_or_1d(values, warn=True)
    if values.dtype.kind in "fmM":
        _refuse_missing(np.flatnonzero(values != values), caller)
    if values.dtype.kind != "O":
        return values
    labels = plain_labels(values)
    _refuse_missing([row for row, label in enumerate(labels) if is_missing(label)], caller)
    _refuse_mixed(labels, caller)
    if not labels or isinstance(labels[0], numbers.Number):
        return np.array(labels)
    return np.array(labels) if listed and isinstance(labels[0], str) else _object_array(labels)


def _object_array(values):
    values = list(values)
    out = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # sequences among them stay what they are
        out[row] = value
    return out


def _refuse_missing(rows, caller):
    if not len(rows):
        return
    shown = ", ".join(str(int(row)) for row in rows[:_ROWS_SHOWN])
    more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    raise ValueError(
        f"Input y contains NaN: {caller} needs a label for every row, and row(s) {shown}{more} "
        "have none. Drop these rows, or label them."
    )


def _refuse_mixed(labels, caller):
    kinds = {
        "str" if isinstance(v, str) else "number" if isinstance(v, numbers.Number) else "other"
        for v in labels
    }
    if len(kinds) > 1:
        types = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"{caller} requires labels in y to be uniformly strings or numbers. Got {types}. "
            "Convert them, for example with y.astype(str)."
        )


def in_names(y, classes, *, caller="this estimator"):
    """Return labels in the names of ``classes``, and what y calls these classes.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels from :func:`read_labels`: names out of ``classes``, or codes 0..K-1 of the sorted
        names.
    classes : sequence of K labels or None
        None: there is no list of names, and y speaks for itself.
    caller : str
        Name of the estimator, for messages.

    Returns
    -------
    named : ndarray of shape (n,)
        The labels as ``classes`` has them.
    codes : ndarray of shape (K,) or None
        The label in y of each class, in sorted order of the names; None if y holds names.

    Raises
    ------
    ValueError
        If y has a label that is neither a class nor a code, or could be either.

    Warns
    -----
    DataWarning
        If codes can be read in more than one way: the last of them are absent, ``classes`` is
        not in sorted order, or some of them are numbers that y has too.
    """
    if classes is None:
        return y, None
    classes = plain_labels(classes)
    own = {label: label for label in classes}
    values = y.tolist()
    unknown = {value for value in set(values) if value not in own}
    if not unknown:
        named = np.array([own[value] for value in values], dtype=None if values else y.dtype)
        return (named.astype(object) if y.dtype == object else named), None
    ordered = sort_labels(classes)
    if not are_codes(values, len(classes)):
        raise ValueError(
            f"{caller} got classes={_short(classes)}, but y has {_short(sort_labels(unknown))} "
            "too, not in classes."
        )
    _refuse_two_readings(values, ordered, caller)
    _warn_of_readings(values, classes, ordered, caller)
    named = _object_array([ordered[int(value)] for value in values])
    named = np.array(named.tolist()) if isinstance(ordered[0], str) else named
    return named, np.arange(len(classes)).astype(y.dtype if y.dtype != object else int)


def sort_labels(labels):
    """Return labels in scikit-learn's order; by their text where they do not compare."""
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=str)


def are_codes(values: Iterable[Any], n_classes: int) -> bool:
    """Whether values are whole numbers in 0..K-1 (booleans only of two classes)."""
    if any(not isinstance(value, numbers.Real) or value % 1 for value in set(values)):
        return False
    if any(isinstance(value, bool) for value in values) and n_classes != 2:
        return False
    return all(0 <= value < n_classes for value in values)


def _refuse_two_readings(values, ordered, caller):
    """Refuse 1, 2, 3 beside the names "1", "2", "3": as codes they would be off by one."""
    texts = {str(label) for label in ordered}
    seen = {int(value) for value in values}
    if {str(code) for code in seen} <= texts and any(str(ordered[c]) != str(c) for c in seen):
        raise ValueError(
            f"{caller} got numbers in y, {_short(sorted(seen))}, and classes={_short(ordered)}: "
            "they could be these names or codes 0..K-1 of them. Pass y and classes in one type, "
            "for example y.astype(str)."
        )


def _warn_of_readings(values, classes, ordered, caller):
    seen = sorted({int(value) for value in values})
    said = ", ".join(f"{code} = {ordered[code]!r}" for code in seen[:_ROWS_SHOWN])
    said += ", ..." if len(seen) > _ROWS_SHOWN else ""
    message = None
    if seen[-1] < len(classes) - 1:
        message = (
            f"y holds the codes {_short(seen)} of {len(classes)} classes, read as {said}. An "
            "encoder that saw fewer classes numbers them otherwise (OneVsRestClassifier hands 0 "
            "and 1 for every class): pass names in y, or exactly the encoded classes in classes=."
        )
    elif classes != ordered or not set(seen).isdisjoint(classes):
        message = (
            f"y holds numbers, read as codes of the sorted classes: {said}. If they count in the "
            "order of classes=, pass names instead: np.asarray(classes)[y]."
        )
    if message is not None:
        warnings.warn(f"{caller}: {message}", DataWarning, stacklevel=4)


def _short(labels):
    labels = list(labels)
    shown = ", ".join(repr(label) for label in labels[: 2 * _ROWS_SHOWN])
    return f"[{shown}{', ...' if len(labels) > 2 * _ROWS_SHOWN else ''}]"


def are_bare_numbers(classes):
    """Whether classes are consecutive whole numbers, which tell an LLM nothing."""
    texts = [str(label) for label in classes]
    if not texts or not all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        return False
    found = sorted(int(text.partition(".")[0]) for text in texts)
    return found == list(range(found[0], found[0] + len(found)))


def refuse_bare_numbers(classes, *, caller="this estimator", give="classes=[...]"):
    """Refuse to ask about classes that y calls 0, 1, 2 and nobody has named.

    Parameters
    ----------
    classes : sequence of labels
        The classes as y has them.
    caller : str
        Name of the estimator, for messages.
    give : str
        What to pass to the caller to name the classes.

    Raises
    ------
    ValueError
        Says what to pass.
    """
    if are_bare_numbers(classes):
        raise ValueError(
            f"{caller} knows its classes only as {_short(plain_labels(classes))}, which tells an "
            "LLM nothing; nothing was sent. Such numbers are often codes of names, made by a "
            "meta-estimator (VotingClassifier, StackingClassifier, OneVsRestClassifier, "
            f"cross_val_predict(method='predict_proba')): pass {give} with the names, in whose "
            "sorted order the codes count. Or pass class_descriptions={0: '...'}, or names in y. "
            "If the numbers themselves are meant (stars), say so in classes=[1, 2, ...]."
        )


def declared_classes(scorer):
    """Return the classes that a scorer, or a name of an LLM, was told, or None."""
    classes = getattr(scorer, "classes", None)
    if classes is None:
        classes = getattr(getattr(scorer, "table", None), "classes", None)  # annotations
    return None if classes is None else plain_labels(classes)
