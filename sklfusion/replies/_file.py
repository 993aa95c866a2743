"""The file of a store in use: asked, found damaged, repaired and asked again."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sklfusion.exceptions import CacheError, CacheWarning
from sklfusion.replies import _repair
from sklfusion.replies._connections import ConnectionPool
from sklfusion.replies._damage import DamagedStore
from sklfusion.replies._schema import check_pages

T = TypeVar("T")

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
# Files up to this size are looked through whenever they have changed (20 ms at most); larger ones
# once per process, and only before something is paid for.
_QUICK_BYTES = 8_000_000
# A second repair in one call means that the disk is failing.
_ATTEMPTS = 3

# What the files looked like when SQLite last found every page sound.
_LOOKED_AT: dict[Path, tuple[int, int, int, int]] = {}


class StoreFile:
    """One SQLite file: connections, transactions, and what happens when it is damaged.

    Parameters
    ----------
    path : Path or str
        The file.
    durability : {"process", "power"}
        What a commit survives.
    read_only : bool
        Never write. A damaged file is then read through a salvaged copy in a temporary folder.
    """

    def __init__(self, path: Path | str, durability: str, read_only: bool) -> None:
        if durability not in _SYNCHRONOUS:
            raise ValueError(f"durability={durability!r}; use 'process' or 'power'.")
        self.path = Path(path).absolute()
        self.durability = durability
        self.read_only = read_only
        self._looked = False
        self._told: set[str] = set()
        self._copy: Path | None = None
        self._damage: str | None = None
        self._use(self.path)

    def _use(self, path: Path) -> None:
        mode = _SYNCHRONOUS[self.durability]
        self._pool = ConnectionPool(path, synchronous=mode, read_only=self.read_only)
        weakref.finalize(self, self._pool.close)

    def close(self) -> None:
        """Close the connections of this process. A later call opens them again."""
        self._pool.close()
        self.look_again()

    def look_again(self) -> None:
        """Let the next use look for damage and tell of it, though an earlier one has."""
        self._looked = False
        self._told.clear()

    # ------------------------------------------------------------------------------- asking it

    def _run(self, action: Callable[[Any], T], *, locked: bool = False) -> T:
        """Return ``action(connection)``; a damaged file is repaired and asked again.

        So is a file that was replaced meanwhile, since what went into the old one is lost.
        """
        reason = ""
        for _ in range(_ATTEMPTS):
            before = self._pool.identity()
            try:
                with self._pool.connection() as connection:
                    result = action(connection)
            except DamagedStore as damage:
                reason = damage.reason
                with self._held(locked):
                    self._repair(damage)
                continue
            if before is None or self._pool.identity() == before:
                return result
            reason = "replaced while in use"
        raise CacheError(
            f"The reply store {self.path} was repaired and is damaged again ({reason}). Check the "
            "disk."
        )

    def _transact(self, action: Callable[[Any], T]) -> T:
        def body(connection: Any) -> T:
            connection.execute("BEGIN IMMEDIATE")
            result = action(connection)
            connection.execute("COMMIT")
            return result

        with self._pool.write_lock:
            return self._run(body, locked=True)

    @contextmanager
    def _held(self, already: bool) -> Iterator[None]:
        if already:
            yield
        else:
            with self._pool.write_lock:
                yield

    # ---------------------------------------------------------------------------------- damage

    def _repair(self, damage: DamagedStore) -> None:
        if not self.read_only:
            _repair.repair(self.path, self._pool, damage)
        elif self._copy is None:
            folder = tempfile.mkdtemp(prefix="sklfusion-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._copy = Path(folder) / self.path.name
            kept, lost = _repair.salvage(self.path, self._copy)
            self._damage = damage.reason
            self._use(self._copy)
            warnings.warn(
                f"The reply store {self.path} is damaged ({damage.reason}) and is open read-only. "
                f"{kept} replies are sound and are read, {lost} are lost.",
                CacheWarning,
                stacklevel=2,
            )

    def _look(self, *, paying: bool = False) -> None:
        """Find damage that hides rows, before a row is believed to be absent."""
        if self._looked or self._copy is not None:
            return
        state = _file_state(self.path)
        seen = _LOOKED_AT.get(self.path)
        if state is not None and state[3] > _QUICK_BYTES:
            if not paying:
                return
            known = seen is not None and seen[:2] == state[:2]
        else:
            known = seen is not None and seen == state
        self._looked = True
        if not known:
            self._run(check_pages)
            now = _file_state(self.path)
            if now is not None:
                _LOOKED_AT[self.path] = now

    def _tell(self, bad: set[str]) -> None:
        """Warn about damaged rows, each once."""
        new = bad - self._told
        if new:
            self._told |= new
            warnings.warn(
                f"The reply store {self.path} holds damaged replies: {len(new)}. They count as "
                "absent and are asked for again; all others are used.",
                CacheWarning,
                stacklevel=3,
            )

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise CacheError(
                f"The reply store {self.path} is read-only, so new replies could not be kept. "
                "Make its folder writable, or pass another memory=."
            )


def _file_state(path: Path) -> tuple[int, int, int, int] | None:
    """Return (device, inode, time of change, bytes) of a file, None if it is not there."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
