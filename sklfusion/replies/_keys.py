"""The key of a reply: a digest of exactly what was sent."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import Any

from sklfusion._chat import ChatRequest

# Raised only when the meaning of a request changes, since raising it forgets every paid reply.
KEY_VERSION = 1

_IS_KEY = re.compile(r"[0-9a-f]{64}").fullmatch


def request_key(request: ChatRequest, sample: int = 0) -> str:
    """Return the key under which the reply to ``request`` is kept.

    The digest covers the endpoint's origin and path, the model, every decoding parameter, the
    messages and the schema. It does not cover the API key, the position in a batch, the number
    of workers or any source code, so none of these makes a second payment.

    Parameters
    ----------
    request : ChatRequest
        The request, as it will be sent.
    sample : int, default=0
        Number of the draw when the same request is sent several times on purpose (repeated
        votes, a second try after an unusable reply).

    Returns
    -------
    str
        64 hexadecimal digits (SHA-256; 32-bit keys would collide at 100,000 texts).

    Examples
    --------
    >>> from sklfusion._chat import ChatRequest
    >>> request = ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),))
    >>> request_key(request) == request_key(request)
    True
    >>> request_key(request) == request_key(request, sample=1)
    False
    """
    place = last_user(request)
    if place is None:
        return _digest(sample, request.canonical())
    return request_keys(request, [request.messages[place][1]], sample)[0]


def request_keys(request: ChatRequest, contents: Iterable[str], sample: int = 0) -> list[str]:
    """Return the keys of requests that differ only in their last user message.

    What such requests share is written and hashed once, so a key costs about a microsecond.

    Parameters
    ----------
    request : ChatRequest
        Any of the requests; it has a user message.
    contents : iterable of str
        The last user message of each request.
    sample : int, default=0
        See :func:`request_key`.

    Returns
    -------
    list of str
        What :func:`request_key` returns for each.

    Raises
    ------
    ValueError
        If the request has no user message.

    Examples
    --------
    >>> from sklfusion._chat import ChatRequest
    >>> request = ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),))
    >>> request_keys(request, ["hello"]) == [request_key(request)]
    True
    """
    place = last_user(request)
    if place is None:
        raise ValueError("The request has no user message; use request_key for each request.")
    begun, end = _around(
        int(sample),
        request.origin,
        request.model,
        request.messages[:place],
        request.messages[place + 1 :],
        _Params(request.params),
    )
    keys = []
    for content in contents:
        digest = begun.copy()
        digest.update(encode_basestring_ascii(content).encode("ascii") + end)
        keys.append(digest.hexdigest())
    return keys


def last_user(request: ChatRequest) -> int | None:
    """Return the place of the message in which the requests of a run differ."""
    messages = request.messages
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i][0] == "user"), None)


def _digest(sample: int, canonical: str) -> str:
    return hashlib.sha256(_head(sample) + canonical.encode("ascii")).hexdigest()


def _head(sample: int) -> bytes:
    return f"sklfusion-reply-{KEY_VERSION}\n{int(sample)}\n".encode("ascii")


class _Params:
    """Parameters of a request as a key of the cache: equal if they are written alike."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.written = repr(params)

    def __hash__(self) -> int:
        return hash(self.written)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Params) and self.written == other.written


@functools.lru_cache(maxsize=64)
def _around(
    sample: int,
    origin: str,
    model: str,
    before: tuple[tuple[str, str], ...],
    after: tuple[tuple[str, str], ...],
    params: _Params,
) -> tuple[Any, bytes]:
    """Return the hash of the canonical text up to a user message, and what follows it."""
    rest = repr((before, after, params.written)).encode("utf-8", "replace")
    mark = hashlib.sha256(rest).hexdigest()  # cannot be in what it is the digest of
    request = ChatRequest(origin, model, (*before, ("user", mark), *after), params.params)
    start, found, end = request.canonical().partition(f'"{mark}"')
    assert found
    assert mark not in end
    return hashlib.sha256(_head(sample) + start.encode("ascii")), end.encode("ascii")


def check_key(key: object) -> str:
    """Return ``key`` if it is 64 hexadecimal digits.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(key, str) or not _IS_KEY(key):
        raise ValueError(f"{key!r:.80} is not a reply key; use request_key(request).")
    return key
