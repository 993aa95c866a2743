"""The statements on replies: read, write, and the rule that the first sound reply wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sklfusion.llm._types import Reply
from sklfusion.replies._codec import checksum, decode_reply

T = TypeVar("T")

# Keys in one statement; old builds of SQLite allow 999 variables.
CHUNK = 900
_INSERT = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)"
_REPLACE = "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)"
_SELECT = "SELECT key, checksum, value FROM replies WHERE key IN ({})"
_FREE = "DELETE FROM leases WHERE key = ?"


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


def read(connection: Any, keys: list[str]) -> dict[str, Reply]:
    """Return the sound replies under at most ``CHUNK`` keys."""
    query = _SELECT.format(", ".join("?" * len(keys)))
    rows = connection.execute(query, keys).fetchall()
    replies = ((key, sound(key, check, value)) for key, check, value in rows)
    return {key: reply for key, reply in replies if reply is not None}


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
        connection.execute(_FREE, (ticket.key,))
    connection.execute("COMMIT")
    return new


def read_all(connection: Any, after: str) -> list[tuple[str, str, str]]:
    """Return the next ``CHUNK`` rows in the order of their keys."""
    query = "SELECT key, checksum, value FROM replies WHERE key > ? ORDER BY key LIMIT ?"
    return connection.execute(query, (after, CHUNK)).fetchall()  # type: ignore[no-any-return]
