"""All displays: accuracy by budget, reliability, trust, cost, stability, alignment, promises."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring

from sklfusion._optional import import_optional
from sklfusion._sklearn_compat import safe_indexing
from sklfusion._threads import one_thread
from sklfusion.alignment import AlignmentDisplay
from sklfusion.noise import StabilityDisplay
from sklfusion.promises import PrevalenceDisplay, RiskCoverageDisplay

__all__ = [
    "METHOD_COLORS",
    "AlignmentDisplay",
    "CostCurveDisplay",
    "DataEfficiencyDisplay",
    "PrevalenceDisplay",
    "ReliabilityDisplay",
    "RiskCoverageDisplay",
    "SourceTrustDisplay",
    "StabilityDisplay",
    "expected_calibration_error",
    "tidy",
]

#: One colour per method, the same in every plot. Chosen to be told apart by colour-blind readers.
METHOD_COLORS = {
    "LLM alone": "#E69F00",
    "encoder alone": "#0072B2",
    "concatenation": "#999999",
    "fusion": "#009E73",
    "cascade": "#009E73",
}
_SPARE_COLORS = ("#CC79A7", "#56B4E9", "#D55E00", "#7F5FB0", "#6B4C2A")


def _new_axes(ax, figsize=(6.4, 4.2)):
    if ax is not None:
        return ax.figure, ax
    plt = import_optional("matplotlib.pyplot", extra="plot", purpose="Plotting")
    return plt.subplots(figsize=figsize, layout="constrained")


def _color(name, position):
    return METHOD_COLORS.get(name, _SPARE_COLORS[position % len(_SPARE_COLORS)])


def tidy(ax: Any) -> None:
    """Give axes the look of every plot here: no frame at the top and right, a pale grid behind."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)


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
        """Return the mean over draws of one method, shape (n_sizes,)."""
        return np.nanmean(np.asarray(self.scores[method], dtype=float), axis=1)

    def spread(self, method: str) -> np.ndarray:
        """Return the standard deviation over draws of one method, shape (n_sizes,)."""
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
        X, y : the data, ``X`` a list or array
        train_sizes : sequence of int
            Rows taken from the head of each training split (splits should be shuffled).
        cv : splitter
            For instance ``StratifiedShuffleSplit(5, test_size=0.4, random_state=0)``.
        scoring : scorer, optional
            As in scikit-learn; by default the estimator's ``score``.
        ax : matplotlib Axes, optional

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
        """Draw means as lines and one standard deviation as bands. Returns self."""
        self.figure_, self.ax_ = ax_figure = _new_axes(ax)
        ax = ax_figure[1]
        self.lines_ = []
        sizes = np.asarray(self.train_sizes, dtype=float)
        for position, name in enumerate(self.scores):
            color, mean, spread = _color(name, position), self.mean(name), self.spread(name)
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

    References
    ----------
    Guo et al., "On calibration of modern neural networks", 2017.

    Examples
    --------
    >>> from sklfusion.plotting import expected_calibration_error
    >>> float(expected_calibration_error(["a", "b"], [[1.0, 0.0], [0.0, 1.0]]))
    0.0
    """
    confidence, hit = _confidence_and_hits(y_true, y_prob, classes)
    _, accuracy, mean_confidence, weight = _bins(confidence, hit, n_bins)
    return np.sum(weight * np.abs(accuracy - mean_confidence))


def _confidence_and_hits(y_true, y_prob, classes):
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


def _bins(confidence, hit, n_bins):
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
        """Predict probabilities with a fitted estimator and plot."""
        name = type(estimator).__name__ if name is None else name
        classes = None if np.ndim(y) == 2 else estimator.classes_
        display = cls(y, {name: estimator.predict_proba(X)}, classes=classes, **kwargs)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one line per method beside the diagonal. Returns self."""
        self.figure_, self.ax_ = _new_axes(ax, figsize=(4.8, 4.6))
        ax = self.ax_
        ax.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--")
        self.ece_ = {}
        for position, (name, prob) in enumerate(self.y_prob.items()):
            confidence, hit = _confidence_and_hits(self.y_true, prob, self.classes)
            _, accuracy, mean, weight = _bins(confidence, hit, self.n_bins)
            self.ece_[name] = float(np.sum(weight * np.abs(accuracy - mean)))
            label = f"{name} (ECE {self.ece_[name]:.3f})"
            color = _color(name, position)
            ax.plot(mean, accuracy, color=color, lw=1.4, label=label)
            ax.scatter(mean, accuracy, s=12 + 220 * weight, color=color, alpha=0.7, lw=0)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, 1.02)
        ax.legend(frameon=False, loc="upper left")
        tidy(ax)
        return self


class SourceTrustDisplay:
    """How much a fitted fusion trusts each source.

    Parameters
    ----------
    weights : dict of str to float
        Trust per source, as in ``FusionClassifier.source_weights_``.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, weights: dict) -> None:
        self.weights = weights

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Plot the ``source_weights_`` of a fitted fusion, or of the last step of a pipeline."""
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
        """Draw one horizontal bar per source. Returns self."""
        self.figure_, self.ax_ = _new_axes(ax, figsize=(5.2, 1.2 + 0.45 * len(self.weights)))
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
        """Plot the ``cost_curve_`` of a fitted :class:`~sklfusion.CascadeClassifier`."""
        curve = estimator.cost_curve_
        if curve is None:
            raise ValueError("This cascade has budget=0 and never asked; it has no cost curve.")
        scores = {"cascade": curve["score"]}
        name = f"out-of-fold {estimator.scoring}"
        return cls(curve["share"], scores, chosen=estimator.share_, score_name=name).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw one line per method, with one standard deviation over draws. Returns self."""
        self.figure_, self.ax_ = _new_axes(ax)
        ax = self.ax_
        share = 100 * np.asarray(self.share, dtype=float)
        for position, (name, scores) in enumerate(self.scores.items()):
            values = np.asarray(scores, dtype=float).reshape(len(share), -1)
            mean, spread, color = values.mean(axis=1), values.std(axis=1), _color(name, position)
            ax.fill_between(share, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
            ax.plot(share, mean, color=color, lw=1.6 if position else 2.6, label=name)
        if self.chosen is not None:
            ax.axvline(100 * self.chosen, color="#888888", lw=1, ls="--", label="chosen")
        ax.set_xlabel("texts that the LLM is asked about (%)")
        ax.set_ylabel(self.score_name)
        ax.legend(frameon=False)
        tidy(ax)
        return self
