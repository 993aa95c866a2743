"""One shard: read in batches, scored, written beside its place and moved there when whole."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sklfusion.batch._manifest import draft_of, fingerprint, to_metadata, told_if_full
from sklfusion.batch._scorer import BatchScorer, arrow

DEAD_LETTERS = "dead_letters"


class UnreadableShard(Exception):
    """The input cannot be read or has not the columns; others may be fine."""


def score_shard(scorer: BatchScorer, source: Path, folder: Path, name: str) -> dict[str, Any]:
    """Score one Parquet file.

    Parameters
    ----------
    scorer : BatchScorer
    source : Path
        The file.
    folder : Path
        Of the output; the rows go to ``folder / name`` and those without a label also to
        ``folder / "dead_letters" / name``.
    name : str
        Of the shard, relative.

    Returns
    -------
    dict
        ``rows``, ``labelled``, ``dead``, ``status`` (counts), ``seconds``, ``source``.

    Raises
    ------
    UnreadableShard
        If the input is at fault.
    SklFusionError
        If the disk is full, or the endpoint, the budget or the store fails.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    facts = {"source": _readable(fingerprint, source)}
    done, dead = (_Output(folder / name), _Output(folder / DEAD_LETTERS / name))
    try:
        for batch in _batches(source, scorer):
            try:
                table = scorer(batch)
            except ValueError as error:  # columns
                raise UnreadableShard(str(error)) from error
            counts.update(table["status"].to_pylist())
            done.write(table)
            failed = table.filter(table[scorer.label].is_null())
            if failed.num_rows:
                dead.write(failed.select([*batch.schema.names, "status", "reason"]))
        lost = dead.rows
        facts |= {"rows": done.rows, "labelled": done.rows - lost, "dead": lost}
        facts |= {"status": dict(counts), "seconds": round(time.monotonic() - started, 3)}
        dead.finish(facts)  # first: a shard that is done has its dead letters
        done.finish(facts)
    finally:
        done.drop()
        dead.drop()
    return facts


def _readable(read, source):
    try:
        return read(source)
    except (OSError, arrow().ArrowException) as error:
        raise UnreadableShard(f"{source} cannot be read: {error}") from error


def _batches(source, scorer):
    """Yield the record batches of a file, at least one, whose schema is the file's."""
    from pyarrow.parquet import ParquetFile

    pa = arrow()
    with _readable(ParquetFile, source) as file:
        batches = file.iter_batches(batch_size=scorer.batch_size)
        yield file.schema_arrow.empty_table()
        while True:
            batch = _readable(lambda _: next(batches, None), source)
            if batch is None:
                return
            yield pa.Table.from_batches([batch])


class _Output:
    """A Parquet file that appears whole under its name, or not at all."""

    def __init__(self, path):
        self.path = path
        self.rows = 0
        self._draft = draft_of(path)
        self._writer = None

    def write(self, table):
        from pyarrow.parquet import ParquetWriter

        with told_if_full(self.path):
            if self._writer is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = ParquetWriter(self._draft, table.schema, compression="zstd")
            if table.num_rows:
                self._writer.write_table(table)
        self.rows += table.num_rows

    def finish(self, facts):
        """Put the file in its place; where there was nothing to write, none stays there."""
        if self._writer is None:
            self.path.unlink(missing_ok=True)
            return
        with told_if_full(self.path):
            self._writer.add_key_value_metadata(to_metadata(facts))
            self._writer.close()
            self._writer = None
            with open(self._draft, "rb+") as file:
                os.fsync(file.fileno())
            self._draft.replace(self.path)

    def drop(self):
        """Forget what was not finished."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # the disk is full, which has been told
                writer.close()
        self._draft.unlink(missing_ok=True)
