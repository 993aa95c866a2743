"""Models that are opened once per process, however many tasks ask for them."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

from sklfusion._fork import ForkLock
from sklfusion.exceptions import PersistenceError

_opened: dict[Any, Any] = {}
_opening = ForkLock()


class ModelSource:
    """Where a model comes from: a saved file, or an estimator that travels along.

    Parameters
    ----------
    model : str, Path or fitted estimator
    memory, endpoints
        As for :func:`sklfusion.persistence.load`, for a saved model.
    """

    def __init__(self, model: Any, memory: Any = None, endpoints: Any = ()) -> None:
        self.path = os.path.abspath(model) if isinstance(model, str | os.PathLike) else None
        self.memory = None if memory is None else str(memory)
        self.endpoints = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        self._estimator = None if self.path is not None else model
        self._pickled: bytes | None = None
        if self.path is not None and not Path(self.path).is_file():
            raise PersistenceError(
                f"{self.path} does not exist; sklfusion.persistence.save writes such a file."
            )
        if self.path is None and (memory is not None or self.endpoints):
            raise ValueError(
                "memory= and endpoints= are for a saved model; set them on the estimator itself."
            )

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()
        if self.path is None:
            # as bytes, so that a process that has it already need not build it again
            state["_pickled"] = self._pickled or pickle.dumps(self._estimator, protocol=5)
            state["_estimator"] = None
        return state

    def open(self) -> Any:
        """Return the model; the first call in a process reads it."""
        if self._estimator is not None:
            return self._estimator
        key = self._key()
        with _opening:
            if key not in _opened:
                _opened[key] = self._read()
            return _opened[key]

    def _key(self):
        if self.path is None:
            return hashlib.sha256(self._pickled or b"").digest()
        at = os.stat(self.path)
        return self.path, at.st_mtime_ns, at.st_size, self.memory, tuple(self.endpoints)

    def _read(self):
        if self.path is None:
            return pickle.loads(self._pickled or b"")
        from sklfusion.persistence import load

        return load(self.path, memory=self.memory, endpoints=self.endpoints)
