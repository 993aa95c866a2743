"""The zip file around a model: read in bounds, checked against its digests."""

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from sklfusion.exceptions import PersistenceError

FORMAT = 2
MEMBERS = ("manifest.json", "model.json", "tensors.safetensors")

#: Bytes that a file of a format may unpack to, per byte of the file. Weights give 1.1, texts about
#: 5, tables of zeros up to 1,000; from format 2 on such a table is not compressed.
_RATIO = {1: 100, 2: 20}
#: Bytes that any file may unpack to, however small it is.
_ROOM = 2**20
#: A manifest has some 500 bytes.
_MAX_MANIFEST = 2**16


@dataclass
class Bundle:
    """The contents of a file: what the manifest says, the tree and the arrays."""

    path: object
    size: int
    format: int
    versions: dict
    tree: object
    tensors: dict

    @property
    def room(self):
        """Bytes that the file may unpack to."""
        return room(self.format, self.size)


def room(number, size):
    """Bytes that a file of a format and a size may unpack to."""
    return max(_ROOM, _RATIO[number] * size)


def pack(contents):
    """Return the bytes of a zip file with these members, which :func:`read_bundle` accepts."""
    total = sum(map(len, contents.values()))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name in MEMBERS:
                archive.writestr(name, contents[name])
        if total <= room(FORMAT, buffer.getbuffer().nbytes):
            break
    return buffer.getvalue()


def check_path(path):
    """Return ``path`` as a Path; raise PersistenceError if no file can have that name."""
    try:
        path = Path(path)
    except TypeError:
        raise PersistenceError(
            f"path is {type(path).__name__}; give the name of a file as str or Path."
        ) from None
    if "\0" in str(path):
        raise PersistenceError(f"path {str(path)!r} holds a NUL character; name another file.")
    return path


def read_bundle(path):
    """Read a file without building anything.

    Raises
    ------
    PersistenceError
        If it is damaged, of a newer format, or asks for more memory than a file of its size may.
    """
    path = check_path(path)
    try:
        with open(path, "rb") as handle, zipfile.ZipFile(handle) as archive:
            size = os.fstat(handle.fileno()).st_size
            manifest, contents = _read_members(archive, path, size)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise PersistenceError(f"{path} is not a saved model: {error}") from None
    versions = manifest.get("versions")
    return Bundle(
        path,
        size,
        manifest["format"],
        versions if isinstance(versions, dict) else {},
        _json(contents["model.json"], path, "model.json"),
        _tensors(contents["tensors.safetensors"], path),
    )


def _read_members(archive, path, size):
    infos = {info.filename: info for info in archive.infolist()}
    if sorted(infos) != sorted(MEMBERS) or len(archive.infolist()) != len(MEMBERS):
        raise PersistenceError(
            f"{path} holds {sorted(infos)[:8]}; a saved model holds exactly {list(MEMBERS)}."
        )
    manifest = _manifest(archive, infos["manifest.json"], path)
    claimed = sum(info.file_size for info in infos.values())
    limit = room(manifest["format"], size)
    if claimed > limit:
        raise PersistenceError(
            f"{path} claims {claimed} bytes unpacked; a file of {size} bytes may take {limit}."
        )
    digests = manifest.get("sha256")
    contents = {}
    for name in MEMBERS[1:]:
        contents[name] = _read_bounded(archive, infos[name], infos[name].file_size)
        found = hashlib.sha256(contents[name]).hexdigest()
        if not isinstance(digests, dict) or found != digests.get(name):
            raise PersistenceError(f"{path}: {name} does not match its digest; it is damaged.")
    return manifest, contents


def _manifest(archive, info, path):
    manifest = _json(_read_bounded(archive, info, _MAX_MANIFEST), path, "manifest.json")
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if type(number) is not int or number < 1:
        raise PersistenceError(f"{path}: manifest.json has no format number.")
    if number > FORMAT:
        raise PersistenceError(
            f"{path} has format {number}; this sklfusion reads up to {FORMAT}. Upgrade sklfusion."
        )
    return manifest


def _read_bounded(archive, info, limit):
    # A member may lie about its size, so no more than it claims is read.
    if info.file_size > limit:
        raise PersistenceError(f"{info.filename} claims {info.file_size} bytes; refused.")
    with archive.open(info) as handle:
        data = handle.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise PersistenceError(f"{info.filename} is not of the size that it claims.")
    return data


def _json(data, path, name):
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        raise PersistenceError(f"{path}: {name} cannot be read: {kind}.") from None


def _tensors(data, path):
    from safetensors.numpy import load as from_safetensors

    try:
        return from_safetensors(data)
    except Exception as error:  # of several kinds, from Rust and from numpy
        raise PersistenceError(f"{path}: the tensors cannot be read: {error}") from None
