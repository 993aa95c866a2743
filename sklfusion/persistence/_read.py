"""The reader: the tree is looked at as a whole, and only then built."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from sklfusion.exceptions import PersistenceError
from sklfusion.persistence._archive import read_bundle
from sklfusion.persistence._audit import audit, read_strings
from sklfusion.persistence._destinations import check_destinations, check_endpoints
from sklfusion.persistence._format1 import upgrade
from sklfusion.persistence._names import ESTIMATORS, build, class_of
from sklfusion.persistence._nested import nested


def load(path: str | Path, *, endpoints: Any = (), memory: Any = None) -> Any:
    """Read an estimator that :func:`save` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    endpoints : sequence of str, default=()
        Addresses, such as ``"https://host/v1"``, that the model may send texts and the keys it
        names to. What needs no naming: this machine where no key goes along, and a known
        provider's own address with that provider's usual variable.
    memory : str or Path, optional
        Store of replies and embeddings to use in place of the one that the model names.

    Returns
    -------
    estimator
        Its predictions equal those of the saved one to 1e-12. They need not be equal to the last
        bit: BLAS may sum in another order where an array lies elsewhere in memory.

    Raises
    ------
    PersistenceError
        If the file is damaged, of a newer format, asks for more memory than a file of its size
        may, holds a type outside the table of names, or would send something to an address that
        is not allowed. Nothing of it has been built then.
    TypeError, ValueError
        If ``endpoints`` is not a list of http(s) addresses.

    See Also
    --------
    info : What a file holds, before it is loaded.

    Notes
    -----
    Reads formats 1 and 2. Cost: a few times the size of the file in memory (a file of format 1,
    which is compressed: at most a hundred times).

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklfusion import LLMScorer, persistence
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.sklf"
    >>> scorer = LLMScorer("m", base_url="https://llm.example/v1", classes=["a", "b"])
    >>> persistence.save(scorer, path)
    >>> persistence.load(path)
    Traceback (most recent call last):
        ...
    sklfusion.exceptions.PersistenceError: ... would send texts to https://llm.example/v1...
    >>> persistence.load(path, endpoints=["https://llm.example/v1"]).model.base_url
    'https://llm.example/v1'
    """
    endpoints = check_endpoints(endpoints)
    bundle, found = _inspect(path)
    if found.unknown:
        raise PersistenceError(
            f"{bundle.path} holds the type {found.unknown[0][:80]!r}; only estimators of "
            "sklfusion and scikit-learn are loaded."
        )
    check_destinations(found.destinations, endpoints, bundle.path)
    classes = {name: class_of(name) for name in found.types}
    memory = None if memory is None else str(memory)
    try:
        return _Builder(bundle.tensors, classes, memory).build(bundle.tree)
    except PersistenceError:
        raise
    except Exception as error:  # whatever a class makes of a state that is not its own
        raise PersistenceError(f"{bundle.path}: the model cannot be rebuilt: {error!r}") from error


def info(path: str | Path) -> dict[str, Any]:
    """Tell what a saved model holds and where it would send, without building anything.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict
        ``format`` (int), ``versions`` (dict of str, as written), ``bytes`` (size of the file),
        ``types`` (sorted list of str), ``unknown_types`` (those that :func:`load` would refuse),
        ``endpoints`` (list of dict with ``model``, ``address``, ``variables``, and ``allowed``:
        whether :func:`load` accepts it without being told) and ``memory`` (list of folders).

    Raises
    ------
    PersistenceError
        If the file is damaged or of a newer format.

    See Also
    --------
    load : Builds the model.
    model_card : The same for people.

    Notes
    -----
    Cost: reads the whole file. Imports no code that the file names.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklfusion import LLMScorer, persistence
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.sklf"
    >>> persistence.save(LLMScorer("openai/gpt-5-nano", classes=["a", "b"]), path)
    >>> told = persistence.info(path)
    >>> told["types"], told["endpoints"][0]["address"]
    (['LLMScorer'], 'https://api.openai.com/v1')
    """
    bundle, found = _inspect(path)
    places = list(dict.fromkeys(found.destinations))
    return {
        "format": bundle.format,
        "versions": bundle.versions,
        "bytes": bundle.size,
        "types": sorted(found.types),
        "unknown_types": found.unknown,
        "endpoints": [p.to_dict() for p in places if p.address() or p.variables],
        "memory": sorted(set(found.memories)),
    }


def _inspect(path):
    bundle = read_bundle(path)
    try:
        if bundle.format == 1:
            bundle.tree = upgrade(bundle.tree, bundle.tensors, bundle.room)
        return bundle, audit(bundle.tree, bundle.tensors)
    except PersistenceError as error:
        raise PersistenceError(f"{bundle.path}: {error}") from None


class _Builder:
    """Builds the values of a tree that has passed the audit."""

    def __init__(self, tensors, classes, memory):
        self.tensors = tensors
        self.classes = classes
        self.memory = memory
        self.ended = []

    def build(self, node):
        if isinstance(node, list):
            return [self.build(item) for item in node]
        if not isinstance(node, dict):
            return node
        read = self._object if "state" in node else getattr(self, f"_{node['type']}")
        return read(node)

    def _object(self, node):
        name = node["type"]
        state = {key: self.build(value) for key, value in node["state"].items()}
        if self.memory is not None and name in ESTIMATORS and "memory" in state:
            state["memory"] = self.memory
        if name == "fusion_net":
            from sklfusion.fusion._net import net_from_state

            value = net_from_state(state)
        else:
            value = build(self.classes[name], nested(name, state))
        self.ended.append(value)
        return value

    def _same(self, node):
        return self.ended[node["as"]]

    def _array(self, node):
        flat = self.tensors[node["tensor"]]
        if not flat.flags.writeable:
            flat = flat.copy()
        return flat.reshape(node["shape"], order=node["order"])

    def _strings(self, node):
        return read_strings(node, self.tensors)

    def _scalar(self, node):
        return self.build(node["value"])[()]

    def _objects(self, node):
        flat = np.empty(len(node["items"]), dtype=object)
        for place, item in enumerate(node["items"]):
            flat[place] = self.build(item)
        return flat.reshape(node["shape"])

    def _tuple(self, node):
        return tuple(self.build(node["items"]))

    def _set(self, node):
        return set(self.build(node["items"]))

    def _frozenset(self, node):
        return frozenset(self.build(node["items"]))

    def _dict(self, node):
        return {self.build(key): self.build(value) for key, value in node["items"]}

    def _slice(self, node):
        return slice(*node["items"])

    def _bytes(self, node):
        return base64.b64decode(node["base64"], validate=True)

    def _path(self, node):
        return Path(node["path"])

    def _dtype(self, node):
        dtype = np.dtype(node["dtype"])
        return dtype.type if node["scalar"] else dtype
