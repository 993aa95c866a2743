"""From ``memory=`` to a store: where the file lies and whether it can be trusted and written."""

from __future__ import annotations

import os
import stat
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

from sklfusion.exceptions import CacheError, CacheWarning
from sklfusion.replies._connections import on_network
from sklfusion.replies._store import ReplyStore

FOLDER = "replies"
FILE = "replies.sqlite"

# One object per file and process, so that all scorers of a process share locks and commits.
_OPEN: weakref.WeakValueDictionary[tuple[str, str, bool], ReplyStore] = (
    weakref.WeakValueDictionary()
)
_OPEN_LOCK = threading.Lock()


def _new_lock() -> None:
    global _OPEN_LOCK
    _OPEN_LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def store_path(memory: Any) -> Path | None:
    """Return the file in which replies for ``memory`` are kept; None if nothing is kept.

    Parameters
    ----------
    memory : None, str, Path or joblib.Memory
        A folder. A ``joblib.Memory`` stands for its ``location``, so that a path and a Memory on
        the same path share replies.
    """
    if memory is None:
        return None
    if not isinstance(memory, str | os.PathLike):
        if not hasattr(memory, "location"):
            raise TypeError(
                f"memory is {type(memory).__name__}; it must be None, a folder or a joblib.Memory."
            )
        memory = memory.location
        if memory is None:
            return None
    return Path(memory).expanduser().absolute() / FOLDER / FILE


def open_store(
    memory: Any, *, durability: str = "process", read_only: bool = False
) -> ReplyStore | None:
    """Open the reply store below ``memory``, creating it if there is none.

    Parameters
    ----------
    memory : None, str, Path or joblib.Memory
        A folder; replies live in ``replies/replies.sqlite`` below it. None, and a Memory without
        a location, keep nothing.
    durability : {"process", "power"}
        See :class:`ReplyStore`.
    read_only : bool
        Never write. Set by itself where the folder cannot be written but a store is there.

    Returns
    -------
    ReplyStore or None

    Raises
    ------
    CacheError
        If the folder is a file, a dangling link, cannot be created, or holds a store of a newer
        format. Raised here, that is, before anything is sent.

    Warns
    -----
    CacheWarning
        If others may write to the folder, if it lies on a network file system, or if a damaged
        store was repaired.
    """
    path = store_path(memory)
    if path is None:
        return None
    if not read_only:
        read_only = not _prepare_folder(path)
    elif not path.exists():
        raise CacheError(
            f"There is no reply store at {path}. Check memory=, or make it with "
            "`sklfusion cache import`."
        )
    identity = (str(path), durability, read_only)
    with _OPEN_LOCK:
        store = _OPEN.get(identity)
        if store is None:
            store = ReplyStore(path, durability=durability, read_only=read_only)
            _warn_about(path)
            _OPEN[identity] = store
    return store.open()


def _prepare_folder(path: Path) -> bool:
    """Make the folder of the store; return whether it can be written."""
    folder = path.parent
    for part in (folder.parent, folder):
        if part.is_symlink() and not part.exists():
            raise CacheError(
                f"memory leads to {part}, a link to {os.readlink(part)}, which does not exist. "
                "Make that folder, or pass another memory=."
            )
        if part.exists() and not part.is_dir():
            raise CacheError(
                f"memory leads to {part}, which is a file; it must be a folder. "
                "Pass another memory=."
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"The folder {folder} cannot be created: {error.strerror or error}. "
            "Pass a memory= that you may write to."
        ) from None
    if os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK)):
        return True
    if path.exists():
        return False
    raise CacheError(
        f"The folder {folder} cannot be written and holds no replies. "
        "Pass a memory= that you may write to."
    )


def _warn_about(path: Path) -> None:
    """Warn about a folder in which somebody else can plant or read replies."""
    status = path.parent.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        warnings.warn(
            f"The folder of replies {path.parent} belongs to another user (uid "
            f"{status.st_uid}), who can change the answers in it.",
            CacheWarning,
            stacklevel=4,
        )
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        warnings.warn(
            f"Other users may write to the folder of replies {path.parent} and so change the "
            f"answers in it. Close it with: chmod 700 {path.parent}",
            CacheWarning,
            stacklevel=4,
        )
    if on_network(path):
        warnings.warn(
            f"{path.parent} lies on a network file system, where SQLite is slower and locks are "
            "not always kept. Pass a memory= on a local disk if several processes run.",
            CacheWarning,
            stacklevel=4,
        )
