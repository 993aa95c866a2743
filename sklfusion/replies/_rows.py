"""The statements on replies: read, write, and the rule that the first sound reply wins."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sklfusion._chat import Reply
from sklfusion.replies._codec import checksum, decode_reply, head_of

T = TypeVar("T")

# Keys in one statement; old builds of SQLite allow 999 variables.
CHUNK = 900
_MOST_COMMON = 10_000
_INSERT = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)"
_REPLACE = "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)"
_SELECT = "SELECT key, checksum, value FROM replies WHERE key IN ({})"
_FREE_LEASE = "DELETE FROM leases WHERE key = ?"


class Ticket:
    """One reply that waits for a commit.

    Attributes
    ----------
    key, value : str
        What to store.
    stored : str or None
        What the store holds instead, if an earlier reply won.
    done : bool
        Whether the commit has been tried.
    error : Exception or None
        Why it failed.
    """

    def __init__(self, key: str, value: str) -> None:
        self.key = key
        self.value = value
        self.stored: str | None = None
        self.done = False
        self.error: Exception | None = None


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield ``items`` in lists short enough for one statement."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def sound(key: str, check: Any, value: Any) -> Reply | None:
    """Return the reply of a row, None if the row is not what this package writes."""
    try:
        return decode_reply(value) if checksum(key, value) == check else None
    except (ValueError, AttributeError):
        return None


def read_replies(
    connection: Any, keys: list[str], bad: set[str] | None = None
) -> dict[str, Reply]:
    """Return the sound replies under at most ``CHUNK`` keys; add the keys of others to ``bad``."""
    replies = {key: sound(key, check, value) for key, check, value in pick(connection, keys)}
    if bad is not None:
        bad.update(key for key, reply in replies.items() if reply is None)
    return {key: reply for key, reply in replies.items() if reply is not None}


def pick(connection: Any, keys: list[str]) -> Iterator[tuple[str, Any, Any]]:
    """Return the rows under at most ``CHUNK`` keys."""
    return connection.execute(_query(len(keys)), keys)  # type: ignore[no-any-return]


def scan(connection: Any, keys: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    """Return the rows under any number of keys, reading the whole table from front to back."""
    rows = connection.execute("SELECT key, checksum, value FROM replies")
    return (row for row in rows if row[0] in keys)


def scan_pays(connection: Any, count: int) -> bool:
    """Tell whether reading the whole table is faster than finding ``count`` rows by their keys.

    A row takes 1 microsecond in passing and 4 if it has to be found.
    """
    (last,) = connection.execute("SELECT max(rowid) FROM replies").fetchone()
    return count > CHUNK and (last or 0) < 3 * count


def parsed(
    rows: Iterable[tuple[str, Any, Any]],
    parse: Callable[[Reply], T | None],
    common: dict[str | None, T | None],
    bad: set[str],
) -> dict[str, T]:
    """Return what ``parse`` makes of the sound replies among rows, by key.

    Parameters
    ----------
    rows : iterable of (key, checksum, value)
        As they are in the file.
    parse : callable
        From a Reply to a value that depends on anything but its time; None leaves it out.
    common : dict
        Values made so far, by the reply's text without its time. The replies of a run are often a
        handful of different ones, and each of these is read and parsed once.
    bad : set
        Gets the keys of rows that are not sound.
    """
    values = {}
    for key, check, text in rows:
        try:
            if checksum(key, text) != check:
                raise ValueError("checksum")
            head = head_of(text)
            if head in common:
                value = common[head]
            else:
                value = parse(decode_reply(text))
                if head is not None and len(common) < _MOST_COMMON:
                    common[head] = value
        except (ValueError, AttributeError):
            bad.add(key)  # not what this package writes
            continue
        if value is not None:
            values[key] = value
    return values


def pick_as(
    connection: Any,
    keys: list[str],
    parse: Callable[[Reply], T | None],
    common: dict[str | None, T | None],
    bad: set[str],
) -> dict[str, T]:
    """Return what ``parse`` makes of the replies under at most ``CHUNK`` keys."""
    return parsed(pick(connection, keys), parse, common, bad)


@functools.lru_cache(maxsize=8)
def _query(count: int) -> str:
    return _SELECT.format(", ".join("?" * count))


def write(connection: Any, batch: list[Ticket]) -> int:
    """Commit a batch, free the leases on its keys, and return how many replies were new."""
    new = 0
    connection.execute("BEGIN IMMEDIATE")
    for ticket in batch:
        row = (ticket.key, checksum(ticket.key, ticket.value), ticket.value)
        if connection.execute(_INSERT, row).rowcount == 1:
            new += 1
        else:
            present = connection.execute(_SELECT.format("?"), (ticket.key,)).fetchone()
            if sound(*present) is None:
                connection.execute(_REPLACE, row)
                new += 1
            else:
                ticket.stored = present[2]
        connection.execute(_FREE_LEASE, (ticket.key,))
    connection.execute("COMMIT")
    return new


def read_all(connection: Any, after: str) -> list[tuple[str, str, str]]:
    """Return the next ``CHUNK`` rows in the order of their keys."""
    query = "SELECT key, checksum, value FROM replies WHERE key > ? ORDER BY key LIMIT ?"
    return connection.execute(query, (after, CHUNK)).fetchall()  # type: ignore[no-any-return]
