"""The look at a whole tree before anything of it is imported or built."""

import base64
import binascii
import math
import re
from dataclasses import dataclass, field

import numpy as np

from sklfusion.exceptions import PersistenceError
from sklfusion.persistence._destinations import NAMING_FIELDS, Destination
from sklfusion.persistence._names import is_known
from sklfusion.persistence._write import MAX_DEPTH

#: Node -> its fields beside "type". All other types have a "state", and a name in the table.
_NODE_FIELDS = {
    "tuple": {"items"},
    "set": {"items"},
    "frozenset": {"items"},
    "dict": {"items"},
    "slice": {"items"},
    "bytes": {"base64"},
    "path": {"path"},
    "dtype": {"dtype", "scalar"},
    "array": {"tensor", "shape", "order"},
    "strings": {"tensor", "dtype", "shape"},
    "objects": {"items", "shape"},
    "scalar": {"value"},
    "same": {"as"},
}
_DTYPE = re.compile(r"[<>|=]?[?biufcOSUmMV][0-9]{0,6}(\[[a-zA-Z0-9]{1,4}\])?")
_STRINGS = re.compile(r"(<U|\|S)[0-9]{1,9}")
#: Parameter that may hold the bare name of an LLM.
_NAMES_A_MODEL = {
    "AutoFusionClassifier": "llm",
    "CascadeClassifier": "llm",
    "JointFusionClassifier": "scorer",
    "LLMClassifier": "model",
    "LLMScorer": "model",
    "LabelDistributionCollector": "scorer",
}
_LAST_CHARACTER = 0x10FFFF


@dataclass
class Found:
    """What a tree holds: types, and what would be used once a model of it runs."""

    types: set = field(default_factory=set)
    destinations: list = field(default_factory=list)
    memories: list = field(default_factory=list)

    @property
    def unknown(self):
        """Types that do not stand in the table."""
        return sorted(name for name in self.types if not is_known(name))


def audit(tree, tensors):
    """Check every node of a tree and return what it holds; imports and builds nothing.

    Raises
    ------
    PersistenceError
        If a node is malformed; the message says what was found.
    """
    found = Found()
    ended = 0  # objects that are complete, for "same"
    stack = [(tree, 0, False)]
    while stack:
        node, depth, closing = stack.pop()
        if closing:
            ended += 1
            continue
        if depth > MAX_DEPTH:
            raise PersistenceError(f"The model is nested more than {MAX_DEPTH} deep.")
        if isinstance(node, dict) and isinstance(node.get("state"), dict):
            stack.append((node, depth, True))
        children = _children(node, tensors, found, ended)
        stack.extend((child, depth + 1, False) for child in reversed(children))
    return found


def _children(node, tensors, found, ended):
    """Check one node by itself; return the nodes in it."""
    if node is None or isinstance(node, bool | int | float | str):
        return []
    if isinstance(node, list):
        return node
    kind = node.get("type")
    if not isinstance(kind, str):
        raise PersistenceError(f"The model holds a node without a type: {_excerpt(node)}.")
    if kind not in _NODE_FIELDS:
        return _state_children(node, kind, found)
    if set(node) != {"type", *_NODE_FIELDS[kind]}:
        raise _malformed(node)
    if kind == "same":
        _demand(type(node["as"]) is int and 0 <= node["as"] < ended, node)
        return []
    if kind == "dict":
        return _pair_children(node, tensors, found)
    if kind == "scalar":
        inner = node["value"]
        leaf = isinstance(inner, dict) and inner.get("type") in ("array", "strings")
        _demand(leaf and inner.get("shape") == [], node)
        return [inner]
    _check_leaf(node, kind, tensors)
    return node.get("items", [])


def _state_children(node, kind, found):
    """Children of an estimator or a record; what it names is noted."""
    state = node.get("state")
    if set(node) != {"type", "state"} or not isinstance(state, dict):
        raise PersistenceError(f"The model holds the unknown type {kind[:80]!r}.")
    for name in state:
        _demand(name.isidentifier() and not name.startswith("__"), node)
    found.types.add(kind)
    _note(state, found)
    asked = state.get(_NAMES_A_MODEL.get(kind))
    if isinstance(asked, str) and not NAMING_FIELDS & set(state):
        found.destinations.append(Destination(asked, None, ()))
    return list(state.values())


