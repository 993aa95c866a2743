"""The labelled and test rows of a draw, and the sources alone: what needs no fusion."""

import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier

from benchmarks._common import embed
from sklfusion import MultiLabelThresholds

C_GRID = np.logspace(-1, 3, 5)


def split(data, size, draw):
    """Return training rows and test rows of one draw.

    Half of the rows are for testing, or the data set's own test rows. ``size`` counts every row
    whose label is used, for the encoder's head, for the fusion and for choosing settings alike;
    None is all rows that are not for testing.
    """
    if data.test is not None:
        pool, test = np.flatnonzero(~data.test), np.flatnonzero(data.test)
    else:
        strata = None if data.multilabel else data.y
        pool, test = train_test_split(
            np.arange(len(data.y)), test_size=0.5, stratify=strata, random_state=draw
        )
    return take(data, pool, size, draw), test


def take(data, pool, size, seed):
    """Return ``size`` of the rows ``pool``, classes in proportion where there is room."""
    if size is None or size >= len(pool):
        return pool
    roomy = not data.multilabel and size >= 2 * len(data.classes)
    roomy = roomy and len(pool) - size >= len(data.classes)
    strata = data.y[pool] if roomy and np.bincount(data.y[pool]).min() > 1 else None
    return train_test_split(pool, train_size=size, stratify=strata, random_state=seed)[0]


def llm_alone(votes, y_train):
    """Return the LLM's answers as given; rows without one get the commonest training class."""
    if y_train.ndim == 2:
        return (votes > 0.5).astype(int)
    labels = votes.argmax(axis=1)
    labels[np.ptp(votes, axis=1) < 1e-9] = np.bincount(y_train).argmax()
    return labels


def tuned_logistic(y, seed=0):
    """Logistic regression whose C is chosen by cross-validated log-loss on the same rows."""
    if np.ndim(y) == 2:
        return _tuned_one_vs_rest(y, seed)
    smallest = np.unique(y, return_counts=True)[1].min()
    if smallest < 2:
        return LogisticRegression(C=10.0, max_iter=1000)
    folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=seed)
    return GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": C_GRID}, scoring="neg_log_loss", cv=folds
    )


def _tuned_one_vs_rest(y, seed):
    one_vs_rest = OneVsRestClassifier(LogisticRegression(max_iter=300))
    return GridSearchCV(
        one_vs_rest,
        {"estimator__C": C_GRID},
        scoring=_indicator_log_loss,
        cv=KFold(5, shuffle=True, random_state=seed),
    )


def _indicator_log_loss(model, X, y):
    p = np.clip(model.predict_proba(X), 1e-4, 1 - 1e-4)
    return float((y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean())


def fit_encoder(E, y, seed):
    """Fit the encoder alone at its best; for several labels its thresholds are tuned too."""
    with _one_sided_labels():
        model = tuned_logistic(y, seed).fit(E, y)
        if y.ndim == 1:
            return model
        best = model.best_estimator_
        always = bool(y.any(axis=1).all())
        return MultiLabelThresholds(
            best, scoring="exact_match", per_label=False, at_least_one=always, cv=5
        ).fit(E, y)


@contextmanager
def _one_sided_labels():
    """Silence the warnings about labels that a small draw never or always shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def vectors(sets):
    """Return the frozen embeddings (n, d) by name of the data set, which its LLMs share."""
    return {name: embed(texts) for name, texts in {s.name: s.texts for s in sets}.items()}


def wide(P, classes, n_classes):
    """Return a column for every class; ``classes`` are those that P (n, k) has columns for."""
    if P.shape[1] == n_classes:
        return P
    columns = np.zeros((len(P), n_classes))
    columns[:, classes] = P
    return columns


def hits(predicted, y):
    """Return per row whether the class, or the whole label set, is right."""
    same = np.asarray(predicted) == y
    return (same.all(axis=1) if same.ndim == 2 else same).astype(float)
