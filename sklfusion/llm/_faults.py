"""What can go wrong with one call, in seven kinds. Everything else asks only for the kind.

========== ===================================================== ==============================
kind       examples                                              what follows
========== ===================================================== ==============================
not_sent   DNS, refused connection, TLS handshake                tried again, nothing was paid
wait       408, 409, 425, 429, 498, 499, 500, 502 to 504, 52x    tried again, nothing was paid
unknown    read timeout, reset after the request went out        perhaps paid: one more try
bad_reply  broken JSON, wrong shape, unknown label               paid: one more try
text       400 context length, content filter, 413, 422          this text abstains
refused    403, 404 that do not say whom they mean               the run judges: text or set-up
stop       401, 402, a key, model or quota named, redirect       the run stops
========== ===================================================== ==============================
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sklfusion._chat import ChatRequest
from sklfusion.exceptions import (
    AuthenticationError,
    EndpointError,
    ModelNotFoundError,
    QuotaError,
)
from sklfusion.llm._words import Said, clean, read_error

Asked = TypeVar("Asked")
Returned = TypeVar("Returned")

# 52x and 530 are those of Cloudflare, 498 and 499 of Groq and of proxies, 598 and 599 of others.
WAIT_STATUSES = frozenset(
    {408, 409, 425, 429, 498, 499, 500, 502, 503, 504, *range(520, 531), 598, 599}
)
#: Cause of a reply that says that it failed and gives no code.
UNEXPLAINED = "error"
# Statuses by which a text, the key or the model may be meant.
_UNCLEAR = {403: "auth", 404: "model", 410: "model", 451: "auth"}
# What a program may search an error for; longer than what a person is shown.
_WORDS = 1000

_QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|billing_(hard_limit_reached|not_active)"
    r"|payment_required|credits? (are |is )?(exhausted|depleted)|(no|any|out of) credits"
    r"|balance is (too low|insufficient)|budget[ _](has been )?exceeded"
)
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|exceed_context|string_above_max_length|too many tokens"
    r"|maximum context|prompt is too long|(input|prompt|request).{0,40}(too (long|large)|exceeds)"
    r"|(fewer|less) than \d+ tokens|reduce (the|your) (length|prompt|input)"
)
_FILTERED = re.compile(
    r"content[ _-]?(filter|polic|management|moderation)|responsibleai|moderat|flagged"
    r"|\bsafety\b|prohibited_content|data_inspection|usage polic|violat\w*.{0,60}polic"
    r"|polic\w* violat|\bblocked\b|guardrail|inappropriate|\bunsafe\b|harmful|jailbreak"
    r"|recitation|sensitive (content|words?|information)|firewall"
)
_BAD_KEY = re.compile(
    r"(invalid|incorrect|missing|expired|revoked|wrong|unknown|disabled|no)[ _].{0,20}"
    r"(api[ _-]?key|access[ _-]?key|credential)|(api[ _-]?key|access[ _-]?key|credentials?)"
    r"[ _].{0,40}(invalid|not valid|incorrect|expired|revoked|missing|disabled|not found)"
)
# Beside a 403 these words, too, are about who asks and not about what.
_NO_ACCESS = re.compile(
    r"unauthori[sz]ed|authenticat|permission|not authori[sz]ed|\baccount\b|suspended"
    r"|\b(country|region|territory)\b|api[ _-]?key|subscription|\bip address\b"
    r"|virtual network|firewall rules"
)
_NO_MODEL = re.compile(
    r"model_not_found|model_not_available|deploymentnotfound"
    r"|\b(model|deployment)\b.{0,80}(not found|not exist|n't exist|decommissioned|no longer)"
    r"|(no such|unknown|invalid) (model|deployment)"
)
_ERRORS: dict[str, type[EndpointError]] = {
    "auth": AuthenticationError,
    "model": ModelNotFoundError,
    "quota": QuotaError,
}


@dataclass(frozen=True)
class Fault:
    """Why a call has no usable reply. Plain fields, no request, no text, no key.

    Parameters
    ----------
    kind : str
        One of the seven above.
    cause : str
        Short word that reports count by ("http_500", "timeout", "refusal", "bad_json", ...).
    message : str
        For people.
    status : int or None
        HTTP status.
    code : str or None
        Error code in the body.
    retry_after : float or None
        Seconds the endpoint asks to wait.
    param : str or None
        Field of the request that the endpoint names.
    said : str
        The endpoint's own words, fit to be shown.
    words : str
        The same in small letters and at greater length, to look for words in.
    """

    kind: str
    cause: str
    message: str = ""
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    param: str | None = None
    said: str = ""
    words: str = ""


# So many characters of a text are enough to know it again, and so few are no text.
_TEXT, _NO_TEXT = 30, 8
_REPEATS = "(its words repeat the text)"


def without_text(fault: Fault, request: ChatRequest) -> Fault:
    """Return the fault without the endpoint's words where they repeat the text.

    Texts may be private: errors, warnings and logs tell of them by their place only.
    """
    if not fault.said:
        return fault
    said = fault.said.lower()
    for role, content in request.messages:
        if role == "user" and any(_repeats(said, text) for text in _texts_in(content)):
            message = fault.message.replace(fault.said, _REPEATS)
            return replace(fault, said=_REPEATS, message=message)
    return fault


def _repeats(said: str, text: str) -> bool:
    text = " ".join(text.lower().split())
    return len(text) >= _NO_TEXT and (text[:_TEXT] in said or text[-_TEXT:] in said)


def _texts_in(content: str) -> list[str]:
    """Return the text, or the texts, of a message."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return [content]
    return [str(v) for v in value.values()] if isinstance(value, dict) else [str(value)]


