"""Accuracy by confidence: the calibration error, and `ReliabilityDisplay`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion.plotting._look import method_color, new_axes, tidy


def expected_calibration_error(
    y_true: Any, y_prob: Any, *, classes: Any = None, n_bins: int = 10
) -> float:
    """Return the expected calibration error of the top class, with equal-width bins.

    Parameters
    ----------
    y_true : array-like of shape (n,) or indicator of shape (n, K)
    y_prob : array-like of shape (n, K)
        For an indicator every cell counts as a binary prediction.
    classes : array-like of shape (K,), optional
        Labels of the columns; by default the sorted labels of ``y_true``.
    n_bins : int, default=10

    Returns
    -------
    float
        Mean absolute gap of confidence and accuracy, weighted by bin size, in [0, 1].

    See Also
    --------
    ReliabilityDisplay : Draws what it sums up.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", 2017.

    Examples
    --------
    >>> from sklfusion.plotting import expected_calibration_error
    >>> float(expected_calibration_error(["a", "b"], [[1.0, 0.0], [0.0, 1.0]]))
    0.0
    """
    confidence, hit = confidence_and_hits(y_true, y_prob, classes)
    _, accuracy, mean_confidence, weight = bins_of(confidence, hit, n_bins)
    return np.sum(weight * np.abs(accuracy - mean_confidence))


def confidence_and_hits(y_true, y_prob, classes):
    y_true, y_prob = np.asarray(y_true), np.asarray(y_prob, dtype=float)
    if y_true.ndim == 2:
        return y_prob.ravel(), y_true.ravel().astype(float)
    classes = np.unique(y_true) if classes is None else np.asarray(classes)
    if len(classes) != y_prob.shape[1]:
        raise ValueError(
            f"y_prob has {y_prob.shape[1]} columns for {len(classes)} classes; pass classes=."
        )
    top = y_prob.argmax(axis=1)
    return y_prob[np.arange(len(top)), top], (classes[top] == y_true).astype(float)


def bins_of(confidence, hit, n_bins):
    which = np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(which, minlength=n_bins)
    used = count > 0
    accuracy = np.bincount(which, weights=hit, minlength=n_bins)[used] / count[used]
    mean = np.bincount(which, weights=confidence, minlength=n_bins)[used] / count[used]
    return used, accuracy, mean, count[used] / len(confidence)


class ReliabilityDisplay:
    """Accuracy against confidence, one line per method, with expected calibration errors.

    Parameters
    ----------
    y_true : array-like of shape (n,) or indicator of shape (n, K)
    y_prob : dict of str to array-like of shape (n, K)
    classes : array-like of shape (K,), optional
    n_bins : int, default=10

    Attributes
    ----------
    ece_ : dict of str to float
        Expected calibration error per method.
    ax_, figure_ : matplotlib Axes and Figure

    See Also
    --------
    expected_calibration_error : The figure in the legend.
    RiskCoverageDisplay : Accuracy of the surest texts.

    Examples
    --------
    >>> from sklfusion.plotting import ReliabilityDisplay
    >>> proba = {"fusion": [[0.9, 0.1], [0.2, 0.8]]}
    >>> round(ReliabilityDisplay(["a", "b"], proba).plot().ece_["fusion"], 2)
    0.15
    """

    def __init__(self, y_true: Any, y_prob: Any, *, classes: Any = None, n_bins: int = 10) -> None:
        self.y_true = y_true
        self.y_prob = y_prob
        self.classes = classes
        self.n_bins = n_bins

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Predict probabilities with a fitted estimator and plot.

        Parameters
        ----------
        estimator : classifier with ``predict_proba``
            Fitted.
        X : sequence of length n
            Rows that it has not seen.
        y : array-like of shape (n,) or indicator of shape (n, K)
            Their labels.
        name : str, optional
            What the line is called; by default the class of the estimator.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **kwargs : dict
            Parameters of the display, such as ``n_bins``.

        Returns
        -------
        ReliabilityDisplay
            Drawn.
        """
        name = type(estimator).__name__ if name is None else name
        classes = None if np.ndim(y) == 2 else estimator.classes_
        display = cls(y, {name: estimator.predict_proba(X)}, classes=classes, **kwargs)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one line per method beside the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        self.figure_, self.ax_ = new_axes(ax, figsize=(4.8, 4.6))
        ax = self.ax_
        ax.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--")
        self.ece_ = {}
        for position, (name, prob) in enumerate(self.y_prob.items()):
            confidence, hit = confidence_and_hits(self.y_true, prob, self.classes)
            _, accuracy, mean, weight = bins_of(confidence, hit, self.n_bins)
            self.ece_[name] = float(np.sum(weight * np.abs(accuracy - mean)))
            label = f"{name} (ECE {self.ece_[name]:.3f})"
            color = method_color(name, position)
            ax.plot(mean, accuracy, color=color, lw=1.4, label=label)
            ax.scatter(mean, accuracy, s=12 + 220 * weight, color=color, alpha=0.7, lw=0)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, 1.02)
        ax.legend(frameon=False, loc="upper left")
        tidy(ax)
        return self
