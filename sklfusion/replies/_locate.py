"""From ``memory=`` to a store: where the file lies and whether it can be trusted and written."""

from __future__ import annotations

import os
import warnings
import weakref
from pathlib import Path
from typing import Any, overload

from sklfusion._fork import ForkLock
from sklfusion._memory import is_there, memory_folder, require_folder, warn_about
from sklfusion.exceptions import CacheError, CacheWarning
from sklfusion.replies._connections import on_network
from sklfusion.replies._store import ReplyStore

FOLDER = "replies"
FILE = "replies.sqlite"

# One object per file and process, so that all scorers of a process share locks and commits.
_OPEN: weakref.WeakValueDictionary[tuple[str, str, bool], ReplyStore] = (
    weakref.WeakValueDictionary()
)
_OPEN_LOCK = ForkLock()


def store_path(memory: Any) -> Path | None:
    """Return the file in which replies for ``memory`` are kept; None if nothing is kept.

    Parameters
    ----------
    memory : None, str, Path or joblib.Memory
        A folder. A ``joblib.Memory`` stands for its ``location``, so that a path and a Memory on
        the same path share replies.
    """
    folder = memory_folder(memory)
    return None if folder is None else folder / FOLDER / FILE


@overload
def open_store(
    memory: str | os.PathLike[str], *, durability: str = ..., read_only: bool = ...
) -> ReplyStore: ...
@overload
def open_store(
    memory: Any, *, durability: str = ..., read_only: bool = ...
) -> ReplyStore | None: ...
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
    elif not _require_file(path):
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
    require_folder(folder.parent)
    require_folder(folder)
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"The folder {folder} cannot be created: {error.strerror or error}. "
            "Pass a memory= that you may write to."
        ) from None
    there = _require_file(path)
    if os.access(folder, os.W_OK) and (not there or os.access(path, os.W_OK)):
        return True
    if there:
        return False
    raise CacheError(
        f"The folder {folder} cannot be written and holds no replies. "
        "Pass a memory= that you may write to."
    )


def _require_file(path: Path) -> bool:
    """Tell whether a file is there; CacheError if it is a folder, a pipe or a loop of links."""
    if not is_there(path):
        return False
    if not path.is_file():
        raise CacheError(f"{path} is in the place of the reply store and is no file. Move it.")
    return True


def _warn_about(path: Path) -> None:
    """Warn about a folder in which somebody else can plant replies, or SQLite is not at ease."""
    warn_about(path.parent, path, "answers")
    if on_network(path):
        warnings.warn(
            f"{path.parent} lies on a network file system, where SQLite is slower and locks are "
            "not always kept. Pass a memory= on a local disk if several processes run.",
            CacheWarning,
            stacklevel=4,
        )
