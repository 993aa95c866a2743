"""Whole stores: counts, checks, and files that carry replies from one store to another."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sklfusion._chat import Reply
from sklfusion.exceptions import CacheError
from sklfusion.replies import _tally
from sklfusion.replies._codec import encode_reply, reply_from_row
from sklfusion.replies._connections import ConnectionPool
from sklfusion.replies._damage import DamagedStore
from sklfusion.replies._keys import KEY_VERSION, check_key
from sklfusion.replies._repair import recover
from sklfusion.replies._rows import sound

_FIRST_LINE = {"format": "sklfusion-replies", "version": 1}
_MAX_LINE = 9_000_000


def count_rows(connection: Any, path: Path) -> dict[str, Any]:
    """Return the counts of an open store as plain JSON values; tokens of forgotten replies too."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (leases,) = connection.execute("SELECT count(*) FROM leases").fetchone()
    models: dict[str, int] = {}
    forgotten, used = _tally.tally(connection)
    prompt, completion = used.prompt_tokens or 0, used.completion_tokens or 0
    replies = unusable = 0
    times: list[float] = []
    for row in connection.execute("SELECT key, checksum, value FROM replies"):
        reply = sound(*row)
        if reply is None:
            unusable += 1
            continue
        replies += 1
        models[reply.model or "unknown"] = models.get(reply.model or "unknown", 0) + 1
        prompt += reply.usage.prompt_tokens or 0
        completion += reply.usage.completion_tokens or 0
        times = [min([reply.created, *times]), max([reply.created, *times])]
    size = sum(
        part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists()
    )
    return {
        "path": str(path),
        "format": version,
        "key_version": KEY_VERSION,
        "replies": replies,
        "unusable": unusable,
        "models": models,
        "unreadable": dict(Counter(_tally.causes(connection).values())),
        "forgotten": forgotten,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "leases": leases,
        "bytes": size,
        "oldest": times[0] if times else None,
        "newest": times[1] if times else None,
    }


def examine(connection: Any) -> dict[str, Any]:
    """Return what is wrong with an open store: pages by SQLite, values by the codec."""
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    problems = [problem for problem in problems if problem != "ok"]
    replies = unusable = 0
    for row in connection.execute("SELECT key, checksum, value FROM replies"):
        if sound(*row) is None:
            unusable += 1
        else:
            replies += 1
    ok = not problems and not unusable
    return {"ok": ok, "replies": replies, "unusable": unusable, "problems": problems}


def verify(pool: ConnectionPool, path: Path, damage: str | None) -> dict[str, Any]:
    """Return what :func:`examine` says, of a file that is too damaged what can be salvaged."""
    if damage is None:
        try:
            with pool.connection() as connection:
                return examine(connection)
        except DamagedStore as found:
            damage = found.reason
    replies = len({key for key, _, _ in recover(path)})
    return {"ok": False, "replies": replies, "unusable": None, "problems": [damage]}


def write_lines(path: Path, rows: Iterable[tuple[str, str]]) -> int:
    """Write replies (key and JSON text) to ``path``, whole or not at all; return their number."""
    count = 0
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(draft, "wb") as raw:
            os.chmod(draft, 0o600)
            # No name and no time in the gzip header: equal stores give equal files.
            file = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
            file.write(json.dumps(_FIRST_LINE).encode() + b"\n")
            for key, value in rows:
                file.write(f'{{"key":"{key}","reply":{value}}}\n'.encode("ascii"))
                count += 1
            if file is not raw:
                file.close()
        draft.replace(path)
    except OSError as error:
        raise CacheError(
            f"The replies cannot be written to {path}: {error.strerror or error}."
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return count


def read_lines(path: Path, insert: Callable[[Iterable[tuple[str, str]]], int]) -> dict[str, int]:
    """Hand the replies of the file ``path`` to ``insert``; unusable lines are only counted.

    Raises
    ------
    CacheError
        If the file is missing or is not an export.
    """
    counts = {"added": 0, "present": 0, "refused": 0}
    kept = 0

    def usable() -> Iterator[tuple[str, str]]:
        nonlocal kept
        for line in _lines(path):
            row = _parse_line(line)
            if row is None:
                counts["refused"] += 1
            else:
                kept += 1
                yield row

    counts["added"] = insert(usable())
    counts["present"] = kept - counts["added"]
    return counts


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.readline(_MAX_LINE)
            if not _is_header(header):
                raise CacheError(
                    f"{path} is not an export of replies (its first line is not the header). "
                    "Write one with `sklfusion cache export`."
                )
            while line := file.readline(_MAX_LINE):
                yield line
    except (OSError, EOFError) as error:
        raise CacheError(f"{path} cannot be read: {error}.") from None


def _is_header(line: bytes) -> bool:
    try:
        header = json.loads(line)
    except ValueError:
        return False
    if not isinstance(header, dict) or header.get("format") != _FIRST_LINE["format"]:
        return False
    if header.get("version") != _FIRST_LINE["version"]:
        raise CacheError(
            f"The export has version {header.get('version')!r}; this sklfusion reads version "
            f"{_FIRST_LINE['version']}. Upgrade sklfusion."
        )
    return True


def _parse_line(line: bytes) -> tuple[str, str] | None:
    try:
        row = json.loads(line)
        # Written anew, so that the store holds only what the codec writes.
        return check_key(row["key"]), encode_reply(reply_from_row(row["reply"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def rescue(replies: dict[str, Reply]) -> Path:
    """Write replies that the store could not take to a file that ``import_`` reads.

    For the moment after the disk of the store is full: the file goes to the first folder that
    takes it, the temporary one or the current one.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CacheError
        If no folder takes it.
    """
    rows = sorted((key, encode_reply(reply)) for key, reply in replies.items())
    error: CacheError | None = None
    for folder in (tempfile.gettempdir(), "."):
        try:
            handle, name = tempfile.mkstemp(
                prefix="sklfusion-rescued-", suffix=".jsonl", dir=folder
            )
        except OSError as fault:
            error = CacheError(f"The replies cannot be rescued to {folder}: {fault}.")
            continue
        os.close(handle)
        try:
            write_lines(Path(name), rows)
            return Path(name)
        except CacheError as fault:
            Path(name).unlink(missing_ok=True)
            error = fault
    raise error if error is not None else CacheError("There is no folder to rescue to.")
