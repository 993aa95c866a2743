"""Causal language models in this process: a GGUF file through llama.cpp, or a transformers folder.

Models are heavy, so a process loads each at most once, on the first request that the reply store
cannot answer, and keeps it until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._faults import CallError
from sklfusion.llm._loaded import load_once
from sklfusion.llm._local_spec import LocalSpec
from sklfusion.llm._local_spec import find_local as find_local  # programs import both from here


class Runtime(Protocol):
    """A loaded model."""

    def complete(self, requests: Sequence[ChatRequest]) -> list[Reply | CallError]:
        """Answer requests, several at a time where that is quicker."""


class LocalBackend:
    """Answers requests with a model in this process.

    Parameters
    ----------
    spec : LocalSpec
        Which model.
    """

    def __init__(self, spec: LocalSpec) -> None:
        self.spec = spec
        self._expected: list[ChatRequest] = []
        self._ready: dict[str, Reply | CallError] = {}

    def expect(self, requests: Sequence[ChatRequest]) -> None:
        """Note which requests come next; the first call answers all of them together."""
        self._expected, self._ready = list(requests), {}

    def complete(self, request: ChatRequest, *, deadline: float) -> Reply:
        """Return the reply. The deadline is for calls over a network and is not used.

        Raises
        ------
        CallError
            With the fault.
        ModelLoadError
            If the model cannot be loaded.
        """
        key = request.canonical()
        if key not in self._ready:
            together = {r.canonical(): r for r in self._expected}
            if key not in together:
                together = {key: request}
            self._expected = []
            replies = load_runtime(self.spec).complete(list(together.values()))
            self._ready = dict(zip(together, replies, strict=True))
        found = self._ready.pop(key)
        if isinstance(found, CallError):
            raise found
        return found

    def close(self) -> None:
        """Do nothing: the model stays loaded for the next scorer of this process."""


def load_runtime(spec: LocalSpec) -> Runtime:
    """Return the model of this process, loading it on first use."""
    return load_once(spec, lambda: _load_runtime(spec))


def _load_runtime(spec: LocalSpec) -> Runtime:
    if spec.numbers == "gguf":
        from sklfusion.llm._llama import LlamaRuntime

        return LlamaRuntime(spec)
    from sklfusion.llm._transformers_chat import TransformersRuntime

    return TransformersRuntime(spec)
