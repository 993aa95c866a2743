"""Cheap ways to do without an LLM or a fusion: what any other model has to beat."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklfusion.report._sources import decided

#: Words and pairs of words that TF-IDF keeps: more bring little, and cost time with many classes.
_MOST_TERMS = 20_000
#: Inverse penalty of logistic regression on TF-IDF, whose rows have length 1; as in the cascade.
_C_OF_TEXTS = 10.0


def majority(Y, n, multilabel):
    """Return the opinion that knows nothing but how frequent the classes are."""
    proba = np.tile(Y.mean(axis=0), (n, 1))
    found = decided("rival", proba, (0.5, False) if multilabel else None)
    if multilabel:
        sets, counts = np.unique(Y, axis=0, return_counts=True)
        found.labels = np.tile(sets[counts.argmax()].astype(int), (n, 1))
    return found


def on_words(train, test, Y, multilabel):
    """Return the opinion of TF-IDF and logistic regression, or None without a single word."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_MOST_TERMS)
    if not any(map(vectors.build_analyzer(), train.texts)):
        return None
    model = make_pipeline(vectors, _logistic(_C_OF_TEXTS, multilabel))
    return _opinion(model, train.texts, test.texts, Y, multilabel)


def on_numbers(train, test, Y, multilabel):
    """Return the opinion of logistic regression on features, or None if they are no numbers."""
    try:
        X, X_test = (_matrix(part.X) for part in (train, test))
    except (TypeError, ValueError):
        return None
    scaler = StandardScaler(with_mean=not sparse.issparse(X))
    filled = SimpleImputer(keep_empty_features=True)
    return _opinion(
        make_pipeline(filled, scaler, _logistic(1.0, multilabel)), X, X_test, Y, multilabel
    )


def _matrix(X):
    return X.astype(float) if sparse.issparse(X) else np.asarray(X, dtype=float)


def _logistic(C, multilabel):
    model = LogisticRegression(C=C, max_iter=1000)
    return OneVsRestClassifier(model) if multilabel else model


def _opinion(model, X, X_test, Y, multilabel):
    target = Y if multilabel else Y.argmax(axis=1)
    with warnings.catch_warnings():
        # a rival is not to be tuned, and a label that all rows have is learnt as such
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training", UserWarning)
        warnings.filterwarnings("ignore", "Label not .* is present in all training", UserWarning)
        proba = np.asarray(model.fit(X, target).predict_proba(X_test))
    if multilabel:
        return decided("rival", proba, (0.5, bool(Y.any(axis=1).all())))
    wide = np.zeros((len(proba), Y.shape[1]))
    wide[:, model.classes_] = proba
    return decided("rival", wide)
