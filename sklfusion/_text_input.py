"""Texts at the door: what counts as a list of texts, and which of them are the same."""

import re
import warnings

import numpy as np
from scipy import sparse

from sklfusion._validation import is_missing
from sklfusion.exceptions import DataWarning

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextInputMixin:
    """Tells scikit-learn that X is a list of texts; comes before ``BaseEstimator``."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def check_texts(X, *, caller="this estimator", allow_empty=False):
    """Return ``X`` as a list of str.

    Parameters
    ----------
    X : list, tuple, 1-d array, Series, or one-column DataFrame of str
        The texts, of numpy, pandas, polars or pyarrow (arrays, chunked arrays, record batches,
        tables). A generator is materialised; :func:`sklfusion.batch.stream` does not need to.
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
    _refuse_other_kinds(X, caller)
    X = _one_dimensional(_only_column(X, caller), caller)
    texts = X.tolist() if isinstance(X, np.ndarray) else list(X)
    if not texts and not allow_empty:
        raise ValueError(
            f"{caller} got 0 texts (found array with 0 sample(s)); at least 1 is required."
        )
    if set(map(type, texts)) <= {str}:
        return texts
    # cutting an Arrow array into folds leaves a list of its scalars
    texts = [text.as_py() if hasattr(text, "as_py") else text for text in texts]
    for index, text in enumerate(texts):
        _check_text(text, index, caller)
    # numpy.str_ is a str, but its repr and its pickles are not those of one
    return [text if type(text) is str else str(text) for text in texts]


def _refuse_other_kinds(X, caller):
    """Refuse what is one text, or what is made of texts."""
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
    if isinstance(X, dict):
        raise TypeError(f"{caller} got a dict; it needs a list of texts, e.g. list(X.values()).")


def _only_column(X, caller):
    """Return the column of a frame, and anything else as it is."""
    table = hasattr(X, "column_names")  # pyarrow, datasets
    if table or (hasattr(X, "columns") and hasattr(X, "shape")):  # pandas, polars
        if X.shape[1] != 1:
            raise ValueError(
                f"{caller} got a frame with {X.shape[1]} columns; it needs one column of texts. "
                "Select the text column, e.g. X['text'], or use "
                "sklearn.compose.ColumnTransformer([('text', estimator, 'text')])."
            )
        X = X[X.column_names[0] if table else X.columns[0]]
    # the items of pyarrow are no str
    return X.to_pylist() if hasattr(X, "to_pylist") else X


def _one_dimensional(X, caller):
    ndim = getattr(X, "ndim", 1)
    if ndim == 2 and X.shape[1] == 1:
        return np.asarray(X).ravel()
    if ndim != 1:
        raise ValueError(
            f"{caller} got a {ndim}-dimensional array; it needs a 1-d sequence of texts. "
            "Select the text column, e.g. with sklearn.compose.ColumnTransformer."
        )
    if not hasattr(X, "__iter__"):
        raise TypeError(f"{caller} got {type(X).__name__}; it needs a list of texts.")
    return X


def _check_text(text, index, caller):
    if isinstance(text, str):
        return
    if is_missing(text):
        raise ValueError(
            f"texts[{index}] is missing ({text!r}); {caller} needs str. "
            "Replace missing texts first, for example by ''."
        )
    if isinstance(text, list | tuple) or hasattr(text, "to_pylist"):
        raise TypeError(
            f"texts[{index}] is {type(text).__name__}; {caller} needs str. To go through batches "
            "of texts in bounded memory, use sklfusion.batch.stream(model, batches)."
        )
    raise TypeError(
        f"texts[{index}] is {type(text).__name__}; {caller} needs str. "
        "Convert the column with .astype(str), or check that it is the text column."
    )


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


def distinct(texts):
    """Return the different texts, in the order in which they come first, and each one's place.

    Parameters
    ----------
    texts : sequence of n str, or of other values that can be told apart by hash

    Returns
    -------
    different : list
    places : ndarray of shape (n,) of int
        ``different[places[i]]`` is ``texts[i]``.
    """
    seen: dict = {}
    places = np.array([seen.setdefault(text, len(seen)) for text in texts], dtype=np.int64)
    return list(seen), places
