"""Typed questions about a text, and probabilities read from the answers. Never a guess.

Of an answer only the probabilities are read: what endpoints call ``confidence`` follows a
different formula at each of them.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklfusion.prompts._parse import ReplyError
from sklfusion.prompts._render import Task, example_answer, quote
from sklfusion.prompts._templates import PromptTemplate

#: An answer that is not one to the questions asked.
MALFORMED = "malformed_answer"
#: Levels of a score that all endpoints take; more are asked for as a choice.
MOST_LEVELS = 10
# Steps to which endpoints round, and how near a number has to be to a multiple of one.
_ROUNDING_STEPS = (0.01, 0.001, 0.0001)
_NEAR = 1e-9
# By how much a sum of probabilities may be off beside what rounding explains.
_SUM_TOLERANCE = 0.05
_OFF = 1e-6


@dataclass(frozen=True)
class ReadAnswers:
    """What the answers to some questions say.

    Parameters
    ----------
    values : tuple of (tuple of float or None)
        Per question its probabilities (one for a predicate); None for a refused one.
    unit : float
        To which the endpoint rounds, 0 where nothing shows that it does.
    normalised : bool
        Whether a sum was off for another reason than rounding.
    """

    values: tuple[tuple[float, ...] | None, ...]
    unit: float = 0.0
    normalised: bool = False


# ------------------------------------------------------------------------------------- questions


def choice_question(
    task: Task, examples: Sequence[tuple[str, Any]], template: PromptTemplate
) -> dict[str, Any]:
    """Return the one question of a task with one label per text; options are its class names.

    Levels are asked for as a score, whose answer is a distribution as well.
    """
    choices: list[dict[str, str]] = []
    for index in task.shown:
        described = task.descriptions[index] if task.descriptions else None
        choice = {"value": task.labels[index]}
        choices.append({**choice, "description": described} if described else choice)
    shown = [(text, task.labels[_one_label(target)]) for text, target in examples]
    told = _instructions(task, shown, template.question_choice, template)
    if task.ordered and task.order is None and len(choices) <= MOST_LEVELS:
        levels = [{"label": choice.pop("value"), **choice} for choice in choices]
        return {"type": "score", "instructions": told, "levels": levels}
    return {"type": "choice", "instructions": told, "choices": choices}


def predicate_question(
    task: Task, label: int, examples: Sequence[tuple[str, Any]], template: PromptTemplate
) -> dict[str, Any]:
    """Return the question whether one label fits."""
    asked = template.question_predicate.replace("{label}", task.labels[label])
    described = task.descriptions[label] if task.descriptions else None
    if described:
        asked += "\n" + template.question_criterion.replace("{description}", described)
    shown = [
        (text, example_answer(task, target, answer="yes_no", label=label))
        for text, target in examples
    ]
    return {"type": "predicate", "instructions": _instructions(task, shown, asked, template)}


def _one_label(target: Any) -> int:
    return target if isinstance(target, int) else min(target)


def _instructions(
    task: Task, shown: Sequence[tuple[str, str]], asked: str, template: PromptTemplate
) -> str:
    """Return instructions, examples and question; the text goes elsewhere, alone."""
    parts = [task.instructions.strip()] if task.instructions else []
    if shown:
        lines = [f"{quote(text)} -> {answer}" for text, answer in shown]
        parts.append("\n".join([template.question_examples, *lines]))
    return "\n\n".join([*parts, asked])


# --------------------------------------------------------------------------------------- answers


def read_decisions(content: str, questions: Sequence[dict[str, Any]]) -> ReadAnswers:
    """Read the answers to questions from what the store keeps of a reply.

    Parameters
    ----------
    content : str
        A JSON object: ``dialect``, and ``answers`` as they came.
    questions : sequence of dict
        As asked.

    Raises
    ------
    ReplyError
        "malformed_answer", whatever is wrong.

    Examples
    --------
    >>> asked = [{"type": "predicate", "instructions": "Is it spam?"}]
    >>> read_decisions('{"dialect": "systemone", "answers": {"0": {"noul": 0.75}}}', asked).values
    ((0.75,),)
    """
    said = json.loads(content)
    answers = said["answers"]
    if said["dialect"] == "openai":
        found = _in_order(answers, len(questions))
    else:
        found = _by_id(answers, len(questions))
    raw = [_probabilities(*pair) for pair in zip(questions, found, strict=True)]
    return _as_probabilities(raw, questions)


def _in_order(answers: Any, count: int) -> list[dict[str, Any]]:
    """Return the answers of a list; a name that belongs to another place is an error."""
    if not isinstance(answers, list) or len(answers) != count:
        raise ReplyError(MALFORMED)
    for place, answer in enumerate(answers):
        name = answer.get("name") if isinstance(answer, dict) else MALFORMED
        if name is not None and name != str(place):
            raise ReplyError(MALFORMED)
    return answers


def _by_id(answers: Any, count: int) -> list[dict[str, Any]]:
    """Return the answers of a map; what begins with x_ is an endpoint's own business."""
    wanted = [str(place) for place in range(count)]
    known = {k for k in answers if not k.startswith("x_")} if isinstance(answers, dict) else set()
    if known != set(wanted) or not all(isinstance(answers[name], dict) for name in wanted):
        raise ReplyError(MALFORMED)
    return [answers[name] for name in wanted]


