"""From the bytes of a chat completion to a `Reply`. A status of 200 promises nothing."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from sklfusion.llm._faults import bad_reply
from sklfusion.llm._types import Reply, TokenLogprobs, Usage


def reply_from_bytes(body: bytes) -> Reply:
    """Read the body of a chat completion.

    Raises
    ------
    CallError
        With a fault of kind "bad_reply" if the body is not a chat completion.
    """
    try:
        value = json.loads(body, parse_int=_small_int)
    except (ValueError, RecursionError):
        raise bad_reply("bad_json", "the body is not JSON") from None
    return reply_from_value(value)


def _small_int(digits: str) -> int | float:
    # int() of a million digits takes quadratic time; no field here needs more than 19.
    return int(digits) if len(digits) < 20 else math.inf


def reply_from_value(value: Any) -> Reply:
    """Read a parsed chat completion; see :func:`reply_from_bytes`."""
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices:
        raise bad_reply("no_choices", "the reply has no choices")
    contents, reasons = [], []
    refusal = None
    for number, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise bad_reply("no_message", "a choice of the reply has no message")
        contents.append(_text(message.get("content")))
        reasons.append(_text(choice.get("finish_reason")))
        if number == 0:
            refusal = _text(message.get("refusal"))
    return Reply(
        contents=tuple(contents),
        finish_reasons=tuple(reasons),
        model=_text(value.get("model")),
        usage=_usage(value.get("usage")),
        logprobs=_logprobs(choices[0].get("logprobs")),
        refusal=refusal,
        created=time.time(),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        _count(value.get("prompt_tokens")), _count(value.get("completion_tokens")), _count(cached)
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _logprobs(value: Any) -> tuple[TokenLogprobs, ...] | None:
    """Read the log-probabilities; what is not usable is left out, since they are optional."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list) or not content:
        return None
    tokens = []
    for entry in content:
        pair = _pair(entry)
        if pair is None:
            return None
        listed = entry.get("top_logprobs")
        pairs = [_pair(item) for item in listed] if isinstance(listed, list) else []
        tokens.append(TokenLogprobs(*pair, top=tuple(p for p in pairs if p is not None)))
    return tuple(tokens)


def _pair(entry: Any) -> tuple[str, float] | None:
    if not isinstance(entry, dict):
        return None
    token, number = entry.get("token"), entry.get("logprob")
    if not isinstance(token, str) or not isinstance(number, int | float):
        return None
    # Some servers write a value a rounding error above zero, or -inf as -9999.
    return (token, min(float(number), 0.0)) if number == number and number < 1e-3 else None
