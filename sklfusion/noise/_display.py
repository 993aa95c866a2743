"""Plots of what the noise tools found."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion._optional import import_optional
from sklfusion.noise._stability import StabilityReport


class StabilityDisplay:
    """Accuracy of every run per set of labels, and learning curves where there are some.

    Parameters
    ----------
    results : dict of str to StabilityResult
        What :class:`~sklfusion.StabilityReport` found.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the plot is.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    sklfusion.StabilityReport : The figures.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import SGDClassifier
    >>> from sklfusion import StabilityReport
    >>> from sklfusion.plotting import StabilityDisplay
    >>> X, y = make_classification(120, random_state=0)
    >>> report = StabilityReport(SGDClassifier(), n_runs=3)
    >>> _ = report.evaluate(X[:80], y[:80], X[80:], y[80:], name="gold")
    >>> display = StabilityDisplay.from_report(report)  # then display.plot()
    """

    def __init__(self, results: dict) -> None:
        self.results = results

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None, plot: bool = False) -> Self:
        """Make a display of a report that has been run, and plot it if asked to.

        Parameters
        ----------
        report : StabilityReport
            One that has been run.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        plot : bool, default=False
            Whether to draw at once.

        Returns
        -------
        StabilityDisplay
            Drawn if asked for.
        """
        if not getattr(report, "results_", None):
            raise ValueError("The report is empty; call its evaluate or compare first.")
        display = cls(dict(report.results_))
        return display.plot(ax=ax) if plot else display

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        labels: Any,
        X_test: Any,
        y_test: Any,
        *,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Train on every set of labels and plot.

        Parameters
        ----------
        estimator : classifier
            Trained once per run.
        X : array-like of shape (n, ...)
            Training rows.
        labels : dict of str to labels
            Sets of labels of these rows, by name.
        X_test : array-like of shape (n_test, ...)
            Test rows.
        y_test : array-like of shape (n_test,)
            Their gold labels.
        ax : matplotlib Axes, optional
            Where to plot.
        **kwargs : dict
            Parameters of :class:`~sklfusion.StabilityReport`.

        Returns
        -------
        StabilityDisplay
            Drawn.
        """
        report = StabilityReport(estimator, **kwargs)
        report.compare(X, labels, X_test, y_test)
        return cls.from_report(report, ax=ax, plot=True)

    def plot(self, ax: Any = None) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        plt = import_optional("matplotlib.pyplot", extra="plot", purpose="Plotting a report")
        if ax is None:
            _, ax = plt.subplots()
        if all(r.curve is not None for r in self.results.values()):
            self._plot_curves(ax)
        else:
            self._plot_runs(ax)
        ax.set_ylabel("accuracy on gold test labels")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_curves(self, ax):
        for name, result in self.results.items():
            mean, spread = result.curve.mean(axis=0), result.curve.std(axis=0)
            (line,) = ax.plot(result.sizes, mean, marker="o", label=name)
            ax.fill_between(
                result.sizes, mean - spread, mean + spread, alpha=0.2, color=line.get_color()
            )
        ax.set_xscale("log")
        ax.set_xlabel("training rows")
        ax.legend(title="labels")

    def _plot_runs(self, ax):
        for position, result in enumerate(self.results.values()):
            jitter = np.linspace(-0.1, 0.1, len(result.accuracy))
            ax.plot(position + jitter, result.accuracy, "o", alpha=0.7)
            ax.hlines(result.accuracy.mean(), position - 0.25, position + 0.25)
        names = [f"{n}\nα = {r.alpha:.2f}" for n, r in self.results.items()]
        ax.set_xticks(range(len(names)), names)
        ax.set_xlim(-0.6, len(names) - 0.4)
