"""What fusion gains over the better of its parts, and the data sets on which it gains nothing.

Left, the mean gain by number of labelled rows, its interval by Student's t over families of data
sets; right, the gain on every data set at one number of them, its interval by t over draws. The
*better part* is whichever of LLM and encoder did better on the test rows, known only in hindsight.
"""

import numpy as np

from benchmarks._intervals import family, t_interval
from benchmarks.fusionbench import _table

SIZE = 100  # labelled rows of the right panel: the largest number that every data set reaches
_GAIN, _NONE, _ZERO = "#009E73", "#D55E00", "#555555"
_FONT = 13  # at half its size the picture can still be read


def by_size(entries):
    """Labelled rows, mean gain and its 95 % interval by t over families of sets, in points."""
    best = _table.hindsight(entries)
    sizes = [size for size in _table.sizes(entries) if size != "all"]
    return [(n, *(100 * _table.interval(entries[_table.OURS], best, n, family))) for n in sizes]


def by_set(entries, size=SIZE):
    """Data set, mean gain over its LLMs, low and high, in points; largest gain first."""
    best = _table.hindsight(entries)
    common, scores = _table.differences(
        *(_table.of_size(e, size) for e in (entries["fusion"], best))
    )
    found = []
    for name in dict.fromkeys(key[0] for key in common):
        own = [s for key, s in zip(common, scores, strict=True) if key[0] == name]
        found.append((name, *(100 * v for v in t_interval(np.mean(own, axis=0)))))
    return sorted(found, key=lambda row: -row[1])


def shown(entries):
    """The figures in words; they lie in the picture, so that a test can tell when it is old."""
    lines = [(str(name), *values) for name, *values in [*by_size(entries), *by_set(entries)]]
    return "\n".join(f"{n}: {m:+.1f} [{low:+.1f}, {high:+.1f}]" for n, m, low, high in lines)


def draw(entries):
    """Both panels."""
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": _FONT, "axes.titlesize": _FONT + 1}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11.5, 5.2), layout="constrained", width_ratios=[1, 1.35]
        )
        _draw_sizes(left, by_size(entries))
        _draw_sets(right, by_set(entries))
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
        xlabel="labelled rows",
        title="mean over families of data sets",
        ylim=(min(0, low.min()) - 0.2, None),
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
