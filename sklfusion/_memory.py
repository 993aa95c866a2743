"""The folder given as ``memory=``: what it may be, and who else may write to it."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import Any

from sklfusion.exceptions import CacheError, CacheWarning

_SHOWN_PATH = 200  # characters of a path in a message
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def memory_folder(memory: Any) -> Path | None:
    """Return the folder that ``memory`` means, None if nothing is to be kept.

    Parameters
    ----------
    memory : None, str, Path or joblib.Memory
        A ``joblib.Memory`` stands for its ``location``.

    Raises
    ------
    TypeError
        If it is anything else.
    CacheError
        If no folder can have this name.
    """
    if memory is not None and not isinstance(memory, str | os.PathLike):
        if not hasattr(memory, "location"):
            raise TypeError(
                f"memory is {type(memory).__name__}; it must be None, a folder or a joblib.Memory."
            )
        memory = memory.location
    if memory is None:
        return None
    if "\0" in os.fspath(memory):
        raise CacheError("memory holds a NUL character, which no path can; pass another one.")
    try:
        return Path(memory).expanduser().absolute()
    except RuntimeError as error:  # ~name of nobody
        raise CacheError(
            f"memory={str(memory)!r:.{_SHOWN_PATH}}: {error} Pass a full path."
        ) from None


def user_cache() -> Path:
    """Return the folder for what is made once per user, where no ``memory`` is given."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sklfusion"


def is_there(path: Path) -> bool:
    """Tell whether a path leads to something.

    Raises
    ------
    CacheError
        If it cannot lead anywhere: a dangling link, a loop of links, a name that is too long, a
        file in the place of a folder, a folder that may not be entered.
    """
    shown = f"memory leads to {path!s:.{_SHOWN_PATH}}"
    try:
        path.stat()
    except FileNotFoundError:
        if not path.is_symlink():
            return False
        raise CacheError(
            f"{shown}, a link to {os.readlink(path)}, which does not exist. Make that, or pass "
            "another memory=."
        ) from None
    except NotADirectoryError:
        raise CacheError(f"{shown}, above which is a file. Pass another memory=.") from None
    except OSError as error:
        raise CacheError(f"{shown}: {error.strerror or error}. Pass another memory=.") from None
    return True


def require_folder(path: Path) -> bool:
    """Tell whether a folder is there; CacheError if something else is."""
    if not is_there(path):
        return False
    if not path.is_dir():
        raise CacheError(
            f"memory leads to {path!s:.{_SHOWN_PATH}}, which is a file and cannot be used as "
            "a folder. Pass another memory=."
        )
    return True


def warn_about(folder: Path, file: Path, what: str) -> None:
    """Warn if somebody else can change what is kept.

    Parameters
    ----------
    folder : Path
        The folder below ``memory`` that holds the file.
    file : Path
        The file; it need not be there.
    what : str
        What is in it, for the message.
    """
    status = folder.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        _warn_of_path(
            f"The folder {folder} belongs to another user (uid {status.st_uid})", what, ""
        )
    elif status.st_mode & _OTHERS:
        _warn_of_path(f"Other users may write to the folder {folder}", what, f"chmod 700 {folder}")
    memory = folder.parent
    mode = memory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # in /tmp only owners rename
        _warn_of_path(f"Everybody may write to the folder {memory}", what, f"chmod o-w {memory}")
    if file.exists() and file.stat().st_mode & _OTHERS:
        _warn_of_path(f"Other users may write to {file}", what, f"chmod 600 {file}")


def _warn_of_path(fact: str, what: str, cure: str) -> None:
    advice = f" Close it with: {cure}" if cure else ""
    warnings.warn(f"{fact} and so change the {what} in it.{advice}", CacheWarning, stacklevel=5)
