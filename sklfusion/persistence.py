"""Save and load fitted estimators without pickle: JSON and safetensors in one zip file.

A file holds three members: ``manifest.json`` (format, versions, digests), ``model.json`` (the
tree of parameters and fitted attributes) and ``tensors.safetensors`` (the arrays). Loading
builds only estimators of sklfusion and scikit-learn and plain values; nothing in the file can
name a function to call. It is a narrow door, not a wall: load models from people you trust.

FORMAT is raised when a file written now could not be read by the code of before; ``load``
refuses newer files and names both numbers.
"""

import base64
import hashlib
import importlib
import io
import json
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator

from sklfusion.annotations import Annotations
from sklfusion.exceptions import PersistenceError

FORMAT = 1
MEMBERS = ("manifest.json", "model.json", "tensors.safetensors")
MAX_BYTES = 4 * 2**30
#: Plain records that fitted estimators of sklfusion hold.
_RECORDS = (
    "sklfusion.fusion._inputs.Inputs",
    "sklfusion.fusion._columns.ScoreBlock",
    "sklfusion.prompts._render.Task",
    "sklfusion.scoring._shots.ShotSelector",
    "sklfusion.prompts._templates.PromptTemplate",
    "sklfusion.llm._usage.UsageReport",
    "sklfusion.llm._prices.Price",
)
_CLASS_NAME = re.compile(r"(sklfusion|sklearn)(\.[A-Za-z_][A-Za-z0-9_]*)+")


