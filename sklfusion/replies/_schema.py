"""The tables of a store, and whether a file has them."""

from __future__ import annotations

import operator
import sqlite3

from sklfusion.replies import _leases
from sklfusion.replies._damage import Damage

APPLICATION_ID = 0x736B6C66  # "sklf"
SCHEMA = [
    # A checksum between key and value, all three ASCII and in this order: the salvage of a
    # damaged file finds them as one run of bytes.
    "CREATE TABLE replies (key TEXT PRIMARY KEY NOT NULL, checksum TEXT NOT NULL,"
    " value TEXT NOT NULL)",
    _leases.LEASE_TABLE,
]

# Text as it is in the file, one character a byte: all that we write is ASCII, and a byte that is
# not must fail its checksum instead of failing the read of all rows beside it.
AS_BYTES = operator.methodcaller("decode", "latin-1")


def written(statement: str) -> str:
    """Return a statement without the spaces that SQLite may drop."""
    return " ".join(statement.split())


def tables(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what can act on rows, tables, views and triggers, as they were written."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view', 'trigger')"
    )
    return {str(name): written(str(sql)) for name, sql in rows}


def check_tables(connection: sqlite3.Connection) -> None:
    """Check that the tables are those that this package makes, with nothing attached to them.

    Raises
    ------
    Damage
        If a table is missing or another one, or if there are views or triggers.
    """
    found = tables(connection)
    for statement in SCHEMA:
        name = statement.split()[2]
        if found.get(name) != written(statement):
            raise Damage(f"malformed table {name}")
    for name, sql in found.items():
        if not sql.startswith("CREATE TABLE "):
            raise Damage(f"{name} is not ours")


def check_pages(connection: sqlite3.Connection) -> None:
    """Let SQLite look at every page: a damaged index hides sound rows without an error.

    About 2 milliseconds per megabyte.

    Raises
    ------
    Damage
        With the first thing that is wrong.
    """
    (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise Damage(str(said))
