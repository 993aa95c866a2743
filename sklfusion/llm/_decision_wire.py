"""Decision requests on the wire: two dialects out, one kind of reply back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sklfusion._chat import ChatRequest, DecisionRequest, Reply, Usage
from sklfusion.llm._faults import CallError, bad_reply
from sklfusion.llm._reply import Blame, fault_inside, small_int, token_count
from sklfusion.prompts._decisions import MALFORMED

# Fields of a request that are put on the wire in a form of their own.
_PUT_APART = ("questions", "path", "dialect")


def wire_body(request: ChatRequest) -> dict[str, Any]:
    """Return the JSON body of any request."""
    return decision_body(request) if isinstance(request, DecisionRequest) else request.body()


def decision_body(request: DecisionRequest) -> dict[str, Any]:
    """Return the JSON body of a request whose dialect is settled.

    Examples
    --------
    >>> from dataclasses import replace
    >>> asked = {"questions": [{"type": "predicate", "instructions": "Is it spam?"}]}
    >>> request = DecisionRequest("http://127.0.0.1:1/v1", "m", (("user", '"win"'),), asked)
    >>> decision_body(replace(request, params={**asked, "dialect": "systemone"}))["questions"]
    {'0': {'type': 'noul', 'instructions': 'Is it spam?'}}
    """
    text = json.loads(request.messages[-1][1])
    further = {name: value for name, value in request.params.items() if name not in _PUT_APART}
    asked = list(enumerate(request.questions))
    if request.params["dialect"] == "openai":
        questions = [{**question, "name": str(place)} for place, question in asked]
        return {"model": request.model, "input": text, "questions": questions, **further}
    by_id = {str(place): _systemone_question(question) for place, question in asked}
    return {"model": request.model, "state": text, "questions": by_id, **further}


def _systemone_question(question: Mapping[str, Any]) -> dict[str, Any]:
    told = {"instructions": question["instructions"]}
    if question["type"] == "predicate":
        return {"type": "noul", **told}
    if question["type"] == "score":
        parts = ([level["label"], level.get("description")] for level in question["levels"])
        return {"type": "score", **told, "criteria": [": ".join(filter(None, p)) for p in parts]}
    criteria = {choice["value"]: choice.get("description") for choice in question["choices"]}
    return {"type": "choice", **told, "criteria": criteria}


def decision_reply(body: bytes, dialect: str, blame: Blame) -> Reply:
    """Read the body of a reply to typed questions.

    What it says is kept as it came, with its dialect, so that a better reader reads it again and
    nobody pays again.

    Raises
    ------
    CallError
        With the fault of an error that stands in it, or with one of kind "bad_reply".
    """
    try:
        value = json.loads(body.removeprefix(b"\xef\xbb\xbf"), parse_int=small_int)
    except (ValueError, RecursionError):
        raise bad_reply("bad_json", "the body is not JSON") from None
    if isinstance(value, dict) and isinstance(value.get("result"), dict):
        value = value["result"]  # Cloudflare's envelope
    fault = fault_inside(value, blame)
    if fault is not None:
        raise CallError(fault)
    answers = value.get("answers") if isinstance(value, dict) else None
    if not isinstance(answers, list | dict):
        raise bad_reply(MALFORMED, "the reply has no answers")
    model = value.get("model")
    said = json.dumps({"dialect": dialect, "answers": answers}, separators=(",", ":"))
    return Reply(
        (said,),
        model=model if isinstance(model, str) else None,
        usage=_decision_usage(value.get("usage")),
        created=time.time(),
    )


def _decision_usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    details = value.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        token_count(value.get("input_tokens")),
        token_count(value.get("output_tokens")),
        token_count(value.get("cached_input_tokens") if cached is None else cached),
    )


def question_words(request: ChatRequest) -> list[str]:
    """Return all words of a request beside its messages, for a guess of its tokens."""
    words: list[str] = []
    for question in request.params["questions"] if isinstance(request, DecisionRequest) else ():
        words.append(question["instructions"])
        for choice in question.get("choices", ()):
            words += [choice["value"], choice.get("description") or ""]
        for level in question.get("levels", ()):
            words += [level["label"], level.get("description") or ""]
    return words