def _pair_children(node, tensors, found):
    items = node["items"]
    _demand(isinstance(items, list), node)
    named, children = {}, []
    for pair in items:
        _demand(isinstance(pair, list) and len(pair) == 2, node)
        children += pair
        key = plain_string(pair[0], tensors)
        if key is not None:
            named[key] = pair[1]
    _note(named, found)
    return children


def _note(values, found):
    if NAMING_FIELDS & set(values):
        found.destinations.append(Destination.of(values))
    if isinstance(values.get("memory"), str):
        found.memories.append(values["memory"])


def plain_string(node, tensors):
    """The text of a str, or of a numpy str; None for all else."""
    if isinstance(node, str):
        return node
    inner = node.get("value") if isinstance(node, dict) else None
    if isinstance(inner, dict) and inner.get("type") == "strings":
        _check_strings(inner, tensors)
        return str(read_strings(inner, tensors)[()])
    return None


def _check_leaf(node, kind, tensors):
    if kind == "array":
        size = _size(node)
        _demand(node["order"] in ("C", "F"), node)
        _demand(tensors_of(node, tensors).shape == (size,), node)
    elif kind == "strings":
        _check_strings(node, tensors)
    elif kind == "bytes":
        _check_base64(node)
    elif kind == "path":
        _demand(isinstance(node["path"], str) and "\0" not in node["path"], node)
    elif kind == "dtype":
        code = node["dtype"]
        _demand(isinstance(code, str) and _DTYPE.fullmatch(code) is not None, node)
        _demand(isinstance(node["scalar"], bool), node)
    else:
        items = node["items"]
        _demand(isinstance(items, list), node)
        if kind == "objects":
            _demand(_size(node) == len(items), node)
        if kind == "slice":
            _demand(len(items) == 3 and all(i is None or type(i) is int for i in items), node)


def _check_base64(node):
    try:
        base64.b64decode(node["base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise _malformed(node) from None


def _check_strings(node, tensors):
    """A table of strings is as large as its tensor, so its width asks for nothing more."""
    code = node.get("dtype")
    _demand(isinstance(code, str) and _STRINGS.fullmatch(code) is not None, node)
    width = int(code[2:])
    width *= 4 if code[1] == "U" else 1
    raw = tensors_of(node, tensors)
    _demand(raw.dtype == np.uint8 and raw.shape == (_size(node) * width,), node)
    if code[1] == "U" and len(raw):
        _demand(int(raw.view("<u4").max()) <= _LAST_CHARACTER, node)


def read_strings(node, tensors):
    """Return the array of a checked table of strings."""
    shape, dtype = tuple(node["shape"]), np.dtype(node["dtype"])
    if not dtype.itemsize or not math.prod(shape):
        return np.zeros(shape, dtype=dtype)
    raw = np.array(tensors_of(node, tensors))
    return raw.view(dtype).reshape(shape)


def tensors_of(node, tensors):
    """Return the tensor that a node names."""
    name = node.get("tensor")
    if not isinstance(name, str) or name not in tensors:
        raise PersistenceError(f"The model names the array {str(name)[:40]!r}, which is missing.")
    return tensors[name]


def _size(node):
    shape = node.get("shape")
    _demand(isinstance(shape, list) and len(shape) <= 32, node)
    _demand(all(type(d) is int and 0 <= d < 2**40 for d in shape), node)
    return math.prod(shape)


def _demand(holds, node):
    if not holds:
        raise _malformed(node)


def _malformed(node):
    return PersistenceError(f"The model holds a malformed node: {_excerpt(node)}.")


def _excerpt(node):
    # a node can be as large as the file; its fields say enough
    return ", ".join(f"{str(k)[:20]}={type(v).__name__}" for k, v in list(node.items())[:6])
