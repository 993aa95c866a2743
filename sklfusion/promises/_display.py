"""`PrevalenceDisplay`: shares with their intervals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion._optional import import_optional


class PrevalenceDisplay:
    """Share of each class with its interval, one row per class, one colour per group.

    Parameters
    ----------
    shares : Bunch
        What :meth:`PrevalenceEstimator.estimate` returned.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.PrevalenceEstimator : Makes the shares.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion.plotting import PrevalenceDisplay
    >>> from sklearn.utils import Bunch
    >>> shares = Bunch(classes=np.array(["no", "yes"]), share=np.array([0.7, 0.3]),
    ...                low=np.array([0.6, 0.2]), high=np.array([0.8, 0.4]), confidence=0.95)
    >>> PrevalenceDisplay(shares).plot().ax_.get_xlabel()
    'share, with its 95 % interval'
    """

    def __init__(self, shares: Any) -> None:
        self.shares = shares

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_all: Any,
        *,
        by: Any = None,
        sample_weight: Any = None,
        ax: Any = None,
    ) -> Self:
        """Estimate the shares of texts and draw them.

        Parameters
        ----------
        estimator : PrevalenceEstimator
            Fitted.
        X_all : sequence of length N
            All texts, the labelled ones among them.
        by : array-like of shape (N,), optional
            Group of each text.
        sample_weight : array-like of shape (n,), optional
            As in :meth:`PrevalenceEstimator.estimate`.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        PrevalenceDisplay
            Drawn.
        """
        shares = estimator.estimate(X_all, by=by, sample_weight=sample_weight)
        return cls(shares).plot(ax=ax)

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
        told = self.shares
        groups = list(told.group) if "group" in told else [None]
        n, rows = len(told.classes), len(groups)
        if ax is None:
            height = 1.2 + 0.28 * n * max(rows, 1.4)
            _, ax = plt.subplots(figsize=(6.4, height), layout="constrained")
        places = np.arange(n)[::-1]
        for g, group in enumerate(groups):
            share, low, high = (np.atleast_2d(told[name])[g] for name in ("share", "low", "high"))
            y = places + 0.6 * ((rows - 1) / 2 - g) / max(rows, 1)
            color = "#009E73" if group is None else plt.get_cmap("cividis")(0.05 + 0.85 * g / rows)
            ax.hlines(y, low, high, color=color, linewidth=2.2)
            ax.plot(share, y, "o", color=color, markersize=5, label=group)
        ax.set_yticks(places, [str(c) for c in told.classes])
        ax.set_xlabel(f"share, with its {100 * told.confidence:.3g} % interval")
        ax.set_xlim(left=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.grid(axis="x", color="#dddddd", linewidth=0.8)
        ax.set_axisbelow(True)
        if groups != [None]:
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
