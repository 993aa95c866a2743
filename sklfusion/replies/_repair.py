"""Salvage of a damaged store: set it aside, keep every row that is still sound."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from sklfusion.exceptions import CacheError, CacheWarning
from sklfusion.replies._codec import checksum, decode_reply
from sklfusion.replies._connections import ConnectionPool, DamagedStore, create
from sklfusion.replies._lock import file_lock

# key, checksum and value stand next to each other in a row (see SCHEMA)
_ROW = re.compile(rb'([0-9a-f]{64})([0-9a-f]{8})(?=\{"contents":)')
_DECODER = json.JSONDecoder()
_WINDOW = 16_384


def repair(path: Path, pool: ConnectionPool, damage: DamagedStore) -> None:
    """Put a sound store in the place of a damaged one, unless somebody else has done it.

    Raises
    ------
    CacheError
        If the store is open read-only.

    Warns
    -----
    CacheWarning
        With the numbers of replies kept and lost.
    """
    if pool.read_only:
        raise CacheError(
            f"The reply store {path} is damaged ({damage.reason}) and is open read-only. "
            "Open it once from a place that may write, which salvages what is sound."
        )
    with file_lock(path.with_name(path.name + ".lock")):
        if pool.identity() != damage.identity:
            return  # another thread or process has done it
        pool.close()
        aside = set_aside(path)
        kept, seen = salvage(aside, path)
    lost = "an unknown number" if seen is None else f"{max(seen - kept, 0)}"
    warnings.warn(
        f"The reply store {path} was damaged ({damage.reason}). {kept} replies were salvaged, "
        f"{lost} lost; the damaged file is kept as {aside.name}.",
        CacheWarning,
        stacklevel=2,
    )


def set_aside(path: Path) -> Path:
    """Rename the store and its journal files, and return the new name of the store.

    Connections of other processes to the old file stay valid; they notice at their next use that
    another file is at the path.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(1000):
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{os.getpid()}-{number}")
        if not aside.exists():
            break
    path.rename(aside)
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def salvage(damaged: Path, path: Path) -> tuple[int, int | None]:
    """Copy every sound reply of the file ``damaged`` into the store at ``path``.

    Returns
    -------
    kept : int
        Replies copied.
    seen : int or None
        Replies that the damaged file held, as far as it could be told.
    """
    if not path.exists():
        create(path)
    target = sqlite3.connect(path, timeout=60.0, isolation_level=None)
    try:
        (before,) = target.execute("SELECT count(*) FROM replies").fetchone()
        target.execute("BEGIN IMMEDIATE")
        rows = {**dict(_sound(_scan_files(damaged))), **dict(_sound(_read_rows(damaged)))}
        target.executemany(
            "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)",
            ((key, checksum(key, value), value) for key, value in rows.items()),
        )
        target.execute("COMMIT")
        (after,) = target.execute("SELECT count(*) FROM replies").fetchone()
    finally:
        target.close()
    return after - before, _count(damaged)


def _sound(rows: Iterator[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    for key, check, value in rows:
        with contextlib.suppress(ValueError, TypeError):
            if checksum(key, value) == check:
                decode_reply(value)
                yield key, value


def _connect(damaged: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{damaged.as_uri()}?mode=rw", uri=True, isolation_level=None)


def _count(damaged: Path) -> int | None:
    """Ask the index, which is smaller than the table and so more often whole."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(damaged)) as source:
        return int(source.execute("SELECT count(*) FROM replies").fetchone()[0])
    return None


def _read_rows(damaged: Path) -> Iterator[tuple[str, str, str]]:
    """Read the table from both ends, each up to the first broken page."""
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(damaged)) as source:
            source.text_factory = lambda data: data.decode("ascii", "replace")
            query = f"SELECT key, checksum, value FROM replies NOT INDEXED ORDER BY rowid {order}"
            yield from source.execute(query)


def _scan_files(damaged: Path) -> Iterator[tuple[str, str, str]]:
    """Search the bytes of the file and of its journal for rows.

    This needs no header and no tree. It misses values longer than a page (4 KB), which SQLite
    does not store in one piece.
    """
    for path in (damaged, damaged.with_name(damaged.name + "-wal")):
        if not path.exists() or path.stat().st_size == 0:
            continue
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for match in _ROW.finditer(data):
                piece = data[match.end() : match.end() + _WINDOW].decode("latin-1")
                try:
                    _, length = _DECODER.raw_decode(piece)
                except (ValueError, RecursionError):
                    continue
                yield match[1].decode(), match[2].decode(), piece[:length]