def _probabilities(question: dict[str, Any], answer: dict[str, Any]) -> list[float] | None:
    """Return the probabilities of one answer in the order asked, None for a refusal."""
    kind = answer.get("type")
    if kind == "refusal":
        return None
    if question["type"] == "predicate":
        if kind not in (None, "predicate", "noul"):
            raise ReplyError(MALFORMED)
        return [_probability(answer.get("probability", answer.get("noul")))]
    if kind not in (None, question["type"]):
        raise ReplyError(MALFORMED)
    given = _options_given(answer.get("probabilities"))
    asked = [choice["value"] for choice in question.get("choices", ())]
    asked += map(str, range(len(question.get("levels", ()))))
    return [given[place][1] for place in _places(asked, [name for name, _ in given])]


def _options_given(said: Any) -> list[tuple[str, float]]:
    """Return option and probability of a list of objects or of a map."""
    if isinstance(said, dict):
        return [(str(name), _probability(value)) for name, value in said.items()]
    if not isinstance(said, list) or not all(isinstance(item, dict) for item in said):
        raise ReplyError(MALFORMED)
    return [(_option(item.get("value")), _probability(item.get("probability"))) for item in said]


def _option(value: Any) -> str:
    """Return the name of an option, the number of a level.

    A gateway may have made a boolean of "true".
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ReplyError(MALFORMED)
    return value


def _places(asked: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return where each option asked stands among those given: each once, and no other.

    Names are compared as they are, then without regard to composition and case: some endpoints
    return them in another form.
    """
    for form in (str, _folded):
        names = [form(name) for name in given]
        wanted = [form(name) for name in asked]
        if len(set(wanted)) == len(wanted) and sorted(names) == sorted(wanted):
            return [names.index(name) for name in wanted]
    raise ReplyError(MALFORMED)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().casefold())


def _probability(value: Any) -> float:
    if type(value) not in (int, float) or not -_OFF <= value <= 1 + _OFF:  # NaN is neither
        raise ReplyError(MALFORMED)
    return min(max(float(value), 0.0), 1.0)


def _as_probabilities(
    raw: Sequence[list[float] | None], questions: Sequence[dict[str, Any]]
) -> ReadAnswers:
    """Return probabilities without the zeros and the sums that rounding leaves."""
    unit = _rounding_step([value for values in raw if values is not None for value in values])
    rounded = normalised = False
    read: list[tuple[float, ...] | None] = []
    for values, question in zip(raw, questions, strict=True):
        if values is None:
            read.append(None)
            continue
        likely, off = _settled(values, unit, alone=question["type"] == "predicate")
        moved = any(abs(a - b) > _OFF for a, b in zip(likely, values, strict=True))
        rounded |= moved and unit > 0
        normalised |= off and not unit
        read.append(likely)
    return ReadAnswers(tuple(read), unit if rounded else 0.0, normalised)


def _settled(values: list[float], unit: float, *, alone: bool) -> tuple[tuple[float, ...], bool]:
    """Return values floored at half the unit that sum to 1, and whether their sum was off."""
    if alone:
        return (min(max(values[0], unit / 2), 1 - unit / 2),), False
    total = math.fsum(values)
    if not total or abs(total - 1) > len(values) * unit + _SUM_TOLERANCE:
        raise ReplyError(MALFORMED)
    floored = [max(value, unit / 2) for value in values]
    whole = math.fsum(floored)
    return tuple(value / whole for value in floored), abs(total - 1) > _OFF


def _rounding_step(values: Sequence[float]) -> float:
    """Return the step of which all values are multiples, 0 if there is none."""
    for unit in _ROUNDING_STEPS:
        if all(abs(value - unit * round(value / unit)) < _NEAR for value in values):
            return unit
    return 0.0
