"""Reply <-> JSON text. What is read is checked as strictly as what arrives from the wire."""

from __future__ import annotations

import functools
import json
import math
import re
import zlib
from typing import Any, NoReturn

from sklfusion._chat import Reply, TokenLogprobs, Usage

# Far above any label, far below what would hurt; the wire has its own, smaller limit.
MAX_VALUE_CHARS = 8_000_000

# The last field. A quotation mark inside a string is escaped, so this never stands in one.
_CREATED = ',"created":'
_NUMBER_AND_BRACE = re.compile(r"\d{1,15}(\.\d{1,40})?(e[+-]?\d{1,3})?\}").fullmatch
_PLAIN = re.compile(r"\d{1,15}(\.\d{1,40})?\}").fullmatch
# Longer replies are hardly ever equal.
_MAX_COMMON = 2000

_FIELDS = ("contents", "finish_reasons", "model", "usage", "logprobs", "refusal", "created")


def encode_reply(reply: Reply) -> str:
    """Return ``reply`` as ASCII JSON text.

    ASCII, because a lone surrogate cannot be written as UTF-8, and because the salvage of a
    damaged file searches for it byte by byte.

    Examples
    --------
    >>> from sklfusion._chat import Reply
    >>> decode_reply(encode_reply(Reply(("spam",)))) == Reply(("spam",))
    True
    """
    usage = reply.usage
    logprobs = None
    if reply.logprobs is not None:
        logprobs = [
            [t.token, _finite(t.logprob), [[token, _finite(value)] for token, value in t.top]]
            for t in reply.logprobs
        ]
    value = {
        "contents": list(reply.contents),
        "finish_reasons": list(reply.finish_reasons),
        "model": reply.model,
        "usage": [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens],
        "logprobs": logprobs,
        "refusal": reply.refusal,
        "created": reply.created,
    }
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _finite(logprob: float) -> float | None:
    """A token of probability zero has no number in JSON; it is written as null."""
    return float(logprob) if math.isfinite(logprob) else None


def checksum(key: str, value: str) -> str:
    """Return eight hexadecimal digits that tie a value to its key (against decay, not malice)."""
    # Latin-1, byte for byte as it is in the file: what else could stand for a damaged byte?
    return f"{zlib.crc32(value.encode('latin-1'), zlib.crc32(key.encode('latin-1'))):08x}"


def decode_reply(text: str | bytes) -> Reply:
    """Return the Reply written by :func:`encode_reply`.

    Raises
    ------
    ValueError
        If ``text`` is anything else, whatever it is.
    """
    if not isinstance(text, str):
        raise ValueError(f"stored reply is {type(text).__name__}, not text")
    if len(text) > MAX_VALUE_CHARS:
        raise ValueError(f"stored reply has {len(text)} characters")
    head, mark, tail = text.rpartition(_CREATED)
    created = float(tail[:-1]) if mark and _NUMBER_AND_BRACE(tail) else math.inf
    if not math.isfinite(created):
        raise ValueError("stored reply does not end as a reply does")
    # Most replies of a run differ only in their time.
    rest = _decode_cached(head) if len(head) < _MAX_COMMON else _decode_head(head)
    return Reply(
        rest.contents,
        rest.finish_reasons,
        rest.model,
        rest.usage,
        rest.logprobs,
        rest.refusal,
        created,
    )


def head_of(text: str) -> str | None:
    """Return a stored reply without its time, None if it is long or does not end as usual.

    Replies with equal heads are equal but for their time.
    """
    head, mark, tail = text.rpartition(_CREATED)
    return head if mark and len(head) < _MAX_COMMON and _PLAIN(tail) else None


def _decode_head(head: str) -> Reply:
    try:
        value = json.loads(head + ',"created":0}', parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("stored reply is nested too deeply") from None
    return reply_from_row(value)


_decode_cached = functools.lru_cache(maxsize=4096)(_decode_head)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"stored reply holds {name}")


def reply_from_row(value: Any) -> Reply:
    """Return the Reply described by parsed JSON; ValueError if it describes none."""
    if not isinstance(value, dict) or set(value) != set(_FIELDS):
        raise ValueError("stored reply has other fields than a reply")
    usage = value["usage"]
    if not isinstance(usage, list) or len(usage) != 3:
        raise ValueError("stored reply has no usage of three counts")
    for count in usage:
        _expect(count is None or type(count) is int, "usage")
    logprobs = value["logprobs"]
    return Reply(
        contents=_texts(value["contents"], "contents"),
        finish_reasons=_texts(value["finish_reasons"], "finish_reasons"),
        model=_decoded_text(value["model"], "model"),
        usage=Usage(*usage),
        logprobs=None if logprobs is None else _decoded_logprobs(logprobs),
        refusal=_decoded_text(value["refusal"], "refusal"),
        created=_number(value["created"], "created"),
    )


def _expect(condition: bool, field: str) -> None:
    if not condition:
        raise ValueError(f"stored reply has a wrong {field}")


def _decoded_text(value: Any, field: str) -> str | None:
    _expect(value is None or isinstance(value, str), field)
    return value  # type: ignore[no-any-return]


def _texts(value: Any, field: str) -> tuple[str | None, ...]:
    _expect(isinstance(value, list), field)
    return tuple(_decoded_text(item, field) for item in value)


def _number(value: Any, field: str) -> float:
    _expect(type(value) in (int, float) and -1e300 < value < 1e300, field)
    return value  # type: ignore[no-any-return]


def _logprob(value: Any) -> float:
    return -math.inf if value is None else _number(value, "logprobs")


def _decoded_logprobs(value: Any) -> tuple[TokenLogprobs, ...]:
    _expect(isinstance(value, list), "logprobs")
    tokens = []
    for entry in value:
        _expect(isinstance(entry, list) and len(entry) == 3, "logprobs")
        token, logprob, top = entry
        _expect(isinstance(token, str) and isinstance(top, list), "logprobs")
        for pair in top:
            _expect(isinstance(pair, list) and len(pair) == 2, "logprobs")
            _expect(isinstance(pair[0], str), "logprobs")
        best = tuple((name, _logprob(number)) for name, number in top)
        tokens.append(TokenLogprobs(token, _logprob(logprob), best))
    return tuple(tokens)
