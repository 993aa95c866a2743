"""Reading labels: a label where an answer has exactly one reading, else a failed reply."""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from sklfusion._validation import fold, normalize_label
from sklfusion.prompts._answer import after_field, is_field, unwrapped, without_marks

#: No label answer is longer; normalising more would only cost time.
MAX_LABEL_ANSWER = 2000
#: An explanation may be longer, up to here.
MAX_EXPLAINED = 20_000
# Fewer words after a label are another label as likely as an explanation.
_MIN_EXPLANATION = 3
# Names this short are words of any explanation ("A", "I", "no").
_MIN_MENTION = 3
# Objects in objects are followed this far.
_MAX_DEPTH = 3
_AS_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?").fullmatch
_BULLET = re.compile(r"(?:[-*\u2022>#]|\d{1,3}[.)])\s+")
_PIECES = re.compile(r"[,;|/\n]| and | or ")
_BREAK = re.compile(
    r"\s*\(|[.:;]\s|\s[-\u2013\u2014=]\s|[,\s]\s*(?=(?:because|since|as it|as the)\s)",
    re.IGNORECASE,
)
_EXPLAINS = re.compile(
    r"\W*(?:because|since|reason|explanation|rationale|confidence|note|probability)\b",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"\W*(?:no|not|nope|wrong|or|and|maybe|but|actually|wait|hmm|vs|instead|rather)\b",
    re.IGNORECASE,
)
_PAIRS = {"[": "]", "(": ")"}
# What models write between the words of a name, whatever stands there ("card arrival").
_JOINS = re.compile(r"(?<=[^\W_])[\s_\u2010-\u2015-]+(?=[^\W_])")
# Quotation marks, brackets and invisible marks of any script around an answer, by category.
_AROUND = frozenset({"Pi", "Pf", "Ps", "Pe", "Cf", "Zs"})
# Ends of sentences and pauses in scripts other than Latin.
_STOPS = "\u3002\u3001\u0964\u060c\u061b\u2026"
# They choose between two pictures of one character.
_VARIANTS = str.maketrans("", "", "\ufe0e\ufe0f")
_VALUE = r'"(?:[^"\\]|\\.)*"|true|false|-?\d[\d.]*'
_FIRST_FIELD = re.compile(rf'\{{\s*"([^"\\]{{1,40}})"\s*:\s*({_VALUE})\s*,')


class Names:
    """Finds labels by what the model may call them.

    Parameters
    ----------
    keys : sequence of str
        What the labels are called in the answer.
    names : sequence of str
        Other names of the same labels, as the model was shown them beside the keys.
    """

    def __init__(self, keys: Sequence[str], names: Sequence[str] = ()) -> None:
        exact = {key: position for position, key in enumerate(keys)}
        folded: dict[str, int | None] = {}
        for position, key in enumerate(keys):
            name = normalize_label(key)
            # Two keys that differ in case only are no answer in a third spelling.
            folded[name] = None if name in folded else position
        for position, name in enumerate(map(normalize_label, names)):
            folded.setdefault(name, position)
        self._exact, self._folded = exact, folded
        numbers: dict[float, int | None] = {}
        for position, key in enumerate(keys):
            if _AS_NUMBER(key):
                numbers[float(key)] = None if float(key) in numbers else position
        self._numbers = numbers
        loose: dict[str, int | None] = {}
        for position, key in enumerate(keys):
            name = _loosely(key)
            loose[name] = None if name in loose else position
        self._loose = loose
        # What an explanation may name: the longest names first, so that parts do not count.
        long = [(n, k) for n, k in folded.items() if k is not None and len(n) >= _MIN_MENTION]
        self._mentions = sorted(long, key=lambda item: -len(item[0]))

    def find(self, text: str) -> int | None:
        """Return the position of the label that a text is."""
        if len(text) > MAX_LABEL_ANSWER:
            return None
        text = text.strip()
        position = self._exact.get(text)
        if position is None:
            position = self._folded.get(normalize_label(text))
        if position is None and _AS_NUMBER(text.rstrip(".")):
            position = self._numbers.get(float(text.rstrip(".")))
        if position is None and text and _PAIRS.get(text[0]) == text[-1]:
            return self.find(text[1:-1])
        return self._loose.get(_loosely(_bare(text))) if position is None else position

    def value(self, value: Any, depth: int = 0) -> int | None:
        """Return the position of the label that a JSON value names."""
        if isinstance(value, bool):
            return self._folded.get("true" if value else "false")
        if isinstance(value, str):
            return self.find(value)
        if isinstance(value, int | float):
            return self._numbers.get(float(value))
        if depth >= _MAX_DEPTH or not value:
            return None
        if isinstance(value, list):
            return self.value(value[0], depth + 1) if len(value) == 1 else None
        if isinstance(value, dict):
            chosen = self.ticked(value)
            if chosen is not None:
                return min(chosen) if len(chosen) == 1 else None
            inner = answer_field(value)
            return None if inner is None else self.value(inner, depth + 1)
        return None

    def ticked(self, value: dict[str, Any]) -> frozenset[int] | None:
        """Return the labels that are true, if every key is a label and every value a boolean."""
        positions = [self.find(key) for key in value]
        ticks = list(value.values())
        if not value or None in positions or len(set(positions)) < len(positions):
            return None
        if not all(isinstance(tick, bool) for tick in ticks):
            return None
        return frozenset(
            p for p, tick in zip(positions, ticks, strict=True) if tick and p is not None
        )

    def others(self, text: str, position: int) -> bool:
        """Tell whether a text names a label other than one, or takes that one back."""
        folded = fold(text)
        for name, other in self._mentions:
            if name not in folded:
                continue
            pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
            if other != position and re.search(pattern, folded):
                return True
            if other == position and re.search(rf"(?:\bnot|\bno|n't)(?: an?)? {pattern}", folded):
                return True
            folded = re.sub(pattern, " ", folded)
        pieces = [self.find(piece) for piece in _PIECES.split(text[:MAX_LABEL_ANSWER])]
        return any(piece not in (None, position) for piece in pieces)


