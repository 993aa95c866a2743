"""Reading the fields of `Annotations` by one of the zero-shot methods."""

import numpy as np
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklfusion.alignment import _methods
from sklfusion.annotations import Annotations

_FIELD_OF = {
    "compare_to_none": "first_step_logits",
    "max": "step_probs",
    "unary": "unary_logits",
    "binary": "pair_probs",
    "probe": "hidden",
}


def ready(annotator, X):
    """Return the annotator, fitted to the texts X if it has to be and is not."""
    if annotator is None or isinstance(X, Annotations) or not hasattr(annotator, "fit"):
        return annotator
    try:
        check_is_fitted(annotator)
    except NotFittedError:
        return clone(annotator).fit(X)
    return annotator


def read_field(X, method):
    """Return the field of the annotations that a method reads.

    Raises
    ------
    ValueError
        If it was not collected.
    """
    name = _FIELD_OF[method]
    value = getattr(X, name)
    if value is None and method == "compare_to_none" and X.step_probs is not None:
        return _first_steps(X)
    if value is None:
        raise ValueError(
            f"method={method!r} needs Annotations.{name}, which is missing. Collect it "
            "with LabelDistributionCollector, or choose another method."
        )
    return value


def _first_steps(X):
    """Log-probabilities at the first step of each list, where no logits were kept."""
    even = np.zeros(len(X.classes) + 1)
    rows = [np.log(np.maximum(s[0], 1e-12)) if len(s) else even for s in X.step_probs]
    return np.array(rows).reshape(len(X), len(even))


def read(X, method, *, epsilon, smoothing, penalty):
    """Return the probabilities of a zero-shot method, shape (n, K), NaN where no answer is."""
    k = len(X.classes)
    if method == "hard":
        votes = X.scores("votes" if X.votes is not None else "auto")
        if not X.multilabel:
            votes = np.eye(k)[np.nan_to_num(votes).argmax(axis=1)]
        return _methods.hard_distribution(votes, epsilon)
    if method == "vote_share":
        if X.repeats is None:
            return X.scores("auto")
        return _methods.smoothed_shares(X.repeats, 2 if X.multilabel else k, smoothing)
    field = read_field(X, method)
    if method == "unary":
        return _methods.unary_distribution(field, k)
    if method == "max":
        return _methods.max_over_steps(field, X.first_step_logits, epsilon)
    if method == "compare_to_none":
        return _methods.compare_to_none(field) if X.multilabel else softmax(field[:, :-1], axis=1)
    if not X.multilabel:
        return softmax(_methods.bradley_terry(field, k + 1, penalty=penalty)[:, :-1], axis=1)
    return _methods.binary_distribution(field, k, penalty=penalty)
