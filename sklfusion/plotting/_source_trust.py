"""`SourceTrustDisplay`: trust per source of a fitted fusion."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion.plotting._look import METHOD_COLORS, new_axes, tidy


class SourceTrustDisplay:
    """How much a fitted fusion trusts each source.

    Parameters
    ----------
    weights : dict of str to float
        Trust per source, as in ``FusionClassifier.source_weights_``.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.FusionClassifier : Learns the trust.

    Examples
    --------
    >>> from sklfusion.plotting import SourceTrustDisplay
    >>> display = SourceTrustDisplay({"encoder": 1.0, "llm": 0.6}).plot()
    >>> display.ax_.get_xlabel()
    "weight of the source's log-probabilities"
    """

    def __init__(self, weights: dict) -> None:
        self.weights = weights

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the ``source_weights_`` of a fitted fusion, or of the last step of a pipeline.

        Parameters
        ----------
        estimator : FusionClassifier, AutoFusionClassifier or Pipeline
            Fitted.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        SourceTrustDisplay
            Drawn.
        """
        estimator = getattr(estimator, "fusion_", estimator)
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        if not hasattr(estimator, "source_weights_"):
            raise ValueError(
                f"{type(estimator).__name__} has no source_weights_; fit a FusionClassifier with "
                "fusion='anchored' first."
            )
        return cls(dict(estimator.source_weights_)).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one horizontal bar per source.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        self.figure_, self.ax_ = new_axes(ax, figsize=(5.2, 1.2 + 0.45 * len(self.weights)))
        ax = self.ax_
        names = list(self.weights)
        values = [float(np.mean(self.weights[name])) for name in names]
        colors = [
            METHOD_COLORS["LLM alone" if "llm" in name.lower() else "encoder alone"]
            for name in names
        ]
        bars = ax.barh(names, values, color=colors, height=0.6)
        ax.bar_label(bars, fmt="%.2f", padding=4)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set_xlabel("weight of the source's log-probabilities")
        tidy(ax)
        ax.grid(visible=False)
        return self
