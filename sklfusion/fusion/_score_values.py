"""What the values of columns tell: whether they are class scores, also unnoticed ones."""

import warnings

import numpy as np

from sklfusion._scores import SUM_TOLERANCE, on_simplex
from sklfusion.exceptions import DataWarning

_ROWS_LOOKED_AT = 200  # enough to tell scores from other numbers


def is_score(S, Y, multilabel):
    if not multilabel:
        return on_simplex(S) is not None
    if not (((S >= 0) & (S <= 1)).all() or (S <= 1e-6).all()) or S.shape != Y.shape:
        return False
    # values in [0, 1] alone say little: scores also go along with their labels
    a, b = (S - S.mean(axis=0)).ravel(), (Y - Y.mean(axis=0)).ravel()
    norm = np.sqrt((a @ a) * (b @ b))
    return norm > 0 and a @ b / norm > 0.2


def warn_of_scores_elsewhere(X, Y, width, multilabel):
    """Warn when no column was taken as a score, but some have the look of scores.

    Without column names scores are looked for at the end of X only. Scores that stand before
    other columns, or are of more classes than y shows, would be lost without a word.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Features.
    Y : ndarray of shape (n, K)
        Targets, 0 and 1.
    width : int
        Number of classes that a block of scores is expected to have.
    multilabel : bool
        Whether scores are independent per label.

    Warns
    -----
    DataWarning
        Names the columns and what to pass.
    """
    X, Y = X[:_ROWS_LOOKED_AT], Y[:_ROWS_LOOKED_AT]
    start = _find_labels(X, Y, width) if multilabel else _find_classes(X, Y, width)
    if start is not None:
        _warn(start, start + width, "before other columns")
        return
    found = None if multilabel else _trailing_width(X)
    if found is not None:
        _warn(X.shape[1] - found, X.shape[1], f"of {found} classes, while y has {width}")


def _warn(start, stop, what):
    warnings.warn(
        f"Columns {start} to {stop - 1} of X look like LLM scores {what}, and no column is taken "
        f"as a score. If they are scores, pass score_columns=slice({start}, {stop}) and their "
        "classes in score_classes, or let the scorer name them (set_output(transform='pandas')); "
        "else pass score_columns=None.",
        DataWarning,
        stacklevel=2,
    )


def _sums(values, width):
    """Row sums over every window of columns, shape (n, p - width + 1)."""
    total = np.cumsum(np.hstack([np.zeros((len(values), 1)), values]), axis=1)
    return total[:, width:] - total[:, :-width]


def _find_classes(X, Y, width):
    """Start of the first window that is a distribution over the classes, or None."""
    if X.shape[1] < width or width < 2:
        return None
    for is_log in (True, False):
        usable = (X <= 1e-6 if is_log else X >= 0).all(axis=0)
        values = np.where(usable, np.exp(np.minimum(X, 0.0)) if is_log else X, 0.0)
        whole = _sums(usable[None, :].astype(float), width)[0] > width - 0.5
        off = np.abs(_sums(values, width) - 1).max(axis=0)
        for start in np.flatnonzero(whole & (off < SUM_TOLERANCE)):
            window = X[:, start : start + width]
            if on_simplex(window) and (is_log or _agrees(window, Y)):
                return int(start)
    return None


def _agrees(window, Y):
    """Whether probabilities say more of y than its largest class: a one-hot feature may not."""
    if window.shape[1] != Y.shape[1]:
        return False
    right = Y[np.arange(len(Y)), window.argmax(axis=1)].mean()
    return right > Y.mean(axis=0).max()


def _find_labels(X, Y, width):
    """Start of the first window of log-probabilities that go along with the labels, or None."""
    usable = (X <= 1e-6).all(axis=0) & (X < 0).any(axis=0)
    for start in range(X.shape[1] - width + 1):
        window = slice(start, start + width)
        if usable[window].all() and is_score(X[:, window], Y, True):
            return start
    return None


def _trailing_width(X):
    """Number of columns at the end of X that are log-probabilities of one distribution."""
    usable = (X <= 1e-6).all(axis=0)
    n_usable = int(usable[::-1].argmin()) if not usable.all() else X.shape[1]
    sums = np.cumsum(np.exp(X[:, ::-1][:, :n_usable]), axis=1)
    hits = np.flatnonzero((np.abs(sums - 1) < SUM_TOLERANCE).all(axis=0)) + 1
    hits = hits[hits > 1]
    return int(hits[-1]) if len(hits) else None
