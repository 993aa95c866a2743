"""`stream`: the results of a method, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sklfusion.batch._sources import read_batches


def stream(
    model: Any,
    source: Any,
    method: str = "predict_proba",
    *,
    batch_size: int = 1024,
    text: str = "text",
) -> Iterator[np.ndarray]:
    """Yield what ``model.method`` makes of each batch of texts, in bounded memory.

    One function for every method and every source: ``predict_proba`` and its like return one
    array for all texts, which ten million of them do not fit into, so what differs is not the
    model but that the results come in pieces.

    Parameters
    ----------
    model : fitted estimator
        Anything that takes texts.
    source : path, pyarrow object, or iterable
        As for :func:`read_batches`: a Parquet file or folder, an Arrow table or reader, or an
        iterable of texts or of batches; generators are read as they go.
    method : str, default="predict_proba"
        ``"predict"``, ``"predict_proba"``, ``"decision_function"`` or ``"transform"``.
    batch_size : int, default=1024
        Texts per call.
    text : str, default="text"
        Column of the texts.

    Returns
    -------
    iterator of ndarray of shape (rows of the batch, ...)
        What the method returned.

    Raises
    ------
    TypeError
        If the model has no such method.
    ValueError
        If a batch has no such column, or a text is missing: for rows that may fail there is
        :class:`BatchScorer`.

    See Also
    --------
    read_batches : Its batches.
    score_shards : Folders, with results that are kept.
    sklfusion.BatchScorer : For engines.

    Notes
    -----
    A text that comes again in a later batch is asked about again unless the model has
    ``memory=``. Cost: that of the method.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklfusion.batch import stream
    >>> texts = (f"text {n}" for n in range(5))
    >>> [part.shape for part in stream(HashingVectorizer(n_features=4), texts, "transform",
    ...                                batch_size=2)]
    [(2, 4), (2, 4), (1, 4)]
    """
    if not callable(getattr(model, method, None)):
        raise TypeError(f"{type(model).__name__} has no method {method!r} to stream through.")
    apply = getattr(model, method)
    batches = read_batches(source, batch_size=batch_size, text=text)
    return (apply(_strings_of(batch, text)) for batch in batches)


def _strings_of(batch, text):
    if text not in batch.schema.names:
        raise ValueError(
            f"The source has no column {text!r}; it has {batch.schema.names}. Name it with text=."
        )
    texts = batch[text].to_pylist()
    if None in texts:
        raise ValueError(
            f"A text of the source is missing (row {texts.index(None)} of a batch). Fill it, or "
            "use sklfusion.batch.BatchScorer, which gives such rows a status."
        )
    return texts
