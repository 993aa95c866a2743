"""Reading answers. Anything outside the label set is a failed reply, never a guess.

Every function either returns what the answer says or raises :class:`ReplyError`. There is no
nearest label, no default label, and no score is made up.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sklfusion._validation import normalize_label
from sklfusion.llm._types import Reply

#: Raised when the same stored reply would be read differently.
PARSER_VERSION = 1

# No label answer is longer; normalising more would only cost time.
_MAX_LABEL_ANSWER = 2000
_TOLERANCE = 0.02
_PLAIN_DECIMAL = re.compile(r"(?:0|1|0?\.\d{1,17}|0\.\d{1,17}|1\.0{1,17})").fullmatch
_FIELD = re.compile(r"^(?:label|category|class|answer)\s*[:=]\s*", re.IGNORECASE)
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
        "refusal", "content_filter", or "truncated" (unless ``allow_length``).
    """
    if reply.refusal:
        raise ReplyError("refusal")
    reason = reply.finish_reasons[0] if reply.finish_reasons else None
    if reason == "content_filter":
        raise ReplyError("content_filter")
    if reason == "length" and not allow_length:
        raise ReplyError("truncated")


def content_of(reply: Reply, choice: int = 0) -> str:
    """Return the text of a choice, or raise ReplyError("no_content")."""
    content = reply.contents[choice] if choice < len(reply.contents) else None
    if content is None or not content.strip():
        raise ReplyError("no_content")
    return content


def label_index(keys: Sequence[str]) -> dict[str, int]:
    """Return the normalised form of every key and its position."""
    return _label_index(tuple(keys))


@functools.lru_cache(maxsize=256)
def _label_index(keys: tuple[str, ...]) -> dict[str, int]:
    return {normalize_label(key): position for position, key in enumerate(keys)}


def parse_label(content: str, keys: Sequence[str]) -> int:
    """Return the position of the one label that an answer names.

    Accepted are the label, a field before it (``Label: spam``), the label as a JSON string, and
    one JSON object ``{"label": "spam"}``; compared after NFKC, case folding and removal of outer
    punctuation.

    Raises
    ------
    ReplyError
        If the answer is anything else.

    Examples
    --------
    >>> parse_label(" Spam. ", ["ham", "spam"])
    1
    """
    known = label_index(keys)
    short = len(content) <= _MAX_LABEL_ANSWER
    if short:
        position = _plain_label(content, tuple(keys))
        if position is not None:
            return position
    if "{" in content:
        value = find_object(content)
        if len(value) == 1:
            said = next(iter(value.values()))
            if isinstance(said, str) and len(said) <= _MAX_LABEL_ANSWER:
                return _position(said, known)
        raise ReplyError("unknown_label")
    _refuse_prose(content)
    if short:
        pieces = [normalize_label(piece) for piece in re.split(r"[,;|/\n]| and | or ", content)]
        if sum(piece in known for piece in pieces) > 1:
            raise ReplyError("two_labels")
    raise ReplyError("unknown_label")


@functools.lru_cache(maxsize=4096)
def _plain_label(content: str, keys: tuple[str, ...]) -> int | None:
    # A hundred thousand answers are a handful of different ones.
    known = label_index(keys)
    for candidate in (content, _FIELD.sub("", content.strip())):
        position = known.get(normalize_label(candidate))
        if position is not None:
            return position
    return None


def _position(label: str, known: Mapping[str, int]) -> int:
    position = known.get(normalize_label(label))
    if position is None:
        raise ReplyError("unknown_label")
    return position


def _refuse_prose(content: str) -> None:
    opening = content[:80].strip().casefold().replace("\u2019", "'")
    if opening.startswith(_REFUSALS):
        raise ReplyError("refusal")


def parse_label_set(content: str, keys: Sequence[str]) -> frozenset[int]:
    """Return the positions of all labels that an answer names; the empty set is an answer.

    Accepted are a JSON list, a JSON object with one list, with or without a code fence or prose
    around it.

    Raises
    ------
    ReplyError
        If there is not exactly one list or object, or it holds anything but labels.

    Examples
    --------
    >>> sorted(parse_label_set('["b", "a"]', ["a", "b", "c"]))
    [0, 1]
    """
    starts = [i for i in (content.find("["), content.find("{")) if i >= 0]
    if not starts:
        _refuse_prose(content)
        raise ReplyError("bad_json")
    value = _decode_from(content, min(starts))
    if isinstance(value, dict):
        if len(value) != 1:
            raise ReplyError("bad_json")
        value = next(iter(value.values()))
    if not isinstance(value, list):
        raise ReplyError("bad_json")
    known = label_index(keys)
    found = []
    for item in value:
        if not isinstance(item, str) or len(item) > _MAX_LABEL_ANSWER:
            raise ReplyError("unknown_label")
        found.append(_position(item, known))
    if len(set(found)) != len(found):
        raise ReplyError("duplicate_label")
    return frozenset(found)


def parse_scores(
    content: str,
    keys: Sequence[str],
    *,
    multilabel: bool = False,
    missing: str = "error",
    extra: str = "error",
) -> tuple[list[float], bool]:
    """Return one number in [0, 1] per label, and whether they had to be normalised.

    Parameters
    ----------
    content : str
        The answer: one JSON object, a code fence or prose around it is tolerated.
    keys : sequence of str
        What the labels are called in the answer.
    multilabel : bool
        Whether the numbers are independent; else they are made to sum to 1.
    missing : {"error", "zero"}
        What a label that is not there means.
    extra : {"error", "ignore"}
        What to do with keys that are no label (once all labels are there).

    Raises
    ------
    ReplyError
        If the object is not that.

    Examples
    --------
    >>> parse_scores('{"a": 0.25, "b": 0.75}', ["a", "b"])
    ([0.25, 0.75], False)
    """
    value = find_object(content)
    known = label_index(keys)
    scores: dict[int, float] = {}
    unknown = 0
    for key, number in value.items():
        position = known.get(normalize_label(key[:_MAX_LABEL_ANSWER]))
        if position is None:
            unknown += 1
            continue
        if position in scores:
            raise ReplyError("duplicate_label")
        scores[position] = _unit_number(number)
    if len(scores) < len(keys) and (missing != "zero" or not scores):
        raise ReplyError("missing_label")
    if unknown and extra != "ignore":
        raise ReplyError("unknown_label")
    row = [scores.get(position, 0.0) for position in range(len(keys))]
    if multilabel:
        return row, False
    total = math.fsum(row)
    if total <= 0:
        raise ReplyError("zero_sum")
    return [number / total for number in row], abs(total - 1) > _TOLERANCE


def _unit_number(value: Any) -> float:
    if isinstance(value, str) and _PLAIN_DECIMAL(value):
        return float(value)
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ReplyError("bad_number")
    return float(value)


def find_object(content: str) -> dict[str, Any]:
    """Return the only JSON object in an answer, or raise ReplyError."""
    start = content.find("{")
    if start < 0:
        _refuse_prose(content)
        raise ReplyError("bad_json")
    value = _decode_from(content, start)
    if not isinstance(value, dict):
        raise ReplyError("bad_json")
    return value


def _decode_from(content: str, start: int) -> Any:
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


def _small_int(digits: str) -> float:
    # int() of a million digits takes quadratic time, and only 0 and 1 are of use.
    return int(digits) if len(digits) < 20 else math.inf


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_no_constant, parse_int=_small_int
)
