"""Fold assignment for everything that fusion learns out of fold."""

from hashlib import blake2b

import numpy as np

from sklfusion._text_input import distinct

#: Folds of everything that is learnt out of fold.
N_FOLDS = 5
#: Votes alone of fewer distinct rows than this many a fold, and than a quarter of all, say nothing
#: about being the same text.
_DISTINCT_PER_FOLD, _DISTINCT_SHARE = 5, 0.25


def assign_folds(X, Y, family, n_folds, rng, *, votes_alone=True):
    """Return the fold of each row, shape (n,) int.

    Rows with identical features go to the same fold, so that a repeated text never vouches for
    itself; unless the rows may be votes alone and there are so few distinct ones that equal votes
    say nothing about being the same text. Multi-class folds are stratified by class, multi-label
    ones by each row's rarest label.
    """
    n = len(X)
    n_folds = max(2, min(n_folds, n))
    order = rng.permutation(n)
    group = equal_rows(X, n_folds, votes_alone)[order]
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    stratum = _stratum(Y[order], family)[first]
    fold_of_group = np.empty(len(first), dtype=int)
    # first is in key order; deal in the shuffled order, stratum by stratum, round robin
    deal = np.lexsort((first, stratum))
    fold_of_group[deal] = np.arange(len(deal)) % n_folds
    folds = np.empty(n, dtype=int)
    folds[order] = fold_of_group[group.ravel()]
    return folds


def equal_rows(X, n_folds, votes_alone):
    """Number of each row's text, shape (n,): rows of equal features are the same text."""
    rows = np.ascontiguousarray(X)
    different, texts = distinct([blake2b(row, digest_size=16).digest() for row in rows])
    few = len(different) < min(_DISTINCT_PER_FOLD * n_folds, _DISTINCT_SHARE * len(X))
    if (votes_alone and few) or len(different) < 2:
        return np.arange(len(X))
    return texts


def _stratum(Y, family):
    if family == "softmax":
        return Y.argmax(axis=1)
    counts = Y.sum(axis=0)
    cost = np.where(Y > 0, counts, np.inf)
    return np.where(Y.any(axis=1), cost.argmin(axis=1), Y.shape[1])
