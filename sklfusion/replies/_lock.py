"""A lock between processes, for the rare work that must happen once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on ``path``.

    The system frees it when the process ends, however it ends. Where there is no ``fcntl``
    (Windows) nothing is locked; an open file cannot be renamed there anyway.

    Parameters
    ----------
    path : Path
        Created if needed, never removed.
    shared : bool
        Only keep out whoever wants it for itself. Without a file nobody does.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT, 0o600)
    except (FileNotFoundError, PermissionError):
        if not shared:
            raise
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
