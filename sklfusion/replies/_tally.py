"""What is written beside the replies: why some could not be used, what forgotten ones had cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sklfusion._chat import Reply, Usage

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


def add(connection: Any, replies: Iterable[Reply]) -> None:
    """Add replies that are about to be deleted to the tally."""
    sums: dict[str, Counter[str]] = {}
    for reply in replies:
        usage = reply.usage
        sums.setdefault(reply.model or "unknown", Counter()).update(
            replies=1, prompt=usage.prompt_tokens or 0, completion=usage.completion_tokens or 0
        )
    for statement in TABLES:
        connection.execute(statement)
    rows = [(model, n["replies"], n["prompt"], n["completion"]) for model, n in sums.items()]
    connection.executemany(_ADD, rows)
