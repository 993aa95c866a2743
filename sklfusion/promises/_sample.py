"""The labelled rows among all rows: found, checked, and compared with the others."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from sklfusion.exceptions import DataWarning

#: Labelled rows are called unlike the others where chance would make such a difference in one of
#: this many samples,
_CHANCE = 1e-4
#: and a model's mean doubt of them is this many times that of the others, or the reverse,
_UNLIKE = 1.5
#: and this far from it: of two small doubts one is easily twice the other.
_FAR = 0.05


class LabelledSample(NamedTuple):
    """What is known of the labelled rows and of the others.

    ``labelled`` and ``rest`` are their places among all rows; ``n_outside`` labelled rows stand in
    none of them, and have the place -1.
    """

    indicators: np.ndarray
    proba: np.ndarray
    rest_proba: np.ndarray
    labelled: np.ndarray
    rest: np.ndarray
    weights: np.ndarray | None
    n_outside: int


def length(X):
    """Return the number of rows."""
    return X.shape[0] if sparse.issparse(X) or hasattr(X, "shape") else len(X)


def warn_of_one_class(y):
    """Warn of a target of one class."""
    if len(y) and (y == y[0]).all():
        warnings.warn(
            f"PrevalenceEstimator: all {len(y)} labelled texts are of the class {y[0]!r}; no "
            "model can be fitted, and the interval is that of counting them. Label more texts.",
            DataWarning,
            stacklevel=4,
        )


def check_lengths(keys, y, caller="PrevalenceEstimator"):
    """Refuse X and y that differ in length."""
    if len(keys) != len(y):
        raise ValueError(f"{caller} got {len(keys)} texts and {len(y)} labels; it needs one each.")


def check_weights(weights, n):
    """Return design weights as an array, or None."""
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise ValueError(
            f"PrevalenceEstimator got sample_weight of shape {weights.shape}; it needs one "
            f"positive number for each of the {n} labelled texts: one over the probability with "
            "which it was drawn."
        )
    return weights


def find(keys, all_keys, by):
    """Return the place of each labelled row among all rows, and how many stand outside.

    Of equal rows the first ones are taken for the labelled ones.
    """
    places: dict = {}
    for place, key in enumerate(all_keys):
        places.setdefault(key, []).append(place)
    for found in places.values():
        found.reverse()
    labelled = np.array([places[k].pop() if places.get(k) else -1 for k in keys], dtype=np.int64)
    outside = int((labelled < 0).sum())
    if by is not None and len(by) != len(all_keys):
        raise ValueError(f"PrevalenceEstimator got {len(all_keys)} texts and {len(by)} groups.")
    if outside == len(keys) and by is None and len(all_keys):
        warnings.warn(
            f"PrevalenceEstimator: none of the {len(keys)} labelled texts is among the "
            f"{len(all_keys)} given; they are counted in, so that the shares are those of "
            f"{len(keys) + len(all_keys)} texts. Pass all texts, labelled ones too.",
            DataWarning,
            stacklevel=4,
        )
    elif outside:
        raise ValueError(
            f"{outside} of the {len(keys)} labelled texts are not among the {len(all_keys)} "
            "given; the shares are those of all texts, so pass them all, labelled ones too."
        )
    return labelled, outside


def warn_if_unlike(proba, rest_proba, caller="PrevalenceEstimator"):
    """Warn if a model is surer, or less sure, of the labelled rows than of the others.

    So it is where rows were chosen because a model was unsure of them, or come from elsewhere.
    """
    if not len(rest_proba):
        return
    doubt, other = 1 - proba.max(axis=1), 1 - rest_proba.max(axis=1)
    small, large = sorted((doubt.mean(), other.mean()))
    if large < _UNLIKE * small or large - small < _FAR:
        return
    if stats.mannwhitneyu(doubt, other).pvalue < _CHANCE:
        warnings.warn(
            f"{caller}: the model's mean doubt of the labelled texts is "
            f"{doubt.mean():.2f}, and {other.mean():.2f} of the others; they do not look drawn at "
            "random from them, and then nothing is promised. Label texts drawn at random from "
            "these; for shares, sample_weight can tell how they were drawn.",
            DataWarning,
            stacklevel=4,
        )
