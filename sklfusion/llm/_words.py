"""What an endpoint says about a failure: read from any body, and made fit to be shown.

Whatever an endpoint says may hold a key: many echo the header that they refuse, some in fields
that are meant for programs. So nothing of it goes further than this module before it went through
:func:`clean`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MASK = "***"
# Characters of an endpoint's words that a message shows; one line of a terminal or two.
SHOWN = 200
# Characters that are looked at. An error body of a megabyte says no more than its beginning.
_READ = 4000
# Whoever knows so many characters in a row of a key knows a part of it that matters.
_PART_OF_KEY = 8

_KEY_LIKE = re.compile(
    r"""(?ix)
    \bbearer\s+\S+                                         # Authorization: Bearer ...
    | (?<![a-z0-9])(?:sk|pk|rk|gsk|xai)-[\w.*~+/=-]{4,}    # the prefixes of providers
    | (?<![a-z0-9])(?:gsk|hf|ghp|pplx|aiza)[_-]?[\w*-]{12,}
    | (?<=://)[^\s/@]+:[^\s/@]+(?=@)                       # user:password in an address
    """
)
_NAMED_KEY = re.compile(
    r"""(?ix)
    ((?:api[ _-]?key|access[ _-]?key|password|secret|authorization)
     [^\s:=]{0,20}(?:\s(?:provided|given|used))?["']?\s*[:=]\s*["']?)
    [^\s"',;]{4,}
    """
)
_RUN = re.compile(r"[A-Za-z0-9+/_=~-]{12,}")
# A piece without a separator that mixes digits and letters and is so long is no word.
_OPAQUE_MIXED = 12
# Nor is one of digits only, or of letters only, of these lengths.
_OPAQUE_DIGITS, _OPAQUE_LETTERS = 20, 40


def clean(said: object, secrets: Sequence[str] = (), limit: int = SHOWN) -> str:
    """Return an endpoint's words on one line, shortened, with everything like a key masked.

    Parameters
    ----------
    said : object
        Its words; anything but a str is written out.
    secrets : sequence of str
        Names of environment variables whose values must not be shown, nor parts of them.
    limit : int
        Characters kept.

    Returns
    -------
    str

    Notes
    -----
    Masked are the values of ``secrets`` and whatever shares eight characters in a row with one,
    ``sk-...`` and the like, what follows ``Bearer`` or ``api key:``, and long pieces that mix
    letters and digits. Control and invisible characters are taken out first, so that none can
    part a key from its mask.

    Examples
    --------
    >>> clean("Incorrect API key provided: sk-abc123.\\nSee our site")
    'Incorrect API key provided: *** See our site'
    """
    visible = "".join(c for c in str(said)[:_READ] if c.isprintable() or c.isspace())
    text = " ".join(visible.split())
    for name in secrets:
        text = _hide(text, os.environ.get(name) or "")
    text = _KEY_LIKE.sub(MASK, text)
    text = _NAMED_KEY.sub(rf"\1{MASK}", text)
    text = _RUN.sub(_hide_opaque, text)
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def _hide(text: str, secret: str) -> str:
    """Mask a key, and every word that holds a telling part of it."""
    if len(secret) < _PART_OF_KEY:
        return text.replace(secret, MASK) if secret else text
    low = " ".join(secret.split()).lower()
    parts = {low[i : i + _PART_OF_KEY] for i in range(len(low) - _PART_OF_KEY + 1)}
    lowered = text.lower()
    if len(lowered) != len(text):  # some capital letters have two small ones
        text = lowered
    hidden: list[str] = []
    start = 0
    while start < len(text):
        if lowered[start : start + _PART_OF_KEY] not in parts:
            hidden.append(text[start])
            start += 1
            continue
        end = start + _PART_OF_KEY
        while lowered[end - _PART_OF_KEY + 1 : end + 1] in parts and end < len(text):
            end += 1
        hidden.append(MASK)
        start = end
    return "".join(hidden)


def _hide_opaque(match: re.Match[str]) -> str:
    for piece in re.split(r"[-_/+=~]", match.group()):
        digits = sum(c.isdigit() for c in piece)
        if 0 < digits < len(piece) and len(piece) >= _OPAQUE_MIXED:
            return MASK
        if len(piece) >= (_OPAQUE_DIGITS if digits else _OPAQUE_LETTERS):
            return MASK
    return match.group()


@dataclass(frozen=True)
class Said:
    """An error as an endpoint tells it.

    Parameters
    ----------
    code : str or None
        Word for programs ("invalid_api_key").
    number : int or None
        HTTP status that the body names.
    param : str or None
        Field of the request that it is about.
    message : str
        Sentence for people.
    words : str
        All of it in small letters, to look for words in.
    wait : float or None
        Seconds that the endpoint asks to wait.
    html : bool
        Whether it is a page, as proxies and firewalls send, and not the endpoint's own.
    """

    code: str | None = None
    number: int | None = None
    param: str | None = None
    message: str = ""
    words: str = ""
    wait: float | None = None
    html: bool = False


# Fields in which endpoints send the text itself back: its words say nothing about the error.
_ECHOES = frozenset(
    {"flagged_input", "input", "prompt", "messages", "failed_generation", "content", "request"}
)
_MESSAGES = ("message", "msg", "detail", "error_description", "error_msg", "reason", "error")
_CODES = ("code", "type", "status", "error_code", "reason")
_NUMBERS = ("code", "status", "status_code", "http_code", "error_code")
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def read_error(body: bytes) -> Said:
    """Return what the body of an error says, in whichever form it comes.

    Parameters
    ----------
    body : bytes
        JSON in one of the forms in use, a page, plain words, or anything else.

    Returns
    -------
    Said
        Not yet cleaned: nothing of it may be shown before it went through :func:`clean`.
    """
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = body[:_READ].decode("utf-8", "replace").strip()
        html = text[:1] == "<" or "<html" in text.lower()
        if html:
            text = " ".join(_TAGS.sub(" ", text).split())
        return Said(message=text, words=text.lower(), wait=seconds_in(text), html=html)
    return error_of(value)


def error_of(value: Any) -> Said:
    """Return what a parsed error body, or an ``error`` object, says; see :func:`read_error`."""
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") or value if isinstance(value, dict) else value
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else ""
        text = text[:_READ]
        return Said(message=text, words=text.lower(), wait=seconds_in(text))
    inner = error.get("innererror")
    more = [inner.get("code")] if isinstance(inner, dict) else []
    codes = [error.get(name) for name in _CODES] + more
    param = error.get("param")
    words = " ".join(_strings(error))[:_READ].lower()
    return Said(
        code=next((c for c in codes if isinstance(c, str) and c and not c.isdigit()), None),
        number=_status_number(error),
        param=param if isinstance(param, str) else _place(error.get("detail")),
        message=_message(error),
        words=words,
        wait=_delay(error) or seconds_in(words),
    )


def _status_number(error: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that an error names, as a number or as digits."""
    for name in _NUMBERS:
        said = error.get(name)
        if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) == 3:
            said = int(said)
        if type(said) is int and 300 <= said <= 599:
            return said
    return None


def _message(error: Mapping[str, Any]) -> str:
    said = next((m for m in map(error.get, _MESSAGES) if m), "")
    if isinstance(said, list):  # one entry per wrong field
        said = "; ".join(_complaint(entry) for entry in said)
    elif not isinstance(said, str):
        said = " ".join(_strings(said))
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    # A gateway that only says that its provider failed sends the provider's words along.
    return f"{said}: {raw}" if isinstance(raw, str) else said


def _complaint(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    place = _place([entry])
    return f"{place}: {entry.get('msg')}" if place else str(entry.get("msg"))


def _place(detail: Any) -> str | None:
    """Return the field that the first entry of a list of complaints is about."""
    entry = detail[0] if isinstance(detail, list) and detail else None
    where = entry.get("loc") if isinstance(entry, dict) else None
    if not isinstance(where, list):
        return None
    return ".".join(str(step) for step in where if step != "body") or None


def _strings(value: Any, depth: int = 6) -> Iterator[str]:
    """Yield all words of a parsed body but for those that are the request's own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth:
        for name, inner in value.items():
            if name not in _ECHOES:
                yield from _strings(inner, depth - 1)
    elif isinstance(value, list) and depth:
        for inner in value[:50]:
            yield from _strings(inner, depth - 1)


# "1m20.5s", "20 seconds", "350ms": numbers and their units, one after the other.
_SPAN = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
_SPANS = re.compile(_SPAN)
_ASKED_WAIT = re.compile(
    rf"(?:again|retry|retrying|wait|available|resets?)\b[^.\d]{{0,30}}((?:{_SPAN}(?: and)? ?)+)"
)
_UNITS = {"ms": 1e-3, "milli": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DELAYS = {"retrydelay": 1.0, "retryafter": 1.0, "retryafterseconds": 1.0, "retryafterms": 1e-3}


def seconds_in(words: str) -> float | None:
    """Return the seconds that a sentence asks to wait, None if it does not.

    Examples
    --------
    >>> seconds_in("Rate limit reached. Please try again in 1m20.5s.")
    80.5
    >>> seconds_in("The request took 30 s") is None
    True
    """
    asked = _ASKED_WAIT.search(words.lower())
    return _seconds(asked.group(1)) if asked else None


def _seconds(spans: str) -> float | None:
    total = 0.0
    for number, unit in _SPANS.findall(spans.lower()):
        scale = next(_UNITS[name] for name in _UNITS if unit.startswith(name))
        total += float(number) * scale
    return total if total > 0 else None


def _delay(value: Any, depth: int = 6) -> float | None:
    """Return the wait that a field of an error holds, wherever it stands (Google's RetryInfo)."""
    inner: list[Any] = []
    if isinstance(value, dict) and depth:
        for name, said in value.items():
            scale = _DELAYS.get(re.sub(r"[^a-z]", "", str(name).lower()))
            if scale is not None and isinstance(said, int | float | str):
                seconds = _seconds(f"{said} s" if _plain_number(said) else str(said))
                if seconds is not None:
                    return seconds * scale
        inner = list(value.values())
    elif isinstance(value, list) and depth:
        inner = value[:50]
    return next((s for s in (_delay(v, depth - 1) for v in inner) if s is not None), None)


def _plain_number(said: float | str) -> bool:
    return re.fullmatch(r"\d{1,9}(\.\d{1,9})?", str(said)) is not None
