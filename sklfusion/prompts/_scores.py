"""Reading scores: one number for every label, or a failed reply."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from sklfusion.prompts._answer import is_field
from sklfusion.prompts._parse import ReplyError, decode_from, find_object
from sklfusion.prompts._read_label import Names, names_of

# Sums this near 1 (or 100 %) are rounding.
_PROBABILITY_TOLERANCE = 0.02
# Single numbers outside [0, 1] by no more are rounding too.
_ROUNDING = 1e-6
_PLAIN_DECIMAL = re.compile(r"(?:0|1|0?\.\d{1,17}|0\.\d{1,17}|1\.0{1,17})").fullmatch
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,17})?)\s?%\s*").fullmatch


def parse_scores(
    content: str,
    keys: Sequence[str],
    *,
    multilabel: bool = False,
    missing: str = "error",
    extra: str = "error",
    names: Sequence[str] = (),
) -> tuple[list[float], bool]:
    """Return one number in [0, 1] per label, and whether they had to be normalised.

    Parameters
    ----------
    content : str
        The answer: one JSON object, or a list of objects with a label and a number each; a code
        fence or prose around it is tolerated. Percentages are read where they cannot be anything
        else.
    keys : sequence of str
        What the labels are called in the answer.
    multilabel : bool
        Whether the numbers are independent; else they are made to sum to 1.
    missing : {"error", "zero"}
        What a label that is not there means.
    extra : {"error", "ignore"}
        What to do with keys that are no label (once all labels are there).
    names : sequence of str, optional
        What else the model was told that the labels are called, in the same order.

    Raises
    ------
    ReplyError
        If the object is not that.

    Examples
    --------
    >>> parse_scores('{"a": 0.25, "b": 0.75}', ["a", "b"])
    ([0.25, 0.75], False)
    """
    known = names_of(tuple(keys), tuple(names))
    scores: dict[int, Any] = {}
    unknown = 0
    for key, number in _score_pairs(content, known):
        position = known.find(key)
        if position is None:
            unknown += 1
            continue
        if position in scores:
            raise ReplyError("duplicate_label")
        scores[position] = number
    if len(scores) < len(keys) and (missing != "zero" or not scores):
        raise ReplyError("missing_label")
    if unknown and extra != "ignore":
        raise ReplyError("unknown_label")
    numbers = dict(zip(scores, _unit_numbers(list(scores.values()), multilabel), strict=True))
    row = [numbers.get(position, 0.0) for position in range(len(keys))]
    if multilabel:
        return row, False
    total = math.fsum(row)
    if total <= 0:
        raise ReplyError("zero_sum")
    return [number / total for number in row], abs(total - 1) > _PROBABILITY_TOLERANCE


def _score_pairs(content: str, known: Names) -> list[tuple[str, Any]]:
    """Return label and number of an object, of an object in one, or of a list of both."""
    start = content.find("[")
    if 0 <= start < content.find("{"):
        return [_score_item(item) for item in _list_of_objects(decode_from(content, start))]
    value = find_object(content)
    while len(value) == 1:
        ((key, inner),) = value.items()
        if not isinstance(inner, dict) or known.find(key) is not None:
            break
        value = inner
    return list(value.items())


def _list_of_objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ReplyError("bad_json")
    return value


def _score_item(item: dict[str, Any]) -> tuple[str, Any]:
    """Return label and number of {"label": "spam", "score": 0.9}."""
    if len(item) == 1:
        return next(iter(item.items()))
    labels = [key for key in item if is_field(key)]
    numbers = [value for key, value in item.items() if key not in labels]
    if len(item) != 2 or len(labels) != 1 or not isinstance(item[labels[0]], str):
        raise ReplyError("bad_json")
    return item[labels[0]], numbers[0]


def _unit_numbers(values: Sequence[Any], multilabel: bool) -> list[float]:
    """Return numbers in [0, 1]; percentages are read where all of them are nothing else.

    They are where each has its sign, or, among labels of which one is true, where they add up to
    a hundred.
    """
    signed = [_PERCENT(value) if isinstance(value, str) else None for value in values]
    if all(signed) and values:
        return [_unit_number(float(found.group(1)) / 100) for found in signed if found]
    if not multilabel and all(type(value) in (int, float) for value in values):
        total = math.fsum(values) if all(0 <= value <= 100 for value in values) else 0.0
        if abs(total / 100 - 1) <= _PROBABILITY_TOLERANCE:
            return [value / 100 for value in values]
    return [_unit_number(value) for value in values]


def _unit_number(value: Any) -> float:
    if isinstance(value, str) and _PLAIN_DECIMAL(value):
        return float(value)
    if type(value) not in (int, float) or not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise ReplyError("bad_number")
    return min(max(float(value), 0.0), 1.0)
