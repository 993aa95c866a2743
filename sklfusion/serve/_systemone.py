"""``POST /v1/systemone``: the System One format."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, JsonValue

from sklfusion.serve._body import BoundedRoute
from sklfusion.serve._decide import (
    Decided,
    DecisionQuestion,
    choice_confidence,
    expected_level,
    score_confidence,
)
from sklfusion.serve._decisions import check_options
from sklfusion.serve._errors import Refusal
from sklfusion.serve._service import Service

systemone_routes = APIRouter(route_class=BoundedRoute)


class NoulCriteria(BaseModel):
    """When to say true, and when false; either may be left out."""

    true: JsonValue = None
    false: JsonValue = None


class NoulQuestion(BaseModel):
    """Whether something holds."""

    type: Literal["noul"]
    instructions: JsonValue = None
    criteria: NoulCriteria | None = None


class ChoiceQuestion(BaseModel):
    """One of up to 255 options, each with a description or null."""

    type: Literal["choice"]
    instructions: JsonValue = None
    criteria: dict[str, JsonValue] = Field(min_length=1, max_length=255)


class ScoreQuestion(BaseModel):
    """One of up to 255 levels, lowest first."""

    type: Literal["score"]
    instructions: JsonValue = None
    criteria: list[JsonValue] = Field(min_length=1, max_length=255)


SystemOneQuestion = Annotated[
    NoulQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")
]


class SystemOneBody(BaseModel):
    """A state and questions about it. Fields that are not named here are ignored."""

    model: str
    state: str | dict[str, JsonValue] | list[JsonValue]
    questions: dict[Annotated[str, Field(min_length=1)], SystemOneQuestion] = Field(
        min_length=1, max_length=400
    )


@systemone_routes.post("/v1/systemone")
async def post_systemone(body: SystemOneBody, request: Request) -> dict[str, Any]:
    """Answer questions about a state, by their ids."""
    service: Service = request.app.state.service
    questions = {name: _read_question(name, asked) for name, asked in body.questions.items()}
    decided = await service.decide(_state_text(body.state), list(questions.values()))
    answers = {}
    for (name, question), found in zip(questions.items(), decided, strict=True):
        if found.values is None:  # this format has no word for it
            place = ("questions", name)
            raise Refusal(422, "There was no usable answer to this question.", "no_answer", place)
        answers[name] = _system_one_answer(question, found, body.questions[name].criteria)
    usage = {"input_tokens": 0, "output_tokens": 0}
    return {"model": service.settings.name, "answers": answers, "usage": usage}


def _state_text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _criterion_text(value: Any) -> str | None:
    return None if value is None or value == "" else _state_text(value)


def _read_question(name: str, asked: Any) -> DecisionQuestion:
    where = ("questions", name)
    instructions = _criterion_text(asked.instructions) or ""
    if asked.type == "noul":
        return _read_noul(instructions, asked.criteria, where)
    if asked.type == "choice":
        check_options(asked.criteria, (*where, "criteria"))
        told = tuple(map(_criterion_text, asked.criteria.values()))
        return DecisionQuestion("choice", instructions, tuple(asked.criteria), told, where)
    for number, level in enumerate(asked.criteria):
        if level is None:
            place = (*where, "criteria", number)
            raise Refusal(422, f"Level {number} is null; give it a text.", "null_level", place)
    levels = tuple(map(_state_text, asked.criteria))
    check_options(levels, (*where, "criteria"))
    return DecisionQuestion("score", instructions, levels, (None,) * len(levels), where)


def _read_noul(instructions: str, criteria: NoulCriteria | None, where: Any) -> DecisionQuestion:
    asserted, denied = (
        _criterion_text(getattr(criteria, side, None)) for side in ("true", "false")
    )
    told = [instructions] if instructions else []
    told += [f"Answer true when: {asserted}"] if asserted else []
    told += [f"Answer false when: {denied}"] if denied else []
    options = tuple(text for text in (asserted, instructions) if text)
    if not options:
        message = "A noul needs instructions or a criterion."
        raise Refusal(422, message, "empty", (*where, "instructions"))
    return DecisionQuestion("predicate", "\n".join(told), options, (None,) * len(options), where)


def _system_one_answer(
    question: DecisionQuestion, found: Decided, criteria: Any
) -> dict[str, Any]:
    values = found.values or ()
    if question.kind == "predicate":
        return {"type": "noul", "noul": values[0], "x_source": found.source}
    told: dict[str, Any] = {"type": question.kind, "x_source": found.source}
    if question.kind == "choice":
        best = max(range(len(values)), key=values.__getitem__)
        return told | {
            "choice": question.options[best],
            "confidence": choice_confidence(values),
            "probabilities": dict(zip(question.options, values, strict=True)),
        }
    return told | {
        "score": expected_level(values),
        "confidence": score_confidence(values),
        "legend": {str(i): level for i, level in enumerate(criteria)},
        "probabilities": {str(i): p for i, p in enumerate(values)},
    }
