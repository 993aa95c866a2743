"""What SQLite's errors mean: a broken file, a lock held elsewhere, or something else."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BUSY_SECONDS = 60.0  # how long another process may hold a lock before that is an error


class DamagedStore(Exception):
    """The file is not a sound store. Holds the (device, inode) that was seen."""

    def __init__(self, identity: tuple[int, int] | None, reason: str) -> None:
        super().__init__(identity, reason)
        self.identity = identity
        self.reason = reason


class Damage(sqlite3.DatabaseError):
    """What we find ourselves, where SQLite would go on."""


def is_damage(error: Exception) -> bool:
    """Tell whether an error says that the file itself is broken."""
    if isinstance(error, Damage | UnicodeDecodeError):
        return True  # a broken name in SQLite's own message cannot be decoded
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        # Our statements are constants, so one that makes no sense meets tables that are not ours.
        broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
        return code & 0xFF in (*broken, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_FORMAT)
    return "malformed" in str(error) or "not a database" in str(error)


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process only holds a lock."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return "locked" in str(error)


def retry_busy(action: Callable[[], T], *, seconds: float = BUSY_SECONDS) -> T:
    """Return ``action()``, tried again while the database is locked.

    SQLite's own busy timeout does not cover opening and changes of the journal mode.
    """
    end = time.monotonic() + seconds
    pause = 0.002
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, 0.1)
