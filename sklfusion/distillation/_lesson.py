"""What a student learns from: labels where there are some, a teacher's probabilities, or both."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion._class_labels import read_labels
from sklfusion._validation import (
    check_class_target,
    check_indicator,
    check_scores,
    is_missing,
    plain_labels,
)

_SAME_PROBABILITY = 1e-6  # probabilities that differ by less say nothing
_SUM_ERROR = 1e-3  # error of a sum, or of a bound, of probabilities


@dataclass(frozen=True)
class Lesson:
    """Targets of n rows.

    Parameters
    ----------
    classes : ndarray of shape (K,)
        Sorted classes; numbers of the labels where a row may have several.
    gold : ndarray of shape (n, K)
        Labels as 0 and 1; zeros where a row has none.
    known : ndarray of shape (n,), bool
        Which rows have a label.
    taught : ndarray of shape (n, K)
        The teacher's probabilities; zeros where it gave no answer.
    told : ndarray of shape (n,), bool
        Which rows it answered.
    multilabel : bool
    """

    classes: Any
    gold: np.ndarray
    known: np.ndarray
    taught: np.ndarray
    told: np.ndarray
    multilabel: bool

    def rows(self, rows):
        """The lesson of some of the rows."""
        parts = (self.gold[rows], self.known[rows], self.taught[rows], self.told[rows])
        return Lesson(self.classes, *parts, self.multilabel)


def read_lesson(y, proba, classes, n, caller, multilabel=None):
    """Return the `Lesson` in labels and a teacher's probabilities.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K), or None
        Labels or an indicator; None or NaN (a row of NaN) where there is none, which takes a
        teacher.
    proba : array-like of shape (n, K), or None
        Columns as ``classes``; rows of NaN are no answer.
    classes : sequence of K labels, or None
        By default the sorted labels of ``y``.
    multilabel : bool or None
        Whether a row may have several labels; None is as ``y`` has it, and without ``y`` as the
        probabilities have it, which then do not add up to 1.
    """
    if y is None and proba is None:
        raise ValueError(f"{caller} requires y to be passed, but the target y is None.")
    if proba is not None and np.ndim(proba) != 2:
        raise ValueError(
            f"{caller} got probabilities of shape {np.shape(proba)}; they must be (n, K), one "
            "column per class."
        )
    if multilabel is None:
        multilabel = _is_indicator(y) if y is not None else not adds_up(proba)
    if y is not None and multilabel != _is_indicator(y):
        wanted = "an (n, K) label indicator" if multilabel else "one label per text"
        raise ValueError(f"{caller} got y of shape {np.shape(y)}; the teacher needs {wanted}.")
    if y is None:
        known = np.zeros(n, dtype=bool)
        names = _class_names(classes, np.shape(proba)[1], caller)
        gold = np.zeros((n, len(names)))
    elif multilabel:
        names, gold, known = _read_label_sets(y, proba, classes, caller)
    else:
        names, gold, known = _read_classes(y, proba, classes, caller)
    if len(gold) != n:
        raise ValueError(f"{caller} got {n} texts and {len(gold)} labels; they must be as many.")
    order = np.arange(len(names)) if multilabel else np.argsort(names, kind="stable")
    taught, told = _read_proba(proba, n, len(names), multilabel, caller)
    if len(names) < 2 and not multilabel:
        raise ValueError(f"{caller} got one class, {names.tolist()[0]!r}; it needs two.")
    if not (known | told).any():
        raise ValueError(f"{caller}: no row has a label or an answer of the teacher.")
    return Lesson(names[order], gold[:, order], known, taught[:, order], told, multilabel)


def _is_indicator(y):
    return (getattr(y, "ndim", None) or np.ndim(y)) == 2 and np.shape(y)[1] > 1


def adds_up(proba):
    """Whether the rows of probabilities that are answers add up to 1: one class per text."""
    P = np.asarray(proba, dtype=np.float64)
    P = P[np.isfinite(P).all(axis=1)]
    return not len(P) or bool(np.abs(P.sum(axis=1) - 1).max() <= _SUM_ERROR)


def _class_names(classes, n_classes, caller):
    if classes is None:
        return np.arange(n_classes)
    names = plain_labels(classes)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{caller}: classes has {twice[0]!r} twice; each column needs its own.")
    return np.array(names)


def _read_label_sets(y, proba, classes, caller):
    cells = np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=np.float64)
    known = ~np.isnan(cells).any(axis=1)
    _refuse_holes(known, proba, caller)
    gold = np.zeros_like(cells)
    if known.any():
        gold[known] = check_indicator(cells[known], caller=caller)
    columns = getattr(y, "columns", None)
    names = _class_names(columns if classes is None else classes, cells.shape[1], caller)
    if len(names) != cells.shape[1]:
        raise ValueError(f"{caller} got {len(names)} classes for {cells.shape[1]} label columns.")
    return names, gold, known


def _read_classes(y, proba, classes, caller):
    if proba is None:
        labels = read_labels(y, caller=caller)
        known = np.ones(len(labels), dtype=bool)
    else:
        column = list(y.tolist() if hasattr(y, "tolist") else y)
        known = np.array([not is_missing(label) for label in column], dtype=bool)
        there = [label for label, has in zip(column, known, strict=True) if has]
        labels = read_labels(there, caller=caller) if there else np.empty(0, dtype=object)
    if len(labels):
        check_class_target(labels, caller=caller)
    names = np.unique(labels) if classes is None else _class_names(classes, 0, caller)
    if strange := sorted(set(labels.tolist()) - set(names.tolist()), key=str):
        raise ValueError(
            f"{caller}: y has the label {strange[0]!r}, and the teacher's classes are "
            f"{names.tolist()}. Write labels as the teacher does."
        )
    gold = np.zeros((len(known), len(names)))
    gold[known] = labels[:, None] == names
    return names, gold, known


def _refuse_holes(known, proba, caller):
    if proba is None and not known.all():
        raise ValueError(
            f"Input y contains NaN: {caller} needs a label for every row where no teacher speaks, "
            f"and row {int(np.flatnonzero(~known)[0])} has none."
        )


def _read_proba(proba, n, n_classes, multilabel, caller):
    if proba is None:
        return np.zeros((n, n_classes)), np.zeros(n, dtype=bool)
    P = check_scores(proba, n_classes, caller=caller, allow_nan_rows=True)
    if len(P) != n:
        raise ValueError(f"{caller} got {n} texts and {len(P)} rows of probabilities.")
    told = np.isfinite(P).all(axis=1)
    if (P[told] < -_SAME_PROBABILITY).any() or (P[told] > 1 + _SUM_ERROR).any():
        raise ValueError(f"{caller}: a teacher's probabilities must lie in [0, 1].")
    P = np.clip(np.where(told[:, None], P, 0.0), 0.0, 1.0)
    if not multilabel:
        told &= np.ptp(P, axis=1) > _SAME_PROBABILITY
        P = P / np.maximum(P.sum(axis=1, keepdims=True), 1e-12)
    return np.where(told[:, None], P, 0.0), told
