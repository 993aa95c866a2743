"""What fusion gains over the better of its parts, and the data sets on which it gains nothing.

    python -m benchmarks.quality.gain

Nothing is fitted: the figures are those of `fusion_all`. Left, the mean gain by number of labelled
rows; right, the gain on every data set at one number of them. The *better part* is whichever of
LLM and encoder did better on the test rows, known only in hindsight.
"""

import numpy as np

from benchmarks._common import read_json, save_figure
from benchmarks._intervals import by_group, family, t_interval

SIZE = 100  # labelled rows of the right panel: the largest number that every data set reaches
_GAIN, _NONE, _ZERO = "#009E73", "#D55E00", "#555555"
_FONT = 13  # at half its size the picture can still be read
_SURE = 1.96  # standard errors to each side of a 95 % interval


def by_size(results):
    """Labelled rows, mean gain and its 95 % interval by t over families of sets, in points."""
    found = []
    for size in dict.fromkeys(c["size"] for c in results["cells"] if c["size"] != "all"):
        cells = [c for c in results["cells"] if c["size"] == size]
        gains = by_group([c["data"] for c in cells], [100 * c["gain"] for c in cells], family)
        found.append((size, *t_interval(gains)))
    return sorted(found)


def by_set(results, size=SIZE):
    """Data set, mean gain over its LLMs, low and high, in points; largest gain first.

    LLMs of one data set answer the same texts, so their errors are averaged, not divided by the
    root of their number.
    """
    cells = [c for c in results["cells"] if c["size"] == size]
    found = []
    for name in dict.fromkeys(c["data"] for c in cells):
        own = [c for c in cells if c["data"] == name]
        gain, error = (100 * np.mean([c[key] for c in own]) for key in ("gain", "error"))
        found.append((name, gain, gain - _SURE * error, gain + _SURE * error))
    return sorted(found, key=lambda row: -row[1])


def shown(results):
    """The figures in words; they lie in the picture, so that a test can tell when it is old."""
    lines = [(str(name), *values) for name, *values in [*by_size(results), *by_set(results)]]
    return "\n".join(f"{n}: {m:+.1f} [{low:+.1f}, {high:+.1f}]" for n, m, low, high in lines)


def draw(results):
    """Both panels."""
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": _FONT, "axes.titlesize": _FONT + 1}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11.5, 5.2), layout="constrained", width_ratios=[1, 1.35]
        )
        _draw_sizes(left, by_size(results))
        _draw_sets(right, by_set(results))
        figure.suptitle(
            "Accuracy gained over the better of LLM and encoder alone (points, 95 % interval)",
            fontsize=_FONT + 1,
        )
    return figure


def _draw_sizes(ax, rows):
    sizes, mean, low, high = (np.array(column) for column in zip(*rows, strict=True))
    place = np.arange(len(sizes))
    ax.errorbar(
        place, mean, [mean - low, high - mean], fmt="o-", lw=2.4, ms=9, capsize=5, color=_GAIN
    )
    ax.axhline(0, color=_ZERO, lw=1.2)
    ax.set_xticks(place, [str(size) for size in sizes])
    ax.set(
        xlabel="labelled rows", title="mean over data sets", ylim=(min(0, low.min()) - 0.2, None)
    )
    _tidy(ax, "y")


def _draw_sets(ax, rows):
    place = np.arange(len(rows))[::-1]
    for y, (_, mean, low, high) in zip(place, rows, strict=True):
        color, marker = (_GAIN, "o") if round(mean, 1) > 0 else (_NONE, "s")
        ax.plot([low, high], [y, y], color=color, lw=2.6, solid_capstyle="round")
        inside = color if low > 0 else "white"
        ax.plot(mean, y, marker, ms=9, color=color, mfc=inside, mew=2)
    ax.axvline(0, color=_ZERO, lw=1.2)
    ax.set_yticks(place, [name for name, *_ in rows])
    ax.set(title=f"each data set, {SIZE} rows (hollow: may be 0)")
    _tidy(ax, "x")


def _tidy(ax, axis):
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(axis=axis, color="#dddddd", lw=0.9)
    ax.set_axisbelow(True)


def main():
    """Draw the picture of the last results."""
    results = read_json("fusion_all")
    print(shown(results))
    save_figure(draw(results), "gain", shown(results))


if __name__ == "__main__":
    main()
