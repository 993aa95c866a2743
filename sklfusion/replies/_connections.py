"""Opening the SQLite file: one connection per process and user, safe over fork and threads."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sklfusion import _fork
from sklfusion.exceptions import CacheError
from sklfusion.replies import _place
from sklfusion.replies._damage import (
    BUSY_SECONDS,
    Damage,
    DamagedStore,
    is_busy,
    is_damage,
    retry_busy,
)
from sklfusion.replies._lock import file_lock
from sklfusion.replies._schema import (
    APPLICATION_ID,
    AS_BYTES,
    SCHEMA,
    check_tables,
    tables,
    written,
)

# Version of the file's layout, in its user_version. The keys have a version of their own, so a
# migration forgets nothing.
STORE_FORMAT = 1
# format -> the statements that bring it to the next one; run in one transaction
MIGRATIONS: dict[int, list[str]] = {}

# A real format is a small number; anything else is a damaged header.
_MOST_FORMATS = 100

_MOST_SAID = 200  # characters of SQLite's words in a message
MAX_IDLE = 4  # connections kept open for the next thread


class ConnectionPool:
    """Connections of this process to one file; no two threads use one at a time.

    Parameters
    ----------
    path : Path
        The SQLite file.
    synchronous : {"NORMAL", "FULL"}
        NORMAL survives the end of the process, FULL the loss of power.
    read_only : bool
        Never write, not even a lock file.
    """

    def __init__(self, path: Path, *, synchronous: str = "NORMAL", read_only: bool = False):
        self.path = path
        self.synchronous = synchronous
        self.read_only = read_only
        self.forget_inherited()
        _fork.POOLS.add(self)

    def forget_inherited(self) -> None:
        """Start anew in a process that was forked, with new locks and no connections."""
        _fork.keep(connection for _, connection in getattr(self, "_idle", []))
        self._idle: list[tuple[tuple[int, int], sqlite3.Connection]] = []
        self._lock = threading.Lock()
        # Threads queue here rather than in SQLite's busy handler, which sleeps and is not fair.
        self.write_lock = threading.Lock()
        self.queue_lock = threading.Lock()

    def identity(self) -> tuple[int, int] | None:
        """Return (device, inode) of the file, None if it is not there."""
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        return (stat.st_dev, stat.st_ino)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to the file that is at the path now.

        Raises
        ------
        DamagedStore
            If the file is broken.
        CacheError
            If it cannot be opened, or SQLite fails in the block (disk full, file locked).
        """
        identity = self.identity()
        with _fork.GATE.inside():
            try:
                identity, connection = self._take(identity)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise self._translate(error, identity) from None
            healthy = False
            try:
                yield connection
                healthy = True
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise self._translate(error, identity) from None
            finally:
                self._give(identity, connection, healthy)

    def _take(
        self, identity: tuple[int, int] | None
    ) -> tuple[tuple[int, int], sqlite3.Connection]:
        while True:
            with self._lock:
                if not self._idle:
                    break
                seen, connection = self._idle.pop()
            # Another process may have set the file aside, or the user may have deleted it.
            if seen == identity:
                return seen, connection
            _close(connection)
        connection = retry_busy(self._open)
        now = self.identity()
        if now is None:
            _close(connection)
            raise CacheError(f"The reply store {self.path} vanished while it was being opened.")
        return now, connection

    def _give(
        self, identity: tuple[int, int], connection: sqlite3.Connection, healthy: bool
    ) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.rollback()
        if healthy:
            with self._lock:
                if len(self._idle) < MAX_IDLE:
                    self._idle.append((identity, connection))
                    return
        _close(connection)

    def close(self) -> None:
        """Close the idle connections; the pool opens new ones when it is used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        with _fork.GATE.inside():
            if idle and not self.read_only:
                # Whoever copies the file alone then has all of it. Waits for nobody.
                with suppress(sqlite3.Error):
                    idle[0][1].execute("PRAGMA wal_checkpoint(PASSIVE)")
            while idle:
                _close(idle.pop()[1])

    def _translate(self, error: Exception, identity: tuple[int, int] | None) -> Exception:
        if is_damage(error) or self._header_forbids(error):
            return DamagedStore(identity, " ".join(str(error).split())[:_MOST_SAID])
        advice = "Check the disk and the permissions of its folder, or pass another memory=."
        if isinstance(error, sqlite3.Error) and is_busy(error):
            advice = "Another process holds it; end that process or pass another memory=."
        return CacheError(f"The reply store {self.path} cannot be used: {error}. {advice}")

    def _header_forbids(self, error: Exception) -> bool:
        """Tell whether a file that may be written says of itself that it may not."""
        code = getattr(error, "sqlite_errorcode", None)
        return (
            code == sqlite3.SQLITE_READONLY
            and not self.read_only
            and os.access(self.path, os.W_OK)
            and os.access(self.path.parent, os.W_OK)
        )

    def _open(self) -> sqlite3.Connection:
        if self.read_only:
            return open_read_only(self.path)
        lock = _place.lock_path(self.path)
        if _place.whole_path(self.path).exists():
            with file_lock(lock):
                _place.finish(self.path)
        with file_lock(lock, shared=True):  # nobody is just putting another file here
            if not self.path.exists():
                create(self.path)
            return self._open_file()

    def _open_file(self) -> sqlite3.Connection:
        connection = _connect(f"{self.path.as_uri()}?mode=rw")
        try:
            check_format(connection, self.path)
            migrate(connection, self.path)
            check_tables(connection)
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            # What is deleted is gone: a salvage reads bytes, not the tree.
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            _close(connection)
            raise
        return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = AS_BYTES
    try:
        # Views and triggers of a file that somebody else wrote are not to run anything.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        _close(connection)
        raise
    return connection


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()


def check_format(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of an open file.

    Raises
    ------
    CacheError
        If it was written by a newer sklfusion, or by another program.
    sqlite3.DatabaseError
        If the file is empty, damaged or not a database.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version == 0 and application == 0:
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if count == 0:  # ours are created whole, so an empty file has lost its content
            raise Damage("file is not a database (it is empty)")
    if application != APPLICATION_ID and tables(connection).get("replies") == written(SCHEMA[0]):
        raise Damage(f"its header names another program, {application}")
    if application != APPLICATION_ID:
        raise CacheError(
            f"{path} is a database of another program (application_id {application}). "
            "Pass another memory=."
        )
    if not 0 < version < _MOST_FORMATS:
        raise Damage(f"its header names format {version}")
    if version > STORE_FORMAT:
        raise CacheError(
            f"The reply store {path} has format {version}; this sklfusion reads up to format "
            f"{STORE_FORMAT}. Upgrade sklfusion, or pass another memory=."
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an older file to the present format, in one transaction."""
    if check_format(connection, path) == STORE_FORMAT:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have been first.
        for version in range(check_format(connection, path), STORE_FORMAT):
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise CacheError(
                f"The reply store {path} cannot be brought to format {STORE_FORMAT}: {error}. "
                "It is left as it is; pass another memory=."
            ) from None
        raise


