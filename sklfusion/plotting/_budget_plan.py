"""`BudgetPlanDisplay`: what accuracy more labels would bring."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion.plotting._look import METHOD_COLORS, new_axes, tidy


class BudgetPlanDisplay:
    """Forecast accuracy by number of labels, with its band and what the labels cost.

    Parameters
    ----------
    plan : BudgetPlan
        What :func:`~sklfusion.plan_budget` returned.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.plan_budget : Makes the plan.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from sklfusion.plotting import BudgetPlanDisplay
    >>> plan = Bunch(n_labels=np.array([50, 100]), accuracy=np.array([0.8, 0.83]),
    ...              low=np.array([0.74, 0.79]), high=np.array([0.86, 0.88]),
    ...              cost=np.array([0.0, 25.0]), confidence=0.9, enough=180)
    >>> BudgetPlanDisplay(plan).plot().ax_.get_xlabel()
    'labels (cost of the further ones)'
    """

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    @classmethod
    def from_estimator(
        cls, model: Any, X: Any, y: Any, X_pool: Any = None, *, ax: Any = None, **settings: Any
    ) -> Self:
        """Plan the budget of an unfitted classifier and plot.

        Parameters
        ----------
        model : classifier with ``predict_proba``
            Unfitted.
        X : sequence of length n
            Labelled rows, drawn at random.
        y : array-like of shape (n,)
            Their classes.
        X_pool : sequence of length N, optional
            Rows without a label, of the same source.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **settings : dict
            Other parameters of :func:`~sklfusion.plan_budget`.

        Returns
        -------
        BudgetPlanDisplay
        """
        from sklfusion.promises import plan_budget

        return cls(plan_budget(model, X, y, X_pool, **settings)).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure if None.

        Returns
        -------
        self
        """
        self.figure_, self.ax_ = new_axes(ax)
        ax, plan, color = self.ax_, self.plan, METHOD_COLORS["fusion"]
        labels = np.asarray(plan.n_labels)
        priced = bool(np.isfinite(plan.cost).all())
        band = f"{100 * plan.confidence:.3g} % band"
        ax.fill_between(labels, plan.low, plan.high, color=color, alpha=0.2, lw=0, label=band)
        ax.plot(labels, plan.accuracy, "o-", color=color, lw=2.4, label="accuracy, forecast")
        ax.plot(labels[0], plan.accuracy[0], "o", color="black", ms=8, label="the labels at hand")
        if plan.enough is not None and plan.enough <= labels[-1]:
            told = "from here twice as many buy less than a point"
            ax.axvline(plan.enough, color="#888888", lw=1, ls="--", label=told)
        ax.set_xscale("log")
        costs = [f"\n({c:,.4g})" for c in plan.cost] if priced else [""] * len(labels)
        ax.set_xticks(labels, [f"{n:,}{c}" for n, c in zip(labels, costs, strict=True)])
        ax.minorticks_off()
        ax.set_xlabel("labels (cost of the further ones)" if priced else "labels")
        ax.set_ylabel("accuracy")
        ax.legend(frameon=False, loc="lower right")
        tidy(ax)
        return self
