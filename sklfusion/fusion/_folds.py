"""Fold assignment for everything that fusion learns out of fold."""

import numpy as np


def assign_folds(X, Y, family, n_folds, rng):
    """Return the fold of each row, shape (n,) int.

    Rows with identical features go to the same fold, so that a repeated text never vouches for
    itself; unless there are so few distinct rows that they must be votes alone, which say nothing
    about being the same text. Multi-class folds are stratified by class, multi-label ones by each
    row's rarest label.
    """
    n = len(X)
    n_folds = max(2, min(n_folds, n))
    order = rng.permutation(n)
    rows = np.ascontiguousarray(X[order])
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    group = group.ravel()
    if len(first) < min(5 * n_folds, n / 4):
        first = group = np.arange(n)
    stratum = _stratum(Y[order], family)[first]
    fold_of_group = np.empty(len(first), dtype=int)
    # first is in key order; deal in the shuffled order, stratum by stratum, round robin
    deal = np.lexsort((first, stratum))
    fold_of_group[deal] = np.arange(len(deal)) % n_folds
    folds = np.empty(n, dtype=int)
    folds[order] = fold_of_group[group]
    return folds


def _stratum(Y, family):
    if family == "softmax":
        return Y.argmax(axis=1)
    counts = Y.sum(axis=0)
    cost = np.where(Y > 0, counts, np.inf)
    return np.where(Y.any(axis=1), cost.argmin(axis=1), Y.shape[1])


def fold_masks(folds, weights):
    """Training weights per fold plus one column for all rows, shape (n, F + 1)."""
    n_folds = folds.max() + 1
    keep = folds[:, None] != np.arange(n_folds)[None, :]
    return np.hstack([keep * weights[:, None], weights[:, None]])


def level_masks(folds, weights, Y):
    """As `fold_masks`, with classes that weigh the same in every fold; Y (n, K) is 0 and 1.

    A class loses weight wherever one of its few rows is held out, so that what is learnt there
    speaks against the class of the very row that it is asked about. (At most threefold: repeated
    texts share a fold, and may leave but a row of their class to the others.)
    """
    masks = fold_masks(folds, weights)
    kept = masks.T @ Y
    factor = np.divide(weights @ Y, kept, out=np.ones_like(kept), where=kept > 0)
    return masks * (Y @ np.minimum(factor, 3.0).T)
