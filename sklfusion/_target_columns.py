"""The columns of a frame of targets: what kind each is, read for fitting and written again."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion._class_labels import read_labels, sort_labels
from sklfusion._optional import import_optional
from sklfusion._validation import is_missing, plain_labels

#: Cells of a target with several labels per text.
_SETS = (list, tuple, set, frozenset, np.ndarray)


@dataclass
class TargetColumn:
    """One target: its name, its labels, and of which kind it is.

    ``classes`` are the labels in the user's order (of ordered ones from the lowest), or None where
    only y tells them; ``categorical`` tells whether the column was one of pandas.
    """

    name: str
    classes: list | None
    multilabel: bool = False
    ordered: bool = False
    categorical: bool = False

    def read(self, column, caller):
        """Labels (n,), or an indicator (n, K) of several labels per text."""
        if not self.multilabel:
            return read_labels(np.asarray(column), caller=caller)
        place = {label: k for k, label in enumerate(self.classes or ())}
        indicator = np.zeros((len(column), len(place)), dtype=int)
        for row, cell in enumerate(column):
            for label in plain_labels(cell):
                if label not in place:
                    raise ValueError(f"{caller}: row {row} has {label!r}, no class of it.")
                indicator[row, place[label]] = 1
        return indicator

    def write(self, predicted):
        """A column as y has it: labels, categories, or tuples of labels."""
        if self.multilabel:
            sets = [tuple(np.array(self.classes, dtype=object)[row > 0]) for row in predicted]
            column = np.empty(len(sets), dtype=object)
            column[:] = sets
            return column
        if not self.categorical:
            return predicted
        return pandas().Categorical(predicted, self.classes, ordered=self.ordered)


def pandas():
    """The library of the frames."""
    return import_optional("pandas", extra="cli", purpose="A frame of targets")


def read_targets(y, classes, *, caller):
    """Return the targets of a frame by name.

    Parameters
    ----------
    y : DataFrame
        A column per target.
    classes : dict of str to sequence, or None
        Labels by target, where y does not show all of them or not their order.
    caller : str
        Name of the estimator, for messages.

    Raises
    ------
    ValueError
        If y is no frame of named, different columns, a cell is missing, sets and labels are
        mixed, or ``classes`` names other columns.
    """
    if not hasattr(y, "columns") or not hasattr(y, "iloc"):
        raise ValueError(
            f"{caller} got y of type {type(y).__name__}; it needs a pandas DataFrame with a "
            "column per target. Wrap it: pd.DataFrame({'topic': topics, 'tone': tones})."
        )
    names = list(y.columns)
    if not names or len(set(names)) < len(names) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"{caller} got y with the columns {names}; targets need different names that are str. "
            "For the 0/1 columns of one target with several labels, pass one column of lists."
        )
    told = dict(classes or {})
    if unknown := sorted(set(told) - set(names)):
        raise ValueError(f"{caller} got classes of {unknown}, and y has the columns {names}.")
    return {name: _target(y[name], told.get(name), f"{caller}, target {name!r}") for name in names}


def _target(column, classes, caller):
    classes = None if classes is None else plain_labels(classes)
    sets = np.array([isinstance(cell, _SETS) for cell in column], dtype=bool)
    missing = [row for row, cell in enumerate(column) if not sets[row] and is_missing(cell)]
    if missing:
        raise ValueError(f"{caller}: y contains NaN in row(s) {missing[:5]}; label or drop them.")
    if sets.any() and not sets.all():
        raise ValueError(
            f"{caller}: some cells are lists of labels and some are not, the first in row "
            f"{int(sets.argmin())}. Several labels per text need a list in every row, [] for none."
        )
    dtype: Any = column.dtype
    categories = list(dtype.categories) if hasattr(dtype, "categories") else None
    if sets.all() and len(sets):
        seen = sort_labels({label for cell in column for label in plain_labels(cell)})
        return TargetColumn(str(column.name), classes or seen, multilabel=True)
    ordered = bool(getattr(dtype, "ordered", False))
    known = classes or categories
    return TargetColumn(str(column.name), known, False, ordered, categories is not None)