def save(estimator, path):
    """Write a fitted estimator to ``path``.

    Parameters
    ----------
    estimator : estimator
        Of sklfusion or scikit-learn, or a Pipeline or FeatureUnion of such.
    path : str or Path
        File to write; by custom it ends in ``.sklf``.

    Raises
    ------
    PersistenceError
        If the estimator holds something that cannot be written without pickle; the message
        says where.

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
    from safetensors.numpy import save as to_safetensors

    tensors = {}
    tree = _Encoder(tensors).encode(estimator, type(estimator).__name__)
    contents = {
        "model.json": json.dumps(tree, allow_nan=True).encode(),
        "tensors.safetensors": to_safetensors(tensors),
    }
    manifest = {
        "format": FORMAT,
        "versions": _versions(),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    contents["manifest.json"] = json.dumps(manifest, indent=1).encode()
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MEMBERS:
            archive.writestr(name, contents[name])
    partial.replace(path)


def load(path):
    """Read an estimator that :func:`save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    estimator

    Raises
    ------
    PersistenceError
        If the file is damaged, of a newer format, has members that do not belong there, or names
        a type that is not an estimator of sklfusion or scikit-learn.
    """
    from safetensors.numpy import load as from_safetensors

    contents = _read_members(Path(path))
    manifest = _json(contents["manifest.json"], "manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise PersistenceError(f"{path}: manifest.json has no format number.")
    if manifest["format"] > FORMAT:
        raise PersistenceError(
            f"{path} has format {manifest['format']}; this sklfusion reads up to {FORMAT}. "
            "Upgrade sklfusion."
        )
    digests = manifest.get("sha256", {})
    for name in MEMBERS[1:]:
        if hashlib.sha256(contents[name]).hexdigest() != digests.get(name):
            raise PersistenceError(f"{path}: {name} does not match its digest; it is damaged.")
    try:
        tensors = from_safetensors(contents["tensors.safetensors"])
    except Exception as error:
        raise PersistenceError(f"{path}: the tensors cannot be read: {error}") from None
    try:
        return _Decoder(tensors).decode(_json(contents["model.json"], "model.json"))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise PersistenceError(f"{path}: the model cannot be rebuilt: {error!r}") from error


def _versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("sklfusion", "scikit-learn", "numpy", "torch")}


def _read_members(path):
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if sorted(infos) != sorted(MEMBERS) or len(archive.infolist()) != len(MEMBERS):
                raise PersistenceError(
                    f"{path} holds {sorted(infos)}; a saved model holds exactly {list(MEMBERS)}."
                )
            total = sum(info.file_size for info in infos.values())
            if total > MAX_BYTES:
                raise PersistenceError(f"{path} claims {total} bytes unpacked; refused.")
            return {name: _read_bounded(archive, infos[name]) for name in MEMBERS}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise PersistenceError(f"{path} is not a saved model: {error}") from None


def _read_bounded(archive, info):
    # A member may lie about its size, so no more than it claims is read.
    with archive.open(info) as handle:
        data = handle.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise PersistenceError(f"{info.filename} is not of the size that it claims.")
    return data


def _json(data, name):
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PersistenceError(f"{name} cannot be read: {type(error).__name__}.") from None


def _allowed_class(name):
    """Return the estimator class of that dotted name, or raise PersistenceError."""
    if not isinstance(name, str) or not _CLASS_NAME.fullmatch(name):
        raise PersistenceError(
            f"The model names the type {name!r}; only estimators of sklfusion and scikit-learn "
            "are loaded."
        )
    module, _, attribute = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise PersistenceError(f"The model names {name!r}, which does not exist here.") from None
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
        raise PersistenceError(f"The model names {name!r}, which is not an estimator.")
    # skorch nets inherit a __setstate__ that unpickles; no such class may be built from a file
    if not cls.__setstate__.__module__.startswith(("sklearn.", "sklfusion.")):
        raise PersistenceError(f"The model names {name!r}, which cannot be built safely.")
    return cls


class _Encoder:
    """Turn an estimator into JSON values; arrays go to ``tensors`` under running names."""

    def __init__(self, tensors):
        self.tensors = tensors

    def encode(self, value, where):
        if value is None or isinstance(value, bool | str | int | float):
            if type(value) in (type(None), bool, str, int, float):
                return value
            value = np.asarray(value)[()] if isinstance(value, np.generic) else value
        if isinstance(value, np.generic):
            return {"__scalar__": self._array(np.asarray(value), where)}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, BaseEstimator):
            return self._estimator(value, where)
        return self._container(value, where)

    def _container(self, value, where):
        if isinstance(value, list):
            return [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
        for kind, name in ((tuple, "__tuple__"), (set, "__set__"), (frozenset, "__set__")):
            if type(value) is kind:
                items = sorted(value, key=repr) if kind is not tuple else value
                return {name: [self.encode(v, f"{where}[{i}]") for i, v in enumerate(items)]}
        if isinstance(value, dict):
            pairs = [
                [self.encode(k, f"{where} key"), self.encode(v, f"{where}[{k!r}]")]
                for k, v in value.items()
            ]
            return {"__dict__": pairs}
        if isinstance(value, slice):
            return {"__slice__": [value.start, value.stop, value.step]}
        if isinstance(value, bytes):
            return {"__bytes__": base64.b64encode(value).decode("ascii")}
        if isinstance(value, Path):
            return {"__path__": str(value)}
        if isinstance(value, np.dtype) or (
            isinstance(value, type) and issubclass(value, np.generic)
        ):
            return {"__dtype__": np.dtype(value).str, "type": isinstance(value, type)}
        if isinstance(value, Annotations):
            buffer = io.BytesIO()
            value.to_npz(buffer)
            return {"__annotations__": base64.b64encode(buffer.getvalue()).decode("ascii")}
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if name in _RECORDS:
            items = {k: self.encode(v, f"{where}.{k}") for k, v in vars(value).items()}
            return {"__record__": name, "state": items}
        raise PersistenceError(
            f"{where} is {name}, which cannot be "
            "saved without pickle. Use joblib.dump for this model, and load it only where you "
            "trust the file."
        )

    def _estimator(self, value, where):
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if name == "sklfusion.fusion._net.FusionNet":
            from sklfusion.fusion._net import net_state

            return {"__net__": self.encode(net_state(value), where)}
        if not _CLASS_NAME.fullmatch(name):
            raise PersistenceError(
                f"{where} is {name}; only estimators of sklfusion and scikit-learn can be saved "
                "without pickle. Use joblib.dump for this model."
            )
        state = value.__getstate__()
        items = {k: self.encode(v, f"{where}.{k}") for k, v in state.items()}
        return {"__estimator__": name, "state": items}

    def _array(self, value, where):
        if value.dtype.kind in "OUS":
            items = [self.encode(v, where) for v in value.ravel().tolist()]
            return {"__objects__": items, "shape": list(value.shape), "dtype": value.dtype.str}
        if value.dtype.kind not in "biuf":
            raise PersistenceError(f"{where} has dtype {value.dtype}, which cannot be saved.")
        name = f"t{len(self.tensors)}"
        # safetensors wants C order and loses zero-dimensional shapes of some dtypes
        self.tensors[name] = np.ascontiguousarray(value).reshape(-1)
        return {"__tensor__": name, "shape": list(value.shape)}


class _Decoder:
    """The inverse of :class:`_Encoder`. Builds no type outside its own table."""

    def __init__(self, tensors):
        self.tensors = tensors

    def decode(self, value):
        if isinstance(value, list):
            return [self.decode(v) for v in value]
        if not isinstance(value, dict):
            return value
        tag = next(iter(value))
        build = getattr(self, f"_read{tag.rstrip('_')}", None) if tag.startswith("__") else None
        if build is None:
            raise PersistenceError(f"The model holds an unknown tag {tag!r}.")
        return build(value)

    def _read__estimator(self, value):
        cls = _allowed_class(value["__estimator__"])
        estimator = cls.__new__(cls)
        state = {str(k): self.decode(v) for k, v in value["state"].items()}
        estimator.__setstate__(state)
        return estimator

    def _read__record(self, value):
        name = value["__record__"]
        if name not in _RECORDS:
            raise PersistenceError(f"The model names the record {name!r}, which is unknown.")
        module, _, attribute = name.rpartition(".")
        cls = getattr(importlib.import_module(module), attribute)
        record = cls.__new__(cls)
        record.__dict__.update({k: self.decode(v) for k, v in value["state"].items()})
        return record

    def _read__net(self, value):
        from sklfusion.fusion._net import net_from_state

        return net_from_state(self.decode(value["__net__"]))

    def _read__tensor(self, value):
        return self.tensors[value["__tensor__"]].reshape(value["shape"])

    def _read__scalar(self, value):
        return self.decode(value["__scalar__"])[()]

    def _read__objects(self, value):
        dtype = np.dtype(value["dtype"])
        flat = np.empty(len(value["__objects__"]), dtype=dtype)
        flat[:] = [self.decode(v) for v in value["__objects__"]]
        return flat.reshape(value["shape"])

    def _read__tuple(self, value):
        return tuple(self.decode(v) for v in value["__tuple__"])

    def _read__set(self, value):
        return {self.decode(v) for v in value["__set__"]}

    def _read__dict(self, value):
        return {self.decode(k): self.decode(v) for k, v in value["__dict__"]}

    def _read__slice(self, value):
        return slice(*value["__slice__"])

    def _read__bytes(self, value):
        return base64.b64decode(value["__bytes__"], validate=True)

    def _read__path(self, value):
        return Path(value["__path__"])

    def _read__dtype(self, value):
        dtype = np.dtype(value["__dtype__"])
        return dtype.type if value["type"] else dtype

    def _read__annotations(self, value):
        data = base64.b64decode(value["__annotations__"], validate=True)
        return Annotations.from_npz(io.BytesIO(data))
