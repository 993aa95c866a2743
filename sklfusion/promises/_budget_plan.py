"""`plan_budget`: what accuracy more labels would bring, and what they would cost."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from sklfusion._class_labels import read_labels
from sklfusion._optional import import_optional
from sklfusion._validation import check_unit_interval, is_multilabel
from sklfusion.exceptions import DataWarning
from sklfusion.promises._held_out import (
    fit_and_hold_out,
    hold_out_in_folds,
    proba_of,
    row_keys,
)
from sklfusion.promises._learning_curve import Seen, error_at, forecast_accuracy, posterior_curves
from sklfusion.promises._sample import check_lengths, length
from sklfusion.promises._share_interval import share_interval

#: Fewer labels tell nothing that the prior does not.
_LEAST_TO_PLAN = 10
#: Below this many the band was not measured.
_MEASURED_FROM = 30
#: Times that the labels are halved; each half is fitted on, and judged by the other.
_HALVINGS = 2
#: Twice as many labels are said to buy little where they buy less accuracy than this.
_A_POINT = 0.01
#: Labels up to which that is looked for.
_LOOKED_UP_TO = 10_000
#: Of the standard error of a rise, where all rows agree by chance.
_LEAST_RISE_ERROR = 0.01

_PLAN_COLUMNS = ("n_labels", "accuracy", "low", "high", "cost")


class BudgetPlan(Bunch):
    """Accuracy and cost by the number of labels; see :func:`plan_budget`."""

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of one row per number of labels."""
        pd = import_optional("pandas", extra="cli", purpose="to_frame()")
        return pd.DataFrame({name: self[name] for name in _PLAN_COLUMNS})


def plan_budget(
    model: Any,
    X: Any,
    y: Any,
    X_pool: Any = None,
    *,
    sizes: Any = (100, 200, 500, 1000),
    confidence: float = 0.9,
    price_per_label: float | None = None,
    price_per_text: float = 0.0,
    cv: int = 5,
    random_state: Any = None,
) -> BudgetPlan:
    """Tell what accuracy more labels would bring, with a band, and what they would cost.

    The error is taken for ``a + b n^-c``. What the labels at hand tell of that curve (out-of-fold
    accuracy, and how much it rose from half of them) is weighed against a prior: the curves of
    ``FusionClassifier`` on data sets with recorded LLM answers.

    **Limits.** From 30 to 100 labels, drawn at random, mostly the level can be told; the rise
    comes from the prior, so a model unlike a fusion with an LLM (one that starts from nothing) may
    rise faster. The band is for the mean over draws of labels, not for one draw.

    Parameters
    ----------
    model : classifier with ``predict_proba``
        Unfitted. Its ``oof_proba_`` is used where it keeps one.
    X : sequence of length n
        Labelled rows, drawn at random.
    y : array-like of shape (n,)
        Their classes.
    X_pool : sequence of length N, optional
        Rows without a label, of the same source. How sure the model is of them makes the level
        more certain. An LLM inside the model is asked about them.
    sizes : sequence of int, default=(100, 200, 500, 1000)
        Numbers of labels to look at; those of n or fewer are left out.
    confidence : float, default=0.9
        Of the bands.
    price_per_label : float, optional
        Of one more label.
    price_per_text : float, default=0.0
        Of an LLM answer; paid for labels beyond the pool only, whose answers are there.
    cv : int, default=5
        Folds for classifiers that keep no out-of-fold probabilities.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    Bunch
        Arrays ``n_labels``, of which the first is n, ``accuracy``, ``low``, ``high`` and ``cost``
        (NaN without a price); ``enough``, the number of labels from which twice as many buy less
        than a point of accuracy (None: above 10,000); ``told``, that as a sentence. ``to_frame()``
        is a pandas DataFrame.

    Raises
    ------
    ValueError
        If there are fewer than 10 labels, or several labels per row.

    Warns
    -----
    DataWarning
        If there are fewer than 30 labels.

    See Also
    --------
    LabelAcquirer : Which texts to label.

    Notes
    -----
    Cost: one fit and four of half the size, ``cv`` more where the model keeps no out-of-fold
    probabilities, and one prediction of the pool.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion import plan_budget
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 60)
    >>> X = y[:, None] + rng.normal(scale=0.7, size=(60, 3))
    >>> plan = plan_budget(LogisticRegression(), X, y, price_per_label=0.5, random_state=0)
    >>> plan.n_labels.tolist(), plan.cost.tolist()
    ([60, 100, 200, 500, 1000], [0.0, 20.0, 70.0, 220.0, 470.0])
    >>> bool((plan.low < plan.accuracy).all() and (plan.accuracy < plan.high).all())
    True
    """
    check_unit_interval(confidence, "confidence", caller="plan_budget")
    seen, n_pool = look_at_labels(model, X, y, X_pool, cv=cv, random_state=random_state)
    later = sorted(int(n) for n in sizes if int(n) > seen.n)
    n_labels = np.array([seen.n, *later])
    accuracy, low, high = forecast_accuracy(seen, n_labels, confidence)
    cost = (n_labels - seen.n) * (np.nan if price_per_label is None else float(price_per_label))
    cost = cost + price_per_text * np.maximum(n_labels - seen.n - n_pool, 0)
    told = {"n_labels": n_labels, "accuracy": accuracy, "low": low, "high": high, "cost": cost}
    return BudgetPlan(**told, **_where_it_ends(seen), confidence=confidence)


