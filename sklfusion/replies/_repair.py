"""Salvage of a damaged store: every row that is still sound goes into a new file.

The damaged file stays at its place until the new one is whole, and is kept under another name
after that. The steps, each of which may be the last one that a process gets to::

    read the damaged file -> X.salvaging        begun again if interrupted
    X.salvaging -> X.salvaged                   from here on the new file is whole
    link X to X.damaged-*, drop X's journal, X.salvaged -> X      taken up by the next opening
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

from sklfusion import _fork
from sklfusion._chat import Usage
from sklfusion.exceptions import CacheError, CacheWarning
from sklfusion.replies import _tally
from sklfusion.replies._codec import MAX_VALUE_CHARS
from sklfusion.replies._connections import ConnectionPool, create, on_network
from sklfusion.replies._damage import DamagedStore
from sklfusion.replies._lock import file_lock
from sklfusion.replies._pages import long_payloads
from sklfusion.replies._place import JOURNALS, finish, lock_path, whole_path
from sklfusion.replies._rows import sound
from sklfusion.replies._schema import AS_BYTES

# key, checksum and value stand next to each other in a row (see SCHEMA)
_ROW = re.compile(rb'([0-9a-f]{64})([0-9a-f]{8})(?=\{"contents":)')
_PLAIN_DECODER = json.JSONDecoder()
_WINDOW = 16_384  # bytes in which a value that fits into a page ends


def repair(path: Path, pool: ConnectionPool, damage: DamagedStore) -> None:
    """Put a sound store in the place of a damaged one, unless somebody else has done it.

    Raises
    ------
    CacheError
        If there is no room for the new file; the damaged one is then left as it is.

    Warns
    -----
    CacheWarning
        With the numbers of replies kept and lost.
    """
    with _fork.GATE.inside(), file_lock(lock_path(path)):
        if pool.identity() != damage.identity or finish(path):
            return  # another thread or process has done it
        pool.close()
        kept, lost = salvage(path, whole_path(path))
        aside = finish(path)
    warnings.warn(
        f"The reply store {path} was damaged ({damage.reason}). {kept} replies were salvaged, "
        f"{lost} lost; the damaged file is kept as {aside and aside.name}.",
        CacheWarning,
        stacklevel=2,
    )


def salvage(damaged: Path, path: Path) -> tuple[int, str]:
    """Write every sound reply of the file ``damaged`` into a new store at ``path``.

    Returns
    -------
    kept : int
        Replies copied.
    lost : str
        How many replies of the damaged file were not, as far as it can be told.

    Raises
    ------
    CacheError
        If the new store cannot be written.
    """
    draft = path.with_name(f"{path.name.removesuffix('.salvaged')}.salvaging")
    draft.unlink(missing_ok=True)
    for stale in draft.parent.glob(f".{draft.name}.*"):  # what `create` was killed over
        stale.unlink(missing_ok=True)
    try:
        create(draft)
        kept = _fill(draft, damaged)
        draft.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise CacheError(
            f"The reply store {damaged} is damaged and cannot be salvaged ({error}); it is left "
            "as it is. Make room on its disk, or pass another memory=."
        ) from None
    finally:
        for suffix in ("", *JOURNALS):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    seen = _row_count(damaged)
    return kept, "an unknown number" if seen is None else str(max(seen - kept, 0))


def _fill(draft: Path, damaged: Path) -> int:
    """Copy what is sound, on the disk before this returns; return the number of replies."""
    target = sqlite3.connect(draft, isolation_level=None)
    try:
        # Nobody sees the draft before it is whole, so it needs no journal.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("BEGIN")
        target.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", recover(damaged))
        _keep_tally(target, damaged)
        target.execute("COMMIT")
        if not on_network(draft):
            target.execute("PRAGMA journal_mode = WAL")
        (kept,) = target.execute("SELECT count(*) FROM replies").fetchone()
    finally:
        target.close()
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    return int(kept)


def _keep_tally(target: sqlite3.Connection, damaged: Path) -> None:
    """Carry over what forgotten replies had cost, if it can be read."""
    replies, used = 0, Usage(0, 0)
    with (
        contextlib.suppress(sqlite3.Error, UnicodeDecodeError, TypeError),
        contextlib.closing(_connect_damaged(damaged)) as source,
    ):
        replies, used = _tally.tally(source)
    if replies:
        target.execute(_tally.TABLES[1])
        row = ("before a salvage", replies, used.prompt_tokens, used.completion_tokens)
        target.execute("INSERT INTO forgotten VALUES (?, ?, ?, ?)", row)


def recover(damaged: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the sound rows of a damaged file, some of them several times, current ones first."""
    for rows in (_read_rows(damaged), _scan_files(damaged)):
        for row in rows:
            if sound(*row) is not None:
                yield row


def _connect_damaged(damaged: Path) -> sqlite3.Connection:
    """Open a damaged file without writing to it."""
    connection = sqlite3.connect(f"{damaged.as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.text_factory = AS_BYTES
    return connection


def _row_count(damaged: Path) -> int | None:
    """Ask the index, which is smaller than the table and so more often whole."""
    with (
        contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
        contextlib.closing(_connect_damaged(damaged)) as source,
    ):
        return int(source.execute("SELECT count(*) FROM replies").fetchone()[0])
    return None


def _read_rows(damaged: Path) -> Iterator[tuple[str, str, str]]:
    """Read the table from both ends, each up to the first broken page."""
    for order in ("ASC", "DESC"):
        with (
            contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
            contextlib.closing(_connect_damaged(damaged)) as source,
        ):
            query = f"SELECT key, checksum, value FROM replies NOT INDEXED ORDER BY rowid {order}"
            yield from source.execute(query)


def _scan_files(damaged: Path) -> Iterator[tuple[str, str, str]]:
    """Search the bytes of the file and of its journal for rows. Needs no header and no tree."""
    for path in (damaged, damaged.with_name(damaged.name + "-wal")):
        if not path.exists() or path.stat().st_size == 0:
            continue
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            yield from _scan(data, _WINDOW)
            if path == damaged:
                for payload in long_payloads(data, MAX_VALUE_CHARS):
                    yield from _scan(payload, MAX_VALUE_CHARS)


def _scan(data: bytes | mmap.mmap, window: int) -> Iterator[tuple[str, str, str]]:
    for match in _ROW.finditer(data):
        piece = data[match.end() : match.end() + window].decode("latin-1")
        try:
            _, length = _PLAIN_DECODER.raw_decode(piece)
        except (ValueError, RecursionError):
            continue
        yield match[1].decode(), match[2].decode(), piece[:length]
