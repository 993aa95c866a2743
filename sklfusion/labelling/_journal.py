"""The file of a labelling: a line per event, on the disk before anything else happens."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from sklfusion.exceptions import SklFusionError, StorageError

#: Of the file that is written; a reader refuses another.
JOURNAL_VERSION = 1


class LabelJournal:
    """An append-only file of JSON lines that one process writes.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    about : dict
        The first line: what is labelled. That of a file that is there has to be the same.

    Attributes
    ----------
    events : list of dict
        What the file held when it was opened.

    Raises
    ------
    SklFusionError
        If the file is none of these, belongs to other texts, or another process writes it.

    Notes
    -----
    A line that a killed process left half written is cut off: nobody was told that it is kept.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        try:
            # Without a buffer, which would write later what could not be written now.
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise SklFusionError(f"{path} cannot be written ({error.strerror}).") from None
        self._take()
        self._file.seek(0)
        said = self._file.read()
        self._size = said.rfind(b"\n") + 1
        self._file.truncate(self._size)
        self.events = self._read(said[: self._size])
        about = {"version": JOURNAL_VERSION, **about}
        if not self.events:
            self.append(about)
            _sync_name(path.parent)
        elif self.events.pop(0) != about:
            self.close()
            raise SklFusionError(
                f"{path} belongs to other texts, or to labels of another kind. Give the table, in "
                "the order, that was labelled; or move that file away to begin anew."
            )

    def _take(self) -> None:
        with contextlib.suppress(ImportError):  # where there are no such locks, one is trusted
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                told = f"{self.path} is being written by another process; stop that one first."
                raise SklFusionError(told) from None

    def _read(self, said: bytes) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in said.splitlines()]
        except ValueError as error:
            self.close()
            raise SklFusionError(
                f"{self.path} is damaged: {error}. Nothing was changed."
            ) from None

    def append(self, *events: dict[str, Any]) -> None:
        """Write events; when this returns they are on the disk.

        Raises
        ------
        StorageError
            If they cannot be written; the file then holds what it held before.
        """
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        left = lines
        try:
            while left:  # a disk that is getting full takes a part
                left = left[os.write(self._file.fileno(), left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
            raise StorageError(f"{self.path} cannot be written ({error.strerror}).") from None
        self._size += len(lines)

    def close(self) -> None:
        """Let another process have the file."""
        self._file.close()


def _sync_name(folder: Path) -> None:
    """Put the name of a new file on the disk, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
