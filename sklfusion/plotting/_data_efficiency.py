"""`DataEfficiencyDisplay`: score by number of labelled rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring

from sklfusion._sklearn_compat import safe_indexing
from sklfusion._threads import one_thread
from sklfusion.plotting._look import method_color, new_axes, tidy


class DataEfficiencyDisplay:
    """Score against the number of labelled rows, one line per method.

    Parameters
    ----------
    train_sizes : array-like of shape (n_sizes,)
        Labelled rows.
    scores : dict of str to array-like of shape (n_sizes, n_draws)
        Scores of each method; NaN where a method was not run.
    score_name : str, default="accuracy"
        Label of the y axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : list of matplotlib Line2D

    See Also
    --------
    BudgetPlanDisplay : What more labels would bring, told beforehand.
    sklearn.model_selection.LearningCurveDisplay : One estimator in cross-validation.

    Examples
    --------
    >>> from sklfusion.plotting import DataEfficiencyDisplay
    >>> display = DataEfficiencyDisplay(
    ...     [20, 100], {"LLM alone": [[0.7, 0.7], [0.7, 0.7]], "fusion": [[0.8, 0.7], [0.9, 0.9]]}
    ... )
    >>> display.mean("fusion").tolist()
    [0.75, 0.9]
    """

    def __init__(self, train_sizes: Any, scores: Any, *, score_name: str = "accuracy") -> None:
        self.train_sizes = train_sizes
        self.scores = scores
        self.score_name = score_name

    def mean(self, method: str) -> np.ndarray:
        """Return the mean over draws of one method, shape (n_sizes,).

        Parameters
        ----------
        method : str
            One of those in ``scores``.

        Returns
        -------
        ndarray of shape (n_sizes,)
            NaN where it was not run.
        """
        return np.nanmean(np.asarray(self.scores[method], dtype=float), axis=1)

    def spread(self, method: str) -> np.ndarray:
        """Return the standard deviation over draws of one method, shape (n_sizes,).

        Parameters
        ----------
        method : str
            One of those in ``scores``.

        Returns
        -------
        ndarray of shape (n_sizes,)
            NaN where it was not run.
        """
        return np.nanstd(np.asarray(self.scores[method], dtype=float), axis=1)

    @classmethod
    def from_estimators(
        cls,
        estimators: dict,
        X: Any,
        y: Any,
        *,
        train_sizes: Any,
        cv: Any,
        scoring: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Fit each estimator on the first rows of each split of ``cv`` and plot.

        Parameters
        ----------
        estimators : dict of str to estimator
        X : list or array of n rows
        y : array-like of shape (n,)
        train_sizes : sequence of int
            Rows taken from the head of each training split (splits should be shuffled).
        cv : splitter
            For instance ``StratifiedShuffleSplit(5, test_size=0.4, random_state=0)``.
        scoring : scorer, optional
            As in scikit-learn; by default the estimator's ``score``.
        ax : matplotlib Axes, optional
        **kwargs : dict
            Parameters of the display, such as ``score_name``.

        Returns
        -------
        DataEfficiencyDisplay
        """

        splits = list(cv.split(X, y))
        scores = {name: np.full((len(train_sizes), len(splits)), np.nan) for name in estimators}
        for column, (train, test) in enumerate(splits):
            for row, size in enumerate(train_sizes):
                rows = train[:size]
                for name, estimator in estimators.items():
                    with one_thread(X, openmp=False):
                        model = clone(estimator).fit(
                            safe_indexing(X, rows), safe_indexing(y, rows)
                        )
                    score = check_scoring(model, scoring=scoring)
                    scores[name][row, column] = score(
                        model, safe_indexing(X, test), safe_indexing(y, test)
                    )
        return cls(list(train_sizes), scores, **kwargs).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw means as lines and one standard deviation as bands.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        self.figure_, self.ax_ = ax_figure = new_axes(ax)
        ax = ax_figure[1]
        self.lines_ = []
        sizes = np.asarray(self.train_sizes, dtype=float)
        for position, name in enumerate(self.scores):
            color, mean, spread = method_color(name, position), self.mean(name), self.spread(name)
            ax.fill_between(sizes, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
            width = 2.6 if name == "fusion" else 1.6
            self.lines_ += ax.plot(
                sizes, mean, color=color, lw=width, marker="o", ms=4.5, label=name
            )
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{int(s)}" for s in sizes])
        ax.minorticks_off()
        ax.set_xlabel("labelled rows")
        ax.set_ylabel(self.score_name)
        ax.legend(frameon=False)
        tidy(ax)
        return self
