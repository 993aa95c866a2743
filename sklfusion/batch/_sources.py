"""Texts from wherever they lie, as record batches of bounded size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklfusion.batch._scorer import arrow

if TYPE_CHECKING:
    import pyarrow as pa


def read_batches(
    source: Any, *, batch_size: int = 1024, text: str = "text"
) -> Iterator[pa.RecordBatch]:
    """Yield record batches of at most ``batch_size`` rows; only one is held at a time.

    Parameters
    ----------
    source : path, pyarrow object, or iterable
        A Parquet file or a folder of such (in order of their names); a ``pyarrow`` Table,
        RecordBatch, RecordBatchReader, Array or ChunkedArray; or an iterable of texts, of
        lists of texts, of Arrow arrays, tables or record batches. Generators are read as they
        go.
    batch_size : int, default=1024
    text : str, default="text"
        Name of the column, for sources that are bare texts.

    Returns
    -------
    iterator of RecordBatch
        With a column ``text``, and the others as they were.

    Raises
    ------
    ValueError
        If ``batch_size`` is below 1 or a folder holds no Parquet file.
    TypeError
        If the source or an item of it is of another kind.

    See Also
    --------
    stream : Scores them.

    Examples
    --------
    >>> from sklfusion.batch import read_batches
    >>> [batch.num_rows for batch in read_batches((f"text {n}" for n in range(5)), batch_size=2)]
    [2, 2, 1]
    """
    if int(batch_size) < 1:
        raise ValueError(f"read_batches got batch_size={batch_size!r}; it needs at least 1.")
    found = _tables(source, int(batch_size), text)
    return (batch for table in found for batch in _cut(table, int(batch_size)))


def _cut(table, size):
    for batch in table.to_batches(max_chunksize=size):
        if batch.num_rows:
            yield batch


def _tables(source, size, text):
    """Yield tables, none of them much larger than a batch where the source allows it."""
    pa = arrow()
    if isinstance(source, str | os.PathLike):
        return _of_files(Path(source), size)
    if isinstance(source, pa.RecordBatchReader):
        return (pa.Table.from_batches([batch]) for batch in source)
    if isinstance(source, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return iter([_as_table(source, text)])
    if hasattr(source, "column_names") or hasattr(source, "columns"):
        raise TypeError(
            f"read_batches got a {type(source).__name__}; pass pyarrow.table(frame), or a file."
        )
    if not hasattr(source, "__iter__"):
        raise TypeError(
            f"read_batches got {type(source).__name__}; it needs a Parquet file or folder, an "
            "Arrow object, or an iterable of texts or of batches."
        )
    return _of_items(iter(source), size, text)


def _of_items(items, size, text):
    """Gather texts into batches; what is a batch already goes through as it is."""
    pa = arrow()
    texts: list[str | None] = []
    for item in items:
        if item is None or isinstance(item, str):
            texts.append(item)
        if texts and (len(texts) == size or not (item is None or isinstance(item, str))):
            yield pa.table({text: pa.array(texts, pa.string())})
            texts = []
        if not (item is None or isinstance(item, str)):
            yield _as_table(item, text)
    if texts:
        yield pa.table({text: pa.array(texts, pa.string())})


def _as_table(item, text):
    pa = arrow()
    if isinstance(item, pa.Table):
        return item
    if isinstance(item, pa.RecordBatch):
        return pa.Table.from_batches([item])
    if isinstance(item, pa.Array | pa.ChunkedArray):
        return pa.table({text: item})
    if isinstance(item, list | tuple):
        return pa.table({text: pa.array(item, pa.string())})
    raise TypeError(
        f"read_batches found a {type(item).__name__} in its source; it needs texts, lists of "
        "texts, or Arrow arrays, tables or record batches."
    )


def parquet_files(path: Path) -> list[Path]:
    """Return a file as it is, or the Parquet files below a folder in order of their names.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path} does not exist; it must be a Parquet file or a folder.")
        return [path]
    hidden = ("_", ".")  # what engines leave beside their data
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith(hidden) for part in file.relative_to(path).parts)
    )
    if not found:
        raise ValueError(f"{path} holds no .parquet file.")
    return found


def _of_files(path, size):
    from pyarrow.parquet import ParquetFile

    pa = arrow()
    files = parquet_files(path)

    def batches(file):
        with ParquetFile(file) as opened:
            yield from opened.iter_batches(batch_size=size)

    found = chain.from_iterable(map(batches, files))
    return (pa.Table.from_batches([batch]) for batch in found)
