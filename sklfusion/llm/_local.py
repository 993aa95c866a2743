"""Causal language models in this process: a GGUF file through llama.cpp, or a transformers folder.

Models are heavy, so a process loads each at most once, on the first request that the reply store
cannot answer, and keeps it until it ends.
"""

from __future__ import annotations

from typing import Protocol

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._loaded import load_once
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


def load_runtime(spec: LocalSpec) -> Runtime:
    """Return the model of this process, loading it on first use."""
    return load_once(spec, lambda: _load_runtime(spec))


def _load_runtime(spec: LocalSpec) -> Runtime:
    if spec.kind == "gguf":
        from sklfusion.llm._llama import LlamaRuntime

        return LlamaRuntime(spec)
    from sklfusion.llm._transformers_chat import TransformersRuntime

    return TransformersRuntime(spec)
