"""One row per distinct text on disk: vectors by digest in SQLite.

Vectors are stored as raw little-endian float32 and a checksum over key and vector, so nothing is
ever unpickled from the folder, and a changed bit is noticed.
Each call opens its own connection: that takes well under a millisecond, and threads, processes
and forks then have nothing to share.
"""

import hashlib
import os
import sqlite3
import warnings
import zlib
from contextlib import closing, suppress

import numpy as np

from sklfusion._memory import is_there, memory_folder, require_folder, warn_about
from sklfusion.exceptions import CacheError, CacheWarning

_FORMAT = 1
_LARGEST_FORMAT = 100  # a real format is a small number; anything else is a damaged header
_KEYS_PER_QUERY = 500  # keys per SELECT; SQLite allows 999 parameters in old builds
_TIMEOUT = 60.0
_CACHE_ERRORS = (
    sqlite3.Error,
    UnicodeDecodeError,
)  # the latter from a broken name in SQLite's words


def open_cache(memory):
    """Return a `VectorCache` for ``memory`` (None, a path, or a joblib.Memory), or None."""
    folder = memory_folder(memory)
    if folder is None:
        return None
    folder = folder / "embeddings"
    path = folder / "vectors.sqlite"
    if require_folder(folder.parent) and require_folder(folder):
        is_there(path)
        warn_about(folder, path, "vectors")
    return VectorCache(path)


def text_key(space, text):
    """Key of a text under the settings `space`: 32 bytes."""
    digest = hashlib.sha256(space)
    digest.update(text.encode("utf-8"))
    return digest.digest()


def _with_checksum(key, vector):
    """Return the bytes of a row; its last four tie vector and key together."""
    return vector + zlib.crc32(vector, zlib.crc32(key)).to_bytes(4, "big")


def unknown(cache, space, texts, width):
    """Those of the texts of which the cache has no vector; all of them without a cache."""
    if cache is None:
        return texts
    found = cache.get_many([text_key(space, text) for text in texts], width)[1]
    return [text for text, there in zip(texts, found, strict=True) if not there]


def through_cache(cache, space, texts, width, encode, progress=None):
    """Vectors of distinct texts: from the cache where it has them, else encoded and put there.

    Parameters
    ----------
    cache : VectorCache or None
        None encodes all.
    space : bytes
        Settings that the vectors depend on.
    texts : list of n str
        Distinct texts.
    width : int
        d.
    encode : callable
        From a list of texts and `progress` to (n, d) float32.
    progress : tqdm or None
        Moved on by what is found; `encode` moves it on by the rest.

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    if cache is None:
        return encode(texts, progress)
    keys = [text_key(space, text) for text in texts]
    vectors, found = cache.get_many(keys, width)
    if progress is not None:
        progress.update(int(found.sum()))
    missing = np.flatnonzero(~found)
    if missing.size:
        vectors[missing] = encode([texts[i] for i in missing], progress)
        cache.put_many([keys[i] for i in missing], vectors[missing])
    return vectors


class VectorCache:
    """Vectors by key in one SQLite file.

    A file that is damaged is set aside and begun anew; a folder that cannot be written is read
    only. Both are said once by a `CacheWarning`: embeddings cost time, never money.

    Parameters
    ----------
    path : pathlib.Path
        The file; its folder is made on first use.
    """

    def __init__(self, path):
        self.path = path
        self.writable = True

    def get_many(self, keys, width):
        """Return ``(vectors, found)`` of shapes (n, width) and (n,)."""
        vectors = np.empty((len(keys), width), dtype=np.float32)
        found = np.zeros(len(keys), dtype=bool)
        if not self.path.exists() and not self._make_folder():
            return vectors, found
        try:
            self._read(keys, width, vectors, found)
        except _CACHE_ERRORS as error:
            self._set_aside(error)
            found[:] = False
        return vectors, found

    def put_many(self, keys, vectors):
        """Store the rows of `vectors` under `keys` in one transaction."""
        if not self.writable:
            return
        rows = [
            (key, _with_checksum(key, row.astype("<f4").tobytes()))
            for key, row in zip(keys, vectors, strict=True)
        ]
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except _CACHE_ERRORS as error:
            self.writable = False
            warnings.warn(
                f"vectors cannot be written to {self.path} ({error}); they are computed anew "
                "next time.",
                CacheWarning,
                stacklevel=5,
            )

    def _read(self, keys, width, vectors, found):
        if not self.path.exists():
            return
        with closing(self._connect()) as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                rows = dict(connection.execute(query, part))
                for i, key in enumerate(part, start):
                    row = rows.get(key)
                    # What is cut short, changed or not finite is no vector; compute it again.
                    vector = row[: 4 * width] if isinstance(row, bytes) else b""
                    if len(vector) == 4 * width and row == _with_checksum(key, vector):
                        vectors[i] = np.frombuffer(vector, dtype="<f4")
                        found[i] = np.isfinite(vectors[i]).all()

    def _connect(self):
        with suppress(OSError):  # SQLite says it better
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, timeout=_TIMEOUT)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS vectors"
                        " (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
                    )
                    connection.execute(f"PRAGMA user_version = {_FORMAT}")
            elif not 0 < version < _LARGEST_FORMAT:
                raise sqlite3.DatabaseError(f"its header names format {version}")
            elif version != _FORMAT:
                raise CacheError(
                    f"{self.path} has format {version}; this release of sklfusion reads format "
                    f"{_FORMAT}. Use another memory= folder or another release."
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_folder(self):
        """Make the folder; False if it does not exist and cannot be made."""
        folder = self.path.parent
        try:
            folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            if not folder.parent.is_dir():
                raise CacheError(
                    f"memory folder {folder.parent} cannot be used ({error.strerror}). "
                    "Give a folder that can be written, or memory=None."
                ) from error
            self.writable = False
            warnings.warn(
                f"{folder} cannot be made ({error.strerror}); vectors are not kept.",
                CacheWarning,
                stacklevel=5,
            )
            return False
        return True

    def _set_aside(self, error):
        broken = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR  # other tables
        if isinstance(error, sqlite3.OperationalError) and not broken:  # locked, read-only, full
            self.writable = False
            note = "it is left alone and vectors are computed anew"
        else:
            aside = self.path.with_name(f"{self.path.name}.damaged-{os.getpid()}")
            try:
                os.replace(self.path, aside)
                note = f"it was moved to {aside.name} and vectors are computed anew"
            except OSError:
                self.writable = False
                note = "it cannot be moved; vectors are computed anew"
        warnings.warn(
            f"the embedding cache {self.path} cannot be read ({error}); {note}.",
            CacheWarning,
            stacklevel=5,
        )
