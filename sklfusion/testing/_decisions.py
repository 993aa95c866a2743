"""Typed questions at the loopback endpoint, in both dialects, by the rule of ``_answers``.

A predicate asks about the label between ``the label`` and ``fit the text`` in its instructions, or
behind ``Does it express``; if there are no such words, about what stands in quotation marks. A
choice is answered by the rule for one label per text, a score as a choice of levels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sklfusion.testing._answers import ASKED_LABEL, Question, count_tokens, scores

#: Path -> dialect of an endpoint that serves all there is.
BOTH = {"/v1/decisions": "openai", "/v1/systemone": "systemone"}
_EXPRESSED = re.compile(r"[Dd]oes it express (.+?)\?")
_QUOTED = re.compile(r"['\"]([^'\"]+)['\"]")
# What else an endpoint has to be sent under the name of the text.
_TEXT_FIELDS = {"openai": "input", "systemone": "state"}


class BadBody(ValueError):
    """A body that the endpoint refuses.

    Parameters
    ----------
    status : int
        400 or 422.
    where : list
        Steps to the field.
    message : str
        What is wrong with it.
    """

    def __init__(self, status: int, where: list[Any], message: str) -> None:
        super().__init__(message)
        self.status = status
        self.said: dict[str, Any] = {
            "detail": [{"loc": ["body", *where], "msg": message, "type": "value_error"}]
        }
        if status == 400:
            self.said = {
                "error": {"message": message, "param": where[0], "code": None, "type": "invalid"}
            }


@dataclass(frozen=True)
class TypedQuestion:
    """A question of either dialect: its id, kind, instructions and options."""

    name: str | None
    kind: str
    instructions: str
    options: tuple[Any, ...]


def decided_text(body: dict[str, Any]) -> str:
    """Return the text of a decision request."""
    said = body.get("input", body.get("state"))
    return said if isinstance(said, str) else ""


def read_questions(
    body: dict[str, Any], dialect: str, limits: dict[str, int]
) -> list[TypedQuestion]:
    """Return the questions of a request.

    Parameters
    ----------
    body : dict
        Of the request.
    dialect : {"openai", "systemone"}
        What the path speaks.
    limits : dict
        Most "questions", most "options".

    Raises
    ------
    BadBody
        As endpoints refuse a body of the other dialect, or one beyond their limits.
    """
    code = 400 if dialect == "openai" else 422
    field = _TEXT_FIELDS[dialect]
    if not isinstance(body.get(field), str):
        raise BadBody(code, [field], "Field required")
    given, pairs = body.get("questions"), []
    if dialect == "openai" and isinstance(given, list):
        pairs = [(question.get("name"), question) for question in given]
    elif dialect == "systemone" and isinstance(given, dict):
        pairs = list(given.items())
    if not pairs:
        kind = "list" if dialect == "openai" else "dictionary"
        raise BadBody(code, ["questions"], f"Input should be a valid {kind}")
    asked = [_typed(name, question, dialect) for name, question in pairs]
    _hold(asked, limits, code)
    return asked


def _typed(name: str | None, question: dict[str, Any], dialect: str) -> TypedQuestion:
    kind = {"noul": "predicate"}.get(question["type"], question["type"])
    told = question.get("instructions")
    if not isinstance(told, str) or not told:
        raise BadBody(400, ["questions"], "instructions: Field required")
    options: list[Any] = []
    if dialect == "openai":
        options = [c["value"] for c in question.get("choices", ())]
        options += [level["label"] for level in question.get("levels", ())]
    elif kind != "predicate":
        options = list(question.get("criteria") or ())
    return TypedQuestion(name, kind, told, tuple(options))


def _hold(asked: list[TypedQuestion], limits: dict[str, int], code: int) -> None:
    most = limits.get("questions")
    if most is not None and len(asked) > most:
        said = f"questions should have at most {most} items, not {len(asked)}"
        raise BadBody(code, ["questions"], said)
    most = limits.get("options")
    if most is not None and any(len(question.options) > most for question in asked):
        raise BadBody(code, ["questions"], f"a choice takes at most {most} options")


def decision(
    body: dict[str, Any], asked: list[TypedQuestion], dialect: str, refused: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return the reply to questions; those at the places in ``refused`` are not answered."""
    text = decided_text(body)
    answers = [
        {"type": "refusal"} if place in refused else _answer_to(question, text, dialect)
        for place, question in enumerate(asked)
    ]
    tokens = count_tokens(text) + sum(count_tokens(question.instructions) for question in asked)
    usage = {"input_tokens": tokens, "output_tokens": len(asked)}
    if dialect == "systemone":
        by_id = {question.name: a for question, a in zip(asked, answers, strict=True)}
        return {"model": body.get("model"), "answers": by_id, "usage": usage}
    listed = [{"name": q.name, **answer} for q, answer in zip(asked, answers, strict=True)]
    details = {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens + len(asked),
    }
    return {"model": body.get("model"), "answers": listed, "usage": usage | details}


def _answer_to(question: TypedQuestion, text: str, dialect: str) -> dict[str, Any]:
    openai = dialect == "openai"
    if question.kind == "predicate":
        ways = (ASKED_LABEL, _EXPRESSED, _QUOTED)
        found = next(filter(None, (way.search(question.instructions) for way in ways)), None)
        name = found[1] if found else question.instructions
        value = scores(Question(text, (name,), (name,), "yes_no", True))[0]
        return {"type": "predicate", "probability": value} if openai else _noul(value)
    names = tuple(map(str, question.options))
    values = scores(Question(text, names, names, "label", False))
    best = max(range(len(values)), key=values.__getitem__)
    sure = (values[best] - 1 / len(values)) / (1 - 1 / len(values)) if len(values) > 1 else 1.0
    if question.kind == "score":
        return _score_answer(names, values, sure, openai)
    pairs = zip(question.options, values, strict=True)
    said: Any = [{"value": v, "probability": p} for v, p in pairs]
    if not openai:
        said = dict(zip(names, values, strict=True))
    chosen = question.options[best]
    return {"type": "choice", "choice": chosen, "confidence": sure, "probabilities": said}


def _noul(value: float) -> dict[str, Any]:
    return {"type": "noul", "noul": value}


def _score_answer(
    names: tuple[str, ...], values: list[float], sure: float, openai: bool
) -> dict[str, Any]:
    expected = sum(place * value for place, value in enumerate(values))
    said: dict[str, Any] = {"type": "score", "score": expected, "confidence": sure}
    if openai:
        levels = enumerate(zip(names, values, strict=True))
        listed = [{"value": n, "label": name, "probability": p} for n, (name, p) in levels]
        return {**said, "probabilities": listed}
    places = list(map(str, range(len(names))))
    legend = dict(zip(places, names, strict=True))
    return {**said, "legend": legend, "probabilities": dict(zip(places, values, strict=True))}


def rounded_to(value: Any, decimals: int) -> Any:
    """Return a reply whose probabilities are rounded, as some endpoints round them."""
    if isinstance(value, dict):
        return {k: v if k == "usage" else rounded_to(v, decimals) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded_to(item, decimals) for item in value]
    return round(value, decimals) if isinstance(value, float) else value
