"""Cross-validation splits for multi-label targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state

from sklfusion.multilabel._targets import check_target


class IterativeStratifiedKFold(KFold):
    """K folds in which every label has about the same share of its positives.

    scikit-learn stratifies single-label targets only; on an indicator matrix its ``cv=5`` is a
    plain ``KFold``, and a rare label can be missing from a fold. This is the iterative
    stratification of Sechidis, Tsoumakas and Vlahavas (2011): the rarest label is handed out
    first, each of its rows to the fold that lacks most of that label.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether rows are visited in random order, and ties between folds broken at random.
        Without it the split is the same each time.
    random_state : int, RandomState instance or None, default=None
        Used when ``shuffle`` is True.

    See Also
    --------
    MultiLabelThresholds : Uses it.
    sklearn.model_selection.StratifiedKFold : For one label per row.

    Notes
    -----
    Folds differ in size by a few rows. Cost is O(n · K + n · n_splits), about a second for
    50,000 rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion import IterativeStratifiedKFold
    >>> y = np.zeros((12, 2), dtype=int)
    >>> y[:3, 0] = 1
    >>> y[:, 1] = np.arange(12) % 2
    >>> [y[test].sum(axis=0).tolist() for _, test in IterativeStratifiedKFold(3).split(y, y)]
    [[1, 2], [1, 2], [1, 2]]
    """

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate train and test indices.

        Parameters
        ----------
        X : sequence of length n
            Only its length matters.
        y : array-like, sparse matrix or DataFrame of shape (n, K)
            Label indicator matrix. Rates in [0, 1] are cut at 0.5.
        groups : object, ignored

        Yields
        ------
        train, test : ndarray of int
        """
        Y, _ = check_target(y, caller=type(self).__name__, soft=True)
        yield from super().split(X, Y > 0.5, groups)

    def _iter_test_indices(self, X=None, y=None, groups=None):
        folds = iterative_folds(
            y, self.n_splits, check_random_state(self.random_state) if self.shuffle else None
        )
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds == fold)


def iterative_folds(Y, n_splits, rng=None):
    """Return the fold of each row, shape (n,), by iterative stratification."""
    Y = np.asarray(Y, dtype=bool)
    n = len(Y)
    order = np.arange(n) if rng is None else rng.permutation(n)
    folds = np.full(n, -1)
    want_rows = np.full(n_splits, n / n_splits)
    want_label = np.repeat(Y.sum(axis=0)[None, :] / n_splits, n_splits, axis=0)
    left = Y.sum(axis=0)
    while True:
        active = np.flatnonzero(left > 0)
        if not len(active):
            break
        label = active[left[active].argmin()]
        for row in order[Y[order, label] & (folds[order] < 0)]:
            fold = _neediest(want_label[:, label], want_rows, rng)
            folds[row] = fold
            want_label[fold, Y[row]] -= 1
            want_rows[fold] -= 1
            left = left - Y[row]
    for row in order[folds[order] < 0]:
        fold = _neediest(want_rows, want_rows, rng)
        folds[row] = fold
        want_rows[fold] -= 1
    return folds


def _neediest(need, rows, rng):
    """The fold of greatest need; ties go to the fold with most room, then the first."""
    best = np.flatnonzero(need >= need.max() - 1e-9)
    if len(best) > 1:
        best = best[rows[best] >= rows[best].max() - 1e-9]
    return best[0] if rng is None or len(best) == 1 else rng.choice(best)


def check_multilabel_cv(cv, Y, random_state=None):
    """Return a splitter: None is 5 folds, an int that many, both by iterative stratification."""
    if cv is None:
        cv = 5
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if cv < 2 or cv > len(Y):
            raise ValueError(f"cv={cv!r} with {len(Y)} rows; it needs 2 folds to {len(Y)} folds.")
        return IterativeStratifiedKFold(int(cv), shuffle=True, random_state=random_state)
    return check_cv(cv)