def look_at_labels(model, X, y, X_pool, *, cv=5, random_state=None):
    """Return what labelled rows tell of the learning curve (`Seen`), and the size of the pool."""
    if is_multilabel(y):
        raise ValueError(
            "plan_budget got several labels per text; its prior is of curves with one class per "
            "text. Plan one label at a time: y[:, k]."
        )
    y = read_labels(y, caller="plan_budget")
    check_lengths(row_keys(X), y, caller="plan_budget")
    _check_enough(len(y))
    rng = check_random_state(random_state)
    fitted, classes, proba = fit_and_hold_out(model, X, y, cv=cv, rng=rng)
    right, n_pool, sure = _answered_right(proba, classes, y), 0, proba.max(axis=1)
    sure_of_pool = sure.mean()
    if X_pool is not None and length(X_pool):
        pool = proba_of(fitted, X_pool, classes, multilabel=False).max(axis=1)
        n_pool, sure_of_pool = len(pool), pool.mean()
    total = len(y) + n_pool
    level = share_interval(right, sure, sure_of_pool, total, finite=False)
    halves = [
        _answered_right(hold_out_in_folds(model, X, y, classes, 2, rng), classes, y)
        for _ in range(_HALVINGS)
    ]
    rise = right - np.mean(halves, axis=0)
    error = max(rise.std(ddof=1) / np.sqrt(len(y)), _LEAST_RISE_ERROR)
    told = (float(level.share), float(level.n_effective), float(rise.mean()), float(error))
    return Seen(len(y), *told), n_pool


def _answered_right(proba, classes, y):
    return (classes[proba.argmax(axis=1)] == y).astype(float)


def _check_enough(n):
    if n < _LEAST_TO_PLAN:
        raise ValueError(
            f"plan_budget got {n} labels; from fewer than {_LEAST_TO_PLAN} nothing can be told. "
            f"Label {_MEASURED_FROM} texts drawn at random."
        )
    if n < _MEASURED_FROM:
        warnings.warn(
            f"plan_budget got {n} labels; its bands were measured with {_MEASURED_FROM} to 100. "
            "Label more texts for a plan that can be relied on.",
            DataWarning,
            stacklevel=4,
        )


def _where_it_ends(seen):
    """Return from which number of labels on twice as many buy less than a point, in words too."""
    grid = np.unique(np.geomspace(seen.n, max(_LOOKED_UP_TO, seen.n), 60).astype(int))
    curves, weights = posterior_curves(seen)
    gain = weights @ (error_at(grid, curves) - error_at(2 * grid, curves))
    little = np.flatnonzero(gain < _A_POINT)
    if not len(little):
        return {"enough": None, "told": f"Up to {_LOOKED_UP_TO:,} labels, more still buy a point."}
    enough = int(grid[little[0]])
    told = f"From {enough:,} labels on, twice as many buy less than a point of accuracy."
    return {"enough": enough, "told": told}
