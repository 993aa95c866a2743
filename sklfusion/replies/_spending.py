"""What the processes that share a store have spent on one job, for a budget that holds for all.

One row per job and process: what it has spent and has under way. A request is set aside in the
same transaction in which all rows are summed, so processes cannot pass the budget together.

A job begins with the first request of any process and ends when all processes that took part
have ended, or none of them has spent anything for an hour; the next request then begins a new one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from sklfusion.replies import _leases
from sklfusion.replies._file import StoreFile

SPENDING_KINDS = ("requests", "tokens", "money")
TABLE = (
    "CREATE TABLE IF NOT EXISTS spending (job TEXT NOT NULL, holder TEXT NOT NULL, boot TEXT NOT"
    " NULL, at REAL NOT NULL, requests REAL NOT NULL, tokens REAL NOT NULL, money REAL NOT NULL,"
    " PRIMARY KEY (job, holder)) WITHOUT ROWID"
)
_ADD_SPENT = (
    "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job, holder) DO UPDATE SET"
    " at = excluded.at, requests = requests + excluded.requests, tokens = tokens +"
    " excluded.tokens, money = money + excluded.money"
)
# A process that has spent nothing for so long has ended, or has turned to something else.
IDLE_SECONDS = 3600.0


def spend(
    connection: Any, job: str, amounts: Mapping[str, float], limits: Mapping[str, float]
) -> str | None:
    """Add amounts to what this process has spent on a job, unless that passes a limit.

    Returns
    -------
    str or None
        What is lacking.
    """
    connection.execute(TABLE)
    query = "SELECT holder, boot, at, requests, tokens, money FROM spending WHERE job = ?"
    rows = connection.execute(query, (job,)).fetchall()
    if not any(_goes_on(*row[:3]) for row in rows):
        connection.execute("DELETE FROM spending WHERE job = ?", (job,))
        rows = []
    for place, kind in enumerate(SPENDING_KINDS, start=3):
        spent = sum(row[place] for row in rows)
        limit = limits.get(kind)
        if limit is not None and amounts[kind] > 0 and spent + amounts[kind] > limit:
            return (
                f"{kind}: {spent:.6g} of {limit:.6g} used or under way in all processes that "
                "share the store"
            )
    numbers = [amounts[kind] for kind in SPENDING_KINDS]
    row = (job, _leases.this_holder(), _leases.boot_id(), time.time(), *numbers)
    connection.execute(_ADD_SPENT, row)
    return None


def _goes_on(holder: str, boot: str, at: float) -> bool:
    ended = boot == _leases.boot_id() and _leases.holder_is_dead(holder)
    return not ended and time.time() - at < IDLE_SECONDS


def purse_for(store: StoreFile | None, budget: Mapping[str, float], *job: object) -> Purse | None:
    """Return the purse of one call, None where there is no budget or nothing to share it through.

    Parameters
    ----------
    store : StoreFile or None
        Where the processes meet.
    budget : mapping
        Empty: none.
    *job : object
        What makes two calls one job: endpoint, model and classes.
    """
    if store is None or store.read_only or not budget:
        return None
    return Purse(store, hashlib.sha256(repr(job).encode("utf-8", "replace")).hexdigest())


class Purse:
    """The share of one call in what a job spends. Thread-safe.

    Parameters
    ----------
    store : StoreFile
        Where the processes meet.
    job : str
        Names the job.
    """

    def __init__(self, store: StoreFile, job: str) -> None:
        self._store = store
        self._job = job
        self._lock = threading.Lock()
        # Written with the next request: what came of the ones before.
        self._changes: Counter[str] = Counter()

    def reserve(self, expected: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
        """Set the cost of a request aside; return what is lacking."""
        with self._lock:
            amounts = {kind: expected[kind] + self._changes[kind] for kind in SPENDING_KINDS}
            lacking = self._spend(amounts, limits)
            if lacking is None:
                self._changes.clear()
            return lacking

    def change(self, amounts: Mapping[str, float], sign: int) -> None:
        """Add to, or take from, what this call has spent."""
        with self._lock:
            for kind in SPENDING_KINDS:
                self._changes[kind] += sign * amounts[kind]  # type: ignore[assignment]

    def close(self) -> None:
        """Write what came of the last requests."""
        with self._lock:
            if any(self._changes.values()):
                self._spend({kind: self._changes[kind] for kind in SPENDING_KINDS}, {})
                self._changes.clear()

    def _spend(self, amounts: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
        action = partial(spend, job=self._job, amounts=amounts, limits=limits)
        return self._store._transact(action)
