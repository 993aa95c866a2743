"""Checks at the door: class names, targets, weights and matrices; for texts see `_text_input`.

Every public method that takes labels or scores comes through here, so that all messages have one
form: what arrived, what was wanted, what to do.
"""

import enum
import numbers
import unicodedata

import numpy as np
from scipy import sparse
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target


def is_missing(value):
    """Whether a value stands for "nothing there": None, NaN, NaT, or a library's NA."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return type(value).__name__ in ("NAType", "NaTType")


def plain_label(label):
    """Return a label without its wrapping: the value of an Enum member, a Python scalar."""
    if isinstance(label, enum.Enum):
        label = label.value
    if isinstance(label, np.generic):
        label = label.item()
    return str(label) if isinstance(label, str) else label


def plain_labels(labels):
    """Return a list of plain labels from any sequence, array, or Enum class."""
    return [plain_label(label) for label in labels]


def check_classes(classes, *, caller="this estimator"):
    """Return the class names as a tuple of distinct, non-empty values.

    Members of an Enum, or an Enum class, count as their values.

    Raises
    ------
    ValueError
        If there are fewer than two, if one is empty, or if two are equal once case, spaces and
        Unicode form are normalised.
    """
    if classes is None or isinstance(classes, str):
        raise ValueError(
            f"{caller} got classes={classes!r}; it needs a list of at least two class names."
        )
    classes = tuple(plain_labels(classes))
    if any(is_missing(name) for name in classes):
        raise ValueError(f"{caller}: classes contains NaN or None: {list(classes)!r}. Name it.")
    if len(classes) < 2:
        raise ValueError(
            f"{caller} got {len(classes)} class(es): {list(classes)!r}; it needs at least two."
        )
    seen: dict[str, object] = {}
    for name in classes:
        folded = normalize_label(str(name))
        if not folded:
            raise ValueError(f"{caller} got an empty class name in {list(classes)!r}.")
        if folded in seen:
            raise ValueError(
                f"{caller} got the class names {seen[folded]!r} and {name!r}, which are equal "
                "once case and spaces are ignored. Rename one."
            )
        seen[folded] = name
    return classes


def normalize_label(label: str) -> str:
    """Fold a label for comparison: NFKC, case, inner white space, outer punctuation."""
    label = fold(label)
    # Where there is nothing but punctuation ("*", "!"), it is the label.
    return label.strip(" \t\n'\"`.,;:!*") or label


def fold(text: str) -> str:
    """Fold a text so that what differs in Unicode form, case or white space only is equal."""
    # Twice: folding the case takes some letters apart, and upper case cannot be put together.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def check_indicator(y, *, caller="this estimator", soft=False):
    """Return a multi-label target as a dense (n, K) float32 array of 0 and 1.

    Parameters
    ----------
    y : array-like, sparse matrix or DataFrame of shape (n, K)
        Label indicator matrix.
    caller : str
        Name of the estimator, for messages.
    soft : bool
        Whether values between 0 and 1 (annotator rates) are legal.

    Raises
    ------
    ValueError
        If the values are not 0 and 1 (or within [0, 1] when ``soft``), or if ``y`` is a list of
        label sets.
    """
    y = _read_indicator(y, caller)
    bad = ~((y >= 0) & (y <= 1)) if soft else ~((y == 0) | (y == 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        wanted = "values in [0, 1]" if soft else "only 0 and 1"
        raise ValueError(
            f"y[{row}, {column}] is {y[row, column]:g}; a label indicator matrix has {wanted}."
        )
    return y.astype(np.float32)


def _read_indicator(y, caller):
    """Return a dense (n, K) array of numbers without gaps."""
    if sparse.issparse(y):
        y = y.toarray()
    refuse_label_sets(y, caller=caller)
    try:
        y = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{caller} cannot read y as a label indicator matrix of numbers. "
            "Convert label sets with sklearn.preprocessing.MultiLabelBinarizer."
        ) from error
    if y.ndim != 2:
        raise ValueError(
            f"{caller} got y of shape {y.shape}; it needs an (n, K) indicator matrix."
        )
    if np.isnan(y).any():
        row, column = np.argwhere(np.isnan(y))[0]
        raise ValueError(
            f"Input y contains NaN: y[{row}, {column}] is missing; {caller} needs 0 or 1 for "
            "every label of every row."
        )
    return y


def refuse_label_sets(y, *, caller="this estimator"):
    """Refuse a list, array or Series of label sets, and name the remedy."""
    several = list | tuple | set | frozenset
    if not isinstance(y, list | tuple):
        y = np.asarray(y) if getattr(y, "ndim", 0) == 1 else ()
    if not len(y) or not isinstance(y[0], several) or not all(isinstance(v, several) for v in y):
        return
    sets = any(isinstance(row, set | frozenset) for row in y)
    ragged = len({len(row) for row in y}) > 1
    if sets or ragged or any(isinstance(v, str) for row in y for v in row):
        raise ValueError(
            f"{caller} got a list of label sets; it needs an (n, K) indicator matrix. "
            "Convert it with sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )


def is_multilabel(y):
    """Whether ``y`` is two-dimensional with more than one column, sparse, or a frame of such."""
    if sparse.issparse(y):
        return True
    if isinstance(y, list | tuple):
        return bool(y) and isinstance(y[0], list | tuple | set | frozenset | np.ndarray)
    shape = getattr(y, "shape", None)
    return shape is not None and len(shape) == 2 and shape[1] > 1


def check_class_target(y, *, caller="this estimator"):
    """Refuse continuous targets and return ``type_of_target(y)``."""
    refuse_label_sets(y, caller=caller)
    kind = type_of_target(y, input_name="y")
    if kind not in ("binary", "multiclass", "multilabel-indicator"):
        raise ValueError(
            f"Unknown label type: {kind}. {caller} needs class labels or a label indicator matrix."
        )
    return kind


def check_scores(scores, n_classes, *, caller="this estimator", allow_nan_rows=False):
    """Return scores as an (n, K) float64 array, finite but for whole NaN rows if allowed.

    Raises
    ------
    ValueError
        If the shape does not match the classes or a value is not finite; names the row.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != n_classes:
        raise ValueError(
            f"{caller} got scores of shape {scores.shape}; it needs (n, {n_classes}), one column "
            "per class."
        )
    finite = np.isfinite(scores)
    bad = ~finite.all(axis=1)
    if allow_nan_rows:
        bad &= ~np.isnan(scores).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{caller} got a score that is NaN or infinite in row {int(np.argmax(bad))}."
        )
    return scores


