"""Methods side by side: a table and a plot, the base rates always among them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sklfusion._optional import import_optional
from sklfusion.alignment.metrics import alignment_l1, alignment_nll, example_f1, jensen_shannon

_COLUMNS = ("nll", "l1", "jensen_shannon", "f1")
_TITLES = {
    "nll": "NLL (nats per text)",
    "l1": "L1 (labels per text)",
    "jensen_shannon": "Jensen-Shannon (bits)",
    "f1": "example F1",
}


def alignment_table(
    y_true: Any,
    predictions: Any,
    *,
    base_rates: Any,
    costs: dict | None = None,
    sets: dict | None = None,
    multilabel: bool = True,
    epsilon: float = 1e-8,
) -> dict:
    """Judge several predictions of the same texts.

    Parameters
    ----------
    y_true : array-like of shape (n, K)
        Rates or 0/1.
    predictions : dict of str to array-like of shape (n, K)
        Probabilities of each method.
    base_rates : array-like of shape (K,)
        Mean rates of the *training* texts; they become the first row.
    costs : dict of str to float, optional
        Queries or seconds per text of each method.
    sets : dict of str to array-like of shape (n, K), optional
        Label sets for the F1 where they are not probability > 0.5 (tuned thresholds).
    multilabel : bool, default=True
        Whether labels are independent.
    epsilon : float, default=1e-8
        Clip of the NLL.

    Returns
    -------
    dict of str to dict
        Method to ``nll``, ``l1``, ``jensen_shannon``, ``f1`` and ``cost``.

    See Also
    --------
    alignment_nll : The first of its columns.
    AlignmentDisplay : Draws it.

    Examples
    --------
    >>> from sklfusion.alignment import alignment_table
    >>> rows = alignment_table([[1, 0]], {"model": [[0.9, 0.1]]}, base_rates=[0.5, 0.5])
    >>> {name: round(row["l1"], 2) for name, row in rows.items()}
    {'base rate': 1.0, 'model': 0.2}
    """
    y_true = np.asarray(y_true, dtype=float)
    base = np.tile(np.asarray(base_rates, dtype=float), (len(y_true), 1))
    rows = {}
    for name, p in {"base rate": base, **predictions}.items():
        rows[name] = {
            "nll": alignment_nll(y_true, p, multilabel=multilabel, epsilon=epsilon),
            "l1": alignment_l1(y_true, p, multilabel=multilabel),
            "jensen_shannon": jensen_shannon(y_true, p, multilabel=multilabel),
            "f1": example_f1(y_true, (sets or {}).get(name, p), multilabel=multilabel),
            "cost": 0.0 if name == "base rate" else (costs or {}).get(name),
        }
    return rows


class AlignmentDisplay:
    """NLL, L1 and F1 of several methods on one or more data sets, base rates as a line.

    Parameters
    ----------
    tables : dict of str to dict
        Data set to a table of :func:`alignment_table`.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes of shape (n_datasets, 3)

    See Also
    --------
    sklfusion.alignment.alignment_table : The figures.

    Examples
    --------
    >>> from sklfusion.plotting import AlignmentDisplay
    >>> display = AlignmentDisplay.from_predictions(
    ...     [[1, 0]], {"model": [[0.9, 0.1]]}, base_rates=[0.5, 0.5], name="toy")
    >>> print(display.to_text())
    toy            nll     l1     js     f1   cost
    base rate     1.39   1.00  0.311  0.000      0
    model         0.21   0.20  0.052  1.000      -
    """

    def __init__(self, tables: dict) -> None:
        self.tables = tables

    @classmethod
    def from_predictions(
        cls, y_true: Any, predictions: Any, *, base_rates: Any, name: str = "", **kwargs: Any
    ) -> Self:
        """Judge predictions and return a display; see :func:`alignment_table`.

        Parameters
        ----------
        y_true : array-like of shape (n, K)
            Rates, or a label indicator.
        predictions : dict of str to array-like of shape (n, K)
            Probabilities by method.
        base_rates : array-like of shape (K,)
            Of the labels among other texts.
        name : str, default=""
            What the data set is called.
        **kwargs : dict
            Passed to :func:`~sklfusion.alignment.alignment_table`.

        Returns
        -------
        AlignmentDisplay
            Not drawn yet.
        """
        return cls({name: alignment_table(y_true, predictions, base_rates=base_rates, **kwargs)})

    def to_text(self) -> str:
        """Return the tables as aligned text.

        Returns
        -------
        str
            One line per method.
        """
        lines = []
        width = max(len(m) for table in self.tables.values() for m in table) + 2
        for name, table in self.tables.items():
            lines.append(f"{name:<{width}}    nll     l1     js     f1   cost")
            for method, row in table.items():
                cost = "-" if row["cost"] is None else f"{row['cost']:g}"
                lines.append(
                    f"{method:<{width}}{row['nll']:>7.2f}{row['l1']:>7.2f}"
                    f"{row['jensen_shannon']:>7.3f}{row['f1']:>7.3f}{cost:>7}"
                )
            lines.append("")
        return "\n".join(lines).rstrip()

    def plot(self, metrics: tuple[str, ...] = ("nll", "l1", "f1")) -> Self:
        """Draw one row of panels per data set, NLL on a log scale.

        Parameters
        ----------
        metrics : tuple of str, default=("nll", "l1", "f1")
            One column of panels each.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        plt = import_optional("matplotlib.pyplot", extra="plot", purpose="Plotting")
        unknown = set(metrics) - set(_COLUMNS)
        if unknown:
            raise ValueError(f"metrics={metrics!r}; known are {_COLUMNS}.")
        n = len(self.tables)
        heights = [0.3 * len(table) + 0.7 for table in self.tables.values()]
        self.figure_, self.axes_ = plt.subplots(
            n,
            len(metrics),
            figsize=(3.6 * len(metrics) + 1.6, sum(heights)),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        for axes, (name, table) in zip(self.axes_, self.tables.items(), strict=True):
            for ax, metric in zip(axes, metrics, strict=True):
                self._panel(ax, table, metric)
            axes[0].set_ylabel(name)
            for ax in axes[1:]:
                ax.set_yticklabels([])
        return self

    @staticmethod
    def _panel(ax, table, metric):
        names = list(table)
        values = [table[name][metric] for name in names]
        colors = ["#999999" if name == "base rate" else "#0072B2" for name in names]
        ax.barh(range(len(names)), values, color=colors, height=0.7)
        ax.axvline(table["base rate"][metric], color="#D55E00", linewidth=1, linestyle="--")
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        if metric == "nll":
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter("")  # the bars carry their values
        for position, value in enumerate(values):
            ax.text(value, position, f" {value:.3g}", va="center", fontsize=7)
        ax.set_title(_TITLES[metric], fontsize=9)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
