"""The key of a reply: a digest of exactly what was sent."""

from __future__ import annotations

import hashlib
import re

from sklfusion.llm._types import ChatRequest

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
    >>> from sklfusion.llm._types import ChatRequest
    >>> request = ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),))
    >>> request_key(request) == request_key(request)
    True
    >>> request_key(request) == request_key(request, sample=1)
    False
    """
    text = f"sklfusion-reply-{KEY_VERSION}\n{int(sample)}\n{request.canonical()}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()


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