def check_unit_interval(value, name, *, caller="this estimator"):
    """Return ``value`` as float if it is a number in [0, 1], else raise ValueError."""
    if (
        not isinstance(value, numbers.Real)
        or isinstance(value, bool)
        or not 0 <= float(value) <= 1
    ):
        raise ValueError(f"{caller} got {name}={value!r}; it needs a number in [0, 1].")
    return float(value)


#: Largest cell of a feature matrix: sums of squares of smaller ones stay below 1.8e308.
LARGEST_CELL = 1e100


def check_cells(X, *, caller="this estimator"):
    """Return a dense feature matrix if no cell is so large that its square would overflow.

    Raises
    ------
    ValueError
        If a cell is beyond ``LARGEST_CELL``; names the first.
    """
    # as Python numbers: the bound itself does not fit into float32
    if X.size and max(float(X.max()), -float(X.min())) > LARGEST_CELL:
        row, column = np.argwhere(np.abs(X) > LARGEST_CELL)[0]
        raise ValueError(
            f"X[{row}, {column}] is {X[row, column]:g}; {caller} needs cells within "
            f"±{LARGEST_CELL:g}, since squares of larger ones overflow. Scale or clip the column."
        )
    return X


def check_layers(sizes, *, caller="this estimator"):
    """Return ``hidden_layer_sizes`` as a tuple of int.

    Raises
    ------
    ValueError
        If it is neither an integer of at least 1 nor a sequence of such.
    """
    layers = (sizes,) if isinstance(sizes, numbers.Integral) else sizes
    try:
        layers = tuple(layers)
    except TypeError:
        layers = (None,)
    if not all(isinstance(n, numbers.Integral) and int(n) >= 1 and n is not True for n in layers):
        raise ValueError(
            f"{caller} got hidden_layer_sizes={sizes!r}; it needs integers of at least 1, for "
            "example (64, 32), or () for none."
        )
    return tuple(int(n) for n in layers)


def class_weight_rows(class_weight, y, *, caller="this estimator"):
    """Return the weight of each row, shape (n,), that ``class_weight`` gives it.

    Parameters
    ----------
    class_weight : dict, list of dict, "balanced" or None
        As in scikit-learn.
    y : ndarray of shape (n,) or (n, K)
        Classes, or label indicators.
    caller : str
        Name of the estimator, for messages.

    Raises
    ------
    ValueError
        If a weight is negative, not finite or not a number, or if no row keeps a weight.
    """
    several = class_weight if isinstance(class_weight, list | tuple) else [class_weight]
    for weights in several:
        for label, weight in weights.items() if isinstance(weights, dict) else ():
            if not isinstance(weight, numbers.Real) or not 0 <= float(weight) < np.inf:
                raise ValueError(
                    f"{caller} got class_weight={weight!r} for class {label!r}; it needs a "
                    "finite number of at least 0."
                )
    rows = compute_sample_weight(class_weight, y)
    if not rows.sum() > 0:
        raise ValueError(f"{caller} got a class_weight that leaves no row with a weight.")
    return rows
