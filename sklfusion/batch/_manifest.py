"""What is known of a folder of shards: a JSON file that a person can read, and the files' word.

A shard is done when its output stands under its name, and not before. What it held is written in
the output itself, so the manifest can be made again from the files, and says nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sklfusion.exceptions import SklFusionError, StorageError

MANIFEST_FORMAT = 1
MANIFEST = "manifest.json"
_KEY = b"sklfusion_shard"  # of the metadata of a Parquet file
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> dict[str, int]:
    """Return what tells whether a shard is the one that was scored: size and time of change."""
    at = path.stat()
    return {"bytes": at.st_size, "mtime_ns": at.st_mtime_ns}


def to_metadata(facts: dict[str, Any]) -> dict[bytes, bytes]:
    """Return what an output carries along."""
    return {_KEY: json.dumps(facts).encode()}


def facts_of(output: Path) -> dict[str, Any] | None:
    """Return what an output says of its shard, None if it is not there or not ours."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(output) as file:
            return json.loads((file.metadata.metadata or {})[_KEY])
    except (OSError, ArrowException, KeyError, ValueError):
        return None


def draft_of(path: Path) -> Path:
    """Return the name under which a file is written before it is moved to its place."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def sweep(folder: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for draft in folder.rglob(".*.partial"):
        owner = draft.name.split(".")[-2]
        if not (owner.isdigit() and pid_runs(int(owner))):
            draft.unlink(missing_ok=True)


def pid_runs(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    if os.name != "posix":  # where looking is killing
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    draft = draft_of(folder / MANIFEST)
    with told_if_full(folder):
        draft.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / MANIFEST)


def check_same_run(folder: Path, settings: dict[str, Any]) -> None:
    """Raise if the folder holds the results of another model or column.

    Raises
    ------
    SklFusionError
        If its manifest says so, or cannot be read.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        found = None
    told = found.get("format") if isinstance(found, dict) else None
    if told != MANIFEST_FORMAT or not isinstance(found.get("settings"), dict):
        raise SklFusionError(
            f"{folder / MANIFEST} is not a manifest of this version of sklfusion (format "
            f"{told!r}, wanted {MANIFEST_FORMAT}). Choose another folder for the output."
        )
    for name, value in settings.items():
        if found["settings"].get(name) != value:
            raise SklFusionError(
                f"{folder} holds results of another run: {name} was "
                f"{found['settings'].get(name)!r} and is now {value!r}. Choose another folder "
                "for the output, so that results of two models are not mixed."
            )


@contextmanager
def told_if_full(place: Path):
    """Turn an error of the disk into one that says what is kept and what to do.

    Raises
    ------
    StorageError
        For any OSError inside.
    """
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in _FULL else str(error.strerror or error)
        raise StorageError(
            f"{place} cannot be written: {why}. Shards that are done are kept; make room and run "
            "the same command again, it goes on where it stopped."
        ) from error
