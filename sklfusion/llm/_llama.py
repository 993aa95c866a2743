"""A GGUF model in llama.cpp that answers chat requests."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sklfusion._chat import ChatRequest, DecisionRequest, Reply, Usage
from sklfusion._optional import import_optional
from sklfusion.exceptions import ModelLoadError
from sklfusion.llm._cores import FreeCores, thread_limit
from sklfusion.llm._decision_reply import told_as_reply
from sklfusion.llm._faults import CallError, Fault, answer_or_fault, fault_from_status
from sklfusion.llm._label_scores import labels_reply, score_labels
from sklfusion.llm._local_spec import LocalSpec
from sklfusion.llm._reply import reply_from_value
from sklfusion.prompts._local_questions import question_messages

CONTEXT_TOKENS = 4096
# Fields of a request that only models in this process understand.
_FORCED = "score_tokens"
_LABELS = "score_labels"
# Tokens listed at the answer to a typed question: all the mass that matters.
_TOP = 200


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

    def complete(self, requests: Sequence[ChatRequest]) -> list[Reply | CallError]:
        """Answer requests one after the other; they queue for the one slot."""
        return [answer_or_fault(self._complete, request) for request in requests]

    def _complete(self, request: ChatRequest) -> Reply:
        if isinstance(request, DecisionRequest):
            return self._decide(request)
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

    def _decide(self, request: DecisionRequest) -> Reply:
        """Answer questions one after the other; the slot keeps the state of the text."""
        replies = []
        for question in request.questions:
            messages = question_messages(request.messages, question)
            params = {"temperature": 0.0, "max_tokens": 1, "logprobs": True}
            params |= {"top_logprobs": _TOP, _LABELS: question["words"]}
            replies.append(self._complete(ChatRequest("local", request.model, messages, params)))
        answers = []
        for reply in replies:
            assert reply.logprobs is not None  # a reply that lists labels
            weights = [math.exp(logprob) for _, logprob in reply.logprobs[0].top]
            answers.append([weight / math.fsum(weights) for weight in weights])
        used = [reply.usage for reply in replies]
        usage = Usage(
            sum(u.prompt_tokens or 0 for u in used),
            sum(u.completion_tokens or 0 for u in used),
            sum(u.cached_tokens or 0 for u in used),
        )
        reply = told_as_reply(request, answers, usage, self._spec.name)
        return replace(reply, created=replies[0].created)

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
