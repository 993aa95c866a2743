"""Letting go of replies: which ones are meant, and deleting them for good."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from sklfusion._chat import Reply
from sklfusion.replies import _tally
from sklfusion.replies._file import StoreFile
from sklfusion.replies._rows import sound

_DAY = 86400.0
UNREADABLE, _READABLE = "unreadable", ""


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
        noted = _tally.causes(connection)
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


def forget(store: StoreFile, wanted: Wanted, *, dry_run: bool) -> dict[str, int]:
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
    _tally.add(connection, (reply for _, reply in chosen))
    keys = [(key,) for key, _ in chosen]
    connection.executemany("DELETE FROM replies WHERE key = ?", keys)
    connection.executemany("DELETE FROM causes WHERE key = ?", keys)
