"""What can go wrong with one call, in six kinds. Everything else asks only for the kind.

========== ===================================================== ==============================
kind       examples                                              what follows
========== ===================================================== ==============================
not_sent   DNS, refused connection, TLS handshake                tried again, nothing was paid
wait       408, 409, 425, 429, 500, 502, 503, 504, 529           tried again, all workers wait
unknown    read timeout, reset after the request went out        perhaps paid: one more try
bad_reply  broken JSON, wrong shape, unknown label               paid: one more try
text       400 context length, content filter, 413, 422          this text abstains
stop       401, 403, 404, 402, quota codes, redirect             the run stops
========== ===================================================== ==============================
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklfusion.exceptions import (
    AuthenticationError,
    EndpointError,
    ModelNotFoundError,
    QuotaError,
)

WAIT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_QUOTA_CODES = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "insufficient_credits",
    "payment_required",
)
_TOO_LONG = (
    "context_length",
    "context length",
    "context size",
    "context window",
    "exceed_context",
    "string_above_max_length",
    "too many tokens",
    "maximum context",
    "prompt is too long",
)
_FILTERED = ("content_filter", "content_policy", "responsibleai", "safety", "moderation")
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
        One of the six above.
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
    """

    kind: str
    cause: str
    message: str = ""
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


class CallError(Exception):
    """One call failed. Private to the LLM layer: what users see is in ``exceptions``."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


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

    Returns
    -------
    Fault
    """
    code, said = _read_error(body)
    lowered = f"{code or ''} {said}".lower()

    def fault(kind: str, cause: str, message: str, retry_after: float | None = None) -> Fault:
        return Fault(kind, cause, message, status, code, retry_after)

    if 300 <= status < 400:
        return fault(
            "stop",
            "redirect",
            f"{origin} answered {status}, a redirect. Redirects are not followed, because the "
            "texts would go to another place. Set base_url to the final address.",
        )
    if status in (401, 403):
        return fault(
            "stop", "auth", f"{origin} refused the key ({status}). Check {key_hint}{_tail(code)}."
        )
    if status == 402 or (status == 429 and any(c in lowered for c in _QUOTA_CODES)):
        return fault(
            "stop",
            "quota",
            f"{origin} says that the account has no credit or quota left ({status}"
            f"{_tail(code)}). Check its billing page, then run again: replies that were paid "
            "for are kept when memory= is set.",
        )
    if status == 404:
        return fault(
            "stop",
            "model",
            f"{origin} does not know the model {model!r}, or base_url has a wrong path (404"
            f"{_tail(code)}).",
        )
    if status in WAIT_STATUSES:
        wait = parse_retry_after(headers, time.time())
        return fault("wait", f"http_{status}", f"{origin} answered {status}", wait)
    if any(word in lowered for word in _FILTERED):
        return fault("text", "content_filter", "the endpoint's content filter refused the text")
    if status == 413 or any(word in lowered for word in _TOO_LONG):
        return fault("text", "too_long", "the text is longer than the model's context")
    return fault("text", f"http_{status}", f"{origin} answered {status}{_tail(code)}")


def _tail(code: str | None) -> str:
    return f", code {code!r}" if code else ""


def _read_error(body: bytes) -> tuple[str | None, str]:
    """Return (code, message) of an error body in one of the forms in use, or (None, "")."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, str):
        return None, error[:500]
    if not isinstance(error, dict):
        return None, ""
    inner = error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    candidates = (error.get("code"), error.get("type"), inner_code)
    code = next((c for c in candidates if isinstance(c, str) and c), None)
    extra = " ".join(c for c in candidates if isinstance(c, str))
    return (code[:80] if code else None), f"{extra} {error.get('message')}"[:2000]


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
