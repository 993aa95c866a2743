"""What goes to a model and what comes back, as plain immutable values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatRequest:
    """One chat request, exactly as it will be sent.

    Parameters
    ----------
    origin : str
        Scheme, host, port and base path of the endpoint (``"https://api.openai.com/v1"``), or
        ``"local"`` for a model in this process. Never holds a key or user information.
    model : str
        The endpoint's name of the model.
    messages : tuple of (role, content) pairs
        In order.
    params : mapping
        Every other field of the body (decoding parameters, response format), JSON values only.
    """

    origin: str
    model: str
    messages: tuple[tuple[str, str], ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the request."""
        messages = [{"role": role, "content": content} for role, content in self.messages]
        return {"model": self.model, "messages": messages, **self.params}

    def canonical(self) -> str:
        """Return the canonical JSON text from which the key in the reply store is made."""
        return json.dumps(
            {"origin": self.origin, **self.body()},
            sort_keys=True,
            ensure_ascii=True,
            separators=(",", ":"),
            allow_nan=False,
        )


@dataclass(frozen=True)
class DecisionRequest(ChatRequest):
    """Typed questions about one text, for endpoints that answer with probabilities.

    Its one message is the text. ``params["questions"]`` holds the questions: objects with
    ``type`` ("choice" or "predicate"), ``instructions`` and, for a choice, ``choices``.
    ``params["path"]`` and ``params["dialect"]`` say how it goes over the wire; they are there
    where the user has set them, and in the request that is sent. For a model in this process a
    message before the text says what it is, and each question holds its own wording.
    """

    @property
    def over_a_wire(self) -> bool:
        """Whether it goes to an endpoint, in one of its ways."""
        return self.origin != "local"

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The questions, in order."""
        return list(self.params["questions"])


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply, as the endpoint counted them. None means that it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True)
class TokenLogprobs:
    """One generated token and the most probable tokens at its position (natural logarithms)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """One answer of an endpoint, before anything interprets it.

    Parameters
    ----------
    contents : tuple of (str or None)
        Text of each choice; more than one only when n samples were asked for.
    finish_reasons : tuple of (str or None)
        One per choice.
    model : str or None
        The model that the endpoint says it used.
    usage : Usage
        Tokens counted.
    logprobs : tuple of TokenLogprobs, or None
        Of the first choice.
    refusal : str or None
        The refusal field of the first choice.
    created : float
        Seconds since the epoch at which the reply arrived.
    """

    contents: tuple[str | None, ...]
    finish_reasons: tuple[str | None, ...] = ()
    model: str | None = None
    usage: Usage = Usage()
    logprobs: tuple[TokenLogprobs, ...] | None = None
    refusal: str | None = None
    created: float = 0.0
