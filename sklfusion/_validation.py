"""Checks at the door: texts, targets and score matrices.

Every public method that takes texts, labels or scores comes through here, so that all messages
have one form: what arrived, what was wanted, what to do.
"""

import enum
import numbers
import re
import warnings

import numpy as np
from scipy import sparse
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target

from sklfusion.exceptions import DataWarning

_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING_ADVICE = "Replace missing texts first, for example by ''."


def is_missing(value):
    """Whether a value stands for "nothing there": None, NaN, NaT, or a library's NA."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return type(value).__name__ in ("NAType", "NaTType")


def check_texts(X, *, caller="this estimator", allow_empty=False):
    """Return ``X`` as a list of str.

    Parameters
    ----------
    X : list, tuple, 1-d array, Series, or one-column DataFrame of str
        The texts, of numpy, pandas, polars or pyarrow. A generator is materialised.
    caller : str
        Name of the estimator, for messages.
    allow_empty : bool
        Whether zero texts are legal (they are in ``transform``, not in ``fit``).

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If ``X`` is one bare string or holds something that is not a string; the message names
        the index.
    ValueError
        If a text is missing, ``X`` is empty, or it has more than one column.
    """
    if isinstance(X, str | bytes):
        raise TypeError(
            f"{caller} got one bare {type(X).__name__}; it needs a list of texts. "
            "Did you mean [text]?"
        )
    if sparse.issparse(X):
        raise TypeError(
            f"{caller} got a sparse matrix; it needs a list of texts. "
            "Pass the raw texts, not their features."
        )
    table = hasattr(X, "column_names")  # pyarrow, datasets
    if table or (hasattr(X, "columns") and hasattr(X, "shape")):  # pandas, polars
        if X.shape[1] != 1:
            raise ValueError(
                f"{caller} got a frame with {X.shape[1]} columns; it needs one column of texts. "
                "Select the text column, e.g. X['text'], or use "
                "sklearn.compose.ColumnTransformer([('text', estimator, 'text')])."
            )
        X = X[X.column_names[0] if table else X.columns[0]]
    if hasattr(X, "to_pylist"):  # pyarrow, whose own items are no str
        X = X.to_pylist()
    ndim = getattr(X, "ndim", 1)
    if ndim == 2 and X.shape[1] == 1:
        X = np.asarray(X).ravel()
    elif ndim != 1:
        raise ValueError(
            f"{caller} got a {ndim}-dimensional array; it needs a 1-d sequence of texts. "
            "Select the text column, e.g. with sklearn.compose.ColumnTransformer."
        )
    if not hasattr(X, "__iter__"):
        raise TypeError(f"{caller} got {type(X).__name__}; it needs a list of texts.")
    if isinstance(X, dict):
        raise TypeError(f"{caller} got a dict; it needs a list of texts, e.g. list(X.values()).")
    texts = X.tolist() if isinstance(X, np.ndarray) else list(X)
    if not texts and not allow_empty:
        raise ValueError(
            f"{caller} got 0 texts (found array with 0 sample(s)); at least 1 is required."
        )
    if set(map(type, texts)) <= {str}:
        return texts
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            if is_missing(text):
                raise ValueError(
                    f"texts[{index}] is missing ({text!r}); {caller} needs str. " + _MISSING_ADVICE
                )
            raise TypeError(
                f"texts[{index}] is {type(text).__name__}; {caller} needs str. "
                "Convert the column with .astype(str), or check that it is the text column."
            )
    # numpy.str_ is a str, but its repr and its pickles are not those of one
    return [text if type(text) is str else str(text) for text in texts]


def replace_surrogates(texts, *, caller="this estimator"):
    """Return ``texts`` with each lone surrogate replaced by U+FFFD; warn once if there was one.

    A lone surrogate (half of a UTF-16 pair, left behind by a broken decoder) cannot be written as
    UTF-8, so tokenizers and HTTP clients fail on it in the middle of a run.

    Warns
    -----
    DataWarning
        If something was replaced; names the index of the first such text.
    """
    found = [n for n, text in enumerate(texts) if not text.isascii() and _SURROGATE.search(text)]
    if not found:
        return texts
    warnings.warn(
        f"{caller}: {len(found)} text(s) hold lone surrogates, the first is texts[{found[0]}]; "
        "each was replaced by U+FFFD. Decode the source with the right encoding to keep them.",
        DataWarning,
        stacklevel=3,
    )
    texts = list(texts)
    for index in found:
        texts[index] = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", texts[index])
    return texts


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
    seen = {}
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


def normalize_label(label):
    """Fold a label for comparison: NFKC, case, inner white space, outer punctuation."""
    import unicodedata

    label = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    # Where there is nothing but punctuation ("*", "!"), it is the label.
    return label.strip(" \t\n'\"`.,;:!*") or label


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
    bad = ~((y >= 0) & (y <= 1)) if soft else ~((y == 0) | (y == 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        wanted = "values in [0, 1]" if soft else "only 0 and 1"
        raise ValueError(
            f"y[{row}, {column}] is {y[row, column]:g}; a label indicator matrix has {wanted}."
        )
    return y.astype(np.float32)


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
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value <= 1:
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
    if not all(isinstance(n, numbers.Integral) and n >= 1 and n is not True for n in layers):
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
            if not isinstance(weight, numbers.Real) or not 0 <= weight < np.inf:
                raise ValueError(
                    f"{caller} got class_weight={weight!r} for class {label!r}; it needs a "
                    "finite number of at least 0."
                )
    rows = compute_sample_weight(class_weight, y)
    if not rows.sum() > 0:
        raise ValueError(f"{caller} got a class_weight that leaves no row with a weight.")
    return rows
