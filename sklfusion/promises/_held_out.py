"""A fitted classifier with what it says of its own training rows when it has not seen them."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklfusion._sklearn_compat import safe_indexing
from sklfusion._text_input import distinct
from sklfusion._threads import one_thread
from sklfusion.multilabel._targets import fit_inner, label_scores

#: Fewer different rows than this are left out one at a time.
_FEW_ROWS = 10


class HeldOut(NamedTuple):
    """A classifier fitted on all rows, and (n, K) probabilities of rows that it had not seen."""

    model: Any
    classes: np.ndarray
    proba: np.ndarray


def row_keys(X):
    """Return one hashable per row of ``X``: equal rows have equal keys.

    Parameters
    ----------
    X : sequence of texts, array, frame or sparse matrix of n rows
    """
    if sparse.issparse(X):
        X = X.toarray()
    if hasattr(X, "itertuples"):
        return list(X.itertuples(index=False, name=None))
    rows = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
    if rows.ndim == 1:
        return rows.tolist()
    return [row.tobytes() if row.dtype != object else tuple(row) for row in rows]


def fit_and_hold_out(estimator, X, y, *, cv, rng):
    """Fit a classifier and return it with out-of-fold probabilities of its training rows.

    A classifier that keeps them itself (``oof_proba_``) is fitted once; others ``cv`` times more.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
    X : sequence of n rows
    y : ndarray of shape (n,) of classes, or (n, L) of 0 and 1
    cv : int
        Folds, shuffled; equal rows are in one.
    rng : RandomState

    Returns
    -------
    HeldOut
    """
    if len(np.unique(y, axis=0)) == 1:  # nothing to learn: most classifiers refuse it
        estimator = DummyClassifier(strategy="prior")
    model = _fitted(estimator, X, y)
    classes = np.arange(y.shape[1]) if y.ndim == 2 else np.asarray(model.classes_)
    own = _own_out_of_fold(model)
    if own is None or own.shape != (len(y), len(classes)) or np.isnan(own).any():
        own = hold_out_in_folds(estimator, X, y, classes, cv, rng)
    return HeldOut(model, classes, own)


def _fitted(estimator, X, y):
    with one_thread(X, openmp=False):
        return fit_inner(estimator, X, y, {}) if y.ndim == 2 else clone(estimator).fit(X, y)


def proba_of(model, X, classes, *, multilabel):
    """Return (n, K) probabilities with a column for each of ``classes``; 0 for one not seen."""
    if multilabel:
        return label_scores(model, X, n_labels=len(classes))
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)
    columns = np.zeros((len(proba), len(classes)))
    place = {label: column for column, label in enumerate(classes)}
    columns[:, [place[label] for label in model.classes_]] = proba
    return columns


def _own_out_of_fold(model):
    """Return what a fitted model (or the last step of a pipeline) kept, or None."""
    if isinstance(model, Pipeline):
        # a step that learnt from y has shown the last one its own rows
        if any(get_tags(step).target_tags.required for _, step in model.steps[:-1]):
            return None
        model = model[-1]
    return getattr(model, "oof_proba_", None)


def hold_out_in_folds(estimator, X, y, classes, cv, rng):
    """Return (n, K) probabilities of rows by fits on the other folds; equal rows are in one."""
    _, place = distinct(row_keys(X))
    different = place.max() + 1
    n_folds = different if different < _FEW_ROWS else min(cv, different)
    proba = np.tile(_frequency(y, classes), (len(y), 1))
    if n_folds < 2:
        return proba
    folds = KFold(n_folds, shuffle=True, random_state=rng.randint(2**31))
    for train, test in folds.split(np.arange(different)):
        train, test = np.isin(place, train), np.isin(place, test)
        proba[test] = _one_fold(estimator, X, y, classes, train, test)
    return proba


def _one_fold(estimator, X, y, classes, train, test):
    train, test = np.flatnonzero(train), np.flatnonzero(test)
    seen = y[train]
    if (seen == seen[0]).all():
        return np.tile(_frequency(seen, classes), (len(test), 1))
    model = _fitted(estimator, safe_indexing(X, train), seen)
    return proba_of(model, safe_indexing(X, test), classes, multilabel=y.ndim == 2)


def _frequency(y, classes):
    return y.mean(axis=0) if y.ndim == 2 else (y[:, None] == classes).mean(axis=0)
