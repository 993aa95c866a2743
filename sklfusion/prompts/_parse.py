"""Reading answers. Anything outside the label set is a failed reply, never a guess.

Every function either returns what the answer says or raises :class:`ReplyError`. There is no
nearest label, no default label, and no score is made up.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from sklfusion._chat import Reply
from sklfusion._validation import normalize_label
from sklfusion.prompts._answer import after_field, without_marks, without_thinking
from sklfusion.prompts._read_label import (
    MAX_EXPLAINED,
    MAX_LABEL_ANSWER,
    Names,
    answer_field,
    begun_label,
    explained_label,
    label_position,
    names_of,
    pieces_of,
)

#: Raised when the same stored reply would be read differently.
PARSER_VERSION = 2

# How models write the empty list of labels in words.
_NONE = frozenset({"none", "no label", "no labels", "none of the labels", "none of them"})
_REFUSALS = (
    "i'm sorry",
    "i am sorry",
    "sorry, ",
    "i cannot",
    "i can't",
    "i can not",
    "i won't",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "as an ai",
    "unfortunately, i",
)


class ReplyError(ValueError):
    """An answer cannot be used.

    Parameters
    ----------
    cause : str
        Short word that reports count by: "refusal", "content_filter", "truncated", "bad_json",
        "unknown_label", "missing_label", "two_labels", "bad_number", "no_content", ...
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


#: Causes that asking again will not cure.
FINAL_CAUSES = frozenset({"refusal", "content_filter"})


def check_finish(reply: Reply, *, allow_length: bool = False) -> None:
    """Refuse a reply by how it ended, before its content is looked at.

    Raises
    ------
    ReplyError
        "refusal", "content_filter", or "truncated" (with ``allow_length`` only in mid-thought).
    """
    if reply.refusal:
        raise ReplyError("refusal")
    reason = reply.finish_reasons[0] if reply.finish_reasons else None
    if reason == "content_filter":
        raise ReplyError("content_filter")
    if reason == "length":
        content = reply.contents[0] if reply.contents else None
        if not allow_length or without_thinking(content or "") is None:
            raise ReplyError("truncated")


def content_of(reply: Reply, choice: int = 0) -> str:
    """Return the answer of a choice without the thoughts before it.

    Raises
    ------
    ReplyError
        "no_content", or "unclosed_thinking" where a thought has no end.
    """
    content = reply.contents[choice] if choice < len(reply.contents) else None
    answer = without_thinking(content) if content is not None else ""
    if answer is None:
        raise ReplyError("unclosed_thinking")
    if not answer.strip():
        raise ReplyError("no_content")
    return answer


def parse_label(content: str, keys: Sequence[str], names: Sequence[str] = ()) -> int:
    """Return the position of the one label that an answer names.

    Read where there is exactly one reading: the label after Unicode normalisation, case folding
    and removal of outer punctuation, brackets, a fence, end marks or a field (``Label: spam``);
    the label as a JSON value, a number or boolean of equal value, or the answer field of one JSON
    object; the label with an explanation that names no other label.

    Parameters
    ----------
    content : str
        The answer.
    keys : sequence of str
        What the labels are called in the answer.
    names : sequence of str, optional
        What else the model was told that they are called, in the same order.

    Raises
    ------
    ReplyError
        If the answer is anything else.

    Examples
    --------
    >>> parse_label(" Spam. ", ["ham", "spam"])
    1
    >>> parse_label('{"label": 1.0, "reason": "many"}', ["0", "1"])
    1
    """
    known = names_of(tuple(keys), tuple(names))
    if len(content) <= MAX_LABEL_ANSWER:
        position = _label_position(content, known)
        if position is not None:
            return position
    failed = None
    try:
        position = _json_label(content, known)
        if position is not None:
            return position
    except ReplyError as error:
        failed = error
    _refuse_prose(content)
    if len(content) <= MAX_EXPLAINED and content.lstrip()[:1] not in ("{", "["):
        position = explained_label(content, known)
        if position is not None:
            return position
    if failed is not None:
        raise failed
    if len(content) <= MAX_LABEL_ANSWER:
        pieces = [known.find(piece) for piece in re.split(r"[,;|/\n]| and | or ", content)]
        if sum(piece is not None for piece in pieces) > 1:
            raise ReplyError("two_labels")
    raise ReplyError("unknown_label")


