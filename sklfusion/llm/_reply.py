"""From the bytes of a chat completion to a `Reply`. A status of 200 promises nothing."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sklfusion._chat import Reply, TokenLogprobs, Usage
from sklfusion.llm._faults import UNEXPLAINED, CallError, Fault, bad_reply, fault_from_said
from sklfusion.llm._stream import completion_of
from sklfusion.llm._words import Said, error_of
from sklfusion.prompts._answer import without_thinking

#: From an error inside a reply, and the status that it stands for, to its fault.
Blame = Callable[[int, Said], Fault]
# Words that endpoints end an answer with, beside those of the protocol.
_FILTER_REASONS = (
    "content_filter",
    "safety",
    "prohibited_content",
    "blocklist",
    "recitation",
    "spii",
)
_CUT = ("max_tokens", "max_output_tokens", "model_length")
# What the words of an error mean where it has no number; the first that fits.
_STATUS_OF_WORDS = (
    (402, r"insufficient[ _](quota|balance|credits?|funds)|payment_required|billing"),
    (401, r"(invalid|incorrect|missing|expired)[ _]api[ _-]?key|authenticat|unauthori[sz]ed"),
    (403, r"permission|forbidden"),
    (429, r"rate[ _-]?limit|too many requests|resource_exhausted|overloaded|capacity|throttl"),
    (400, r"content[ _]?(filter|polic|manag)|moderat|flagged|context[ _](length|window)"),
    (
        502,
        r"server_error|internal|unavailable|time[d ]*out|upstream|bad gateway|network|connection",
    ),
    (400, r"invalid_request|bad_request"),
)

# Parts of a message that are its answer; others are thoughts, pictures, calls.
_TEXT_PARTS = ("text", "output_text")


def reply_from_bytes(body: bytes, blame: Blame | None = None) -> Reply:
    """Read the body of a chat completion.

    Parameters
    ----------
    body : bytes
        Body of a reply with a status of 2xx, already bounded.
    blame : callable, optional
        Sorts an error inside it; by default without saying who the endpoint is.

    Raises
    ------
    CallError
        With the fault of the error that stands in it, or with one of kind "bad_reply" if the body
        is not a chat completion.
    """
    try:
        # Some gateways send white space to keep a connection open, and some a byte order mark.
        value = json.loads(body.removeprefix(b"\xef\xbb\xbf"), parse_int=small_int)
    except (ValueError, RecursionError):
        value = completion_of(body)  # and some stream to whoever asks
    if value is None:
        raise bad_reply("bad_json", "the body is not JSON")
    return reply_from_value(value, blame)


def small_int(digits: str) -> int | float:
    # int() of a million digits takes quadratic time; no field here needs more than 19.
    return int(digits) if len(digits) < 20 else math.inf


def reply_from_value(value: Any, blame: Blame | None = None) -> Reply:
    """Read a parsed chat completion; see :func:`reply_from_bytes`."""
    fault = fault_inside(value, blame or _anonymous)
    if fault is not None:
        raise CallError(fault)
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices:
        raise bad_reply("no_choices", "the reply has no choices")
    contents, reasons = [], []
    refusal = None
    for number, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise bad_reply("no_message", "a choice of the reply has no message")
        contents.append(_content(message.get("content")))
        reasons.append(_reason(choice.get("finish_reason")))
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


def is_filtered(reply: Reply) -> bool:
    """Tell whether a reply holds no answer because a filter took it: nobody charges for that."""
    reasons = reply.finish_reasons
    return bool(reasons) and reasons[0] == "content_filter" and not any(reply.contents)


def only_thought(reply: Reply) -> bool:
    """Tell whether an answer was cut before it began, as those of models that think first are."""
    answer = without_thinking((reply.contents[0] if reply.contents else None) or "")
    return answer is None or not answer.strip()


def fault_inside(value: Any, blame: Blame) -> Fault | None:
    """Return the fault of an error that came with a status of 200, None if there is none."""
    if isinstance(value, list) and len(value) == 1:  # Google's way to tell errors
        value = value[0]
    if not isinstance(value, dict):
        return None
    found = value.get("error")
    if not found:
        choices = value.get("choices")
        choices = choices if isinstance(choices, list) else []
        choice = next((c for c in choices if isinstance(c, dict) and _failed(c)), None)
        if choice is None:
            return None
        found = choice.get("error")
    error = error_of({"error": found} if found else {})
    status = error.number or _status_of(error)
    if status is None or 300 <= status < 400:
        fault = blame(500, error)
        message = f"the reply says that it failed: {fault.said or 'no reason given'}"
        return replace(fault, kind="wait", cause=UNEXPLAINED, message=message, status=None)
    return blame(status, error)


def _failed(choice: dict[str, Any]) -> bool:
    return bool(choice.get("error")) or choice.get("finish_reason") == "error"


def _status_of(error: Said) -> int | None:
    """Return the HTTP status that an error without a number would have had."""
    words = error.words
    return next((status for status, said in _STATUS_OF_WORDS if re.search(said, words)), None)


def _anonymous(status: int, error: Said) -> Fault:
    return fault_from_said(status, {}, error, origin="the endpoint", model="", key_hint="the key")


def _reason(value: Any) -> str | None:
    """Return why an answer ended, in the words of the protocol."""
    if not isinstance(value, str):
        return None
    word = re.split(r"[^a-z_]", value.lower())[0]
    if word in _FILTER_REASONS:
        return "content_filter"
    return "length" if word in _CUT else value


def _content(value: Any) -> str | None:
    """Return the text of a message; of a list of parts, those that are text and no thought."""
    if not isinstance(value, list):
        return _text(value)
    parts = [part if isinstance(part, dict) else {"text": part} for part in value]
    said = [_text(p.get("text")) for p in parts if p.get("type", "text") in _TEXT_PARTS]
    texts = [text for text in said if text is not None]
    return "".join(texts) if texts else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        token_count(value.get("prompt_tokens")),
        token_count(value.get("completion_tokens")),
        token_count(cached),
    )


def token_count(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
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
    token = _token_text(token, entry.get("bytes"))
    # Some servers write a value a rounding error above zero, or -inf as -9999.
    return (token, min(float(number), 0.0)) if number == number and number < 1e-3 else None


def _token_text(token: str, served: Any) -> str:
    """Return a token by its bytes where they are served: its text cannot show half a character.

    Such bytes become lone surrogates (error handler "surrogateescape"), which the store keeps.
    """
    if not isinstance(served, list) or not served:
        return token
    try:
        return bytes(served).decode("utf-8", "surrogateescape")
    except (TypeError, ValueError):
        return token
