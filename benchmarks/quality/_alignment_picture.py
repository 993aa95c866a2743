"""The picture of `benchmarks.quality.alignment`: log-loss and F1 of the main methods."""

import numpy as np

#: What a reader chooses between; the tables have every row.
SHOWN = (
    "hard",
    "unary",
    "max",
    "compare_to_none",
    "compare_to_none + batch",
    "compare_to_none + Platt",
    "probe, LLM state",
    "probe, MiniLM, all texts",
    "FusionClassifier",
    "fusion",
)
COLORS = {
    "hard": "#E69F00",
    "probe": "#0072B2",
    "fusion": "#009E73",
    "FusionClassifier": "#009E73",
}
READING = "#CC79A7"


def plot(datasets):
    """Mean and spread of the redraws: a column per data set, the same axes in each row.

    Parameters
    ----------
    datasets : dict of str to dict
        Results of the data sets that the embedded LLM was asked about.
    """
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(datasets), figsize=(12, 6.4), layout="constrained", sharex="row", sharey=True
    )
    for column, (name, result) in enumerate(datasets.items()):
        redraws = result["redraws"]
        base = {key: redraws["base rate"][key][0] for key in ("nll", "f1")}
        _panel(axes[0, column], redraws, "nll", scale=base["nll"], line=1)
        _panel(axes[1, column], redraws, "f1", scale=1, line=base["f1"])
        axes[0, column].set_title(name, fontsize=10)
    ticks = [1, 2, 5, 10]
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes[0, 0].minorticks_off()
    axes[0, 0].set_yticks(range(len(SHOWN)), SHOWN)
    axes[0, 0].set_ylim(len(SHOWN) - 0.5, -0.5)
    for ax in axes[0]:
        ax.set_xlabel("NLL / that of the base rates")
    for ax in axes[1]:
        ax.set_xlabel("F1 (line: base rates)")
    return figure


def _panel(ax, redraws, key, *, scale, line):
    for position, method in enumerate(SHOWN):
        mean, spread = np.array(redraws[method][key]) / scale
        color = COLORS.get(method.partition(",")[0], READING)
        ax.errorbar(mean, position, xerr=spread, fmt="o", ms=4.5, lw=1.4, color=color)
    ax.axvline(line, color="#666666", lw=0.9, zorder=0)
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
