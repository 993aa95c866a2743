"""Letting go of replies: which ones, and the tally of what they had cost."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sklfusion._chat import Reply, Usage
from sklfusion.replies._rows import sound

if TYPE_CHECKING:
    from sklfusion.replies._store import ReplyStore

# Made when first needed, so that a store without them is as good.
TABLES = (
    "CREATE TABLE IF NOT EXISTS causes (key TEXT PRIMARY KEY NOT NULL, cause TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forgotten (model TEXT PRIMARY KEY NOT NULL, replies INTEGER NOT"
    " NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL)",
)
_ADD = (
    "INSERT INTO forgotten VALUES (?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET"
    " replies = replies + excluded.replies,"
    " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = completion_tokens + excluded.completion_tokens"
)
_DAY = 86400.0
UNREADABLE, _READABLE = "unreadable", ""


def has_table(connection: Any, name: str) -> bool:
    """Tell whether one of the tables has been made."""
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(query, (name,)).fetchone()[0])


def note(connection: Any, key: str, cause: str) -> None:
    """Write down that the reply under a key could not be used."""
    connection.execute(TABLES[0])
    connection.execute("INSERT OR REPLACE INTO causes VALUES (?, ?)", (key, cause))


def causes(connection: Any) -> dict[str, str]:
    """Return what was noted, by key."""
    if not has_table(connection, "causes"):
        return {}
    return dict(connection.execute("SELECT key, cause FROM causes"))


def tally(connection: Any) -> tuple[int, Usage]:
    """Return how many replies were forgotten and what they had used."""
    if not has_table(connection, "forgotten"):
        return 0, Usage(0, 0)
    query = "SELECT sum(replies), sum(prompt_tokens), sum(completion_tokens) FROM forgotten"
    replies, prompt, completion = connection.execute(query).fetchone()
    return replies or 0, Usage(prompt or 0, completion or 0)


@dataclass(frozen=True)
class Wanted:
    """Which replies are meant: those to which everything applies that is not None.

    Parameters
    ----------
    model : str or None
        The model that answered, "unknown" if the endpoint did not say.
    cause : str or None
        Why a reply could not be used; "unreadable" stands for all causes.
    older_than : float or None
        Days since the reply arrived.
    """

    model: str | None
    cause: str | None
    older_than: float | None

    def choose(self, connection: Any) -> list[tuple[str, Reply]]:
        """Return the replies that are meant, with their keys."""
        noted = causes(connection)
        latest = math.inf if self.older_than is None else time.time() - self.older_than * _DAY
        chosen = []
        for row in connection.execute("SELECT key, checksum, value FROM replies"):
            reply = sound(*row)
            if reply is None or reply.created >= latest:
                continue
            if self.model not in (None, reply.model or "unknown"):
                continue
            if self.cause in (None, noted.get(row[0], _READABLE)) or (
                self.cause == UNREADABLE and row[0] in noted
            ):
                chosen.append((row[0], reply))
        return chosen


def forget(store: ReplyStore, wanted: Wanted, *, dry_run: bool) -> dict[str, int]:
    """Delete replies of a store; see :meth:`ReplyStore.forget`."""
    if wanted == Wanted(None, None, None):
        raise ValueError("forget needs model=, status= or older_than=; it deletes paid replies.")
    chosen = store._run(wanted.choose)
    if not dry_run:
        store._refuse_if_read_only()
        store._transact(partial(delete, chosen=chosen))
        store.close()  # empties the journal, which still has them
    usages = [reply.usage for _, reply in chosen]
    return {
        "replies": len(chosen),
        "prompt_tokens": sum(usage.prompt_tokens or 0 for usage in usages),
        "completion_tokens": sum(usage.completion_tokens or 0 for usage in usages),
        "deleted": 0 if dry_run else len(chosen),
    }


def delete(connection: Any, chosen: list[tuple[str, Reply]]) -> None:
    """Delete replies, so that no salvage finds them again, and add them to the tally."""
    sums: dict[str, Counter[str]] = {}
    for _, reply in chosen:
        usage = reply.usage
        sums.setdefault(reply.model or "unknown", Counter()).update(
            replies=1, prompt=usage.prompt_tokens or 0, completion=usage.completion_tokens or 0
        )
    for statement in TABLES:
        connection.execute(statement)
    keys = [(key,) for key, _ in chosen]
    connection.executemany("DELETE FROM replies WHERE key = ?", keys)
    connection.executemany("DELETE FROM causes WHERE key = ?", keys)
    connection.executemany(
        _ADD, [(model, n["replies"], n["prompt"], n["completion"]) for model, n in sums.items()]
    )
