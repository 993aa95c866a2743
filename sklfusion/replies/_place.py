"""The file at its path: putting a salvaged store in the place of a damaged one."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

JOURNALS = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database


def lock_path(path: Path) -> Path:
    """Return the file that is locked while a store is replaced."""
    return path.with_name(path.name + ".lock")


def whole_path(path: Path) -> Path:
    """Return where a salvaged store lies once it is whole, until it is put in its place."""
    return path.with_name(path.name + ".salvaged")


def finish(path: Path) -> Path | None:
    """Put a store that was salvaged whole in its place; return where the damaged one is kept.

    Does nothing, and returns None, where there is none. To be called under the lock.
    """
    whole = whole_path(path)
    if not whole.exists():
        return None
    aside = _keep_aside(path)
    for suffix in JOURNALS:
        # A journal of the old file would be played into the new one.
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    whole.replace(path)
    return aside


def _keep_aside(path: Path) -> Path:
    """Give the store and its journals a second name, and return the store's."""
    for old in path.parent.glob(f"{path.name}.damaged-*"):
        with contextlib.suppress(OSError):
            if old.samefile(path):
                return old  # an interrupted salvage has done this
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(1000):
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{os.getpid()}-{number}")
        if not aside.exists():
            break
    for suffix in (*JOURNALS, ""):  # the store last: where its name is, all are there
        with contextlib.suppress(FileNotFoundError):
            _link(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
    return aside


def _link(old: Path, new: Path) -> None:
    if old.is_symlink():  # what it points to may be anybody's
        new.symlink_to(os.readlink(old))
        return
    try:
        os.link(old, new)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(old, new)
