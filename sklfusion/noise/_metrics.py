"""How much do several trainings of one model agree?"""

import warnings

import numpy as np

from sklfusion.exceptions import DataWarning


def krippendorff_alpha(ratings, *, missing=None):
    """Krippendorff's alpha for nominal ratings.

    Parameters
    ----------
    ratings : array-like of shape (n_raters, n_units)
        What each rater (for us: each training run) said of each unit.
    missing : scalar, optional
        Value that stands for "not rated". NaN and None always do.

    Returns
    -------
    float
        1 for perfect agreement, about 0 for chance. 1.0, with a ``DataWarning``, if only one
        class was ever used, for then there is nothing to disagree about.

    Notes
    -----
    ``alpha = 1 - (n - 1) * sum_{c != k} o_ck / sum_{c != k} n_c n_k`` with the coincidences
    ``o_ck``: ordered pairs of ratings of one unit, each weighted by 1 / (m_i - 1), where m_i is
    the number of ratings of unit i. Units with fewer than two ratings say nothing and are left
    out. Cost O(n_units * n_classes**2).

    Examples
    --------
    >>> from sklfusion.noise._metrics import krippendorff_alpha
    >>> round(krippendorff_alpha([[1, 1, 2, 2], [1, 2, 2, 2]]), 3)
    0.533
    """
    counts = _unit_counts(ratings, missing)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise ValueError("krippendorff_alpha got no unit with two ratings; it needs at least one.")
    per_unit = counts.sum(axis=1)
    weighted = counts / (per_unit - 1)[:, None]
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    marginal = coincidence.sum(axis=1)
    total = marginal.sum()
    expected = total**2 - (marginal**2).sum()
    if expected == 0:
        warnings.warn(
            "Only one class was ever predicted; Krippendorff's alpha is set to 1.0. "
            "Look at the macro-F1 before calling this agreement.",
            DataWarning,
        )
        return 1.0
    observed = coincidence.sum() - np.trace(coincidence)
    return float(1 - (total - 1) * observed / expected)


def _unit_counts(ratings, missing):
    """Return the (n_units, n_values) table of how often each unit got each value."""
    ratings = np.asarray(ratings)
    if ratings.ndim != 2:
        raise ValueError(
            f"krippendorff_alpha got ratings of shape {ratings.shape}; it needs "
            "(n_raters, n_units)."
        )
    skip = np.zeros(ratings.shape, dtype=bool)
    if ratings.dtype.kind == "f":
        skip |= np.isnan(ratings)
    elif ratings.dtype.kind == "O":
        skip |= np.array([[v is None or v != v for v in row] for row in ratings], dtype=bool)
    if missing is not None:
        skip |= ratings == missing
    values, codes = np.unique(ratings[~skip], return_inverse=True)
    counts = np.zeros((ratings.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(~skip)[1], codes), 1.0)
    return counts


def share_unchanged(predictions):
    """Share of rows on which all runs predict the same, from (n_runs, n_rows) predictions."""
    predictions = np.asarray(predictions)
    return float(np.mean((predictions == predictions[:1]).all(axis=0)))


def plateau_slope(sizes, scores, *, n_boot=500, level=0.95, random_state=None):
    """Gain in score per doubling of the training set, over the last two doublings.

    Parameters
    ----------
    sizes : array-like of shape (n_sizes,)
        Training sizes, ascending.
    scores : array-like of shape (n_runs, n_sizes)
        Score of every run at every size.
    n_boot : int, default=500
        Bootstrap draws of the runs.
    level : float, default=0.95
        Coverage of the interval.
    random_state : int, Generator or None
        Seed of the bootstrap.

    Returns
    -------
    slope, low, high : float
        Least-squares slope of score on log2(size) with its bootstrap interval. A plateau is
        reached when the interval holds 0.
    """
    sizes = np.asarray(sizes, dtype=float)
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    last = sizes >= sizes.max() / 4 * (1 - 1e-9)
    if last.sum() < 2:
        last[-2:] = True
    x = np.log2(sizes[last])
    x = x - x.mean()
    if not (x**2).sum():
        raise ValueError("plateau_slope needs at least two different sizes.")
    slopes = scores[:, last] @ x / (x**2).sum()
    rng = np.random.default_rng(random_state)
    draws = slopes[rng.integers(len(slopes), size=(n_boot, len(slopes)))].mean(axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(slopes.mean()), float(low), float(high)
