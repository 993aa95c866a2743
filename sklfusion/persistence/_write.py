"""The writer: an estimator becomes a tree of plain nodes and a table of arrays."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors
from sklearn.base import BaseEstimator

from sklfusion.exceptions import PersistenceError
from sklfusion.persistence._archive import FORMAT, check_path, pack
from sklfusion.persistence._names import name_of

#: Deepest nesting of a tree. Fitted pipelines have about 30 levels; Python's stack holds this.
MAX_DEPTH = 100
_NO_PICKLE = "Use joblib.dump for this model, and load it only where you trust the file."


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator to ``path``.

    Parameters
    ----------
    estimator : estimator
        Of sklfusion or scikit-learn, or a Pipeline or FeatureUnion of such.
    path : str or Path
        File to write; by custom it ends in ``.sklf``. A file that is there is replaced in one
        step: readers, and other processes that write to the same path, see a whole model, old or
        new.

    Raises
    ------
    PersistenceError
        If the estimator holds something that cannot be written without pickle (the message says
        where), or if ``path`` cannot be a path.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Reads it back.
    model_card : Tells people what is in it.

    Notes
    -----
    A relative ``memory`` is written as an absolute path, so that the model finds its store from
    any folder. Keys are not in the file, since no estimator holds one; names of environment
    variables and addresses of endpoints are, see :func:`info`.

    Cost: the arrays once in memory and once on disk.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion import persistence
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.sklf"
    >>> persistence.save(LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), path)
    >>> persistence.load(path).predict([[2.0]]).tolist()
    ['b']
    """
    path = check_path(path)
    encoder = Encoder()
    tree = encoder.encode(estimator, type(estimator).__name__)
    contents = {
        "model.json": json.dumps(tree, allow_nan=True).encode(),
        "tensors.safetensors": to_safetensors(encoder.tensors),
    }
    manifest = {
        "format": FORMAT,
        "versions": _versions(),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    contents["manifest.json"] = json.dumps(manifest, indent=1).encode()
    _write_whole(path, pack(contents))


def _versions():
    return {name: version(name) for name in ("sklfusion", "scikit-learn", "numpy", "torch")}


def _write_whole(path, data):
    """Write a file so that at any moment ``path`` is absent, old or new, never half."""
    # short, so that it fits wherever the name itself fits
    partial = path.parent / f".{secrets.token_hex(8)}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:  # under the name that the caller knows
        raise OSError(error.errno, error.strerror, str(path)) from None
    _sync_folder(path.parent)


def _sync_folder(folder):
    # not every system can; the file itself is on disk already
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Encoder:
    """Turn an estimator into JSON values; arrays go to ``tensors`` under running names."""

    def __init__(self):
        self.tensors = {}
        self._depth = 0
        self._built = {}  # id of an estimator -> its number, in the order in which they end
        self._alive = []  # what is in _built must keep its id

    def encode(self, value, where):
        """Return the node of a value; ``where`` names it in messages."""
        if value is None or type(value) in (bool, str, int, float):
            return value
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PersistenceError(
                f"{where[:200]} is nested more than {MAX_DEPTH} deep, or holds itself; it cannot "
                "be saved."
            )
        try:
            return self._node(value, where)
        finally:
            self._depth -= 1

    def _node(self, value, where):
        if isinstance(value, np.generic):
            return {"type": "scalar", "value": self._array(np.asarray(value), where)}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        plain = self._plain(value, where)
        return self._object(value, where) if plain is None else plain

    def _plain(self, value, where):
        kind = type(value)
        if kind is list:
            return self._items(value, where)
        if kind is tuple:
            return {"type": "tuple", "items": self._items(value, where)}
        if kind in (set, frozenset):
            items = self._items(sorted(value, key=repr), where)
            return {"type": kind.__name__, "items": items}
        if isinstance(value, dict):
            pairs = [
                [self.encode(k, f"{where} key"), self.encode(v, f"{where}[{k!r}]")]
                for k, v in value.items()
            ]
            return {"type": "dict", "items": pairs}
        if kind is slice:
            bounds = (value.start, value.stop, value.step)
            return {"type": "slice", "items": [None if b is None else int(b) for b in bounds]}
        if kind is bytes:
            return {"type": "bytes", "base64": base64.b64encode(value).decode("ascii")}
        if isinstance(value, Path):
            return {"type": "path", "path": str(value)}
        if isinstance(value, np.dtype):
            return {"type": "dtype", "dtype": value.str, "scalar": False}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"type": "dtype", "dtype": np.dtype(value).str, "scalar": True}
        return None

    def _items(self, values, where):
        return [self.encode(v, f"{where}[{i}]") for i, v in enumerate(values)]

    def _object(self, value, where):
        if id(value) in self._built:
            return {"type": "same", "as": self._built[id(value)]}
        name = name_of(type(value))
        if name is None:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            what = "which cannot be saved without pickle"
            if isinstance(value, BaseEstimator):
                what = "and only estimators of sklfusion and scikit-learn can be saved"
            raise PersistenceError(f"{where} is {kind}, {what}. {_NO_PICKLE}")
        state = {k: self.encode(v, f"{where}.{k}") for k, v in _state(value, name).items()}
        self._built[id(value)] = len(self._built)
        self._alive.append(value)
        return {"type": name, "state": state}

    def _array(self, value, where):
        shape = list(value.shape)
        if value.dtype.kind == "O":
            items = self._items(value.ravel().tolist(), where)
            return {"type": "objects", "items": items, "shape": shape}
        if value.dtype.kind in "US":
            native = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            raw = np.frombuffer(native.tobytes(), dtype=np.uint8)
            name = self._tensor(raw)
            dtype = native.dtype.str
            return {"type": "strings", "tensor": name, "dtype": dtype, "shape": shape}
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise PersistenceError(
                f"{where} has dtype {value.dtype}, which cannot be saved. {_NO_PICKLE}"
            )
        # the order of the elements is kept: BLAS sums in another order over the other one
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        name = self._tensor(value.ravel(order=order))
        return {"type": "array", "tensor": name, "shape": shape, "order": order}

    def _tensor(self, flat):
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.ascontiguousarray(flat)
        return name


def _state(value, name):
    """What rebuilds an object, as a dict."""
    if name == "fusion_net":
        from sklfusion.fusion._net import net_state

        return net_state(value)
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if not isinstance(value, BaseEstimator):
        return vars(value)
    state = value.__getstate__()
    if "memory" in state:
        state = {**state, "memory": _lasting(state["memory"])}
    return state


def _lasting(memory):
    """A ``memory`` that means the same from any working folder."""
    memory = getattr(memory, "location", memory)  # a joblib.Memory stands for its folder
    if not isinstance(memory, str | os.PathLike):
        return memory
    text = os.fspath(memory)
    return text if text.startswith("~") else os.path.abspath(text)