def create(path: Path) -> None:
    """Create a complete, empty store at ``path`` in one step, unless one is there.

    It is built under another name and then linked, so that no process ever sees a store without
    its tables, and the journal mode (which heeds no busy timeout) is set where nobody waits.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            journal = "DELETE" if on_network(path) else "WAL"
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("BEGIN")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {STORE_FORMAT}")
            connection.execute("COMMIT")
        finally:
            connection.close()
        _publish(draft, path)
    except OSError as error:
        raise CacheError(
            f"The reply store {path} cannot be created: {error.strerror or error}. "
            "Check the folder's permissions and space, or pass another memory=."
        ) from None
    finally:
        for leftover in path.parent.glob(f"{draft.name}*"):
            leftover.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    except OSError:  # a file system without links
        if not path.exists():
            draft.rename(path)


def on_network(path: Path) -> bool:
    """Tell whether ``path`` is on a network file system, as far as Linux says; WAL needs shared
    memory, which such file systems do not give."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return False
    best, kind = "", ""
    target = str(path.absolute())
    for line in mounts:
        fields = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind in ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph")


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a store in a folder that may not be written, without writing."""
    if not path.exists():
        raise CacheError(f"There is no reply store at {path}. Check the path of memory=.")
    wal = path.with_name(path.name + "-wal")
    modes = ["mode=ro"]
    # immutable=1 ignores the journal, so it is right only where there is none.
    if not wal.exists() or wal.stat().st_size == 0:
        modes.append("mode=ro&immutable=1")
    for mode in modes:
        connection = _connect(f"{path.as_uri()}?{mode}")
        try:
            check_format(connection, path)
            check_tables(connection)
            return connection
        except sqlite3.OperationalError as error:
            _close(connection)
            if is_busy(error) or mode == modes[-1]:
                raise
        except BaseException:
            _close(connection)
            raise
    raise AssertionError("unreachable")
