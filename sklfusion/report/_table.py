"""The rows of an evaluation: what can be judged of what was handed in, and where to cut it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold, check_cv

from sklfusion._class_labels import read_labels
from sklfusion._sklearn_compat import safe_indexing
from sklfusion._text_input import check_texts, distinct
from sklfusion._validation import check_class_target, check_indicator, is_missing, is_multilabel
from sklfusion.multilabel import IterativeStratifiedKFold

CALLER = "EvaluationReport"


@dataclass
class Table:
    """Rows that have what it takes to be judged.

    Parameters
    ----------
    X : list of str, array, DataFrame or sparse matrix of n rows
        As the estimator takes it.
    y : ndarray of shape (n,), or (n, K) of 0 and 1
        Truth.
    target : ndarray or DataFrame
        The same as the estimator takes it: a frame knows the names of its columns.
    texts : list of n str or None
        None where X holds numbers.
    labels : list or None
        Names of the columns of a multi-label target.
    rows : ndarray of shape (n,) of int
        Where they stood in what was handed in.
    missing : dict of str to int
        Rows left out for want of a label, or of a text.
    """

    X: Any
    y: np.ndarray
    target: Any
    texts: list | None
    labels: list | None
    rows: np.ndarray
    missing: dict

    @property
    def multilabel(self):
        """Whether a row may have several labels."""
        return self.labels is not None

    def take(self, rows):
        """Return the part of the table with these rows."""
        texts = None if self.texts is None else [self.texts[row] for row in rows]
        X = texts if texts is not None else safe_indexing(self.X, rows)
        target = safe_indexing(self.target, rows)
        return Table(X, self.y[rows], target, texts, self.labels, self.rows[rows], self.missing)


def read_rows(X, y):
    """Return the `Table` of rows that have a text (or features) and a label.

    Raises
    ------
    ValueError
        If X and y do not match, or nothing is left.
    """
    several, n = is_multilabel(y), _number_of_rows(X)
    if n != _number_of_rows(y):
        raise ValueError(
            f"{CALLER} got {n} rows and {_number_of_rows(y)} labels; they must match."
        )
    labels, values = _read_target(y, several)
    unlabelled = np.zeros(n, bool) if several else np.array([is_missing(v) for v in values], bool)
    of_texts = _are_texts(X)
    textless = np.array([of_texts and is_missing(x) for x in X], bool) if of_texts else ~unlabelled
    textless &= of_texts
    rows = np.flatnonzero(~unlabelled & ~textless)
    if not len(rows):
        raise ValueError(f"{CALLER} got no row with both a text and a label; label some rows.")
    kept = X if len(rows) == n else safe_indexing(X, rows)
    texts = check_texts(kept, caller=CALLER) if of_texts else None
    target = values if len(rows) == n else safe_indexing(values, rows)
    if several:
        truth = np.asarray(check_indicator(target, caller=CALLER)).astype(int)
    else:
        target = truth = read_labels(target, caller=CALLER)
        check_class_target(truth, caller=CALLER)
    missing = {"label": int(unlabelled.sum()), "text": int((textless & ~unlabelled).sum())}
    return Table(kept if texts is None else texts, truth, target, texts, labels, rows, missing)


def _number_of_rows(values):
    return values.shape[0] if hasattr(values, "shape") else len(values)


def _read_target(y, several):
    """Return the names of label columns (None for classes), and labels that can be indexed."""
    if not several:
        return None, [y_ for y_ in np.ravel(np.asarray(y, dtype=object))]
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns], y
    indicator = check_indicator(y, caller=CALLER)
    return list(range(indicator.shape[1])), indicator


def _are_texts(X):
    """Whether X is one column of texts, and not features."""
    if hasattr(X, "columns") or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__iter__"):
        return False
    return any(isinstance(text, str) for text in X)


def folds_of(table, cv, seed):
    """Return (training rows, test rows) of each fold.

    Parameters
    ----------
    table : Table
    cv : int, splitter or iterable of splits
        An int makes stratified shuffled folds in which all repeats of a text stay together, and
        fewer of them where the second most frequent class has fewer rows.
    seed : int or None

    Raises
    ------
    ValueError
        If a class or the rows are too few to be split, or a row would be judged twice.
    """
    if isinstance(cv, bool) or (isinstance(cv, int | np.integer) and cv < 2):
        raise ValueError(
            f"{CALLER} got cv={cv!r}; it needs 2 folds or more, or X_test and y_test."
        )
    if not isinstance(cv, int | np.integer):
        splits = list(
            check_cv(cv, table.y, classifier=True).split(np.zeros(len(table.y)), table.y)
        )
        judged = np.concatenate([test for _, test in splits])
        if len(np.unique(judged)) < len(judged):
            raise ValueError(
                f"{CALLER} got a cv that tests some rows twice; use one that tests each row once, "
                "such as StratifiedKFold."
            )
        return splits
    return _grouped(table, int(cv), seed)


def _grouped(table, cv, seed):
    places = np.arange(len(table.y)) if table.texts is None else distinct(table.texts)[1]
    first = np.unique(places, return_index=True)[1]
    y = table.y[first]
    if table.multilabel:
        number = min(cv, len(first))
        splitter = IterativeStratifiedKFold(max(2, number), shuffle=True, random_state=seed)
        return _folds_of_rows(splitter.split(y, y), places)
    counts = np.sort(np.unique(y, return_counts=True)[1])
    if len(counts) < 2 or counts[-2] < 2:
        raise ValueError(
            f"{CALLER} got {len(counts)} class(es) with {counts.tolist()[-5:]} different rows; "
            "cross-validation needs two classes of 2 rows or more. Label more rows, or pass "
            "X_test and y_test."
        )
    # each class but the largest may miss in a fold; two must be left to learn from
    number = int(min(cv, counts[-2]))
    codes = np.unique(y, return_inverse=True)[1]
    return _folds_of_rows(_stratified(codes, number, seed), places)


def _stratified(codes, number, seed):
    """Stratified folds; classes of too few rows are in some of them only, without a warning."""
    rare = np.bincount(codes) < number
    merged = np.where(rare[codes], len(rare), codes)  # rare classes are dealt out as one
    if 0 < (merged == len(rare)).sum() < number:
        merged = np.where(merged == len(rare), np.bincount(codes).argmax(), merged)
    splitter = StratifiedKFold(number, shuffle=True, random_state=seed)
    return splitter.split(merged, merged)


def _folds_of_rows(splits, places):
    """Folds of rows from folds of different texts."""
    return [
        (np.flatnonzero(np.isin(places, a)), np.flatnonzero(np.isin(places, b))) for a, b in splits
    ]
