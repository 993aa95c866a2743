"""`RiskCoverageDisplay`: accuracy against the share of texts that is answered."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion._optional import import_optional


class RiskCoverageDisplay:
    """Accuracy of the surest texts, by the share of texts that they are.

    Parameters
    ----------
    confidence : array-like of shape (n,)
        Largest probability of each text.
    right : array-like of shape (n,) of bool
    threshold : float, optional
        Confidence above which texts are answered; a dot marks it.
    target : float, optional
        Accuracy that is wanted; a line marks it.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.SelectiveClassifier : Answers up to its dot.
    ReliabilityDisplay : Whether confidences are to be believed.

    Examples
    --------
    >>> from sklfusion.plotting import RiskCoverageDisplay
    >>> display = RiskCoverageDisplay([0.9, 0.8, 0.6], [True, True, False])
    >>> display.accuracy.round(2).tolist()
    [1.0, 1.0, 0.67]
    """

    def __init__(
        self, confidence: Any, right: Any, *, threshold: float | None = None, target: Any = None
    ) -> None:
        order = np.argsort(-np.asarray(confidence, dtype=float), kind="stable")
        self.confidence = np.asarray(confidence, dtype=float)[order]
        counts = np.arange(1, len(order) + 1)
        self.accuracy = np.cumsum(np.asarray(right)[order]) / counts
        self.coverage = counts / len(order)
        self.threshold = threshold
        self.target = target

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None) -> Self:
        """Draw a fitted `SelectiveClassifier` on rows that it has not seen.

        Parameters
        ----------
        estimator : SelectiveClassifier
        X : sequence of length n
        y : array-like of shape (n,)
        ax : matplotlib Axes, optional
        """
        proba = estimator.predict_proba(X)
        right = estimator.classes_[proba.argmax(axis=1)] == np.asarray(y)
        told = {"threshold": estimator.threshold_, "target": estimator.target_accuracy}
        return cls(proba.max(axis=1), right, **told).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure if None.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        plt = import_optional("matplotlib.pyplot", extra="plot", purpose="Plotting")
        if ax is None:
            _, ax = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
        ax.plot(self.coverage, self.accuracy, color="#009E73", linewidth=1.8)
        if self.target is not None:
            ax.axhline(self.target, color="#444444", linewidth=1, linestyle="--")
            ax.annotate(f"wanted: {self.target:g}", (0.01, self.target), va="bottom", fontsize=8)
        answered = 0 if self.threshold is None else int((self.confidence > self.threshold).sum())
        if answered:
            x, y = self.coverage[answered - 1], self.accuracy[answered - 1]
            ax.plot(x, y, "o", color="#D55E00", markersize=8, label="certified threshold")
            ax.legend(frameon=False, loc="lower left")
        ax.set(xlabel="share of texts answered", ylabel="accuracy among them", xlim=(0, 1.01))
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.grid(axis="y", color="#dddddd", linewidth=0.8)
        ax.set_axisbelow(True)
        self.ax_, self.figure_ = ax, ax.figure
        return self
