"""How servers spell tokens: as text, as vocabulary entries, as bytes in text."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from sklfusion._chat import TokenLogprobs

_BYTES = re.compile(r"(?:bytes:)?((?:\\x[0-9a-fA-F]{2})+)").fullmatch
# How byte-level and sentence-piece vocabularies write the space before a word.
_SPACES = "\u0120\u2581"
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>").fullmatch


def text_of(raw: bytes) -> str:
    """Return bytes as text in which a half character stays what it is.

    Bytes of no whole character become lone surrogates, from which they come back with the error
    handler "surrogateescape"; so a token is one str, whatever it holds.

    Examples
    --------
    >>> text_of("\\N{WHITE SMILING FACE}".encode()[:1]).encode("utf-8", "surrogateescape")
    b'\\xe2'
    """
    return raw.decode("utf-8", "surrogateescape")


@functools.lru_cache(maxsize=1)
def _alphabet() -> dict[str, int]:
    """Return the characters by which byte-level vocabularies write bytes (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in shown}
    hidden = [byte for byte in range(256) if byte not in shown]
    return table | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def _as_text(token: str) -> str:
    escaped = _BYTES(token)
    if escaped:
        return text_of(bytes.fromhex(escaped.group(1).replace("\\x", "")))
    one = _ONE_BYTE(token)
    token = text_of(bytes([int(one.group(1), 16)])) if one else token
    if token.isascii():
        return token
    if token[0] in _SPACES:
        token = " " + token[1:]
    # A surrogate that stands for no byte cannot be compared with anything.
    return _NO_BYTE.sub("\ufffd", token)


def _as_entry(token: str) -> str:
    """Return the text of an entry of a byte-level or sentence-piece vocabulary."""
    token = token.replace("\u2581", " ")
    table = _alphabet()
    if all(c in table or c == " " for c in token):
        return text_of(bytes(table.get(c, 32) for c in token))
    return _as_text(token)


def entry_bytes(token: str) -> bytes:
    """Return the bytes of an entry of a vocabulary."""
    return _as_entry(_as_text(token)).encode("utf-8", "surrogateescape")


def spelled(steps: Sequence[TokenLogprobs], content: str | None = None) -> list[TokenLogprobs]:
    """Return the tokens as the text that they stand for.

    Parameters
    ----------
    steps : sequence of TokenLogprobs
        As the endpoint wrote them.
    content : str, optional
        The whole answer. Where the tokens do not spell it as text but do as entries of a
        vocabulary, they are taken for such.
    """
    text = _respell(steps, _as_text)
    if content and content.strip() not in _joined_text(text):
        entries = _respell(steps, _as_entry)
        if content.strip() in _joined_text(entries):
            return entries
    return text


def _joined_text(steps: Sequence[TokenLogprobs]) -> str:
    raw = "".join(step.token for step in steps).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")


def _respell(steps: Sequence[TokenLogprobs], read: Callable[[str], str]) -> list[TokenLogprobs]:
    return [
        TokenLogprobs(read(s.token), s.logprob, tuple((read(t), p) for t, p in s.top))
        for s in steps
    ]
