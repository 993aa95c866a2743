"""What the multi-label meta-estimators share: targets with names, scores as one matrix."""

import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import get_tags

from sklfusion._sklearn_compat import safe_indexing
from sklfusion._threads import one_thread
from sklfusion._validation import check_class_target, check_indicator, is_multilabel
from sklfusion.exceptions import DataWarning


def check_target(y, *, caller, soft=False):
    """Return a multi-label target as a dense (n, K) array and the names of its labels.

    Parameters
    ----------
    y : array-like, sparse matrix or DataFrame of shape (n, K)
        Indicator matrix, or rates in [0, 1] when ``soft``.
    caller : str
        Name of the estimator, for messages.
    soft : bool
        Whether rates are legal.

    Returns
    -------
    Y : ndarray of shape (n, K)
        int64 for 0/1 targets, float64 when ``soft``.
    names : ndarray of shape (K,)
        Column names of a frame, else ``0 .. K-1``.
    """
    if y is None:
        raise ValueError(f"{caller} requires y to be passed, but the target y is None.")
    if _is_one_label_per_row(y):
        check_class_target(y, caller=caller)
        raise ValueError(
            f"{caller} got one label per row (y of shape {np.shape(y)}); it needs an (n, K) "
            "label indicator matrix. For one label per text use scikit-learn's "
            "TunedThresholdClassifierCV or CalibratedClassifierCV; convert label sets with "
            "sklearn.preprocessing.MultiLabelBinarizer."
        )
    Y = check_indicator(y, caller=caller, soft=soft).astype(np.float64 if soft else np.int64)
    if hasattr(y, "columns"):
        names = np.empty(Y.shape[1], dtype=object)
        names[:] = list(y.columns)
        if all(isinstance(name, str) for name in names):
            names = names.astype(str)
    else:
        names = np.arange(Y.shape[1])
    return Y, names


def _is_one_label_per_row(y):
    if hasattr(y, "columns") or is_multilabel(y) or np.ndim(y) != 1 or not len(y):
        return False
    return not isinstance(next(iter(y)), set | frozenset | list)


def warn_one_sided(Y, names, *, caller, consequence):
    """Warn of labels that are on in no row or in every row; return them as a boolean mask."""
    rates = Y.mean(axis=0)
    one_sided = (rates == 0) | (rates == 1)
    for mask, what in ((rates == 0, "never"), (rates == 1, "always")):
        if mask.any():
            shown = ", ".join(map(str, names[mask][:10]))
            more = f" and {mask.sum() - 10} more" if mask.sum() > 10 else ""
            warnings.warn(
                f"{caller}: {mask.sum()} label(s) are {what} on in y: {shown}{more}. "
                f"{consequence}",
                DataWarning,
                stacklevel=3,
            )
    return one_sided


def multilabel_tags(tags, estimator=None):
    """Set the tags of a classifier of label indicators that takes what ``estimator`` takes."""
    tags.classifier_tags.multi_class = False
    tags.classifier_tags.multi_label = True
    tags.target_tags.multi_output = True
    tags.target_tags.single_output = False
    if estimator is not None:
        tags.input_tags = get_tags(estimator).input_tags
    return tags


def has_scores(estimator):
    """Whether a classifier gives probabilities or decision values."""
    return hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")


def inner_target(Y):
    """Return the target for the wrapped classifier: a single label is a plain binary target."""
    return Y[:, 0] if Y.shape[1] == 1 else Y


def fit_inner(estimator, X, Y, params):
    """Return a clone of the wrapped classifier, fitted."""
    with one_thread(X, openmp=False):
        return clone(estimator).fit(X, inner_target(Y), **params)


def label_scores(estimator, X, method="predict_proba", n_labels=None):
    """Return (n, K) scores of label on, whatever form the classifier gives them in.

    One matrix (``OneVsRestClassifier``, ours), or a list of (n, 2) matrices
    (``MultiOutputClassifier``, forests), in which a label of one value has one column only. With
    ``n_labels=1`` the two classes of a binary classifier are one label.
    """
    scores = getattr(estimator, method)(X)
    if not isinstance(scores, list):
        scores = np.asarray(scores, dtype=np.float64)
        if n_labels == 1:
            return scores.reshape(len(scores), -1)[:, -1:]
        return scores
    columns = []
    for values, classes in zip(scores, estimator.classes_, strict=True):
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 1:
            columns.append(values)
            continue
        on = np.flatnonzero(np.asarray(classes) == 1)
        columns.append(values[:, on[0]] if len(on) else np.zeros(len(values)))
    return np.column_stack(columns)


def out_of_fold_scores(estimator, X, Y, splits, *, method, params, n_jobs=None):
    """Return (n, K) scores in which no row was scored by a model that saw it."""
    n = len(Y)

    def one(train, test):
        fit_params = {
            name: safe_indexing(value, train)
            if hasattr(value, "__len__") and not isinstance(value, str) and len(value) == n
            else value
            for name, value in params.items()
        }
        model = fit_inner(estimator, safe_indexing(X, train), Y[train], fit_params)
        return label_scores(model, safe_indexing(X, test), method, Y.shape[1])

    parts = Parallel(n_jobs=n_jobs)(delayed(one)(train, test) for train, test in splits)
    seen = np.concatenate([test for _, test in splits])
    if len(seen) != n or len(np.unique(seen)) != n:
        raise ValueError(
            "The splitter in cv must put every row into exactly one test fold; pass a KFold, an "
            "IterativeStratifiedKFold or a number of folds."
        )
    scores = np.empty((n, parts[0].shape[1]))
    for (_, test), part in zip(splits, parts, strict=True):
        scores[test] = part
    return scores


def f1_per_label(Y, on):
    """Return the F1 of each label; 1 where a label is neither true nor predicted."""
    return f1_of_counts((Y * on).sum(axis=0), Y.sum(axis=0) + on.sum(axis=0))


def f1_macro(Y, on):
    """Mean of the labels' F1."""
    return f1_per_label(Y, on).mean()


def f1_of_counts(both, total):
    """F1 = 2 · both / total of the set sizes; 1 where both sets are empty."""
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))
