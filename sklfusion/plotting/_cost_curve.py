"""`CostCurveDisplay`: score by share of texts that the LLM is asked about."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion.plotting._look import method_color, new_axes, tidy


class CostCurveDisplay:
    """Score of a cascade against the share of texts that the LLM is asked about.

    Parameters
    ----------
    share : array-like of shape (m,)
        Shares of the texts, in [0, 1].
    scores : dict of str to array-like of shape (m,) or (m, n_draws)
        Score of each method at each share.
    chosen : float, optional
        A share to mark.
    score_name : str, default="score"
        Label of the y axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.CascadeClassifier : Has the curve.

    Examples
    --------
    >>> from sklfusion.plotting import CostCurveDisplay
    >>> CostCurveDisplay([0, 0.5, 1], {"cascade": [0.7, 0.8, 0.85]}).scores["cascade"][1]
    0.8
    """

    def __init__(
        self, share: Any, scores: Any, *, chosen: float | None = None, score_name: str = "score"
    ) -> None:
        self.share = share
        self.scores = scores
        self.chosen = chosen
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the ``cost_curve_`` of a fitted :class:`~sklfusion.CascadeClassifier`.

        Parameters
        ----------
        estimator : CascadeClassifier
            Fitted.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        CostCurveDisplay
            Drawn.
        """
        curve = estimator.cost_curve_
        if curve is None:
            raise ValueError("This cascade has budget=0 and never asked; it has no cost curve.")
        scores = {"cascade": curve["score"]}
        name = f"out-of-fold {estimator.scoring}"
        return cls(curve["share"], scores, chosen=estimator.share_, score_name=name).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one line per method, with one standard deviation over draws.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        self.figure_, self.ax_ = new_axes(ax)
        ax = self.ax_
        share = 100 * np.asarray(self.share, dtype=float)
        for position, (name, scores) in enumerate(self.scores.items()):
            values = np.asarray(scores, dtype=float).reshape(len(share), -1)
            mean, spread, color = (
                values.mean(axis=1),
                values.std(axis=1),
                method_color(name, position),
            )
            ax.fill_between(share, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
            ax.plot(share, mean, color=color, lw=1.6 if position else 2.6, label=name)
        if self.chosen is not None:
            ax.axvline(100 * self.chosen, color="#888888", lw=1, ls="--", label="chosen")
        ax.set_xlabel("texts that the LLM is asked about (%)")
        ax.set_ylabel(self.score_name)
        ax.legend(frameon=False)
        tidy(ax)
        return self
