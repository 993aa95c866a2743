"""The models of this process: each is loaded once, on first use, and kept until the process ends.

They belong to the process that loaded them: a forked child loads its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Model = TypeVar("Model")

_lock = threading.RLock()  # a model may be made of another one
_loaded: dict[Hashable, Any] = {}
_abandoned: list[Any] = []


def load_once(key: Hashable, load: Callable[[], Model]) -> Model:
    """Return the model of this process under a key, loading it on first use."""
    with _lock:
        if key not in _loaded:
            _loaded[key] = load()
        model: Model = _loaded[key]
        return model


@atexit.register
def unload() -> None:
    """Free every model that this process has loaded."""
    with _lock:
        _loaded.clear()


def _forget_models_after_fork() -> None:
    # The parent's threads do not exist here; running the destructors would wait for them.
    global _lock
    _lock = threading.RLock()
    _abandoned.extend(_loaded.values())
    _loaded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_models_after_fork)
