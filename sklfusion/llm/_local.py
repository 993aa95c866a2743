"""Causal language models in this process: a GGUF file through llama.cpp, or a transformers folder.

Models are heavy, so a process loads each at most once, on the first request that the reply store
cannot answer, and keeps it until it ends. They belong to the process that loaded them: a forked
child loads its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any, Protocol

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._local_spec import LocalSpec
from sklfusion.llm._local_spec import find_local as find_local  # programs import both from here


class Runtime(Protocol):
    """A loaded model."""

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request."""


class LocalBackend:
    """Answers requests with a model in this process.

    Parameters
    ----------
    spec : LocalSpec
        Which model.
    """

    def __init__(self, spec: LocalSpec) -> None:
        self.spec = spec

    def complete(self, request: ChatRequest, *, deadline: float) -> Reply:
        """Return the reply. The deadline is for calls over a network and is not used.

        Raises
        ------
        CallError
            With the fault.
        ModelLoadError
            If the model cannot be loaded.
        """
        return load_runtime(self.spec).complete(request)

    def close(self) -> None:
        """Do nothing: the model stays loaded for the next scorer of this process."""


_lock = threading.Lock()
_loaded: dict[LocalSpec, Runtime] = {}
_abandoned: list[Any] = []


def load_runtime(spec: LocalSpec) -> Runtime:
    """Return the model of this process, loading it on first use."""
    with _lock:
        if spec not in _loaded:
            _loaded[spec] = _load_runtime(spec)
        return _loaded[spec]


def _load_runtime(spec: LocalSpec) -> Runtime:
    if spec.kind == "gguf":
        from sklfusion.llm._llama import LlamaRuntime

        return LlamaRuntime(spec)
    from sklfusion.llm._causal_lm import TransformersRuntime

    return TransformersRuntime(spec)


def unload() -> None:
    """Free every model that this process has loaded."""
    with _lock:
        _loaded.clear()


def _forget_models_after_fork() -> None:
    # The parent's threads do not exist here; running the destructors would wait for them.
    global _lock
    _lock = threading.Lock()
    _abandoned.extend(_loaded.values())
    _loaded.clear()


atexit.register(unload)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_models_after_fork)