def parse_begun_label(reply: Reply, keys: Sequence[str], names: Sequence[str] = ()) -> int | None:
    """Return the label of a reply that was cut in the explanation after it, else None.

    Parameters
    ----------
    reply : Reply
        Its limit of tokens ended it.
    keys, names : sequence of str
        See :func:`parse_label`.
    """
    try:
        return begun_label(content_of(reply), names_of(tuple(keys), tuple(names)))
    except ReplyError:
        return None


# A hundred thousand answers are a handful of different ones.
_label_position = functools.lru_cache(maxsize=4096)(label_position)


def _json_label(content: str, known: Names) -> int | None:
    """Return the label of an answer in JSON, None if there is no JSON object in it."""
    start = content.find("{")
    if start < 0:
        return None
    if content[:start].rstrip().endswith("["):
        start = content.rindex("[", 0, start)
    position = known.value(decode_from(content, start))
    if position is None:
        raise ReplyError("unknown_label")
    return position


def _first(content: str, brackets: str) -> int | None:
    starts = [at for at in map(content.find, brackets) if at >= 0]
    return min(starts, default=None)


def _refuse_prose(content: str) -> None:
    opening = content[:80].strip().casefold().replace("\u2019", "'")
    if opening.startswith(_REFUSALS):
        raise ReplyError("refusal")


def parse_label_set(
    content: str, keys: Sequence[str], names: Sequence[str] = ()
) -> frozenset[int]:
    """Return the positions of all labels that an answer names; the empty set is an answer.

    Accepted are a JSON list, a JSON object with one list or with a boolean for each label, with
    or without a code fence or prose around it, labels alone with commas between them, and "none"
    where no label is called so. Numbers count for labels of equal value.

    Parameters
    ----------
    content : str
        The answer.
    keys : sequence of str
        What the labels are called in the answer.
    names : sequence of str, optional
        What else the model was told that they are called, in the same order.

    Raises
    ------
    ReplyError
        If the answer is anything else.

    Examples
    --------
    >>> sorted(parse_label_set('["b", "a"]', ["a", "b", "c"]))
    [0, 1]
    >>> sorted(parse_label_set("[1, 3]", ["1", "2", "3"]))
    [0, 2]
    """
    known = names_of(tuple(keys), tuple(names))
    start = _first(content, "[{")
    listed = _bare_set(content, known) if start is None or content[start] == "[" else None
    if listed is None:
        if start is None:
            _refuse_prose(content)
            raise ReplyError("bad_json")
        listed = _json_set(decode_from(content, start), known)
    if len(set(listed)) != len(listed):
        raise ReplyError("duplicate_label")
    return frozenset(listed)


def _bare_set(content: str, known: Names) -> Sequence[int] | None:
    if len(content) > MAX_LABEL_ANSWER:
        return None
    position = _label_position(content, known)
    if position is not None:
        return [position]
    plain = without_marks(content)
    if normalize_label(plain) in _NONE:
        return []
    return pieces_of(after_field(plain), known.find)


def _json_set(value: Any, known: Names) -> Sequence[int]:
    if isinstance(value, dict):
        ticked = known.ticked(value)
        if ticked is not None:
            return sorted(ticked)
        value = answer_field(value)
    if not isinstance(value, list):
        raise ReplyError("bad_json")
    found = [known.value(item) for item in value]
    if None in found:
        raise ReplyError("unknown_label")
    return [position for position in found if position is not None]


def find_object(content: str) -> dict[str, Any]:
    """Return the only JSON object in an answer, or raise ReplyError."""
    start = content.find("{")
    if start < 0:
        _refuse_prose(content)
        raise ReplyError("bad_json")
    value = decode_from(content, start)
    if not isinstance(value, dict):
        raise ReplyError("bad_json")
    return value


def decode_from(content: str, start: int) -> Any:
    # Only the first bracket is tried, and nothing that looks like a second value may follow:
    # linear time whatever arrives.
    try:
        value, end = _DECODER.raw_decode(content, start)
    except ReplyError:
        raise
    except (ValueError, RecursionError):
        raise ReplyError("bad_json") from None
    rest = content[end:]
    if "{" in rest or "[" in rest:
        raise ReplyError("two_objects")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ReplyError("duplicate_key")
    return value


def _no_constant(name: str) -> float:
    raise ReplyError("bad_number")


def _short_int(digits: str) -> float:
    # int() of a million digits takes quadratic time, and only 0 and 1 are of use.
    return int(digits) if len(digits) < 20 else math.inf


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_no_constant, parse_int=_short_int
)
