"""Causal language models in this process: a GGUF file through llama.cpp, or a transformers folder.

Models are heavy, so a process loads each at most once, on the first request that the reply store
cannot answer, and keeps it until it ends. They belong to the process that loaded them: a forked
child loads its own.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sklfusion._chat import ChatRequest, Reply
from sklfusion._optional import import_optional
from sklfusion.exceptions import ModelLoadError
from sklfusion.llm._cores import FreeCores, thread_limit
from sklfusion.llm._faults import CallError, Fault, fault_from_status
from sklfusion.llm._label_scores import labels_reply, score_labels
from sklfusion.llm._reply import reply_from_value

CONTEXT_TOKENS = 4096
# Fields of a request that only models in this process understand.
_FORCED = "score_tokens"
_LABELS = "score_labels"


@dataclass(frozen=True)
class LocalSpec:
    """A local model that was found but not loaded.

    Parameters
    ----------
    kind : {"gguf", "transformers"}
        Which runtime reads it.
    location : str
        File, folder or hub id.
    name : str
        What the reply store knows it by: an alias, a hub id, or a name with a digest of the
        weights, so that a folder may move and must not change.
    """

    kind: str
    location: str
    name: str


def find_local(model: str) -> LocalSpec:
    """Find a local model: an alias of an embedded one, a file, a folder, or a hub id.

    Parameters
    ----------
    model : str
        What follows ``local/``.

    Raises
    ------
    ModelLoadError
        If it is a path that does not exist, or an embedded model that is not installed.
    """
    from sklfusion.models import EMBEDDED_MODELS, file_digest, find_model

    if model in EMBEDDED_MODELS:
        if EMBEDDED_MODELS[model].kind != "llm":
            raise ModelLoadError(f"{model!r} is an encoder; a scorer needs a language model.")
        return LocalSpec("gguf", str(find_model(model)), model)
    path = Path(model).expanduser()
    if path.is_file():
        return LocalSpec("gguf", str(path), f"{path.stem}@{file_digest(path)[:16]}")
    if path.is_dir():
        weights = sorted([*path.glob("*.safetensors"), *path.glob("*.bin"), path / "config.json"])
        digests = [file_digest(file)[:16] for file in weights if file.is_file()]
        if not digests:
            raise ModelLoadError(f"The folder {path} holds no model (no config.json, no weights).")
        import hashlib

        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        return LocalSpec("transformers", str(path), f"{path.name}@{digest[:16]}")
    if model.startswith((".", "~", "/")) or model.count("/") != 1:
        known = [name for name, m in EMBEDDED_MODELS.items() if m.kind == "llm"]
        raise ModelLoadError(
            f"local/{model} is no embedded model ({', '.join(known)}), no file and no folder on "
            "this machine, and no hub id of the form 'local/owner/name'."
        )
    return LocalSpec("transformers", model, model)


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
            _loaded[spec] = _load(spec)
        return _loaded[spec]


def _load(spec: LocalSpec) -> Runtime:
    if spec.kind == "gguf":
        return LlamaRuntime(spec)
    from sklfusion.llm._causal_lm import TransformersRuntime

    return TransformersRuntime(spec)


def unload() -> None:
    """Free every model that this process has loaded."""
    with _lock:
        _loaded.clear()


def _forget_after_fork() -> None:
    # The parent's threads do not exist here; running the destructors would wait for them.
    global _lock
    _lock = threading.Lock()
    _abandoned.extend(_loaded.values())
    _loaded.clear()


atexit.register(unload)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class LlamaRuntime:
    """A GGUF model in llama.cpp, through xllamacpp.

    One slot, so that the state of the shared beginning of the prompt (instructions, classes,
    examples) is kept from text to text, and answers do not depend on what else is running. They
    depend a little on what was asked before: llama.cpp's arithmetic is not the same for a prompt
    read whole and for one whose beginning was kept, which shows in small quantised models.

    Parameters
    ----------
    spec : LocalSpec
        The file.
    """

    def __init__(self, spec: LocalSpec) -> None:
        xllamacpp = import_optional("xllamacpp", extra="local", purpose="A GGUF model")
        params = xllamacpp.CommonParams()
        params.model.path = spec.location
        params.n_ctx = CONTEXT_TOKENS
        params.n_parallel = 1
        params.warmup = False
        params.verbosity = -1
        params.port = 0
        self._spec = spec
        self._lock = threading.Lock()
        self._cores = FreeCores(*thread_limit())
        self._params, self._make = params, xllamacpp.Server
        self._start()

    def _start(self) -> None:
        """Load the file, with as many threads as pay now; llama.cpp cannot change them later."""
        cpu, batch = self._params.cpuparams, self._params.cpuparams_batch
        cpu.n_threads = batch.n_threads = self._cores.threads
        self._server: Any = None  # the old one goes first, so that memory holds one
        try:
            self._server = self._make(self._params)
        except Exception as error:
            path = self._spec.location
            raise ModelLoadError(f"llama.cpp cannot load {path}: {error}") from None

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request; requests queue for the one slot."""
        body = request.body()
        body.pop(_FORCED, None)
        labels = body.pop(_LABELS, None)
        # Without a limit a small model may never stop.
        body.setdefault("max_tokens", 256)
        with self._lock:
            if self._cores.recheck():
                self._start()
            if labels:
                return self._score(body, labels)
            value = self._ask(body)
        reply = replace(reply_from_value(value), model=self._spec.name)
        return _without_prefill(reply, request)

    def _ask(self, body: dict[str, Any]) -> Any:
        try:
            value = self._server.handle_chat_completions(body)
        except Exception as error:
            raise CallError(Fault("text", "local_error", str(error)[:200])) from None
        refused = value.get("error") if isinstance(value, dict) else None
        if isinstance(refused, dict):
            raise CallError(
                fault_from_status(
                    int(refused.get("code", 400)),
                    {},
                    json.dumps({"error": refused}).encode(),
                    origin="local",
                    model=self._spec.name,
                    key_hint="the model",
                )
            )
        return value

    def _score(self, body: dict[str, Any], labels: list[str]) -> Reply:
        """Score whole labels, in as many short requests as their shared beginnings take."""
        *before, last = body["messages"]
        first: list[Reply] = []

        def ask(said: str) -> list[tuple[bytes, float]]:
            content = f"{last['content']} {said}" if said else last["content"]
            messages = [*before, {**last, "content": content}]
            reply = reply_from_value(self._ask({**body, "messages": messages, "max_tokens": 1}))
            first.append(reply)
            if not reply.logprobs:
                raise CallError(Fault("text", "no_logprobs", "llama.cpp gave no probabilities"))
            listed = reply.logprobs[0].top
            return [(t.encode("utf-8", "surrogateescape"), logprob) for t, logprob in listed]

        probs, coverage, steps = score_labels(ask, labels)
        usage = replace(first[0].usage, completion_tokens=steps)
        reply = labels_reply(probs, coverage, labels, usage, self._spec.name)
        return replace(reply, created=first[0].created)


def _without_prefill(reply: Reply, request: ChatRequest) -> Reply:
    """Cut the given beginning of the answer off, which llama.cpp repeats."""
    role, prefill = request.messages[-1]
    if role != "assistant":
        return reply
    return replace(
        reply,
        contents=tuple(
            text[len(prefill) :] if text is not None and text.startswith(prefill) else text
            for text in reply.contents
        ),
    )
