"""Carry an encoder's files inside a pickle, and bring them back as a folder."""

import atexit
import tempfile
import threading
from pathlib import Path

_folders: dict[str, tempfile.TemporaryDirectory] = {}
_lock = threading.Lock()


def pack_folder(folder):
    """Return the files of a model folder as ``{relative name: bytes}``."""
    folder = Path(folder)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    files = list(weights)
    for pattern in ("*.json", "*.txt", "*.model", "1_Pooling/config.json"):
        files += sorted(folder.glob(pattern))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def unpack(files, digest):
    """Write packed files to a temporary folder, once per process, and return it.

    The folder is removed when the process ends.
    """
    with _lock:
        if digest not in _folders:
            holder = tempfile.TemporaryDirectory(prefix="sklfusion-")
            atexit.register(holder.cleanup)
            for name, content in files.items():
                target = (Path(holder.name) / name).resolve()
                if not target.is_relative_to(Path(holder.name).resolve()):
                    raise ValueError(f"the packed file name {name!r} leaves the model's folder.")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            _folders[digest] = holder
        return Path(_folders[digest].name)


def plain_files(tokenizer, config):
    """Return the files of a tokenizer and a configuration as ``{name: bytes}``."""
    with tempfile.TemporaryDirectory(prefix="sklfusion-") as folder:
        tokenizer.save_pretrained(folder)
        config.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
