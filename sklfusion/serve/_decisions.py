"""``POST /v1/decisions``: the Decisions format of the OpenAI API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StrictBool, StrictStr

from sklfusion.serve._body import BoundedRoute
from sklfusion.serve._decide import (
    Decided,
    DecisionQuestion,
    choice_confidence,
    expected_level,
    score_confidence,
)
from sklfusion.serve._errors import Refusal
from sklfusion.serve._service import Service

decisions_routes = APIRouter(route_class=BoundedRoute)


class TextPart(BaseModel):
    """A part of a message. Images are not read."""

    type: Literal["input_text"]
    text: str


class UserMessage(BaseModel):
    """A message of the user. What else there is to say belongs into the instructions."""

    role: Literal["user"]
    content: str | list[TextPart]
    type: Literal["message"] = "message"


class NamedQuestion(BaseModel):
    """What all questions have."""

    instructions: str | list[TextPart]
    name: str | None = None


class PredicateParam(NamedQuestion):
    """Whether something holds."""

    type: Literal["predicate"]


class ChoiceOption(BaseModel):
    """One of the options."""

    value: StrictStr | StrictBool
    description: str | None = None


class ChoiceParam(NamedQuestion):
    """One of two to 255 options."""

    type: Literal["choice"]
    choices: list[ChoiceOption] = Field(min_length=2, max_length=255)


class ScoreLevel(BaseModel):
    """One of the levels."""

    label: str = Field(min_length=1)
    description: str | None = None


class ScoreParam(NamedQuestion):
    """One of several levels, lowest first."""

    type: Literal["score"]
    levels: list[ScoreLevel] = Field(min_length=2, max_length=255)


QuestionParam = Annotated[PredicateParam | ChoiceParam | ScoreParam, Field(discriminator="type")]


class DecisionsBody(BaseModel):
    """A text and questions about it. Fields that are not named here are ignored."""

    model: str
    input: str | list[UserMessage]
    questions: list[QuestionParam] = Field(min_length=1, max_length=400)


@decisions_routes.post("/v1/decisions")
async def post_decisions(body: DecisionsBody, request: Request) -> dict[str, Any]:
    """Answer questions about a text, in the order of the questions."""
    service: Service = request.app.state.service
    questions = [_read_param(asked, n) for n, asked in enumerate(body.questions)]
    decided = await service.decide(_input_text(body.input), questions)
    return {
        "model": service.settings.name,
        "answers": [
            _decision_answer(asked.name, question, found)
            for asked, question, found in zip(body.questions, questions, decided, strict=True)
        ],
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    }


def _input_text(told: str | list[UserMessage]) -> str:
    if isinstance(told, str):
        return told
    return "\n".join(_content_text(message.content) for message in told)


def _content_text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _read_param(asked: Any, number: int) -> DecisionQuestion:
    where = ("questions", number)
    instructions = _content_text(asked.instructions)
    if not instructions.strip():
        raise Refusal(422, "The instructions are empty.", "empty", (*where, "instructions"))
    if asked.type == "predicate":
        return DecisionQuestion("predicate", instructions, (instructions,), (None,), where)
    if asked.type == "choice":
        options = [(c.value, c.description) for c in asked.choices]
    else:
        options = [(level.label, level.description) for level in asked.levels]
    values, told = zip(*options, strict=True)
    check_options(values, (*where, "choices" if asked.type == "choice" else "levels"))
    return DecisionQuestion(asked.type, instructions, values, told, where)


def check_options(values: Any, where: tuple[Any, ...]) -> None:
    """Refuse options that are empty or equal; true and "true" are two."""
    seen = set()
    for number, value in enumerate(values):
        if isinstance(value, str) and not value.strip():
            raise Refusal(422, f"Option {number} is empty.", "empty", (*where, number))
        if (type(value), value) in seen:
            raise Refusal(422, f"Option {number} came before.", "duplicate", (*where, number))
        seen.add((type(value), value))


def _decision_answer(
    name: str | None, question: DecisionQuestion, found: Decided
) -> dict[str, Any]:
    values = found.values
    told: dict[str, Any] = {"name": name, "x_source": found.source}
    if values is None:
        return {"type": "refusal"} | told
    told["type"] = question.kind
    if question.kind == "predicate":
        return told | {"probability": values[0]}
    pairs = list(zip(question.options, values, strict=True))
    if question.kind == "choice":
        best = max(range(len(values)), key=values.__getitem__)
        return told | {
            "choice": question.options[best],
            "confidence": choice_confidence(values),
            "probabilities": [{"value": option, "probability": p} for option, p in pairs],
        }
    return told | {
        "score": expected_level(values),
        "confidence": score_confidence(values),
        "probabilities": [
            {"value": level, "label": label, "probability": p}
            for level, (label, p) in enumerate(pairs)
        ],
    }