class CallError(Exception):
    """One call failed. Private to the LLM layer: what users see is in ``exceptions``."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def answer_or_fault(complete: Callable[[Asked], Returned], request: Asked) -> Returned | CallError:
    """Return what a call returns, or the fault that it raises."""
    try:
        return complete(request)
    except CallError as error:
        return error


def bad_reply(cause: str, message: str = "") -> CallError:
    """Return the error of a reply that arrived, was paid for, and cannot be used."""
    return CallError(Fault("bad_reply", cause, message))


def unusable_text(cause: str, message: str = "") -> CallError:
    """Return the error of a text that this model will not or cannot label."""
    return CallError(Fault("text", cause, message))


def error_from_fault(fault: Fault, origin: str) -> EndpointError:
    """Return the public error for a fault that stops a run."""
    cls = _ERRORS.get(fault.cause, EndpointError)
    return cls(fault.message, status=fault.status, code=fault.code, origin=origin)


def fault_from_status(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    origin: str,
    model: str,
    key_hint: str,
    secrets: Sequence[str] = (),
) -> Fault:
    """Sort an HTTP error into one of the kinds.

    Parameters
    ----------
    status : int
        HTTP status, anything but 2xx.
    headers : mapping
        Response headers.
    body : bytes
        Response body, already bounded.
    origin, model : str
        For the message.
    key_hint : str
        How the key is found ("the environment variable X"), never the key.
    secrets : sequence of str
        Names of environment variables whose values are masked in what the endpoint says.

    Returns
    -------
    Fault
    """
    return fault_from_said(
        status,
        headers,
        read_error(body),
        origin=origin,
        model=model,
        key_hint=key_hint,
        secrets=secrets,
    )


def fault_from_said(
    status: int,
    headers: Mapping[str, str],
    error: Said,
    *,
    origin: str,
    model: str,
    key_hint: str,
    secrets: Sequence[str] = (),
) -> Fault:
    """Sort an error that was read already; see :func:`fault_from_status`."""
    kind, cause = _judge(status, error)
    code = clean(error.code, secrets, 80) if error.code else None
    said = clean(error.message, secrets)
    retry_after = None
    if kind == "wait":
        retry_after = parse_retry_after(headers, time.time()) or error.wait
    return Fault(
        kind,
        cause,
        _explain(cause, status, origin, model, key_hint) + _quote(code, said),
        status,
        code,
        retry_after,
        clean(error.param, secrets, 80) if error.param else None,
        said or code or "",
        clean(error.words, secrets, _WORDS),
    )


def _judge(status: int, error: Said) -> tuple[str, str]:
    """Return kind and cause of an error."""
    # A page is a proxy's or a firewall's: its words are not about keys and models.
    words = "" if error.html else error.words
    unclear = status in _UNCLEAR
    if 300 <= status < 400:
        return "stop", "redirect"
    if status == 401 or ((unclear or status == 400) and _BAD_KEY.search(words)):
        return "stop", "auth"
    if status == 402 or (status in (400, 403, 429) and _QUOTA.search(words)):
        return "stop", "quota"
    if status in WAIT_STATUSES:
        return "wait", f"http_{status}"
    if status == 403 and _NO_ACCESS.search(words):
        return "stop", "auth"
    if _FILTERED.search(words):
        return "text", "content_filter"
    if status == 413 or _TOO_LONG.search(words):
        return "text", "too_long"
    if (unclear or status == 400) and _NO_MODEL.search(words):
        return "stop", "model"
    return ("refused", _UNCLEAR[status]) if unclear else ("text", f"http_{status}")


def _explain(cause: str, status: int, origin: str, model: str, key_hint: str) -> str:
    """Return the sentence on a cause; what the endpoint says itself follows it."""
    sentences = {
        "redirect": f"{origin} answered {status}, a redirect. Redirects are not followed, because "
        "the texts would go to another place. Set base_url to the final address",
        "auth": f"{origin} refused the key ({status}). Check {key_hint}",
        "quota": f"{origin} says that the account has no credit or quota left ({status}). Check "
        "its billing page, then run again: replies that were paid for are kept when memory= is "
        "set",
        "model": f"{origin} does not know the model {model!r}, or base_url has a wrong path "
        f"({status})",
        "content_filter": "the endpoint's content filter refused the text",
        "too_long": "the text is longer than the model's context",
    }
    return sentences.get(cause, f"{origin} answered {status}")


def _quote(code: str | None, said: str) -> str:
    """Return code and words of an endpoint as the end of a sentence."""
    parts = [f"code {code!r}"] * bool(code) + [f"it says: {said}"] * bool(said and said != code)
    return f"; {', '.join(parts)}" if parts else ""


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a reply asks to wait, None if it does not say so sensibly.

    ``retry-after-ms`` goes first; ``Retry-After`` is seconds or an HTTP date. Negative, infinite,
    past and unreadable values count as not said.

    Examples
    --------
    >>> parse_retry_after({"retry-after-ms": "250"}, 0.0)
    0.25
    >>> parse_retry_after({"retry-after": "inf"}, 0.0) is None
    True
    """
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        raw = headers.get(name)
        if raw is None:
            continue
        try:
            seconds = float(raw) * scale
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(raw).timestamp() - now
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None
