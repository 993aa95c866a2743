"""The score of a cascade at every share of texts asked about: pure functions of `cascade`."""

import numbers
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold, check_cv, cross_val_predict

from sklfusion._scores import is_flat
from sklfusion._text_input import distinct
from sklfusion._threads import one_thread
from sklfusion.multilabel._splitting import check_multilabel_cv
from sklfusion.multilabel._targets import out_of_fold_scores

#: Shares of the texts at which the curve is measured, beside the largest one that is allowed.
SHARES = np.round(np.linspace(0.0, 1.0, 21), 2)


class Answers(ClassifierMixin, BaseEstimator):
    """Makes probabilities look like a fitted classifier, for scikit-learn's scorers."""

    def __init__(self, classes, multilabel):
        self.classes = classes
        self.multilabel = multilabel
        self.classes_ = classes

    def fit(self, X, y=None):
        """Do nothing; scorers want the method to be there."""
        return self

    def predict_proba(self, X):
        """Return what came in."""
        return X

    def predict(self, X):
        """Return the labels of largest probability, or those of at least one half."""
        return (X >= 0.5).astype(int) if self.multilabel else self.classes_[X.argmax(axis=1)]


def out_of_fold(estimator, X, y, cv, multilabel, rng, texts):
    """Return (n, K) probabilities of rows that the model has not seen, nor their text.

    Parameters
    ----------
    estimator : classifier
    X : list of n str, or ndarray of n rows
    y : ndarray of shape (n,) or (n, K)
    cv : int, splitter or None
        None is 5 shuffled folds, or as many as the smallest class has rows, but at least 2. A
        splitter is taken at its word; otherwise a repeated text is in one fold.
    multilabel : bool
    rng : RandomState
    texts : sequence of n str
        The text of each row.
    """
    X = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
    with warnings.catch_warnings(), one_thread(X, openmp=False):
        # A class of one row is in one fold only; where it is missing its probability is 0.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "Number of classes in training fold", RuntimeWarning)
        splits = _folds_of_texts(X, y, cv, multilabel, rng, texts)
        if multilabel:
            return out_of_fold_scores(estimator, X, y, splits, method="predict_proba", params={})
        return cross_val_predict(estimator, X, y, cv=splits, method="predict_proba")


def _folds_of_texts(X, y, cv, multilabel, rng, texts):
    """Training and test rows of each fold: distinct texts are dealt, and their repeats follow."""
    different, places = distinct(texts)
    if not (cv is None or isinstance(cv, numbers.Integral)) or len(different) < 2:
        different, places = texts, np.arange(len(texts))
    _, first = np.unique(places, return_index=True)
    dealt = y[first]
    if multilabel:
        cv = check_multilabel_cv(cv, dealt, rng.randint(2**31))
    elif cv is None:
        smallest = np.unique(dealt, return_counts=True)[1].min()
        number, seed = int(np.clip(smallest, 2, 5)), rng.randint(2**31)
        cv = StratifiedKFold(number, shuffle=True, random_state=seed)
    else:
        cv = check_cv(cv, dealt, classifier=True)
    held_out = [np.isin(places, test) for _, test in cv.split(X[first], dealt)]
    return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in held_out]


def usable(proba, prior, multilabel):
    """Return probabilities (n, K) with ``prior`` where there is no opinion, and those rows."""
    proba = np.array(proba, dtype=np.float64)
    silent = ~np.isfinite(proba).all(axis=1) | is_flat(proba, "proba", multilabel)
    proba[silent] = prior
    return proba, silent


def doubt(proba, silent, multilabel):
    """Return how unsure probabilities are, row by row; infinite where there is no opinion.

    One minus the largest probability; for several labels per row the mean probability that a
    label is wrong.
    """
    if multilabel:
        unsure = np.minimum(proba, 1 - proba).mean(axis=1)
    else:
        unsure = 1 - proba.max(axis=1)
    return np.where(silent, np.inf, unsure)


def mixed(first, fused, unsure, n_asked):
    """Return the answers of a cascade that asks about the ``n_asked`` most doubtful rows."""
    asked = np.argsort(-unsure, kind="stable")[:n_asked]
    answers = first.copy()
    answers[asked] = fused[asked]
    return answers


def threshold(unsure, n_asked):
    """Return the doubt above which ``n_asked`` rows are asked about (fewer in case of ties)."""
    falling = np.sort(unsure)[::-1]
    if n_asked == 0:
        return np.inf
    if n_asked >= len(falling):
        return -np.inf
    high, low = falling[n_asked - 1], falling[n_asked]
    return float((low + high) / 2 if np.isfinite(high) else low)


def cost_curve(first, fused, unsure, y, classes, *, multilabel, scoring, price, most):
    """Measure the cascade at every share of rows asked about.

    Parameters
    ----------
    first, fused : ndarray of shape (n, K)
        Out-of-fold answers without and with the LLM.
    unsure : ndarray of shape (n,)
        Doubt of the first stage.
    y : ndarray of shape (n,) or (n, K)
        Truth.
    classes : ndarray of shape (K,)
    multilabel : bool
    scoring : str, callable or None
        A scikit-learn scorer.
    price : float or None
        Of asking about one row.
    most : float
        Largest share allowed; it becomes a point of the curve.

    Returns
    -------
    dict of str to ndarray of shape (m,)
        ``share``, ``score``, ``threshold``, ``cost`` per 1,000 rows.
    """
    shares = np.union1d(SHARES, [most])
    numbers = [int(share * len(y) + 1e-9) for share in shares]
    answers = Answers(classes, multilabel)
    scorer = check_scoring(answers, scoring=scoring)
    scores = [scorer(answers, mixed(first, fused, unsure, n), y) for n in numbers]
    return {
        "share": shares,
        "score": np.array(scores, dtype=np.float64),
        "threshold": np.array([threshold(unsure, n) for n in numbers]),
        "cost": 1000 * (np.nan if price is None else price) * shares,
    }


def numbers_of(scored, names):
    """Return the class number of each score column, -1 for a class that y does not show.

    Parameters
    ----------
    scored : sequence of J labels
        The classes that the LLM scores.
    names : sequence of K labels
        The classes of y, as the LLM knows them.

    Raises
    ------
    ValueError
        If the LLM does not score a class of y.
    """
    place = {str(name): number for number, name in enumerate(names)}
    found = [place.get(str(label), -1) for label in scored]
    absent = [label for label, number in place.items() if number not in found]
    if absent:
        raise ValueError(
            f"CascadeClassifier: y has the classes {absent}, which the LLM does not score; it has "
            f"{[str(label) for label in scored]}."
        )
    return found