def _loosely(text: str) -> str:
    """Fold a name so that "card_arrival", "card-arrival" and "Card arrival" are one."""
    return _JOINS.sub(" ", normalize_label(text).translate(_VARIANTS))


def _bare(text: str) -> str:
    """Return an answer without quotation marks, brackets and invisible marks around it."""
    start, end = 0, len(text)
    while start < end and _stands_around(text[start]):
        start += 1
    while start < end and _stands_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _stands_around(character: str) -> bool:
    return character in _STOPS or unicodedata.category(character) in _AROUND


@functools.lru_cache(maxsize=256)
def names_of(keys: tuple[str, ...], names: tuple[str, ...] = ()) -> Names:
    """Return the names of a tuple of labels, shared between replies."""
    return Names(keys, names)


def answer_field(value: dict[str, Any]) -> Any:
    """Return the only value of an object, or of the only field that is called after an answer."""
    if len(value) == 1:
        return next(iter(value.values()))
    named = [item for key, item in value.items() if is_field(key)]
    return named[0] if len(named) == 1 else None


def label_position(content: str, names: Names) -> int | None:
    """Return the label that an answer is once marks, fences and a field are set aside."""
    for candidate in _forms(content):
        position = names.find(candidate)
        if position is not None:
            return position
    return None


def _forms(content: str) -> list[str]:
    marked = without_marks(content)
    inner = unwrapped(marked)
    line = _BULLET.sub("", inner, count=1) if _BULLET.match(inner) else inner
    field = unwrapped(after_field(line))
    return [content, marked, inner, line, field]


def explained_label(content: str, names: Names) -> int | None:
    """Return the label of an answer that explains it, before or after.

    The explanation must be one (a few words, or a word such as "because") and name no other
    label: "sport, politics" and "spam, not ham" are no answer.
    """
    text = unwrapped(without_marks(content)).strip()
    for read in (_label_first, _label_last):
        position, rest = read(text, names)
        if position is not None:
            return position if _explains(rest) and not names.others(rest, position) else None
    return None


def begun_label(content: str, names: Names) -> int | None:
    """Return the label of an answer of which only the explanation after it was cut.

    It is the first of several lines, or the first field of an object.
    """
    text = without_marks(content).lstrip()
    line, _, rest = text.partition("\n")
    if line.startswith("```"):
        line, _, rest = rest.partition("\n")
    if "{" not in text:
        position = label_position(line, names) if rest.strip() else None
        return position if position is not None and not names.others(rest, position) else None
    found = _FIRST_FIELD.search(text)
    if found is None or "{" in text[: found.start()] or not is_field(found.group(1)):
        return None
    try:
        return names.value(json.loads(found.group(2)))
    except ValueError:
        return None


def _explains(rest: str) -> bool:
    rest = rest.strip()
    if not rest:
        return True
    if _TAKES_BACK.match(rest):
        return False
    enough = rest.startswith("(") or len(rest.split(None, _MIN_EXPLANATION)) >= _MIN_EXPLANATION
    return enough or _EXPLAINS.match(rest) is not None


def _label_first(text: str, names: Names) -> tuple[int | None, str]:
    line, _, rest = text.partition("\n")
    position = label_position(line, names)
    if position is not None:
        return position, rest
    for start in dict.fromkeys([line, after_field(line), _BULLET.sub("", line, count=1)]):
        for found in list(_BREAK.finditer(start[:MAX_LABEL_ANSWER]))[:3]:
            position = names.find(start[: found.start()])
            if position is not None:
                bracket = "(" if "(" in found.group() else ""
                return position, f"{bracket}{start[found.end() :]}\n{rest}"
    return None, ""


def _label_last(text: str, names: Names) -> tuple[int | None, str]:
    rest, _, line = text.rpartition("\n")
    named = after_field(line)
    if named == line and not rest.rstrip().endswith((".", ":", "!", ")")):
        return None, ""
    return label_position(named, names), rest


def pieces_of(content: str, find: Callable[[str], int | None]) -> list[int] | None:
    """Return the labels of a list without brackets, None if a piece of it is no label."""
    text = content.strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    found = []
    for piece in _PIECES.split(text):
        if not piece.strip():
            continue
        position = find(_BULLET.sub("", piece.strip(), count=1))
        if position is None:
            return None
        found.append(position)
    return found or None
