"""How every plot here looks: one colour per method, no frame, a pale grid."""

from __future__ import annotations

from typing import Any

from sklfusion._optional import import_optional

#: One colour per method, the same in every plot. Chosen to be told apart by colour-blind readers.
METHOD_COLORS = {
    "LLM alone": "#E69F00",
    "encoder alone": "#0072B2",
    "concatenation": "#999999",
    "fusion": "#009E73",
    "cascade": "#009E73",
}
_SPARE_COLORS = ("#CC79A7", "#56B4E9", "#D55E00", "#7F5FB0", "#6B4C2A")


def new_axes(ax, figsize=(6.4, 4.2)):
    if ax is not None:
        return ax.figure, ax
    plt = import_optional("matplotlib.pyplot", extra="plot", purpose="Plotting")
    return plt.subplots(figsize=figsize, layout="constrained")


def method_color(name, position):
    return METHOD_COLORS.get(name, _SPARE_COLORS[position % len(_SPARE_COLORS)])


def tidy(ax: Any) -> None:
    """Give axes the look of every plot here: no frame at the top and right, a pale grid behind.

    Parameters
    ----------
    ax : matplotlib Axes
        Changed in place.

    See Also
    --------
    METHOD_COLORS : One colour per method, the same in every plot.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklfusion.plotting import tidy
    >>> figure, ax = plt.subplots()
    >>> tidy(ax)
    >>> ax.spines["top"].get_visible()
    False
    >>> plt.close(figure)
    """
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
