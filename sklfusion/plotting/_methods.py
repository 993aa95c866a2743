"""`MethodsDisplay`: accuracy of several methods with their intervals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion.plotting._look import method_color, new_axes, tidy


class MethodsDisplay:
    """Accuracy of each method with its interval, best at the top.

    Parameters
    ----------
    accuracy : dict of str to float
        Accuracy of each method (several labels: exact match).
    interval : dict of str to (float, float)
        Lower and upper end for each method.
    score_name : str, default="accuracy"
        Label of the axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    sklfusion.EvaluationReport : Judges a classifier beside its parts and rivals.

    Examples
    --------
    >>> from sklfusion.plotting import MethodsDisplay
    >>> accuracy = {"LLM alone": 0.7, "fusion": 0.8}
    >>> display = MethodsDisplay(accuracy, {"LLM alone": (0.6, 0.8), "fusion": (0.7, 0.9)})
    >>> display.order()
    ['fusion', 'LLM alone']
    """

    def __init__(self, accuracy: Any, interval: Any, *, score_name: str = "accuracy") -> None:
        self.accuracy = accuracy
        self.interval = interval
        self.score_name = score_name

    @classmethod
    def from_report(cls, report: Any, *, ax: Any = None) -> Self:
        """Plot the methods of a report: the classifier, its parts and cheap rivals.

        Parameters
        ----------
        report : EvaluationReport
        ax : matplotlib Axes, optional

        Returns
        -------
        MethodsDisplay
        """
        found = report.to_dict()
        methods = found["methods"]
        return cls(
            {name: scores["accuracy"] for name, scores in methods.items()},
            {name: scores["accuracy_interval"] for name, scores in methods.items()},
            score_name="exact match" if found["multilabel"] else "accuracy",
        ).plot(ax=ax)

    def order(self) -> list:
        """Return the names of the methods, best first.

        Returns
        -------
        list of str
            The methods.
        """
        return sorted(self.accuracy, key=lambda name: -self.accuracy[name])

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
        self.figure_, self.ax_ = new_axes(ax, figsize=(6.4, 1.1 + 0.42 * len(self.accuracy)))
        ax, names = self.ax_, self.order()
        for place, name in zip(np.arange(len(names))[::-1], names, strict=True):
            color = method_color(name, place)
            ax.hlines(place, *self.interval[name], color=color, lw=2.4)
            ax.plot(self.accuracy[name], place, "o", color=color, ms=7)
        ax.set_yticks(np.arange(len(names))[::-1], names)
        ax.set_xlabel(f"{self.score_name}, with its interval")
        tidy(ax)
        ax.grid(visible=False, axis="y")
        ax.grid(axis="x", color="#dddddd", linewidth=0.8)
        return self
